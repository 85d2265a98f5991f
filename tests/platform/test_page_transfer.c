/*
 * Moving page contents: from RAM file to socket to RAM file, with as few copies as the kernel
 * allows.
 *
 * The mover sends with sendfile from the RAM file, and receives with recv into a mapping of the new
 * RAM file. What matters besides the bytes is how it learns that the destination's tmpfs is full:
 * by an error, not by SIGBUS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define SIZE (8 * PLATFORM_PAGE)

/* A TCP connection over loopback; ends[0] sends, ends[1] receives. */
static void connect_over_loopback(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    platform_must(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    platform_must(listen(listener, 1) == 0, "listen");
    platform_must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    platform_must(connect(ends[0], (struct sockaddr *)&address, length) == 0, "connect");
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    platform_must(ends[1] >= 0, "accept4");
    close(listener);
}

static void close_both(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static uint8_t *map_shared(int fd, size_t size)
{
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    platform_must(memory != MAP_FAILED, "mmap");
    return memory;
}

/* A RAM file with data but for a hole in its middle. */
static int make_source(void)
{
    int source = platform_file_new("source", SIZE);
    char page[PLATFORM_PAGE];

    for (size_t i = 0; i < SIZE / PLATFORM_PAGE; i++) {
        memset(page, 'a' + (int)i, sizeof(page));
        if (i != 3)
            platform_must(pwrite(source, page, sizeof(page), (off_t)(i * sizeof(page))) > 0,
                          "pwrite");
    }
    return source;
}

static void send_pages(int ends[2], int source)
{
    off_t at = 0;

    assert_int_equal(sendfile(ends[0], source, &at, SIZE), SIZE);
}

/* Contents arrive in the file; the source's hole goes as zeroes and stays a hole. */
static void test_sendfile_and_recv_move_pages_into_a_sparse_file(void **state)
{
    int ends[2];
    int source = make_source();
    int target = platform_file_new("target", SIZE);
    uint8_t *from = map_shared(source, SIZE);
    uint8_t *into = map_shared(target, SIZE);

    (void)state;
    connect_over_loopback(ends);
    send_pages(ends, source);
    assert_int_equal(recv(ends[1], into, SIZE, MSG_WAITALL), SIZE);
    assert_int_equal(platform_file_allocated(source), SIZE - PLATFORM_PAGE);
    assert_int_equal(platform_file_allocated(target), SIZE);
    assert_memory_equal(from, into, SIZE);
    munmap(from, SIZE);
    munmap(into, SIZE);
    close(source);
    close(target);
    close_both(ends);
}

/*
 * sendfile refers to the page, it does not copy it: what the guest writes before TCP has sent it
 * travels too. Harmless, because such a page is dirty and will be sent again, but a checksum over
 * sent data may not be what was in the page when sendfile returned.
 */
static void test_sendfile_sends_what_the_page_holds_later(void **state)
{
    int ends[2];
    int source = make_source();
    uint8_t *from = map_shared(source, SIZE);
    uint8_t received[SIZE];

    (void)state;
    connect_over_loopback(ends);
    send_pages(ends, source);
    memset(from, 'Z', PLATFORM_PAGE);
    assert_int_equal(recv(ends[1], received, SIZE, MSG_WAITALL), SIZE);
    assert_int_equal(received[0], 'Z');
    munmap(from, SIZE);
    close(source);
    close_both(ends);
}

/* Half the room that is needed. */
static int make_cramped_target(const char *name)
{
    char file[32] = "full/";

    strncat(file, name, sizeof(file) - 6);
    return platform_file_new(file, SIZE);
}

/*
 * recv fails with EFAULT, an error that the mover can report. The bytes of the part that failed
 * count as not received, even though some are in the file by then: the connection's position is
 * lost, and the move must end here.
 */
static void test_recv_into_a_full_tmpfs_fails_with_efault(void **state)
{
    int ends[2];
    int source = make_source();
    int target = make_cramped_target("recv");
    uint8_t *into = map_shared(target, SIZE);
    size_t taken = 0;
    ssize_t count;

    (void)state;
    connect_over_loopback(ends);
    send_pages(ends, source);
    while ((count = recv(ends[1], into + taken, SIZE - taken, 0)) > 0)
        taken += (size_t)count;
    assert_int_equal(count, -1);
    assert_int_equal(errno, EFAULT);
    assert_true(taken <= SIZE / 2);
    munmap(into, SIZE);
    platform_must(ftruncate(target, 0) == 0, "ftruncate");
    close(source);
    close(target);
    close_both(ends);
}

static int store_into(void *argument)
{
    memset(argument, 'x', SIZE);
    return 0;
}

/*
 * A store by the process itself is SIGBUS: the mover never fills pages by memcpy unless room is
 * reserved.
 */
static void test_storing_into_a_full_tmpfs_is_sigbus(void **state)
{
    int target = make_cramped_target("store");
    uint8_t *into = map_shared(target, SIZE);
    pid_t child = platform_fork();
    int status;

    (void)state;
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        _exit(store_into(into));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    munmap(into, SIZE);
    platform_must(ftruncate(target, 0) == 0, "ftruncate");
    close(target);
}

/* pwrite says ENOSPC, and so does fallocate, before a single page is sent. */
static void test_full_tmpfs_refuses_pwrite_and_fallocate_with_enospc(void **state)
{
    int target = make_cramped_target("pwrite");
    char data[SIZE] = {0};

    (void)state;
    assert_int_equal(fallocate(target, 0, 0, SIZE), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(platform_file_allocated(target), 0);
    assert_int_equal(pwrite(target, data, SIZE, 0), SIZE / 2);
    assert_int_equal(pwrite(target, data, SIZE / 2, SIZE / 2), -1);
    assert_int_equal(errno, ENOSPC);
    platform_must(ftruncate(target, 0) == 0, "ftruncate");
    close(target);
}

/* What fallocate granted is ours: another file finds the tmpfs full, our stores succeed. */
static void test_fallocate_reserves_room(void **state)
{
    int target = make_cramped_target("reserved");
    int rival = make_cramped_target("rival");
    uint8_t *into = map_shared(target, SIZE);

    (void)state;
    assert_int_equal(fallocate(target, 0, 0, SIZE / 2), 0);
    assert_int_equal(pwrite(rival, "x", 1, 0), -1);
    assert_int_equal(errno, ENOSPC);
    memset(into, 'x', SIZE / 2);
    assert_int_equal(platform_file_allocated(target), SIZE / 2);
    munmap(into, SIZE);
    close(target);
    close(rival);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sendfile_and_recv_move_pages_into_a_sparse_file),
        cmocka_unit_test(test_sendfile_sends_what_the_page_holds_later),
        cmocka_unit_test(test_recv_into_a_full_tmpfs_fails_with_efault),
        cmocka_unit_test(test_storing_into_a_full_tmpfs_is_sigbus),
        cmocka_unit_test(test_full_tmpfs_refuses_pwrite_and_fallocate_with_enospc),
        cmocka_unit_test(test_fallocate_reserves_room),
    };

    platform_private_mounts();
    platform_mount_tmpfs("full", "huge=never,size=16k");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
