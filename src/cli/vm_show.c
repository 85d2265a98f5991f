/* drover vm show. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/output.h"

static void print_config(const struct terminal *output, const json_t *config)
{
    size_t index;
    const json_t *item;
    output_text(output, "machine", config, "machine");
    output_text(output, "CPU", config, "cpu");
    json_array_foreach (json_object_get(config, "disks"), index, item) {
        output_line(output, index ? "" : "disks", "%s: %s (%s)", field_text(item, "name"),
                    field_text(item, "file"), field_text(item, "format"));
    }
    json_array_foreach (json_object_get(config, "nics"), index, item) {
        output_line(output, index ? "" : "NICs", "%s on port group %s", field_text(item, "mac"),
                    field_text(item, "port_group"));
    }
    json_array_foreach (json_object_get(config, "devices"), index, item) {
        const char *device = json_string_value(item);
        output_line(output, index ? "" : "host devices", "%s", device ? device : "");
    }
    const json_t *boot = json_object_get(config, "boot");
    output_text(output, "kernel", boot, "kernel");
    output_text(output, "kernel arguments", boot, "arguments");
}

static void print_runtime(const struct terminal *output, const json_t *runtime)
{
    if (!json_is_object(runtime)) {
        return;
    }
    output_line(output, "process", "%llu, as user %llu",
                (unsigned long long)field_number(runtime, "pid"),
                (unsigned long long)field_number(runtime, "uid"));
    output_text(output, "accelerator", runtime, "accelerator");
    output_text(output, "started", runtime, "started_at");
    output_text(output, "engine", runtime, "engine");
    output_text(output, "VNC", runtime, "vnc");
}

static void print_vm(const struct terminal *output, const json_t *vm)
{
    char vcpus[FIELD_SIZE];
    output_text(output, "name", vm, "name");
    output_text(output, "UUID", vm, "uuid");
    output_text(output, "state", vm, "state");
    output_text(output, "problem", vm, "problem");
    output_text(output, "owner", vm, "owner");
    output_text(output, "datastore", vm, "datastore");
    output_line(output, "vCPUs", "%s", field_count(vm, "vcpus", vcpus));
    output_size(output, "memory", vm, "memory_bytes");
    output_text(output, "task", vm, "task");
    print_config(output, json_object_get(vm, "config"));
    print_runtime(output, json_object_get(vm, "runtime"));
}

int vm_show_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *vm = NULL;
    const char *name;
    if (command_name(cli, 0, "VM", &name, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/vms/%s", name);
    int result = path ? api_get(cli->api, path, &vm, err)
                      : error_set_errno(err, ENOMEM, "cannot show %s", name);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, vm, err);
    }
    print_vm(&cli->output, vm);
    return 0;
}
