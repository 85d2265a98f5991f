/* drover datastore show: one of the agent's datastores, and how it keeps its leases. */
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/output.h"

static const json_t *find(const json_t *datastores, const char *name)
{
    size_t index;
    const json_t *datastore;
    json_array_foreach (datastores, index, datastore) {
        if (strcmp(field_text(datastore, "name"), name) == 0) {
            return datastore;
        }
    }
    return NULL;
}

static void print_lease(const struct terminal *output, const json_t *lease)
{
    char text[FIELD_SIZE];
    output_text(output, "leases", lease, "kind");
    if (json_object_get(lease, "heartbeat_ms")) {
        output_line(output, "heartbeat", "every %s",
                    field_milliseconds(lease, "heartbeat_ms", text));
        output_line(output, "stop after", "%s", field_milliseconds(lease, "stop_after_ms", text));
        output_line(output, "take-over", "after %s",
                    field_milliseconds(lease, "takeover_ms", text));
    }
}

static void print_datastore(const struct terminal *output, const json_t *datastore)
{
    output_text(output, "name", datastore, "name");
    output_text(output, "uuid", datastore, "uuid");
    output_text(output, "path", datastore, "path");
    output_text(output, "problem", datastore, "problem");
    output_size(output, "size", datastore, "total_bytes");
    output_size(output, "free", datastore, "free_bytes");
    print_lease(output, json_object_get(datastore, "lease"));
}

int datastore_show_command(struct cli *cli, struct error *err)
{
    const char *name;
    CLEANUP_JSON json_t *host = NULL;
    if (command_name(cli, 0, "datastore", &name, err) < 0) {
        return -err->code;
    }
    int result = api_get(cli->api, "/v1/host", &host, err);
    if (result < 0) {
        return result;
    }
    const json_t *datastore = find(json_object_get(host, "datastores"), name);
    if (!datastore) {
        error_set(err, ENOENT, "host %s has no datastore %s", field_text(host, "name"), name);
        return error_remedy(err, "\"drover host show\" lists its datastores");
    }
    if (cli->json) {
        return command_print_json(cli, datastore, err);
    }
    print_datastore(&cli->output, datastore);
    return 0;
}
