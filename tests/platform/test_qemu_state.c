/*
 * QEMU's device state stream, and that a source can always be brought back.
 *
 * Drover leaves devices and CPU registers to QEMU: x-ignore-shared keeps RAM out of the stream,
 * pause-before-switchover stops the vCPUs and waits for Drover's last pages. Until the destination
 * owns the machine, whatever fails, the source must run again.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "migration.h"
#include "support.h"

#define PROGRESS 4
#define DEVICE_STATE_LIMIT (1 << 20)

struct pair {
    struct qemu source;
    struct qemu destination;
    int stream[2];
};

static int start_source(void **state)
{
    static struct pair pair;

    pair = (struct pair){0};
    platform_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.stream) == 0,
                  "socketpair");
    qemu_prepare(&pair.source, "source", "tcg");
    qemu_boot_disk(&pair.source, "disk");
    qemu_start(&pair.source);
    qemu_expect_progress(&pair.source, PROGRESS);
    *state = &pair;
    return 0;
}

static int stop(void **state)
{
    struct pair *pair = *state;

    qemu_stop(&pair->source);
    qemu_stop(&pair->destination);
    return 0;
}

/* Half of the RAM that SeaBIOS leaves alone, filled as if the guest had used it. */
static void fill_ram(struct qemu *qemu)
{
    static char block[1 << 20];

    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)(i * 7 + 1);
    for (size_t at = QEMU_MEMORY / 4; at < QEMU_MEMORY * 3 / 4; at += sizeof(block))
        platform_must(pwrite(qemu->ram, block, sizeof(block), (off_t)at) == sizeof(block),
                      "pwrite");
}

/* Reads QEMU's stream to its end and returns its length. */
static size_t drain(int fd)
{
    char buffer[65536];
    size_t total = 0;
    ssize_t count;

    while ((count = read(fd, buffer, sizeof(buffer))) > 0)
        total += (size_t)count;
    return total;
}

static size_t save_devices(struct pair *pair)
{
    size_t length;

    migration_begin(&pair->source, pair->stream[0]);
    close(pair->stream[0]);
    migration_continue(&pair->source);
    length = drain(pair->stream[1]);
    qmp_expect(&pair->source.qmp, "MIGRATION", "completed");
    return length;
}

/* RAM stays out of the stream, whatever is in it. */
static void test_device_stream_leaves_ram_out(void **state)
{
    struct pair *pair = *state;
    size_t length;

    fill_ram(&pair->source);
    length = save_devices(pair);
    print_message("device stream of a guest of 256 MiB: %zu bytes\n", length);
    assert_true(length > 0);
    assert_true(length < DEVICE_STATE_LIMIT);
}

/*
 * The abort path after the stream was sent: no destination took the machine, so the source goes on,
 * disk included.
 */
static void test_source_resumes_after_its_state_was_sent(void **state)
{
    struct pair *pair = *state;

    save_devices(pair);
    assert_true(qemu_is(&pair->source, "postmigrate"));
    qmp_do(&pair->source.qmp, "cont", NULL);
    assert_true(qemu_is(&pair->source, "running"));
    qemu_expect_progress(&pair->source, PROGRESS);
}

/* And it can try again: a second migration out of the same QEMU. */
static void test_resumed_source_can_migrate_again(void **state)
{
    struct pair *pair = *state;

    save_devices(pair);
    close(pair->stream[1]);
    qmp_do(&pair->source.qmp, "cont", NULL);
    platform_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair->stream) == 0,
                  "socketpair");
    assert_true(save_devices(pair) > 0);
}

/*
 * The abort path before: QEMU starts the vCPUs by itself, and says so before it says that the
 * migration is cancelled.
 */
static void test_cancel_before_switchover_resumes_the_source(void **state)
{
    struct pair *pair = *state;

    migration_begin(&pair->source, pair->stream[0]);
    qmp_do(&pair->source.qmp, "migrate_cancel", NULL);
    qmp_expect(&pair->source.qmp, "RESUME", NULL);
    qmp_expect(&pair->source.qmp, "MIGRATION", "cancelled");
    assert_true(qemu_is(&pair->source, "running"));
    qemu_expect_progress(&pair->source, PROGRESS);
}

/* The far end of the stream is gone: QEMU reports the failure and the machine runs on by itself. */
static void test_lost_stream_resumes_the_source(void **state)
{
    struct pair *pair = *state;

    migration_begin(&pair->source, pair->stream[0]);
    close(pair->stream[0]);
    close(pair->stream[1]);
    migration_continue(&pair->source);
    qmp_expect(&pair->source.qmp, "MIGRATION", "failed");
    qmp_expect(&pair->source.qmp, "RESUME", NULL);
    assert_true(qemu_is(&pair->source, "running"));
    qemu_expect_progress(&pair->source, PROGRESS);
}

/*
 * Everything over passed descriptors: getfd and fd: on both sides, "-incoming defer -S", then cont.
 */
static void test_machine_moves_over_passed_descriptors(void **state)
{
    struct pair *pair = *state;

    qemu_prepare(&pair->destination, "destination", "tcg");
    qemu_boot_disk(&pair->destination, "disk");
    qemu_incoming(&pair->destination);
    qemu_start(&pair->destination);
    migration_receive(&pair->destination, pair->stream[1]);
    migration_begin(&pair->source, pair->stream[0]);
    migration_copy_ram(&pair->source, &pair->destination);
    migration_switch_over(&pair->source, &pair->destination, pair->stream[0], pair->stream[1]);
    qemu_expect_progress(&pair->destination, PROGRESS);
    assert_true(qemu_is(&pair->source, "postmigrate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_device_stream_leaves_ram_out, start_source, stop),
        cmocka_unit_test_setup_teardown(test_source_resumes_after_its_state_was_sent, start_source,
                                        stop),
        cmocka_unit_test_setup_teardown(test_resumed_source_can_migrate_again, start_source, stop),
        cmocka_unit_test_setup_teardown(test_cancel_before_switchover_resumes_the_source,
                                        start_source, stop),
        cmocka_unit_test_setup_teardown(test_lost_stream_resumes_the_source, start_source, stop),
        cmocka_unit_test_setup_teardown(test_machine_moves_over_passed_descriptors, start_source,
                                        stop),
    };

    platform_private_mounts();
    qemu_require();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
