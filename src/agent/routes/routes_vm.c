/* The calls about VMs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/move/migrate_source.h"
#include "agent/routes/routes.h"
#include "agent/vm/lifecycle.h"
#include "agent/vm/record.h"
#include "agent/vm/vm_json.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/socket.h"
#include "storage/vm_folder.h"

#define STOP_TIMEOUT_S_MOST 86400

int answer_vms(struct agent *agent, const char *key,
               json_t *(*to_json)(struct agent *agent, const struct vm *vm),
               struct response *ret_response, struct error *err)
{
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count;
    agent_refresh(agent);
    int result = inventory_all(agent->inventory, &vms, &count, err);
    if (result < 0) {
        return result;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, to_json(agent, &vms[i])); /* NULL is not appended */
    }
    ret_response->body = json_pack("{s:o}", key, list);
    return 0;
}

int get_vms(void *context, const struct request *request, struct response *ret_response,
            struct error *err)
{
    (void)request;
    return answer_vms(context, "vms", vm_to_json, ret_response, err);
}

static int answer_vm(struct agent *agent, const char *name, struct response *ret_response,
                     struct error *err)
{
    struct vm vm;
    int result = agent_find_vm(agent, name, &vm, err);
    if (result == 0) {
        ret_response->body = vm_to_json(agent, &vm);
    }
    return result;
}

int get_vm(void *context, const struct request *request, struct response *ret_response,
           struct error *err)
{
    return answer_vm(context, request->parameters[0], ret_response, err);
}

int delete_vm(void *context, const struct request *request, struct response *ret_response,
              struct error *err)
{
    int result = lifecycle_remove(context, request->parameters[0], err);
    if (result == 0) {
        ret_response->body = json_object();
    }
    return result;
}

/* ---- create ---- */

/* Reads where each disk comes from; `disks` is parallel to the configuration's list. */
static int read_disk_sources(const json_t *disks, struct vm_folder_sources *sources,
                             struct error *err)
{
    static const char *const known[] = {"size_bytes", "import", NULL};
    if (json_array_size(disks) > VM_DISKS_MOST) {
        return error_set(err, EINVAL, "a VM has at most %d disks", VM_DISKS_MOST);
    }
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *entry = json_array_get(disks, i);
        struct vm_folder_disk_source *source = &sources->disks[i];
        int64_t size;
        int result = json_refuse_unknown_keys(entry, "\"disks\"", known, err);
        if (result == 0) {
            result =
                json_get_integer_or(entry, "\"disks\"", "size_bytes", 0, INT64_MAX, 0, &size, err);
        }
        if (result == 0) {
            result =
                json_get_string_or(entry, "\"disks\"", "import", NULL, &source->import_path, err);
        }
        if (result < 0) {
            return result;
        }
        source->size_bytes = (uint64_t)size;
        if ((size == 0) == !source->import_path) {
            return error_set(err, EINVAL, "disk %zu must have either a size or an image to import",
                             i);
        }
    }
    return 0;
}

/* Fills in what follows from the other parts: a disk for each source, names for boot files. */
static void complete_from_sources(json_t *config, const json_t *disks,
                                  const struct vm_folder_sources *sources)
{
    if (!json_object_get(config, "disks") && json_array_size(disks) > 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(disks); i++) {
            json_array_append_new(list, json_object());
        }
        json_object_set_new(config, "disks", list);
    }
    if (!json_object_get(config, "boot") && sources->kernel_path) {
        json_t *boot = json_pack("{s:s}", "kernel", "kernel");
        if (sources->initrd_path) {
            json_object_set_new(boot, "initrd", json_string("initrd"));
        }
        json_object_set_new(config, "boot", boot);
    }
}

static int read_sources(const json_t *body, json_t **ret_disks, struct vm_folder_sources *sources,
                        struct error *err)
{
    int result = json_get_array_or_empty(body, "the request", "disks", ret_disks, err);
    if (result == 0) {
        result = read_disk_sources(*ret_disks, sources, err);
    }
    if (result == 0) {
        result =
            json_get_string_or(body, "the request", "kernel", NULL, &sources->kernel_path, err);
    }
    return result < 0 ? result
                      : json_get_string_or(body, "the request", "initrd", NULL,
                                           &sources->initrd_path, err);
}

/* Checks the whole request, then returns what to make. */
static int read_creation(struct agent *agent, const json_t *body, struct vm_config *config,
                         struct vm_folder_sources *sources, const struct datastore **ret_datastore,
                         struct error *err)
{
    static const char *const known[] = {"datastore", "config", "disks", "kernel", "initrd", NULL};
    const char *datastore_name;
    json_t *disks;
    json_t *document;
    int result = json_refuse_unknown_keys(body, "the request", known, err);
    if (result == 0) {
        result = json_get_string_or(body, "the request", "datastore", NULL, &datastore_name, err);
    }
    if (result == 0) {
        result = read_sources(body, &disks, sources, err);
    }
    if (result == 0) {
        result = json_get_object_or_null(body, "the request", "config", &document, err);
    }
    if (result < 0) {
        return result;
    }
    if (!document) {
        return error_set(err, EINVAL, "the request: \"config\" is missing");
    }
    complete_from_sources(document, disks, sources);
    result = vm_config_complete(document, err);
    if (result == 0) {
        result = vm_config_from_json(document, "\"config\"", config, err);
    }
    if (result == 0 && config->disk_count != json_array_size(disks)) {
        return error_set(err, EINVAL, "the configuration has %zu disks, \"disks\" %zu",
                         config->disk_count, json_array_size(disks));
    }
    *ret_datastore = result == 0 ? datastores_find(agent, datastore_name, err) : NULL;
    return *ret_datastore ? 0 : -err->code;
}

/* The name and the UUID must be new to every datastore. */
static int check_is_new(struct agent *agent, const struct vm_config *config, struct error *err)
{
    const char *const taken[] = {config->name, config->uuid};
    int result = 0;
    agent_refresh(agent);
    for (size_t i = 0; result == 0 && i < 2; i++) {
        struct vm other;
        if (inventory_find(agent->inventory, taken[i], &other, NULL) == 0) {
            error_set(err, EEXIST, "there is a VM %s already, on datastore %s", other.config.name,
                      other.datastore.name);
            return error_remedy(err, "choose another name or UUID");
        }
    }
    return result;
}

int create_vm(void *context, const struct request *request, struct response *ret_response,
              struct error *err)
{
    struct agent *agent = context;
    struct vm_config config;
    struct vm_folder_sources sources = {0};
    const struct datastore *datastore;
    int result = read_creation(agent, request->body, &config, &sources, &datastore, err);
    if (result == 0) {
        result = check_is_new(agent, &config, err);
    }
    if (result == 0) {
        result = vm_folder_create(datastore, &config, &sources, err);
    }
    if (result < 0) {
        return result;
    }
    log_info("VM %s is created on datastore %s", config.name, datastore->name);
    ret_response->status = 201;
    return answer_vm(agent, config.name, ret_response, err);
}

/* ---- start, stop, migrate ---- */

static int answer_task(struct agent *agent, int result, const char *task,
                       struct response *ret_response)
{
    if (result < 0) {
        return result;
    }
    ret_response->status = 202;
    ret_response->body = json_pack("{s:o?}", "task", task_list_get(agent->tasks, task, -1, 0));
    return 0;
}

static int read_claim(const json_t *body, enum ownership_claim *ret_claim, struct error *err)
{
    static const char *const known[] = {"take_over", "fenced", NULL};
    bool take_over;
    bool fenced;
    int result = json_refuse_unknown_keys(body, "the request", known, err);
    if (result == 0) {
        result = json_get_boolean_or(body, "the request", "take_over", false, &take_over, err);
    }
    if (result == 0) {
        result = json_get_boolean_or(body, "the request", "fenced", false, &fenced, err);
    }
    if (result == 0 && fenced && !take_over) {
        return error_set(err, EINVAL, "the request: \"fenced\" goes with \"take_over\"");
    }
    if (result == 0) {
        *ret_claim = fenced ? OWNERSHIP_FENCED : take_over ? OWNERSHIP_TAKE_OVER : OWNERSHIP_FREE;
    }
    return result;
}

int start_vm(void *context, const struct request *request, struct response *ret_response,
             struct error *err)
{
    char task[UUID_TEXT_SIZE];
    enum ownership_claim claim = OWNERSHIP_FREE;
    int result = read_claim(request->body, &claim, err);
    if (result == 0) {
        result = lifecycle_start(context, request->parameters[0], claim, task, err);
    }
    return answer_task(context, result, task, ret_response);
}

int stop_vm(void *context, const struct request *request, struct response *ret_response,
            struct error *err)
{
    static const char *const known[] = {"force", "timeout_s", NULL};
    bool force;
    int64_t timeout_s;
    char task[UUID_TEXT_SIZE];
    int result = json_refuse_unknown_keys(request->body, "the request", known, err);
    if (result == 0) {
        result = json_get_boolean_or(request->body, "the request", "force", false, &force, err);
    }
    if (result == 0) {
        result =
            json_get_integer_or(request->body, "the request", "timeout_s", 1, STOP_TIMEOUT_S_MOST,
                                LIFECYCLE_STOP_TIMEOUT_S, &timeout_s, err);
    }
    if (result == 0) {
        result = lifecycle_stop(context, request->parameters[0], force,
                                (uint64_t)timeout_s * NANOSECONDS_PER_SECOND, task, err);
    }
    return answer_task(context, result, task, ret_response);
}

int migrate_vm(void *context, const struct request *request, struct response *ret_response,
               struct error *err)
{
    struct migrate_options options;
    bool dry_run;
    char task[UUID_TEXT_SIZE];
    int result = migrate_options_from_json(request->body, &options, &dry_run, err);
    if (result < 0) {
        return result;
    }
    if (dry_run) {
        return migrate_check(context, request->parameters[0], &options, &ret_response->body, err);
    }
    result = migrate_start(context, request->parameters[0], &options, task, err);
    return answer_task(context, result, task, ret_response);
}

/* ---- console ---- */

/* On the loop: neither looks at a datastore nor waits. */
int open_vm_console(void *context, const char *name, char ret_uuid[UUID_TEXT_SIZE],
                    struct error *err)
{
    struct agent *agent = context;
    struct vm vm;
    int result = inventory_find(agent->inventory, name, &vm, err);
    if (result < 0) {
        return result;
    }
    if (!vm.has_runtime) {
        return error_set(err, EBUSY, "VM %s does not run on host %s", vm.config.name,
                         agent->config->host);
    }
    CLEANUP_FREE char *path = record_path(agent->config, vm.config.uuid, "qemu/serial.sock");
    CLEANUP_CLOSE int fd = path ? socket_connect_unix_at_once(path, err)
                                : error_set_errno(err, ENOMEM, "no memory for a path");
    if (fd < 0) {
        err->code = err->code == EAGAIN ? EBUSY : err->code;
        return error_wrap(err, "cannot reach the console of VM %s", vm.config.name);
    }
    strcpy(ret_uuid, vm.config.uuid);
    return steal_fd(&fd);
}
