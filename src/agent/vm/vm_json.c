/* A VM as the API shows it: see vm_json.h. */
#include "agent/vm/vm_json.h"

#include "agent/vm/record.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *runtime_to_json(const struct agent *agent, const struct vm *vm)
{
    const struct vm_runtime *runtime = &vm->runtime;
    char started_at[32];
    CLEANUP_FREE char *console = file_path("/v1/vms/%s/console", vm->config.name);
    CLEANUP_FREE char *vnc = record_path(agent->config, vm->config.uuid, "qemu/vnc.sock");
    if (!vm->has_runtime) {
        return json_null();
    }
    clock_format_utc(runtime->started_at, started_at);
    return json_pack("{s:i, s:I, s:s, s:s, s:s, s:s, s:o}", "pid", (int)runtime->process.pid, "uid",
                     (json_int_t)runtime->uid, "accelerator", runtime->accelerator, "started_at",
                     started_at, "engine", runtime->engine, "console", console, "vnc",
                     vm->config.vga ? json_string(vnc) : json_null());
}

/* Of a vm.json that cannot be read, no more is known than where it is, and why. */
static json_t *unreadable_to_json(const struct vm *vm)
{
    return json_pack("{s:s, s:n, s:s, s:n, s:n, s:s, s:i, s:i, s:n, s:n, s:n, s:s}", "name",
                     vm->config.name, "uuid", "state", vm_state_name(vm->state), "host", "owner",
                     "datastore", vm->datastore.name, "vcpus", 0, "memory_bytes", 0, "task",
                     "config", "runtime", "problem", vm->problem);
}

static json_t *problem_to_json(struct agent *agent, const struct vm *vm)
{
    char text[RESTARTS_TEXT_SIZE];
    bool restarts =
        vm->state == VM_STATE_STOPPED && restarts_describe(agent, vm->config.uuid, text);
    return vm->problem[0] ? json_string_of_any(vm->problem)
           : restarts     ? json_string(text)
                          : json_null();
}

json_t *vm_to_json(struct agent *agent, const struct vm *vm)
{
    if (vm->unreadable) {
        return unreadable_to_json(vm);
    }
    const char *host = vm->has_runtime ? agent->config->host : vm->owner.host;
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:i, s:I, s:o, s:o, s:o, s:o}", "name",
                     vm->config.name, "uuid", vm->config.uuid, "state", vm_state_name(vm->state),
                     "host", text_or_null(host), "owner", text_or_null(vm->owner.host), "datastore",
                     vm->datastore.name, "vcpus", (int)vm->config.vcpus, "memory_bytes",
                     (json_int_t)vm->config.memory_mib * 1024 * 1024, "task",
                     text_or_null(vm->task), "config", vm_config_to_json(&vm->config), "runtime",
                     runtime_to_json(agent, vm), "problem", problem_to_json(agent, vm));
}
