/* drover datastore set-lease: how a datastore that rests keeps its leases from now on. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/task.h"

#define MS_MOST 7200000

const struct option_spec datastore_set_lease_options[] = {
    {"--kind", "KIND", "local, file or sanlock (file)"},
    {"--heartbeat", "MS", "from one heartbeat to the next (500)"},
    {"--stop-after", "MS", "a host without heartbeats for so long stops its VMs (4000)"},
    {"--takeover", "MS", "others may take them over after so long (7000)"},
    {NULL},
};

static int add_ms(const struct cli *cli, const char *option, json_t *request, const char *key,
                  struct error *err)
{
    int64_t ms = 0;
    int result = arguments_integer(&cli->arguments, option, 1, MS_MOST, &ms, err);
    if (result == 0 && ms > 0) {
        json_object_set_new(request, key, json_integer(ms));
    }
    return result;
}

static int make_request(const struct cli *cli, json_t *request, struct error *err)
{
    const char *kind = arguments_value(&cli->arguments, "--kind");
    if (kind) {
        json_object_set_new(request, "kind", json_string(kind));
    }
    int result = add_ms(cli, "--heartbeat", request, "heartbeat_ms", err);
    if (result == 0) {
        result = add_ms(cli, "--stop-after", request, "stop_after_ms", err);
    }
    return result < 0 ? result : add_ms(cli, "--takeover", request, "takeover_ms", err);
}

int datastore_set_lease_command(struct cli *cli, struct error *err)
{
    const char *name;
    CLEANUP_JSON json_t *request = json_object();
    if (command_name(cli, 0, "datastore", &name, err) < 0 || make_request(cli, request, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/datastores/%s/lease", name);
    int result = path ? task_run(cli, path, request, name, "has new lease settings", err)
                      : error_set_errno(err, ENOMEM, "cannot change the leases of %s", name);
    if (result == 0 && !cli->json) {
        fprintf(cli->notes.stream,
                "Restart droverd and drover-guard on every host that uses it.\n");
    }
    return result;
}
