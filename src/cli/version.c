/* drover version: this program's, and the agent's when one answers. */
#include <stdio.h>

#include "base/json.h"
#include "cli/command.h"

int version_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *host = NULL;
    struct error unreachable = ERROR_NONE;
    const char *agent = NULL;
    if (api_get(cli->api, "/v1/host", &host, &unreachable) == 0) {
        agent = json_string_value(json_object_get(host, "version"));
    }
    if (cli->json) {
        CLEANUP_JSON json_t *answer =
            json_pack("{s:s,s:s?}", "version", DROVER_VERSION, "agent_version", agent);
        return command_print_json(cli, answer, err);
    }
    char clean[64];
    text_clean(agent ? agent : "does not answer", clean, sizeof(clean));
    fprintf(cli->output.stream, "drover %s (agent: %s)\n", DROVER_VERSION, clean);
    return 0;
}
