/* Descriptors of a running QEMU: see descriptors.h. */
#include "agent/vm/descriptors.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/vm/record.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "net/tap.h"
#include "vmm/qemu/machine.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/userfaultfd.h"

static int take_fd(int pidfd, int number, const char *what, struct error *err)
{
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    return fd < 0 ? error_set_errno(err, errno, "cannot take %s out of QEMU", what) : fd;
}

/* ---- taps: known by the interface that /proc/PID/fdinfo names ---- */

static bool is_tap(pid_t pid, const char *fd, const char *name)
{
    char path[64];
    char line[128];
    char interface[64];
    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, fd);
    CLEANUP_FILE FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "iff: %63s", interface) == 1) {
            return strcmp(interface, name) == 0;
        }
    }
    return false;
}

/* The number of the tap in QEMU; negative when there is none. */
static int find_tap(pid_t pid, const char *name, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
    CLEANUP_DIRECTORY DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        if (isdigit((unsigned char)entry->d_name[0]) && is_tap(pid, entry->d_name, name)) {
            return atoi(entry->d_name);
        }
    }
    return error_set(err, ENOENT, "QEMU process %d does not hold the tap %s", (int)pid, name);
}

static int take_tap(const struct vm *vm, int pidfd, size_t index, struct error *err)
{
    const char *name = vm->runtime.taps[index];
    int number = find_tap(vm->runtime.process.pid, name, err);
    return number < 0 ? number : take_fd(pidfd, number, name, err);
}

typedef int tap_function(const struct vm *vm, size_t index, int tap, const void *context,
                         struct error *err);

static int each_tap(const struct vm *vm, tap_function *function, const void *context,
                    struct error *err)
{
    CLEANUP_CLOSE int pidfd = process_open(&vm->runtime.process, err);
    int result = pidfd < 0 ? pidfd : 0;
    for (size_t i = 0; result == 0 && i < vm->config.nic_count; i++) {
        CLEANUP_CLOSE int tap = take_tap(vm, pidfd, i, err);
        result = tap < 0 ? tap : function(vm, i, tap, context, err);
    }
    return result;
}

static int set_carrier(const struct vm *vm, size_t index, int tap, const void *context,
                       struct error *err)
{
    (void)vm;
    (void)index;
    return tap_set_carrier(tap, *(const bool *)context, err);
}

int descriptors_set_carrier(const struct vm *vm, bool carrier, struct error *err)
{
    return each_tap(vm, set_carrier, &carrier, err);
}

static int announce(const struct vm *vm, size_t index, int tap, const void *context,
                    struct error *err)
{
    uint8_t mac[6];
    (void)context;
    int result = mac_parse(vm->config.nics[index].mac, mac, err);
    return result < 0 ? result : tap_announce(tap, mac, err);
}

int descriptors_announce(const struct vm *vm, struct error *err)
{
    return each_tap(vm, announce, NULL, err);
}

/* ---- for a mover ---- */

const char *descriptors_obstacle(const struct agent *agent, const struct vm *vm)
{
    char path[64];
    char target[64];
    uint64_t address;
    pid_t pid = vm->runtime.process.pid;
    CLEANUP_FREE char *ram = record_ram_path(agent->config, vm->config.uuid);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, QEMU_USERFAULTFD);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    target[length > 0 ? length : 0] = '\0';
    if (!strstr(target, "[userfaultfd]")) {
        return "its QEMU has no userfaultfd: there was none to have when it was started";
    }
    if (!ram || qemu_memory_address(pid, ram, &address, NULL) < 0) {
        return "its memory is not in a file of Drover's";
    }
    return NULL;
}

static int open_monitor(const struct agent *agent, const struct vm *vm, struct mover_setup *setup,
                        struct error *err)
{
    CLEANUP_QMP struct qmp qmp = {.fd = -1};
    CLEANUP_FREE char *path = record_path(agent->config, vm->config.uuid, "qemu/mover.qmp.sock");
    int result = path ? qmp_connect(&qmp, path, QMP_TIMEOUT_NS, err)
                      : error_set_errno(err, ENOMEM, "cannot reach QEMU's monitor");
    if (result == 0) {
        setup->qmp_fd = qmp_release(&qmp);
    }
    return result;
}

static int open_memory(const struct agent *agent, const struct vm *vm, struct mover_setup *setup,
                       struct error *err)
{
    CLEANUP_FREE char *path = record_ram_path(agent->config, vm->config.uuid);
    bool tracks = mover_setup_tracks(setup);
    int flags = setup->role == MOVER_ROLE_DESTINATION ? O_RDWR : O_RDONLY;
    setup->memory_size = vm->config.memory_mib << 20;
    setup->memory_fd = path ? open(path, flags | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (setup->memory_fd < 0) {
        return error_set_errno(err, errno, "cannot open the memory of VM %s", vm->config.name);
    }
    return tracks ? qemu_memory_address(vm->runtime.process.pid, path, &setup->memory_address, err)
                  : 0;
}

/* The mover shall hold the only copy: ours is closed as soon as it has started. */
static void open_pacing(const struct vm *vm, int pidfd, struct mover_setup *setup)
{
    struct error err = ERROR_NONE;
    setup->pacing_fd = qemu_userfaultfd_new(pidfd, &err);
    if (setup->pacing_fd < 0) {
        log_warning("VM %s moves without pacing of its writers: %s", vm->config.name, err.message);
    }
}

static int open_tracking(const struct vm *vm, int pidfd, struct mover_setup *setup,
                         struct error *err)
{
    char path[64];
    if (!mover_setup_tracks(setup)) {
        return 0;
    }
    setup->userfaultfd = take_fd(pidfd, QEMU_USERFAULTFD, "the userfaultfd", err);
    if (setup->userfaultfd < 0) {
        return setup->userfaultfd;
    }
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)vm->runtime.process.pid);
    setup->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
    return setup->pagemap_fd < 0 ? error_set_errno(err, errno, "cannot open %s", path) : 0;
}

static int open_taps(const struct vm *vm, int pidfd, struct mover_setup *setup, struct error *err)
{
    for (size_t i = 0; i < vm->config.nic_count; i++) {
        int tap = take_tap(vm, pidfd, i, err);
        if (tap < 0) {
            return tap;
        }
        struct mover_nic *nic = &setup->nics[setup->nic_count++];
        nic->tap_fd = tap;
        snprintf(nic->mac, sizeof(nic->mac), "%s", vm->config.nics[i].mac);
    }
    return 0;
}

static int open_memory_and_tracking(const struct agent *agent, const struct vm *vm, int pidfd,
                                    struct mover_setup *setup, struct error *err)
{
    setup->memory_fd = setup->qmp_fd = setup->userfaultfd = setup->pagemap_fd = -1;
    setup->pacing_fd = -1;
    setup->nic_count = 0;
    int result = open_memory(agent, vm, setup, err);
    return result < 0 ? result : open_tracking(vm, pidfd, setup, err);
}

int descriptors_open(const struct agent *agent, const struct vm *vm, struct mover_setup *setup,
                     struct error *err)
{
    CLEANUP_CLOSE int pidfd = process_open(&vm->runtime.process, err);
    if (pidfd < 0) {
        return pidfd;
    }
    int result = open_memory_and_tracking(agent, vm, pidfd, setup, err);
    if (result == 0) {
        result = open_taps(vm, pidfd, setup, err);
    }
    if (result == 0) {
        result = open_monitor(agent, vm, setup, err);
    }
    if (result < 0) {
        descriptors_close(setup);
        return error_wrap(err, "cannot prepare the move of VM %s", vm->config.name);
    }
    if (setup->role == MOVER_ROLE_SOURCE && mover_setup_tracks(setup)) {
        open_pacing(vm, pidfd, setup);
    }
    return 0;
}

int descriptors_open_tracking(const struct agent *agent, const struct vm *vm,
                              struct mover_setup *setup, struct error *err)
{
    CLEANUP_CLOSE int pidfd = process_open(&vm->runtime.process, err);
    int result = pidfd < 0 ? pidfd : open_memory_and_tracking(agent, vm, pidfd, setup, err);
    if (result < 0 && pidfd >= 0) {
        descriptors_close(setup);
    }
    return result;
}

void descriptors_close(struct mover_setup *setup)
{
    close_fd(&setup->memory_fd);
    close_fd(&setup->qmp_fd);
    close_fd(&setup->userfaultfd);
    close_fd(&setup->pagemap_fd);
    close_fd(&setup->pacing_fd);
    for (size_t i = 0; i < setup->nic_count; i++) {
        close_fd(&setup->nics[i].tap_fd);
    }
    setup->nic_count = 0;
}
