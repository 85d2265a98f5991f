/* Two hosts on one machine: see bench.h. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/socket.h"
#include "mover/line.h"
#include "net/bridge.h"
#include "net/link.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/userfaultfd.h"

#define MOVE_ID "7f9c2d3e-1111-4222-8333-444455556666"
#define GUEST_TIMEOUT_NS (60 * NANOSECONDS_PER_SECOND)

void bench_fail(const char *what, const struct error *err)
{
    fprintf(stderr, "move-pair: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
    exit(1);
}

static void check(int result, const char *what, const struct error *err)
{
    if (result < 0) {
        bench_fail(what, err);
    }
}

static void make_network(void)
{
    struct error err = ERROR_NONE;
    check(link_set_up("lo", true, &err), "loopback", &err);
    check(bridge_ensure("bench0", NULL, &err), "bridge", &err);
    check(link_add_address("bench0", BENCH_HOST_ADDRESS, 24, &err), "address", &err);
}

static void make_disk(struct bench *bench)
{
    CLEANUP_FREE char *path = file_path("%s/disk.raw", bench->folder);
    for (int side = 0; side < 2; side++) {
        bench->disk_fd[side] =
            bench->options.disk_bytes ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    }
    if (bench->options.disk_bytes &&
        ftruncate(bench->disk_fd[0], (off_t)bench->options.disk_bytes) < 0) {
        bench_fail("cannot make a disk", NULL);
    }
}

void bench_enter(struct bench *bench, const struct bench_options *options)
{
    *bench = (struct bench){.options = *options};
    strcpy(bench->folder, "/tmp/drover-move-pair-XXXXXX");
    if (!mkdtemp(bench->folder) || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        bench_fail("cannot make namespaces: this wants root", NULL);
    }
    if (chmod(bench->folder, 0755) < 0) {
        bench_fail("cannot use the bench's folder", NULL);
    }
    make_disk(bench); /* outside of the tmpfs: on a real disk */
    CLEANUP_FREE char *ram = file_path("%s/ram", bench->folder);
    if (mkdir(ram, 0755) < 0 || mount("drover", ram, "tmpfs", 0, "huge=always,mode=0755") < 0) {
        bench_fail("cannot mount a tmpfs with huge pages", NULL);
    }
    make_network();
}

void bench_leave(struct bench *bench)
{
    CLEANUP_FREE char *ram = file_path("%s/ram", bench->folder);
    umount2(ram, MNT_DETACH);
    file_remove_tree(bench->folder, NULL);
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        bench_fail(path, NULL);
    }
    return fd;
}

static int make_tap(void)
{
    struct error err = ERROR_NONE;
    struct port_group group = {.name = "bench", .bridge = "bench0", .vlan = 1};
    char name[TAP_NAME_SIZE];
    int tap = tap_open(name, &err);
    check(tap, "tap", &err);
    check(bridge_attach(&group, name, &err), "bridge port", &err);
    return tap;
}

struct bench_vm bench_start_vm(struct bench *bench, bool incoming)
{
    struct error err = ERROR_NONE;
    struct bench_vm vm = {.tap_fd = make_tap()};
    unsigned number = bench->vms_started++;
    snprintf(vm.folder, sizeof(vm.folder), "%s/vm%u", bench->folder, number);
    snprintf(vm.ram_path, sizeof(vm.ram_path), "%s/ram/vm%u", bench->folder, number);
    CLEANUP_FREE char *log = file_path("%s/qemu.log", vm.folder);
    CLEANUP_CLOSE int kernel = open_file(bench->options.kernel);
    CLEANUP_CLOSE int initramfs = open_file(bench->options.initramfs);
    if (mkdir(vm.folder, 0700) < 0 || chown(vm.folder, BENCH_QEMU_UID, BENCH_QEMU_UID) < 0) {
        bench_fail(vm.folder, NULL);
    }
    struct qemu_disk disk = {.name = "disk0", .format = "raw", .fd = bench->disk_fd[number % 2]};
    struct qemu_nic nic = {.mac = BENCH_MAC, .tap_fd = vm.tap_fd};
    struct qemu_machine machine = {.name = "bench",
                                   .uuid = "7f9c2d3e-0000-4000-8000-000000000001",
                                   .vcpus = 2,
                                   .memory_bytes = bench->options.memory_bytes,
                                   .machine_type = "pc-q35-7.2",
                                   .cpu_model = "qemu64",
                                   .accelerator = qemu_accelerator_detect(),
                                   .disks = &disk,
                                   .disk_count = disk.fd >= 0,
                                   .nics = &nic,
                                   .nic_count = 1,
                                   .vga = bench->options.vga,
                                   .ram_path = vm.ram_path,
                                   .run_folder = vm.folder,
                                   .log_path = log,
                                   .kernel_fd = kernel,
                                   .initrd_fd = initramfs,
                                   .deadline_fd = -1,
                                   .kernel_arguments = bench->options.arguments,
                                   .uid = BENCH_QEMU_UID,
                                   .gid = BENCH_QEMU_UID,
                                   .incoming = incoming};
    check(qemu_start(&machine, &vm.process, &err), "cannot start QEMU", &err);
    if (!incoming) {
        check(tap_set_carrier(vm.tap_fd, true, &err), "carrier", &err);
    }
    return vm;
}

void bench_end_vm(struct bench_vm *vm)
{
    process_kill(&vm->process, NULL);
    close_fd(&vm->tap_fd);
    unlink(vm->ram_path);
}

int bench_vm_monitor(const struct bench_vm *vm, const char *socket)
{
    struct error err = ERROR_NONE;
    struct qmp qmp;
    CLEANUP_FREE char *path = file_path("%s/%s", vm->folder, socket);
    check(qmp_connect(&qmp, path, QMP_TIMEOUT_NS, &err), "monitor", &err);
    return qmp_release(&qmp);
}

void bench_vm_status(const struct bench_vm *vm, char status[32])
{
    CLEANUP_FREE char *path = file_path("%s/qmp.sock", vm->folder);
    CLEANUP_JSON json_t *value = NULL;
    CLEANUP_QMP struct qmp qmp;
    strcpy(status, "gone");
    if (qmp_connect(&qmp, path, NANOSECONDS_PER_SECOND, NULL) == 0 &&
        qmp_execute(&qmp, "query-status", NULL, QMP_TIMEOUT_NS, &value, NULL) == 0) {
        snprintf(status, 32, "%s", json_string_value(json_object_get(value, "status")));
    }
}

/* What only the source has: QEMU's userfaultfd and page table, and the address of its memory. */
static void take_tracking(struct mover_setup *setup, const struct bench_vm *vm)
{
    struct error err = ERROR_NONE;
    CLEANUP_CLOSE int pidfd = process_open(&vm->process, &err);
    CLEANUP_FREE char *pagemap = file_path("/proc/%d/pagemap", (int)vm->process.pid);
    setup->userfaultfd = (int)syscall(SYS_pidfd_getfd, pidfd, QEMU_USERFAULTFD, 0);
    setup->pacing_fd = qemu_userfaultfd_new(pidfd, NULL);
    setup->pagemap_fd = open_file(pagemap);
    check(setup->userfaultfd, "QEMU has no userfaultfd", NULL);
    check(qemu_memory_address(vm->process.pid, vm->ram_path, &setup->memory_address, &err),
          "memory", &err);
}

static void close_setup(struct mover_setup *setup)
{
    close(setup->memory_fd);
    close(setup->qmp_fd);
    if (setup->role == MOVER_ROLE_SOURCE) {
        close(setup->userfaultfd);
        close(setup->pagemap_fd);
        close_fd(&setup->pacing_fd);
    }
}

struct process_identity bench_start_mover(const struct bench *bench, const struct bench_vm *vm,
                                          enum mover_role role, int listen_fd, uint16_t peer_port,
                                          const struct bench_secrets *secrets,
                                          struct mover_control *control)
{
    bool is_source = role == MOVER_ROLE_SOURCE;
    struct error err = ERROR_NONE;
    struct process_identity process;
    struct mover_setup setup = {
        .role = role,
        .engine = bench->options.engine,
        .move_id = MOVE_ID,
        .vm_name = "bench",
        .memory_size = bench->options.memory_bytes,
        .memory_fd = open(vm->ram_path, (is_source ? O_RDONLY : O_RDWR) | O_CLOEXEC),
        .qmp_fd = bench_vm_monitor(vm, "mover.qmp.sock"),
        .nics = {{.tap_fd = vm->tap_fd, .mac = BENCH_MAC}},
        .nic_count = 1,
        .paths = {{.address = "127.0.0.1", .port = peer_port}},
        .path_count = 1,
        .options = {.blackout_target_ns = 50 * NANOSECONDS_PER_MILLISECOND,
                    .bandwidth_limit = bench->options.bandwidth_limit,
                    .device_state_ns = 10 * NANOSECONDS_PER_MILLISECOND},
        .listen_fds = {listen_fd},
        .listen_count = 1,
        .silence_limit_ns = 10 * NANOSECONDS_PER_SECOND,
    };
    CLEANUP_FREE char *path = file_path("%s/mover.sock", vm->folder);
    CLEANUP_FREE char *log = file_path("%s/mover.log", vm->folder);
    memcpy(setup.token, secrets->token, sizeof(setup.token));
    memcpy(setup.key, secrets->key, sizeof(setup.key));
    setup.encrypted = !bench->options.in_clear;
    if (is_source) {
        take_tracking(&setup, vm);
    }
    check(mover_start(&setup, getenv("DROVER_MOVER"), path, log, BENCH_MOVER_UID, &process, &err),
          "cannot start a mover", &err);
    check(mover_control_connect(control, path, &err), "cannot reach a mover", &err);
    close_setup(&setup);
    return process;
}

/* The guest needs a while to boot, and TCP one to find it. */
json_t *bench_ask_guest(const char *question)
{
    uint64_t deadline = clock_monotonic_ns() + GUEST_TIMEOUT_NS;
    struct error err = ERROR_NONE;
    while (clock_monotonic_ns() < deadline) {
        CLEANUP_BUFFER struct buffer input = {0};
        CLEANUP_CLOSE int fd =
            socket_connect_tcp(BENCH_GUEST_ADDRESS, 7002, NANOSECONDS_PER_SECOND, &err);
        json_t *answer = NULL;
        int result = fd < 0 ? fd : dprintf(fd, "%s\n", question) < 0 ? -EIO : 0;
        while (result == 0 && socket_wait_readable(fd, GUEST_TIMEOUT_NS) > 0 &&
               line_receive(fd, &input, &err) == 0) {
            result = line_take(&input, &answer, &err);
        }
        if (answer) {
            return answer;
        }
        clock_sleep_ns(50 * NANOSECONDS_PER_MILLISECOND);
    }
    bench_fail("the guest does not answer", &err);
}
