/*
 * Who may write a disk: QEMU's image locks across a move, with disks that QEMU opens by no path.
 *
 * QEMU locks an image with open-file-description locks while it may write it, a second line of
 * defence behind the lease. A destination opens the image while the source runs, and takes the
 * locks when it is made active. Drover passes disks as descriptors (-add-fd, /dev/fdset), so that a
 * sandboxed QEMU needs access to no datastore; with ONE read-write descriptor for each image and
 * auto-read-only off (the default of -blockdev) that works for raw and qcow2, in both roles.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration.h"
#include "support.h"

#define PROGRESS 4
#define FDSET "/dev/fdset/7"

struct pair {
    struct qemu source;
    struct qemu destination;
};

struct image {
    const char *format;
    const char *path;
};

static const struct image images[] = {
    {"raw", PLATFORM_FOLDER "/disk.raw"},
    {"qcow2", PLATFORM_FOLDER "/disk.qcow2"},
};

static struct pair pair;

/*
 * Gives QEMU the image as a member of a descriptor set. Returns our copy of it, for the caller to
 * close.
 */
static int add_descriptor(struct qemu *qemu, const struct image *image)
{
    static char arguments[8][32];
    static size_t used;
    char *argument = arguments[used++ % 8];
    int fd = open(image->path, O_RDWR | O_CLOEXEC);

    platform_must(fd >= 0, image->path);
    snprintf(argument, sizeof(arguments[0]), "fd=%d,set=7", fd);
    qemu_argument(qemu, "-add-fd");
    qemu_argument(qemu, argument);
    qemu_inherit(qemu, fd);
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* A QEMU with the image as a descriptor that nobody else holds. */
static void prepare(struct qemu *qemu, const char *name, const struct image *image,
                    const char *options)
{
    qemu_prepare(qemu, name, "tcg");
    close(add_descriptor(qemu, image));
    qemu_disk(qemu, image->format, FDSET, options);
}

static void start_pair(const struct image *image)
{
    prepare(&pair.source, "source", image, "");
    qemu_start(&pair.source);
    qemu_expect_progress(&pair.source, PROGRESS);
    prepare(&pair.destination, "destination", image, "");
    qemu_incoming(&pair.destination);
    qemu_start(&pair.destination);
}

static int stop(void **state)
{
    (void)state;
    qemu_stop(&pair.source);
    qemu_stop(&pair.destination);
    return 0;
}

static bool refused(struct qemu *qemu, const char *command)
{
    json_t *answer = qmp_try(&qemu->qmp, command, NULL);
    bool is_error = json_object_get(answer, "error") != NULL;

    json_decref(answer);
    return is_error;
}

/* Two machines on one disk: the second is not even started. */
static void assert_rival_is_refused(const struct image *image)
{
    prepare(&pair.source, "source", image, "");
    qemu_start(&pair.source);
    prepare(&pair.destination, "rival", image, "");
    assert_true(qemu_refuses_to_start(&pair.destination));
}

/* The destination opens the image while the source has it, and may not run before its time. */
static void assert_moves_with_its_locks(const struct image *image)
{
    start_pair(image);
    migration_transfer(&pair.source, &pair.destination);
    qmp_do(&pair.destination.qmp, "cont", NULL);
    qemu_expect_progress(&pair.destination, PROGRESS);
    assert_true(refused(&pair.source, "cont"));
    assert_true(qemu_is(&pair.source, "postmigrate"));
    qemu_stop(&pair.destination);
    qmp_do(&pair.source.qmp, "cont", NULL);
    assert_true(qemu_is(&pair.source, "running"));
}

static void test_rival_is_refused_raw(void **state)
{
    (void)state;
    assert_rival_is_refused(&images[0]);
}

static void test_rival_is_refused_qcow2(void **state)
{
    (void)state;
    assert_rival_is_refused(&images[1]);
}

static void test_locks_move_with_the_machine_raw(void **state)
{
    (void)state;
    assert_moves_with_its_locks(&images[0]);
}

static void test_locks_move_with_the_machine_qcow2(void **state)
{
    (void)state;
    assert_moves_with_its_locks(&images[1]);
}

/*
 * A destination that has loaded the device state takes locks even before cont: to bring the source
 * back, end the destination first...
 */
static void test_loaded_destination_holds_locks(void **state)
{
    (void)state;
    start_pair(&images[1]);
    migration_transfer(&pair.source, &pair.destination);
    assert_true(refused(&pair.source, "cont"));
    qemu_stop(&pair.destination);
    qmp_do(&pair.source.qmp, "cont", NULL);
    qemu_expect_progress(&pair.source, PROGRESS);
}

/*
 * ... or have it wait with late-block-activate: then it has none until cont, and the source can go
 * on at any moment.
 */
static void test_late_block_activate_leaves_locks_until_cont(void **state)
{
    (void)state;
    start_pair(&images[1]);
    qemu_capability(&pair.destination, "late-block-activate", true);
    migration_transfer(&pair.source, &pair.destination);
    qmp_do(&pair.source.qmp, "cont", NULL);
    qemu_expect_progress(&pair.source, PROGRESS);
    assert_true(refused(&pair.destination, "cont"));
}

/* The ordinary course with late-block-activate. */
static void test_late_block_activate_takes_locks_at_cont(void **state)
{
    (void)state;
    start_pair(&images[1]);
    qemu_capability(&pair.destination, "late-block-activate", true);
    migration_transfer(&pair.source, &pair.destination);
    qmp_do(&pair.destination.qmp, "cont", NULL);
    qemu_expect_progress(&pair.destination, PROGRESS);
    assert_true(refused(&pair.source, "cont"));
}

/*
 * The lock belongs to the open file, not to the process: while the agent keeps a copy of a
 * descriptor that it passed, the lock outlives QEMU. It must close its own at once.
 */
static void test_lock_outlives_qemu_while_its_descriptor_is_held(void **state)
{
    int held;

    (void)state;
    qemu_prepare(&pair.source, "source", "tcg");
    held = add_descriptor(&pair.source, &images[0]);
    qemu_disk(&pair.source, "raw", FDSET, "");
    qemu_start(&pair.source);
    qemu_stop(&pair.source);
    prepare(&pair.destination, "rival", &images[0], "");
    assert_true(qemu_refuses_to_start(&pair.destination));
    qemu_stop(&pair.destination);
    close(held);
    prepare(&pair.destination, "successor", &images[0], "");
    qemu_start(&pair.destination);
}

/*
 * Why auto-read-only stays off: with it QEMU first asks the set for a read-only descriptor, and
 * later leaves its locks on that.
 */
static void test_auto_read_only_wants_a_second_descriptor(void **state)
{
    (void)state;
    prepare(&pair.source, "source", &images[0], ",auto-read-only=on");
    assert_true(qemu_refuses_to_start(&pair.source));
}

static int make_images(void **state)
{
    (void)state;
    qemu_disk_new("disk.raw");
    if (system("qemu-img convert -f raw -O qcow2 " PLATFORM_FOLDER "/disk.raw " PLATFORM_FOLDER
               "/disk.qcow2") != 0)
        platform_skip_program("qemu-img is not installed");
    return 0;
}

#define CASE(test) cmocka_unit_test_teardown(test, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_rival_is_refused_raw),
        CASE(test_rival_is_refused_qcow2),
        CASE(test_locks_move_with_the_machine_raw),
        CASE(test_locks_move_with_the_machine_qcow2),
        CASE(test_loaded_destination_holds_locks),
        CASE(test_late_block_activate_leaves_locks_until_cont),
        CASE(test_late_block_activate_takes_locks_at_cont),
        CASE(test_lock_outlives_qemu_while_its_descriptor_is_held),
        CASE(test_auto_read_only_wants_a_second_descriptor),
    };

    platform_private_mounts();
    qemu_require();
    return cmocka_run_group_tests(tests, make_images, NULL);
}
