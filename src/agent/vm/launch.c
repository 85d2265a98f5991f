/* Starting and ending QEMU: see launch.h. */
#include "agent/vm/launch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guarding.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/record.h"
#include "agent/vm/strays.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "net/tap.h"
#include "storage/vm_folder.h"

/* What QEMU is given open; closed here once it has its own. */
struct files {
    int disks[VM_DISKS_MOST];
    int taps[VM_NICS_MOST];
    int kernel;
    int initrd;
    int deadline;
    uint64_t lapses; /* that the deadline must show */
};

static void files_init(struct files *files)
{
    memset(files, 0xff, sizeof(*files)); /* -1 everywhere */
}

static void files_done(struct files *files)
{
    for (size_t i = 0; i < VM_DISKS_MOST; i++) {
        close_fd(&files->disks[i]);
    }
    for (size_t i = 0; i < VM_NICS_MOST; i++) {
        close_fd(&files->taps[i]);
    }
    close_fd(&files->kernel);
    close_fd(&files->initrd);
    close_fd(&files->deadline);
}

#define CLEANUP_FILES CLEANUP(files_done)

static int open_file(const struct vm *vm, const char *file, const char *format, int flags,
                     int *ret_fd, struct error *err)
{
    if (!file[0]) {
        return 0;
    }
    int fd = vm_folder_open_file(&vm->datastore, vm->config.name, file, format, flags, err);
    if (fd < 0) {
        return error_wrap(err, "VM %s", vm->config.name);
    }
    *ret_fd = fd;
    return 0;
}

/* QEMU opens boot files once more by itself, as its user, who may not read the datastore: it gets a
 * sealed copy in memory, which nobody can change any more. */
static int copy_boot_file(const struct vm *vm, const char *file, int *ret_fd, struct error *err)
{
    CLEANUP_CLOSE int original = -1;
    struct stat status;
    int result = open_file(vm, file, "raw", O_RDONLY, &original, err);
    if (result < 0 || original < 0) {
        return result;
    }
    CLEANUP_CLOSE int copy = memfd_create("drover-boot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0 || fstat(original, &status) < 0) {
        return error_set_errno(err, errno, "cannot copy %s of VM %s", file, vm->config.name);
    }
    for (off_t left = status.st_size; left > 0;) {
        ssize_t put = sendfile(copy, original, NULL, (size_t)left);
        if (put <= 0) {
            return error_set_errno(err, put < 0 ? errno : EIO, "cannot copy %s of VM %s", file,
                                   vm->config.name);
        }
        left -= put;
    }
    fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    *ret_fd = steal_fd(&copy);
    return 0;
}

static int open_storage(const struct vm *vm, struct files *files, struct error *err)
{
    const struct vm_config *config = &vm->config;
    int result = copy_boot_file(vm, config->kernel, &files->kernel, err);
    if (result == 0) {
        result = copy_boot_file(vm, config->initrd, &files->initrd, err);
    }
    for (size_t i = 0; result == 0 && i < config->disk_count; i++) {
        result = open_file(vm, config->disks[i].file, config->disks[i].format, O_RDWR,
                           &files->disks[i], err);
    }
    return result;
}

static int open_tap(const struct agent *agent, const struct vm *vm, size_t index, bool carrier,
                    char name[TAP_NAME_SIZE], struct error *err)
{
    const char *group_name = vm->config.nics[index].port_group;
    const struct port_group *group = config_port_group(agent->config, group_name);
    if (!group) {
        error_set(err, ENOENT, "host %s has no port group %s, which VM %s is connected to",
                  agent->config->host, group_name, vm->config.name);
        return error_remedy(err, "add it to the configuration of host %s", agent->config->host);
    }
    CLEANUP_CLOSE int tap = tap_open(name, err);
    if (tap < 0) {
        return tap;
    }
    int result = bridge_attach(group, name, err);
    if (result == 0) {
        result = tap_set_carrier(tap, carrier, err);
    }
    return result < 0 ? result : steal_fd(&tap);
}

static int open_taps(const struct agent *agent, struct vm *vm, bool carrier, struct files *files,
                     struct error *err)
{
    for (size_t i = 0; i < vm->config.nic_count; i++) {
        files->taps[i] = open_tap(agent, vm, i, carrier, vm->runtime.taps[i], err);
        if (files->taps[i] < 0) {
            return files->taps[i];
        }
    }
    return 0;
}

/* ---- the process ---- */

static enum qemu_accelerator choose_accelerator(const struct agent *agent, const struct vm *vm)
{
    if (strcmp(vm->config.accelerator, "kvm") == 0) {
        return QEMU_ACCELERATOR_KVM;
    }
    return strcmp(vm->config.accelerator, "tcg") == 0 ? QEMU_ACCELERATOR_TCG : agent->accelerator;
}

/* A log for each run: the one before is kept beside it. */
static void rotate_log(const char *path)
{
    CLEANUP_FREE char *older = file_path("%s.1", path);
    if (older) {
        rename(path, older); /* which may not exist */
    }
}

const char *launch_accelerator(const struct agent *agent, const struct vm *vm)
{
    return vm->has_runtime ? vm->runtime.accelerator
                           : qemu_accelerator_name(choose_accelerator(agent, vm));
}

static int start_qemu(const struct agent *agent, struct vm *vm, const struct files *files,
                      const struct launch_shadow *shadow, struct error *err)
{
    const struct vm_config *config = &vm->config;
    struct qemu_disk disks[VM_DISKS_MOST];
    struct qemu_nic nics[VM_NICS_MOST];
    CLEANUP_FREE char *folder = record_path(agent->config, config->uuid, "qemu");
    CLEANUP_FREE char *ram = record_ram_path(agent->config, config->uuid);
    CLEANUP_FREE char *log = record_log_path(agent->config, config->name, "qemu");
    if (!folder || !ram || !log) {
        return error_set_errno(err, ENOMEM, "cannot start VM %s", config->name);
    }
    for (size_t i = 0; i < config->disk_count; i++) {
        disks[i] = (struct qemu_disk){.name = config->disks[i].name,
                                      .format = config->disks[i].format,
                                      .fd = files->disks[i]};
    }
    for (size_t i = 0; i < config->nic_count; i++) {
        nics[i] = (struct qemu_nic){.mac = config->nics[i].mac, .tap_fd = files->taps[i]};
    }
    struct qemu_machine machine = {
        .name = config->name,
        .uuid = config->uuid,
        .vcpus = config->vcpus,
        .memory_bytes = config->memory_mib << 20,
        .machine_type = config->machine,
        .cpu_model = config->cpu,
        .accelerator = choose_accelerator(agent, vm),
        .disks = disks,
        .disk_count = config->disk_count,
        .nics = nics,
        .nic_count = config->nic_count,
        .vga = config->vga,
        .ram_path = ram,
        .run_folder = folder,
        .log_path = log,
        .kernel_fd = files->kernel,
        .initrd_fd = files->initrd,
        .deadline_fd = files->deadline,
        .deadline_lapses = files->lapses,
        .kernel_arguments = config->arguments[0] ? config->arguments : NULL,
        .uid = vm->runtime.uid,
        .gid = vm->runtime.uid,
        .incoming = shadow != NULL,
        .memory_made = shadow ? shadow->memory_made : NULL,
        .memory_context = shadow ? shadow->context : NULL,
    };
    rotate_log(log);
    snprintf(vm->runtime.accelerator, sizeof(vm->runtime.accelerator), "%s",
             qemu_accelerator_name(machine.accelerator));
    return qemu_start(&machine, &vm->runtime.process, err);
}

/* ---- the whole ---- */

static const char *engine_of(const struct agent *agent)
{
    const char *engine = json_string_value(json_object_get(agent->capabilities, "engine"));
    return engine ? engine : "native";
}

static int take_slot(struct agent *agent, struct vm *vm, struct error *err)
{
    int slot = inventory_take_slot(agent->inventory, err);
    if (slot < 0) {
        return slot;
    }
    vm->has_runtime = true;
    vm->runtime = (struct vm_runtime){.slot = (unsigned)slot,
                                      .uid = agent->config->uid_base + (uid_t)slot,
                                      .started_at = clock_realtime_ns()};
    snprintf(vm->runtime.engine, sizeof(vm->runtime.engine), "%s", engine_of(agent));
    return 0;
}

/* Recorded before there is a process, so that an agent that comes after us looks for one. */
static int start_recorded(struct agent *agent, struct vm *vm, const struct launch_shadow *shadow,
                          uint64_t lapses, struct error *err)
{
    CLEANUP_FILES struct files files;
    files_init(&files);
    files.lapses = lapses;
    vm->runtime.shadow = shadow != NULL;
    int result = record_make_folder(agent->config, vm, err);
    if (result == 0) {
        result = record_save(agent->config, vm, err);
    }
    if (result == 0) {
        result = open_storage(vm, &files, err);
    }
    if (result == 0) {
        result = guarding_open(agent, &vm->datastore, &files.deadline, err);
    }
    if (result == 0) {
        result = open_taps(agent, vm, !shadow, &files, err);
    }
    if (result == 0) {
        result = start_qemu(agent, vm, &files, shadow, err);
    }
    if (result == 0 && descriptors_obstacle(agent, vm)) {
        snprintf(vm->runtime.engine, sizeof(vm->runtime.engine), "native");
    }
    return result < 0 ? result : record_save(agent->config, vm, err);
}

int launch_start(struct agent *agent, struct vm *vm, const struct launch_shadow *shadow,
                 uint64_t lapses, struct error *err)
{
    int result = take_slot(agent, vm, err);
    if (result < 0) {
        return result;
    }
    result = start_recorded(agent, vm, shadow, lapses, err);
    if (result < 0) {
        struct error ignored = ERROR_NONE;
        if (launch_end(agent, vm, &ignored) < 0) {
            log_error("after a failed start of %s: %s", vm->config.name, ignored.message);
        }
    }
    return result;
}

uid_t launch_mover_uid(const struct agent *agent, const struct vm *vm)
{
    return agent->config->uid_base + LAUNCH_MOVER_UID_OFFSET + vm->runtime.slot;
}

int launch_end(struct agent *agent, struct vm *vm, struct error *err)
{
    const struct vm_runtime *runtime = &vm->runtime;
    int result = runtime->process.pid > 0 ? process_kill(&runtime->process, err) : 0;
    if (result == 0) {
        result = strays_kill(runtime->uid, err);
    }
    if (result == 0) {
        result = strays_kill(launch_mover_uid(agent, vm), err);
    }
    if (result == 0) {
        result = record_remove(agent->config, vm->config.uuid, err);
    }
    if (result < 0) {
        return error_wrap(err, "cannot end VM %s", vm->config.name);
    }
    inventory_free_slot(agent->inventory, runtime->slot);
    vm->has_runtime = false;
    vm->runtime = (struct vm_runtime){0};
    return 0;
}

void launch_last_words(const struct agent *agent, const struct vm *vm, char *text, size_t size)
{
    char tail[2048];
    CLEANUP_FREE char *path = record_log_path(agent->config, vm->config.name, "qemu");
    CLEANUP_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    text[0] = '\0';
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (end <= 0) {
        return;
    }
    off_t from = end > (off_t)sizeof(tail) - 1 ? end - (off_t)sizeof(tail) + 1 : 0;
    ssize_t length = pread(fd, tail, sizeof(tail) - 1, from);
    while (length > 0 && tail[length - 1] == '\n') {
        length--;
    }
    if (length > 0) {
        tail[length] = '\0';
        const char *line = strrchr(tail, '\n');
        snprintf(text, size, "%s", line ? line + 1 : tail);
    }
}
