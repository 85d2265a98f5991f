/*
 * The whole of Drover's idea, in its shortest form: an unprivileged, sandboxed QEMU is tracked and
 * copied from outside while its guest writes, and the guest finds no wrong byte afterwards.
 *
 * The guest rewrites 96 pages over and over and checks them; a page that the tracker missed makes
 * it say 'X'. The last case proves that it would.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration.h"
#include "support.h"

#define PROGRESS 8
#define ROUNDS 20
#define PAGES (QEMU_MEMORY / PLATFORM_PAGE)
#define GUEST_FIRST_PAGE 0x20
#define GUEST_END_PAGE 0x80

struct move {
    struct qemu source;
    struct qemu destination;
    struct tracker tracker;
    int stream[2];
};

static uint8_t written[PAGES];

/*
 * KVM runs as root here, because /dev/kvm may be closed to others; with QEMU's default CPU, because
 * "-cpu host" aborts on some paravirtual KVMs (a model-specific register that cannot be set).
 */
static void prepare(struct qemu *qemu, const char *name, bool kvm)
{
    qemu_prepare(qemu, name, kvm ? "kvm" : "tcg");
    qemu->privileged = kvm;
    qemu_boot_disk(qemu, "disk");
}

/* `folder` decides the size of pages: "" or "huge/". */
static int start(void **state, const char *folder, bool kvm)
{
    static struct move move;
    char name[32];

    move = (struct move){0};
    *state = &move;
    snprintf(name, sizeof(name), "%ssource", folder);
    prepare(&move.source, name, kvm);
    qemu_start(&move.source);
    qemu_expect_progress(&move.source, PROGRESS);
    snprintf(name, sizeof(name), "%sdestination", folder);
    prepare(&move.destination, name, kvm);
    qemu_incoming(&move.destination);
    qemu_start(&move.destination);
    qemu_track(&move.source, &move.tracker);
    platform_must(tracker_protect(&move.tracker) == 0, "UFFDIO_WRITEPROTECT");
    platform_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, move.stream) == 0,
                  "socketpair");
    return 0;
}

static int start_tcg(void **state)
{
    return start(state, "", false);
}

/* As Drover runs a machine: RAM of huge pages. */
static int start_huge(void **state)
{
    return start(state, "huge/", false);
}

static bool kvm_answers(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    bool answers = kvm >= 0 && ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION;

    if (kvm >= 0)
        close(kvm);
    return answers;
}

static int start_kvm(void **state)
{
    *state = NULL;
    return kvm_answers() ? start(state, "huge/", true) : 0;
}

static int stop(void **state)
{
    struct move *move = *state;

    if (!move)
        return 0;
    tracker_close(&move->tracker);
    qemu_stop(&move->source);
    qemu_stop(&move->destination);
    return 0;
}

static void copy_page(const struct move *move, size_t page)
{
    char content[PLATFORM_PAGE];
    off_t at = (off_t)(page * PLATFORM_PAGE);

    platform_must(pread(move->source.ram, content, sizeof(content), at) == sizeof(content),
                  "pread");
    platform_must(pwrite(move->destination.ram, content, sizeof(content), at) == sizeof(content),
                  "pwrite");
}

/* One round: copies what was written since the last. Returns the number of pages. */
static size_t copy_written(struct move *move)
{
    long pages = tracker_scan(&move->tracker, written);

    platform_must(pages >= 0, "PAGEMAP_SCAN");
    for (size_t page = 0; page < PAGES; page++)
        if (written[page])
            copy_page(move, page);
    return (size_t)pages;
}

static void pre_copy(struct move *move)
{
    tracker_scan(&move->tracker, NULL);
    migration_copy_ram(&move->source, &move->destination);
    for (int round = 0; round < ROUNDS; round++)
        copy_written(move);
}

#define skip_without_kvm(move)                                          \
    do {                                                                \
        if (!(move))                                                    \
            platform_skip_case("/dev/kvm does not open, or is no KVM"); \
    } while (0)

/* The scan from outside names the pages that the vCPU writes, and next to nothing else. */
static void assert_vcpu_writes_are_seen(struct move *move)
{
    size_t pages;

    tracker_scan(&move->tracker, NULL);
    qemu_expect_progress(&move->source, PROGRESS);
    pages = (size_t)tracker_scan(&move->tracker, written);
    print_message("%zu pages reported for %d written by the guest\n", pages,
                  GUEST_END_PAGE - GUEST_FIRST_PAGE);
    for (size_t page = GUEST_FIRST_PAGE; page < GUEST_END_PAGE; page++)
        assert_int_equal(written[page], 1);
    assert_true(pages < 2 * (GUEST_END_PAGE - GUEST_FIRST_PAGE));
}

/* The guest runs while it is copied; at the switchover only the last round's pages are sent. */
static void assert_moves_without_a_wrong_byte(struct move *move)
{
    pre_copy(move);
    migration_receive(&move->destination, move->stream[1]);
    migration_begin(&move->source, move->stream[0]);
    print_message("%zu pages in the last round\n", copy_written(move));
    migration_switch_over(&move->source, &move->destination, move->stream[0], move->stream[1]);
    qemu_expect_progress(&move->destination, PROGRESS);
}

static void test_tcg_writes_are_seen_from_outside(void **state)
{
    assert_vcpu_writes_are_seen(*state);
}

static void test_tcg_guest_moves_without_a_wrong_byte(void **state)
{
    assert_moves_without_a_wrong_byte(*state);
}

static void test_tcg_writes_to_huge_pages_are_seen_exactly(void **state)
{
    assert_vcpu_writes_are_seen(*state);
}

static void test_tcg_guest_on_huge_pages_moves_without_a_wrong_byte(void **state)
{
    assert_moves_without_a_wrong_byte(*state);
}

static void test_kvm_writes_are_seen_from_outside(void **state)
{
    skip_without_kvm(*state);
    assert_vcpu_writes_are_seen(*state);
}

static void test_kvm_guest_moves_without_a_wrong_byte(void **state)
{
    skip_without_kvm(*state);
    assert_moves_without_a_wrong_byte(*state);
}

/* The proof can fail: leave the last round out, and the guest notices. */
static void test_guest_notices_pages_that_were_left_out(void **state)
{
    struct move *move = *state;
    char said = '.';

    pre_copy(move);
    qemu_expect_progress(&move->source, PROGRESS);
    migration_receive(&move->destination, move->stream[1]);
    migration_begin(&move->source, move->stream[0]);
    migration_switch_over(&move->source, &move->destination, move->stream[0], move->stream[1]);
    for (int i = 0; i < PROGRESS && said == '.'; i++)
        said = qemu_next_character(&move->destination);
    assert_int_equal(said, 'X');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tcg_writes_are_seen_from_outside, start_tcg, stop),
        cmocka_unit_test_setup_teardown(test_tcg_writes_to_huge_pages_are_seen_exactly, start_huge,
                                        stop),
        cmocka_unit_test_setup_teardown(test_tcg_guest_on_huge_pages_moves_without_a_wrong_byte,
                                        start_huge, stop),
        cmocka_unit_test_setup_teardown(test_tcg_guest_moves_without_a_wrong_byte, start_tcg, stop),
        cmocka_unit_test_setup_teardown(test_guest_notices_pages_that_were_left_out, start_tcg,
                                        stop),
        cmocka_unit_test_setup_teardown(test_kvm_writes_are_seen_from_outside, start_kvm, stop),
        cmocka_unit_test_setup_teardown(test_kvm_guest_moves_without_a_wrong_byte, start_kvm, stop),
    };

    platform_private_mounts();
    tracker_require();
    qemu_require();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
