/* Starting QEMU: see machine.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/machine.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/walls.h"

#define START_TIMEOUT_NS (30 * NANOSECONDS_PER_SECOND)
#define PROBE_NS (200 * NANOSECONDS_PER_MILLISECOND) /* between looks whether QEMU has died */
#define LOG_QUOTED 500                               /* bytes of QEMU's log in an error */

static bool cpu_has_virtualization(void)
{
    CLEANUP_FILE FILE *file = fopen("/proc/cpuinfo", "re");
    char line[8192];
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "flags", 5) == 0) {
            return strstr(line, " vmx") || strstr(line, " svm");
        }
    }
    return false;
}

enum qemu_accelerator qemu_accelerator_detect(void)
{
    CLEANUP_CLOSE int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return device >= 0 && cpu_has_virtualization() ? QEMU_ACCELERATOR_KVM : QEMU_ACCELERATOR_TCG;
}

const char *qemu_accelerator_name(enum qemu_accelerator accelerator)
{
    return accelerator == QEMU_ACCELERATOR_KVM ? "kvm" : "tcg";
}

/* Beside the running program, in the build tree's folder for it, or installed. */
static int find_preload(char path[PATH_MAX])
{
    static const char *const beside[] = {"libdrover-preload.so", "../vmm/libdrover-preload.so",
                                         "../lib/drover/libdrover-preload.so"};
    const char *chosen = getenv("DROVER_PRELOAD");
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (chosen) {
        return realpath(chosen, path) ? 0 : -errno;
    }
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < sizeof(beside) / sizeof(beside[0]); i++) {
        char candidate[PATH_MAX];
        snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)(slash - program), program,
                 beside[i]);
        if (realpath(candidate, path)) {
            return 0;
        }
    }
    return realpath("/usr/lib/drover/libdrover-preload.so", path) ? 0 : -errno;
}

/* Without the library QEMU is not trackable, and moves by its own means; and it would outlive its
 * deadline, so one that has a deadline does not start. */
static int require_preload(const struct qemu_machine *machine, char library[PATH_MAX], int *device,
                           struct error *err)
{
    library[0] = '\0';
    if ((*device < 0 && machine->deadline_fd < 0) || find_preload(library) == 0) {
        return 0;
    }
    library[0] = '\0';
    if (machine->deadline_fd >= 0) {
        error_set(err, ENOENT, "libdrover-preload.so, which ends %s in time, is missing",
                  machine->name);
        return error_remedy(err, "install Drover completely on this host");
    }
    log_warning("libdrover-preload.so is missing: machines started now move by QEMU's own means");
    close_fd(device);
    return 0;
}

/* What the preload library is told; only PATH without it. */
struct launch_environment {
    char preload[PATH_MAX + 16];
    char device[64];
    char deadline[64];
    const char *variables[5];
};

static void prepare_environment(struct launch_environment *environment, const char *library,
                                int device, int deadline_fd, uint64_t deadline_lapses)
{
    size_t count = 0;
    environment->variables[count++] = "PATH=/usr/local/bin:/usr/bin:/bin";
    if (library[0]) {
        snprintf(environment->preload, sizeof(environment->preload), "LD_PRELOAD=%s", library);
        environment->variables[count++] = environment->preload;
    }
    if (device >= 0) {
        snprintf(environment->device, sizeof(environment->device), "%s=%d", PRELOAD_DEVICE_VARIABLE,
                 QEMU_FIRST_FD);
        environment->variables[count++] = environment->device;
    }
    if (deadline_fd >= 0) {
        snprintf(environment->deadline, sizeof(environment->deadline), "%s=%d,%" PRIu64,
                 PRELOAD_DEADLINE_VARIABLE, deadline_fd, deadline_lapses);
        environment->variables[count++] = environment->deadline;
    }
    environment->variables[count] = NULL;
}

/* Sparse: a page takes host memory when the guest first writes it. */
static int make_ram_file(const struct qemu_machine *machine, struct error *err)
{
    CLEANUP_CLOSE int fd = open(machine->ram_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot create the RAM file %s", machine->ram_path);
    }
    if (ftruncate(fd, (off_t)machine->memory_bytes) < 0 ||
        fchown(fd, machine->uid, machine->gid) < 0) {
        int result =
            error_set_errno(err, errno, "cannot prepare the RAM file %s of %" PRIu64 " bytes",
                            machine->ram_path, machine->memory_bytes);
        unlink(machine->ram_path);
        return result;
    }
    if (machine->memory_made) {
        machine->memory_made(machine->memory_context, fd);
    }
    return 0;
}

/* Where QEMU's own words of this start begin in its log, which older starts also wrote to. */
static off_t log_size(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_size : 0;
}

/* Puts QEMU's last words behind the error. */
static void quote_log(const struct qemu_machine *machine, off_t begin, struct error *err)
{
    char text[LOG_QUOTED + 1];
    CLEANUP_CLOSE int fd = open(machine->log_path, O_RDONLY | O_CLOEXEC);
    off_t end = log_size(machine->log_path);
    off_t from = end - begin > LOG_QUOTED ? end - LOG_QUOTED : begin;
    ssize_t length = fd < 0 ? -1 : pread(fd, text, LOG_QUOTED, from);
    while (length > 0 && text[length - 1] == '\n') {
        length--;
    }
    if (err && length > 0) {
        char message[sizeof(err->message)];
        text[length] = '\0';
        snprintf(message, sizeof(message), "%s", err->message);
        error_set(err, err->code, "%s; QEMU said: %s", message, text);
    }
}

/* The monitor answers when the machine is built: every device realised, every file open. */
static int await_monitor(const struct qemu_machine *machine, const struct process_identity *process,
                         struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/qmp.sock", machine->run_folder);
    uint64_t deadline = clock_monotonic_ns() + START_TIMEOUT_NS;
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot reach QEMU's monitor");
    }
    for (;;) {
        CLEANUP_QMP struct qmp qmp;
        if (qmp_connect(&qmp, path, PROBE_NS, err) == 0) {
            return 0;
        }
        if (!process_is_alive(process)) {
            return error_set(err, EIO, "QEMU ended as soon as it was started for %s",
                             machine->name);
        }
        if (clock_monotonic_ns() > deadline) {
            return error_set(err, ETIMEDOUT, "QEMU's monitor for %s does not answer",
                             machine->name);
        }
    }
}

static int start_process(const struct qemu_machine *machine, struct process_identity *ret_process,
                         struct error *err)
{
    CLEANUP_COMMAND_LINE struct qemu_command_line line = {0};
    CLEANUP_CLOSE int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    char library[PATH_MAX];
    struct launch_environment environment;
    int result = require_preload(machine, library, &device, err);
    if (result == 0) {
        result = qemu_command_line_build(machine, device, &line, err);
    }
    if (result < 0) {
        return result;
    }
    prepare_environment(&environment, library, device, line.deadline_fd, machine->deadline_lapses);
    struct qemu_walls walls;
    qemu_walls_build(&walls, machine, library);
    struct process_spec spec = {.arguments = (const char *const *)line.arguments,
                                .environment = environment.variables,
                                .fds = line.fds,
                                .fd_count = line.fd_count,
                                .log_path = machine->log_path,
                                .uid = machine->uid,
                                .gid = machine->gid,
                                .confinement = &walls.confinement};
    return process_start(&spec, ret_process, err);
}

/* Sockets of an earlier run would answer nobody, and QEMU would not start over one of another user.
 */
static void remove_sockets(const struct qemu_machine *machine)
{
    static const char *const names[] = {"qmp.sock", "mover.qmp.sock", "serial.sock", "vnc.sock"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CLEANUP_FREE char *path = file_path("%s/%s", machine->run_folder, names[i]);
        if (path) {
            unlink(path);
        }
    }
}

int qemu_start(const struct qemu_machine *machine, struct process_identity *ret_process,
               struct error *err)
{
    struct process_identity process;
    off_t log_begin = log_size(machine->log_path);
    int result = make_ram_file(machine, err);
    if (result < 0) {
        return result;
    }
    remove_sockets(machine);
    result = start_process(machine, &process, err);
    if (result == 0) {
        result = await_monitor(machine, &process, err);
        if (result < 0) {
            quote_log(machine, log_begin, err);
            process_kill(&process, NULL);
        }
    }
    if (result < 0) {
        remove_sockets(machine);
        unlink(machine->ram_path);
        return result;
    }
    *ret_process = process;
    return 0;
}

int qemu_memory_address(pid_t pid, const char *ram_path, uint64_t *ret_address, struct error *err)
{
    char maps[64];
    char line[PATH_MAX + 256];
    snprintf(maps, sizeof(maps), "/proc/%d/maps", (int)pid);
    CLEANUP_FILE FILE *file = fopen(maps, "re");
    if (!file) {
        return error_set_errno(err, errno, "cannot read %s", maps);
    }
    while (fgets(line, sizeof(line), file)) {
        uint64_t address;
        uint64_t offset;
        int path_at = 0;
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%" SCNx64 "-%*x %*s %" SCNx64 " %*s %*u %n", &address, &offset,
                   &path_at) == 2 &&
            path_at > 0 && offset == 0 && strcmp(line + path_at, ram_path) == 0) {
            *ret_address = address;
            return 0;
        }
    }
    return error_set(err, ENOENT, "QEMU process %d does not map %s", (int)pid, ram_path);
}
