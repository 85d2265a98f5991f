/* See guest.h. One request, one answer, over a socket pair; the child does nothing in between. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support.h"

enum guest_operation {
    GUEST_WRITE,
    GUEST_TOUCH,
    GUEST_READ,
    GUEST_PREADV,
    GUEST_ADVISE,
    GUEST_HAMMER,
    GUEST_CLOSE,
};

struct guest_request {
    enum guest_operation operation;
    int argument; /* a descriptor or an advice */
    size_t offset;
    size_t length;
    size_t stride;
};

struct guest_hello {
    uint64_t address;
    int userfaultfd;
    int pacing;
};

static volatile uint8_t touched;

/* Maps RAM on a 2 MiB boundary, as QEMU does, so that huge pages are possible. */
static uint8_t *map_ram(int ram, size_t size)
{
    size_t reserved = size + PLATFORM_HUGE_PAGE;
    uint8_t *area = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t aligned;

    if (area == MAP_FAILED)
        return NULL;
    aligned = ((uint64_t)area + PLATFORM_HUGE_PAGE - 1) & ~(PLATFORM_HUGE_PAGE - 1);
    area = mmap((void *)aligned, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram, 0);
    return area == MAP_FAILED ? NULL : area;
}

static long write_pages(uint8_t *memory, const struct guest_request *request)
{
    for (size_t i = 0; i < request->length; i++)
        memory[request->offset + i * request->stride]++;
    return 0;
}

static long touch_pages(const uint8_t *memory, const struct guest_request *request)
{
    for (size_t i = 0; i < request->length; i++)
        touched = memory[request->offset + i * request->stride];
    return 0;
}

/*
 * Counts up in 64-bit cells chosen at random (xorshift), so that each page's contents change with
 * every write.
 */
static long hammer(uint8_t *memory, size_t size, size_t writes)
{
    uint64_t random = 88172645463325252u;

    for (size_t i = 0; i < writes; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ((volatile uint64_t *)memory)[random % (size / sizeof(uint64_t))] += i + 1;
    }
    return 0;
}

static long preadv_pages(uint8_t *memory, const struct guest_request *request)
{
    size_t half = request->length / 2;
    struct iovec parts[] = {
        {.iov_base = memory + request->offset, .iov_len = half},
        {.iov_base = memory + request->offset + half + PLATFORM_PAGE, .iov_len = half},
    };

    return preadv(request->argument, parts, 2, 0);
}

static long serve(uint8_t *memory, size_t size, const struct guest_request *request)
{
    uint8_t *at = memory + request->offset;
    long result = -1;

    switch (request->operation) {
    case GUEST_WRITE:
        return write_pages(memory, request);
    case GUEST_TOUCH:
        return touch_pages(memory, request);
    case GUEST_READ:
        result = read(request->argument, at, request->length);
        break;
    case GUEST_PREADV:
        result = preadv_pages(memory, request);
        break;
    case GUEST_HAMMER:
        return hammer(memory, size, request->length);
    case GUEST_CLOSE:
        result = close(request->argument);
        break;
    case GUEST_ADVISE:
        result = madvise(at, request->length, request->argument);
        break;
    }
    return result < 0 ? -errno : result;
}

/* Returns its number or -errno. */
static int make_userfaultfd(void)
{
    int made = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    return made < 0 ? -errno : made;
}

static void guest_main(int channel, int ram, size_t size)
{
    uint8_t *memory = map_ram(ram, size);
    struct guest_hello hello = {.address = (uint64_t)memory};
    struct guest_request request;

    hello.userfaultfd = make_userfaultfd();
    hello.pacing = make_userfaultfd();
    if (!memory || write(channel, &hello, sizeof(hello)) != sizeof(hello))
        _exit(1);
    while (read(channel, &request, sizeof(request)) == sizeof(request)) {
        long result = serve(memory, size, &request);

        if (write(channel, &result, sizeof(result)) != sizeof(result))
            break;
    }
    _exit(0);
}

void guest_start(struct guest *guest, int ram, size_t size)
{
    struct guest_hello hello;
    int ends[2];

    *guest = (struct guest){.ram = ram, .size = size};
    platform_must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    guest->pid = platform_fork();
    platform_must(guest->pid >= 0, "fork");
    if (guest->pid == 0)
        guest_main(ends[1], ram, size);
    close(ends[1]);
    guest->channel = ends[0];
    platform_must(read(guest->channel, &hello, sizeof(hello)) == sizeof(hello), "guest's hello");
    guest->address = hello.address;
    guest->userfaultfd = hello.userfaultfd;
    guest->pacing = hello.pacing;
}

void guest_stop(struct guest *guest)
{
    if (guest->pid <= 0)
        return;
    platform_reap(guest->pid);
    close(guest->channel);
    guest->pid = 0;
}

static void order(struct guest *guest, struct guest_request request)
{
    platform_must(write(guest->channel, &request, sizeof(request)) == sizeof(request), "request");
}

static long take_answer(struct guest *guest)
{
    long result;

    platform_must(read(guest->channel, &result, sizeof(result)) == sizeof(result), "answer");
    return result;
}

static long call(struct guest *guest, struct guest_request request)
{
    order(guest, request);
    return take_answer(guest);
}

void guest_begin_write(struct guest *guest, size_t first, size_t count, size_t stride)
{
    order(guest, (struct guest_request){.operation = GUEST_WRITE,
                                        .offset = first * PLATFORM_PAGE,
                                        .length = count,
                                        .stride = stride * PLATFORM_PAGE});
}

void guest_write(struct guest *guest, size_t first, size_t count, size_t stride)
{
    guest_begin_write(guest, first, count, stride);
    take_answer(guest);
}

void guest_touch(struct guest *guest, size_t first, size_t count, size_t stride)
{
    call(guest, (struct guest_request){.operation = GUEST_TOUCH,
                                       .offset = first * PLATFORM_PAGE,
                                       .length = count,
                                       .stride = stride * PLATFORM_PAGE});
}

void guest_begin_read(struct guest *guest, int fd, size_t offset, size_t length)
{
    order(guest, (struct guest_request){
                     .operation = GUEST_READ, .argument = fd, .offset = offset, .length = length});
}

long guest_read(struct guest *guest, int fd, size_t offset, size_t length)
{
    guest_begin_read(guest, fd, offset, length);
    return take_answer(guest);
}

long guest_preadv(struct guest *guest, int fd, size_t offset, size_t length)
{
    return call(guest,
                (struct guest_request){
                    .operation = GUEST_PREADV, .argument = fd, .offset = offset, .length = length});
}

long guest_advise(struct guest *guest, int advice, size_t first, size_t count)
{
    return call(guest, (struct guest_request){.operation = GUEST_ADVISE,
                                              .argument = advice,
                                              .offset = first * PLATFORM_PAGE,
                                              .length = count * PLATFORM_PAGE});
}

void guest_close(struct guest *guest, int fd)
{
    assert_int_equal(call(guest, (struct guest_request){.operation = GUEST_CLOSE, .argument = fd}),
                     0);
}

void guest_hammer(struct guest *guest, size_t writes)
{
    order(guest, (struct guest_request){.operation = GUEST_HAMMER, .length = writes});
}

bool guest_is_busy(struct guest *guest)
{
    struct pollfd poll_fd = {.fd = guest->channel, .events = POLLIN};

    if (poll(&poll_fd, 1, 0) == 0)
        return true;
    take_answer(guest);
    return false;
}
