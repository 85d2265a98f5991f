/* drover host show. */
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/output.h"

static void print_capabilities(const struct terminal *output, const json_t *capabilities)
{
    output_text(output, "kernel", capabilities, "kernel");
    output_text(output, "QEMU", capabilities, "qemu_version");
    output_text(output, "accelerator", capabilities, "accelerator");
    const char *reason = field_text(capabilities, "engine_reason");
    output_line(output, "engine", "%s%s%s", field_text(capabilities, "engine"),
                reason[0] ? ": " : "", reason);
}

static void print_memory(const struct terminal *output, const json_t *memory)
{
    char available[FIELD_SIZE];
    char total[FIELD_SIZE];
    output_line(output, "memory", "%s free of %s", field_size(memory, "available_bytes", available),
                field_size(memory, "total_bytes", total));
}

/* Why VMs of a datastore cannot run here, or cannot be reached. */
static void print_datastore_problem(const struct terminal *output, const json_t *datastore)
{
    const char *problem = field_text(datastore, "problem");
    const char *obstacle = field_text(datastore, "obstacle");
    if (problem[0] || obstacle[0]) {
        output_line(output, "", "%s: %s", field_text(datastore, "name"),
                    problem[0] ? problem : obstacle);
    }
}

static void print_recoveries(const struct terminal *output, const json_t *recoveries)
{
    size_t index;
    const json_t *item;
    json_array_foreach (recoveries, index, item) {
        const char *vm = field_text(item, "vm");
        output_line(output, index ? "" : "put right", "%s %s%s%s", field_text(item, "at"), vm,
                    vm[0] ? ": " : "", field_text(item, "text"));
    }
}

static void print_datastores(const struct terminal *output, const json_t *datastores)
{
    char free_bytes[FIELD_SIZE];
    char total[FIELD_SIZE];
    size_t index;
    const json_t *item;
    json_array_foreach (datastores, index, item) {
        output_line(output, index ? "" : "datastores", "%s: %s, %s free of %s",
                    field_text(item, "name"), field_text(item, "path"),
                    field_size(item, "free_bytes", free_bytes),
                    field_size(item, "total_bytes", total));
        print_datastore_problem(output, item);
    }
}

static void print_port_groups(const struct terminal *output, const json_t *port_groups)
{
    char vlan[FIELD_SIZE];
    size_t index;
    const json_t *item;
    json_array_foreach (port_groups, index, item) {
        output_line(output, index ? "" : "port groups", "%s: bridge %s, VLAN %s",
                    field_text(item, "name"), field_text(item, "bridge"),
                    field_count(item, "vlan", vlan));
    }
}

static void print_migration_addresses(const struct terminal *output, const json_t *addresses)
{
    size_t index;
    const json_t *item;
    json_array_foreach (addresses, index, item) {
        const char *address = json_string_value(item);
        output_line(output, index ? "" : "migration address", "%s", address ? address : "");
    }
}

static void print_peers(const struct terminal *output, const json_t *peers)
{
    char port[FIELD_SIZE];
    size_t index;
    const json_t *item;
    json_array_foreach (peers, index, item) {
        output_line(output, index ? "" : "peers", "%s: %s, port %s", field_text(item, "name"),
                    field_text(item, "address"), field_count(item, "port", port));
    }
}

static void print_certificate(const struct terminal *output, const json_t *certificate)
{
    char end[32];
    const char *problem = field_text(certificate, "problem");
    if (json_is_object(certificate)) {
        clock_format_utc(field_number(certificate, "not_after") * NANOSECONDS_PER_SECOND, end);
        output_line(output, "certificate", "%s%.10s", problem[0] ? problem : "until ",
                    problem[0] ? "" : end);
    }
}

int host_show_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *host = NULL;
    char cpus[FIELD_SIZE];
    const struct terminal *output = &cli->output;
    int result = api_get(cli->api, "/v1/host", &host, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, host, err);
    }
    output_text(output, "host", host, "name");
    output_text(output, "drover", host, "version");
    print_capabilities(output, json_object_get(host, "capabilities"));
    output_line(output, "CPUs", "%s", field_count(host, "cpus", cpus));
    print_memory(output, json_object_get(host, "memory"));
    print_datastores(output, json_object_get(host, "datastores"));
    print_port_groups(output, json_object_get(host, "port_groups"));
    print_migration_addresses(output, json_object_get(host, "migration_addresses"));
    output_text(output, "encryption", host, "migration_encryption");
    print_peers(output, json_object_get(host, "peers"));
    print_certificate(output, json_object_get(host, "certificate"));
    print_recoveries(output, json_object_get(host, "recoveries"));
    return 0;
}
