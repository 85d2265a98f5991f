/* See bench.h. */
#include "test.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "bench.h"
#include "vmm/qemu/qmp.h"

#define DISK_SIZE ((off_t)16 << 20)

int bench_set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    strcpy(bench->folder, "/tmp/drover-launch-XXXXXX");
    assert_non_null(mkdtemp(bench->folder));
    assert_int_equal(chown(bench->folder, BENCH_USER, BENCH_USER), 0);
    snprintf(bench->ram, sizeof(bench->ram), "%s/ram", bench->folder);
    snprintf(bench->log, sizeof(bench->log), "%s/qemu.log", bench->folder);
    bench->disk = open(bench->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(bench->disk, DISK_SIZE), 0);
    bench->disks[0] = (struct qemu_disk){.name = "disk0", .format = "raw", .fd = bench->disk};
    bench->machine = (struct qemu_machine){.name = "bench",
                                           .uuid = "7f9c2d3e-0000-4000-8000-000000000001",
                                           .vcpus = 2,
                                           .memory_bytes = (uint64_t)64 << 20,
                                           .machine_type = "pc-q35-7.2",
                                           .cpu_model = "qemu64",
                                           .accelerator = QEMU_ACCELERATOR_TCG,
                                           .disks = bench->disks,
                                           .disk_count = 1,
                                           .vga = true,
                                           .ram_path = bench->ram,
                                           .run_folder = bench->folder,
                                           .log_path = bench->log,
                                           .kernel_fd = -1,
                                           .initrd_fd = -1,
                                           .deadline_fd = -1,
                                           .uid = BENCH_USER,
                                           .gid = BENCH_USER};
    *state = bench;
    return 0;
}

int bench_tear_down(void **state)
{
    struct bench *bench = *state;
    close(bench->disk);
    file_remove_tree(bench->folder, NULL);
    free(bench);
    return 0;
}

void bench_assert_status(const struct bench *bench, const char *wanted)
{
    char path[64];
    CLEANUP_QMP struct qmp qmp;
    CLEANUP_JSON json_t *status = NULL;
    snprintf(path, sizeof(path), "%s/mover.qmp.sock", bench->folder);
    assert_int_equal(qmp_connect(&qmp, path, QMP_TIMEOUT_NS, NULL), 0);
    assert_int_equal(qmp_execute(&qmp, "query-status", NULL, QMP_TIMEOUT_NS, &status, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(status, "status")), wanted);
}
