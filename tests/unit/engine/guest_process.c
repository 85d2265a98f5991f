/* A process that maps a RAM file: see guest_process.h. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/kernel.h"
#include "base/socket.h"
#include "engine/guest.h"
#include "guest_process.h"

const char *guest_process_missing(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC};
    int userfaultfd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    bool usable = userfaultfd >= 0 && ioctl(userfaultfd, UFFDIO_API, &api) == 0;
    close(userfaultfd);
    if (!usable) {
        return "the kernel lacks asynchronous write-protection (Linux 6.7), or we may not use it";
    }
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return "mounting a tmpfs takes root";
    }
    return NULL;
}

/* Most writes go to a few pages; now and then some are given back. */
static void live(uint8_t *memory, uint64_t pages, int memory_fd)
{
    unsigned seed = 1;
    for (uint64_t i = 0;; i++) {
        uint64_t page = (uint64_t)rand_r(&seed) % (i % 8 ? pages / 16 + 1 : pages);
        if (i % 128 == 0) {
            uint64_t count = 1 + (uint64_t)rand_r(&seed) % 700;
            count = count < pages - page ? count : pages - page;
            fallocate(memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      (off_t)(page * ENGINE_PAGE_SIZE), (off_t)(count * ENGINE_PAGE_SIZE));
        }
        memcpy(memory + page * ENGINE_PAGE_SIZE + i % 500 * 8, &i, sizeof(i));
        if (i % 16 == 0) {
            usleep(100);
        }
    }
}

struct hammer {
    pthread_t thread;
    volatile uint64_t *cells;
    uint64_t cell_count;
    volatile uint64_t *written;
    atomic_bool resting;
};

static struct hammer hammers[GUEST_HAMMERS_MOST]; /* of the guest */

/* Counts up in cells chosen at random (xorshift). */
static void *hammer(void *argument)
{
    struct hammer *self = argument;
    uint64_t random = 88172645463325252u;
    while (!self->resting) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self->cells[random % self->cell_count] += random;
        ++*self->written;
    }
    return NULL;
}

static void start_hammer(uint8_t *memory, volatile uint64_t *written, const struct order *order)
{
    struct hammer *self = &hammers[order->value];
    *self =
        (struct hammer){.cells = (volatile uint64_t *)(memory + order->first * ENGINE_PAGE_SIZE),
                        .cell_count = order->count * ENGINE_PAGE_SIZE / sizeof(uint64_t),
                        .written = written + order->value};
    if (pthread_create(&self->thread, NULL, hammer, self) != 0) {
        _exit(1);
    }
}

static void rest(void)
{
    for (size_t i = 0; i < GUEST_HAMMERS_MOST; i++) {
        if (hammers[i].cells) {
            hammers[i].resting = true;
            pthread_join(hammers[i].thread, NULL);
            hammers[i].cells = NULL;
        }
    }
}

static void touch(uint8_t *at, const struct order *order)
{
    for (uint64_t i = 0; i < order->count; i += order->step) {
        volatile uint8_t *byte = at + i * ENGINE_PAGE_SIZE + 17;
        if (order->deed == WRITE) {
            *byte = order->value;
        } else {
            (void)*byte;
        }
    }
}

static void obey(uint8_t *memory, int memory_fd, const struct order *order)
{
    uint64_t offset = order->first * ENGINE_PAGE_SIZE, length = order->count * ENGINE_PAGE_SIZE;
    switch (order->deed) {
    case WRITE:
    case READ:
        touch(memory + offset, order);
        break;
    case PUNCH:
        fallocate(memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length);
        break;
    case REMOVE:
        madvise(memory + offset, length, MADV_REMOVE);
        break;
    case UNMAP:
        madvise(memory + offset, length, MADV_DONTNEED);
        break;
    case REST:
        rest();
        break;
    case HAMMER: /* see be_the_guest() */
    case LIVE:
        break;
    }
}

static void be_the_guest(const struct guest_process *process, int orders)
{
    struct order order;
    int memory_fd = process->memory_fd;
    uint64_t memory_size = process->memory_size;
    uint8_t *memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    int fds[] = {(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK),
                 (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)};
    uint64_t address = (uintptr_t)memory;
    if (memory == MAP_FAILED || fds[0] < 0 || fds[1] < 0 ||
        socket_send_fds(orders, &address, sizeof(address), fds, 2) < 0) {
        _exit(1);
    }
    close(fds[1]);
    while (read(orders, &order, sizeof(order)) == sizeof(order)) {
        if (order.deed == HAMMER) {
            start_hammer(memory, process->hammered, &order);
        }
        obey(memory, memory_fd, &order);
        if (write(orders, "", 1) != 1) {
            break;
        }
        if (order.deed == LIVE) {
            live(memory, memory_size / ENGINE_PAGE_SIZE, memory_fd);
        }
    }
    _exit(0);
}

int guest_process_file(const struct guest_process *process, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", process->folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)process->memory_size), 0);
    return fd;
}

void guest_process_start(struct guest_process *process, uint64_t memory_size, const char *options)
{
    int pair[2];
    char path[64];
    size_t count;
    *process = (struct guest_process){.folder = "/tmp/guest-XXXXXX", .memory_size = memory_size};
    assert_non_null(mkdtemp(process->folder));
    assert_int_equal(mount("tmpfs", process->folder, "tmpfs", 0, options), 0);
    process->memory_fd = guest_process_file(process, "ram");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    process->hammered =
        mmap(NULL, ENGINE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(process->hammered != MAP_FAILED);
    process->pid = fork();
    if (process->pid == 0) {
        close(pair[0]);
        be_the_guest(process, pair[1]);
    }
    close(pair[1]);
    process->orders = pair[0];
    int fds[2];
    assert_int_equal(socket_receive_fds(process->orders, &process->address,
                                        sizeof(process->address), fds, 2, &count),
                     sizeof(process->address));
    assert_int_equal(count, 2);
    process->userfaultfd = fds[0];
    process->pacing = fds[1];
    snprintf(path, sizeof(path), "/proc/%d/pagemap", process->pid);
    process->pagemap = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(process->pagemap >= 0);
}

void guest_process_end(struct guest_process *process)
{
    kill(process->pid, SIGKILL);
    waitpid(process->pid, NULL, 0);
    close(process->orders);
    close(process->userfaultfd);
    close(process->pacing);
    munmap((void *)process->hammered, ENGINE_PAGE_SIZE);
    close(process->pagemap);
    close(process->memory_fd);
    umount(process->folder);
    rmdir(process->folder);
}

void guest_process_order(struct guest_process *process, struct order order)
{
    char done;
    order.step = order.step ? order.step : 1;
    assert_int_equal(write(process->orders, &order, sizeof(order)), sizeof(order));
    assert_int_equal(read(process->orders, &done, 1), 1);
}
