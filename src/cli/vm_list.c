/* drover vm list. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/table.h"

static const struct table_column columns[] = {
    {"NAME", TABLE_LEFT},          {"STATE", TABLE_LEFT},   {"OWNER", TABLE_LEFT},
    {"VCPUS", TABLE_RIGHT},        {"MEMORY", TABLE_RIGHT}, {"DATASTORE", TABLE_LEFT},
    {"PROBLEM", TABLE_LEFT, true},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static int add_vm(struct table *table, const json_t *vm)
{
    char vcpus[FIELD_SIZE];
    char memory[FIELD_SIZE];
    const char *cells[COLUMNS] = {
        field_text(vm, "name"),
        field_text(vm, "state"),
        field_text(vm, "owner"),
        field_count(vm, "vcpus", vcpus),
        field_size(vm, "memory_bytes", memory),
        field_text(vm, "datastore"),
        field_text(vm, "problem"),
    };
    return table_add(table, cells);
}

int vm_list_command(struct cli *cli, struct error *err)
{
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = COLUMNS};
    CLEANUP_JSON json_t *answer = NULL;
    json_t *vms;
    size_t index;
    const json_t *vm;
    int result = api_get(cli->api, "/v1/vms", &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    if (json_get_array_or_empty(answer, "the agent's answer", "vms", &vms, err) < 0) {
        err->code = EPROTO;
        return -EPROTO;
    }
    json_array_foreach (vms, index, vm) {
        if (add_vm(&table, vm) < 0) {
            return error_set_errno(err, ENOMEM, "cannot print the list");
        }
    }
    table_print(&table, &cli->output, 0);
    return 0;
}
