/* What survives the agent: see record.h. */
#include "agent/vm/record.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#define RECORD_VERSION 1
#define RECORD_BYTES_MOST ((size_t)256 << 10)
#define RAM_PERCENT 95 /* of the host's memory that guests' memory may take */

char *record_path(const struct agent_config *config, const char *uuid, const char *file)
{
    return file_path("%s/vms/%s/%s", config->run_folder, uuid, file);
}

char *record_ram_path(const struct agent_config *config, const char *uuid)
{
    return file_path("%s/ram/%s", config->run_folder, uuid);
}

char *record_log_path(const struct agent_config *config, const char *vm_name, const char *what)
{
    return file_path("%s/logs/%s.%s.log", config->state_folder, vm_name, what);
}

/* ---- folders ---- */

/* Others may pass through a folder, not look into it. */
static int make_folder(const char *path, mode_t mode, struct error *err)
{
    int result = file_make_folders(path, mode, err);
    if (result == 0 && chmod(path, mode) < 0) {
        return error_set_errno(err, errno, "cannot set the mode of %s", path);
    }
    return result;
}

static bool is_mount(const char *path, const char *parent)
{
    struct stat inner;
    struct stat outer;
    return stat(path, &inner) == 0 && stat(parent, &outer) == 0 && inner.st_dev != outer.st_dev;
}

/* Huge pages make copying guest memory several times as fast; without them it still works. */
static int mount_ram(const struct agent_config *config, const char *path, struct error *err)
{
    unsigned long long size = (unsigned long long)sysconf(_SC_PHYS_PAGES) *
                              (unsigned long long)sysconf(_SC_PAGESIZE) / 100 * RAM_PERCENT;
    char options[96];
    if (is_mount(path, config->run_folder)) {
        return 0; /* an earlier agent's, with the memory of running VMs */
    }
    snprintf(options, sizeof(options), "huge=always,mode=0711,size=%llu", size);
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount("drover-ram", path, "tmpfs", flags, options) == 0) {
        return 0;
    }
    log_warning("this kernel mounts no tmpfs with huge pages: moves will be slower");
    if (mount("drover-ram", path, "tmpfs", flags, strchr(options, ',') + 1) < 0) {
        return error_set_errno(err, errno, "cannot mount a tmpfs for guest memory at %s", path);
    }
    return 0;
}

int record_prepare(const struct agent_config *config, struct error *err)
{
    CLEANUP_FREE char *vms = file_path("%s/vms", config->run_folder);
    CLEANUP_FREE char *ram = file_path("%s/ram", config->run_folder);
    CLEANUP_FREE char *logs = file_path("%s/logs", config->state_folder);
    if (!vms || !ram || !logs) {
        return error_set_errno(err, ENOMEM, "cannot prepare %s", config->run_folder);
    }
    int result = make_folder(config->run_folder, 0711, err);
    if (result == 0) {
        result = make_folder(vms, 0711, err);
    }
    if (result == 0) {
        result = make_folder(ram, 0711, err);
    }
    if (result == 0) {
        result = make_folder(config->state_folder, 0700, err);
    }
    if (result == 0) {
        result = make_folder(logs, 0700, err);
    }
    return result < 0 ? result : mount_ram(config, ram, err);
}

int record_lock(const struct agent_config *config, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/droverd.lock", config->run_folder);
    CLEANUP_CLOSE int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0) {
        return error_set_errno(err, path ? errno : ENOMEM, "cannot lock %s", config->run_folder);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        error_set(err, EBUSY, "another droverd runs with the run folder %s", config->run_folder);
        return error_remedy(err, "end it first, or give this one folders of its own");
    }
    steal_fd(&fd); /* open for as long as we live */
    return 0;
}

int record_make_folder(const struct agent_config *config, const struct vm *vm, struct error *err)
{
    CLEANUP_FREE char *folder = record_path(config, vm->config.uuid, "");
    CLEANUP_FREE char *qemu = record_path(config, vm->config.uuid, "qemu");
    if (!folder || !qemu) {
        return error_set_errno(err, ENOMEM, "cannot make the run folder of %s", vm->config.name);
    }
    int result = make_folder(folder, 0711, err);
    if (result == 0) {
        result = make_folder(qemu, 0700, err);
    }
    if (result == 0 && lchown(qemu, vm->runtime.uid, vm->runtime.uid) < 0) {
        return error_set_errno(err, errno, "cannot give %s to user %u", qemu, vm->runtime.uid);
    }
    return result;
}

int record_remove(const struct agent_config *config, const char *uuid, struct error *err)
{
    CLEANUP_FREE char *folder = file_path("%s/vms/%s", config->run_folder, uuid);
    CLEANUP_FREE char *ram = record_ram_path(config, uuid);
    if (!folder || !ram) {
        return error_set_errno(err, ENOMEM, "cannot remove the run folder of %s", uuid);
    }
    int result = file_remove_tree(ram, err);
    return result < 0 ? result : file_remove_tree(folder, err);
}

/* ---- processes ---- */

static json_t *process_to_json(const struct process_identity *process)
{
    return json_pack("{s:i, s:I}", "pid", (int)process->pid, "start_time",
                     (json_int_t)process->start_time);
}

static int process_from_json(const json_t *document, const char *what, const char *key,
                             struct process_identity *ret_process, struct error *err)
{
    json_t *object;
    int64_t pid = 0;
    int64_t start_time = 0;
    int result = json_get_object_or_null(document, what, key, &object, err);
    if (result == 0 && object) {
        result = json_get_integer(object, what, "pid", 0, INT_MAX, &pid, err);
    }
    if (result == 0 && object) {
        result = json_get_integer(object, what, "start_time", 0, INT64_MAX, &start_time, err);
    }
    *ret_process = (struct process_identity){.pid = (pid_t)pid, .start_time = (uint64_t)start_time};
    return result;
}

/* ---- state.json ---- */

static json_t *taps_to_json(const struct vm *vm)
{
    json_t *taps = json_array();
    for (size_t i = 0; i < vm->config.nic_count; i++) {
        json_array_append_new(taps, json_string(vm->runtime.taps[i]));
    }
    return taps;
}

static json_t *state_to_json(const struct vm *vm)
{
    const struct vm_runtime *runtime = &vm->runtime;
    return json_pack(
        "{s:i, s:o, s:{s:s, s:s, s:s, s:o}, s:o, s:i, s:I, s:s, s:s, s:b, s:I, s:I, s:o}",
        "version", RECORD_VERSION, "vm", vm_config_to_json(&vm->config), "datastore", "name",
        vm->datastore.name, "uuid", vm->datastore.uuid, "path", vm->datastore.path, "lease",
        lease_settings_to_json(&vm->datastore.lease), "process", process_to_json(&runtime->process),
        "slot", (int)runtime->slot, "uid", (json_int_t)runtime->uid, "accelerator",
        runtime->accelerator, "engine", runtime->engine, "shadow", runtime->shadow, "started_at",
        (json_int_t)runtime->started_at, "owner_epoch", (json_int_t)vm->owner.epoch, "taps",
        taps_to_json(vm));
}

int record_save(const struct agent_config *config, const struct vm *vm, struct error *err)
{
    CLEANUP_FREE char *path = record_path(config, vm->config.uuid, "state.json");
    CLEANUP_JSON json_t *document = state_to_json(vm);
    if (!path || !document) {
        return error_set_errno(err, ENOMEM, "cannot record the state of %s", vm->config.name);
    }
    return json_write_file(path, document, 0600, err);
}

static int read_text(const json_t *object, const char *what, const char *key, char *ret_text,
                     size_t size, struct error *err)
{
    const char *text;
    int result = json_get_string(object, what, key, &text, err);
    if (result == 0 && strlen(text) >= size) {
        return error_set(err, EINVAL, "%s: \"%s\" is too long", what, key);
    }
    if (result == 0) {
        strcpy(ret_text, text);
    }
    return result;
}

static int read_datastore(const json_t *document, const char *what, struct datastore *datastore,
                          struct error *err)
{
    const json_t *object = json_object_get(document, "datastore");
    int result = read_text(object, what, "name", datastore->name, sizeof(datastore->name), err);
    if (result == 0) {
        result = read_text(object, what, "uuid", datastore->uuid, sizeof(datastore->uuid), err);
    }
    if (result == 0) {
        result = read_text(object, what, "path", datastore->path, sizeof(datastore->path), err);
    }
    return result < 0 ? result : lease_settings_from_json(object, what, &datastore->lease, err);
}

static int read_taps(const json_t *document, const char *what, struct vm *vm, struct error *err)
{
    json_t *taps;
    int result = json_get_array_or_empty(document, what, "taps", &taps, err);
    if (result == 0 && json_array_size(taps) != vm->config.nic_count) {
        return error_set(err, EINVAL, "%s: \"taps\" does not fit the VM's NICs", what);
    }
    for (size_t i = 0; result == 0 && i < json_array_size(taps); i++) {
        const char *tap = json_string_value(json_array_get(taps, i));
        snprintf(vm->runtime.taps[i], TAP_NAME_SIZE, "%s", tap ? tap : "");
    }
    return result;
}

static int read_numbers(const json_t *document, const char *what, struct vm *vm, struct error *err)
{
    int64_t slot;
    int64_t uid;
    int64_t started_at;
    int64_t epoch;
    int result = json_get_integer(document, what, "slot", 0, INVENTORY_SLOTS - 1, &slot, err);
    if (result == 0) {
        result = json_get_integer(document, what, "uid", 1, UINT32_MAX, &uid, err);
    }
    if (result == 0) {
        result = json_get_integer(document, what, "started_at", 0, INT64_MAX, &started_at, err);
    }
    if (result == 0) {
        result = json_get_integer(document, what, "owner_epoch", 0, INT64_MAX, &epoch, err);
    }
    if (result == 0) {
        vm->runtime.slot = (unsigned)slot;
        vm->runtime.uid = (uid_t)uid;
        vm->runtime.started_at = (uint64_t)started_at;
        vm->owner.epoch = (uint64_t)epoch;
    }
    return result;
}

static int read_runtime(const json_t *document, const char *what, struct vm *vm, struct error *err)
{
    struct vm_runtime *runtime = &vm->runtime;
    int result = read_numbers(document, what, vm, err);
    if (result == 0) {
        result = process_from_json(document, what, "process", &runtime->process, err);
    }
    if (result == 0) {
        result = read_text(document, what, "accelerator", runtime->accelerator,
                           sizeof(runtime->accelerator), err);
    }
    if (result == 0) {
        result = read_text(document, what, "engine", runtime->engine, sizeof(runtime->engine), err);
    }
    if (result == 0) {
        result = json_get_boolean_or(document, what, "shadow", false, &runtime->shadow, err);
    }
    return result < 0 ? result : read_taps(document, what, vm, err);
}

static int check_version(const json_t *document, const char *what, struct error *err)
{
    int64_t version;
    int result = json_get_integer(document, what, "version", 1, INT64_MAX, &version, err);
    if (result == 0 && version > RECORD_VERSION) {
        error_set(err, EINVAL, "%s is from a newer droverd (version %lld)", what,
                  (long long)version);
        return error_remedy(err, "start that droverd again");
    }
    return result;
}

int record_load(const struct agent_config *config, const char *uuid, struct vm *ret_vm,
                struct error *err)
{
    struct vm vm = {.has_runtime = true};
    CLEANUP_FREE char *path = record_path(config, uuid, "state.json");
    CLEANUP_JSON json_t *document = path ? json_read_file(path, RECORD_BYTES_MOST, err) : NULL;
    if (!document) {
        return path ? -err->code : error_set_errno(err, ENOMEM, "cannot read a VM's state");
    }
    int result = check_version(document, path, err);
    if (result == 0) {
        result = vm_config_from_json(json_object_get(document, "vm"), path, &vm.config, err);
    }
    if (result == 0) {
        result = read_datastore(document, path, &vm.datastore, err);
    }
    if (result == 0) {
        result = read_runtime(document, path, &vm, err);
    }
    if (result == 0 && strcmp(vm.config.uuid, uuid) != 0) {
        result = error_set(err, EINVAL, "%s is of VM %s, not of %s", path, vm.config.uuid, uuid);
    }
    if (result == 0) {
        *ret_vm = vm;
    }
    return result;
}

/* ---- move.json ---- */

int record_save_move(const struct agent_config *config, const char *uuid,
                     const struct move_record *move, struct error *err)
{
    CLEANUP_FREE char *path = record_path(config, uuid, "move.json");
    CLEANUP_JSON json_t *document =
        json_pack("{s:i, s:s, s:s, s:s, s:I, s:b, s:s, s:b, s:o}", "version", RECORD_VERSION,
                  "role", move->role == RECORD_SOURCE ? "source" : "destination", "move_id",
                  move->move_id, "peer", move->peer, "epoch", (json_int_t)move->epoch, "native",
                  move->native, "engine_reason", move->engine_reason, "committing",
                  move->committing, "mover", process_to_json(&move->mover));
    if (!path || !document) {
        return error_set_errno(err, ENOMEM, "cannot record move %s", move->move_id);
    }
    return json_write_file(path, document, 0600, err);
}

static int read_role(const json_t *document, const char *what, enum record_role *ret_role,
                     struct error *err)
{
    const char *role;
    int result = json_get_string(document, what, "role", &role, err);
    if (result == 0 && strcmp(role, "source") != 0 && strcmp(role, "destination") != 0) {
        return error_set(err, EINVAL, "%s: \"role\" is \"%s\"", what, role);
    }
    if (result == 0) {
        *ret_role = strcmp(role, "source") == 0 ? RECORD_SOURCE : RECORD_DESTINATION;
    }
    return result;
}

static int move_from_json(const json_t *document, const char *what, struct move_record *ret_move,
                          struct error *err)
{
    int64_t epoch = 0;
    int result = check_version(document, what, err);
    if (result == 0) {
        result = read_role(document, what, &ret_move->role, err);
    }
    if (result == 0) {
        result =
            read_text(document, what, "move_id", ret_move->move_id, sizeof(ret_move->move_id), err);
    }
    if (result == 0) {
        result = read_text(document, what, "peer", ret_move->peer, sizeof(ret_move->peer), err);
    }
    if (result == 0) {
        result = json_get_integer(document, what, "epoch", 0, INT64_MAX, &epoch, err);
    }
    ret_move->epoch = (uint64_t)epoch;
    if (result == 0) {
        result = json_get_boolean_or(document, what, "native", false, &ret_move->native, err);
    }
    if (result == 0 && ret_move->native) {
        result = read_text(document, what, "engine_reason", ret_move->engine_reason,
                           sizeof(ret_move->engine_reason), err);
    }
    if (result == 0) {
        /* Of an agent that did not write it, who knows. */
        result =
            json_get_boolean_or(document, what, "committing", true, &ret_move->committing, err);
    }
    return result < 0 ? result : process_from_json(document, what, "mover", &ret_move->mover, err);
}

int record_load_move(const struct agent_config *config, const char *uuid,
                     struct move_record *ret_move, struct error *err)
{
    struct move_record move = {0};
    CLEANUP_FREE char *path = record_path(config, uuid, "move.json");
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot read a move's record");
    }
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        return 0;
    }
    CLEANUP_JSON json_t *document = json_read_file(path, RECORD_BYTES_MOST, err);
    if (!document) {
        return -err->code;
    }
    int result = move_from_json(document, path, &move, err);
    if (result < 0) {
        return result;
    }
    *ret_move = move;
    return 1;
}

int record_remove_move(const struct agent_config *config, const char *uuid, struct error *err)
{
    static const char *const files[] = {"move.json", "mover.sock"}; /* the record first */
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        CLEANUP_FREE char *path = record_path(config, uuid, files[i]);
        if (!path || (unlink(path) < 0 && errno != ENOENT)) {
            return error_set_errno(err, errno, "cannot remove a move's record");
        }
    }
    return 0;
}
