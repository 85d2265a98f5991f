/* drover ca renew: another certificate for the agent's host, before its agent would see to it. */
#include <stdio.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"

int ca_renew_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    int result = api_call(cli->api, "POST", "/v1/tls/renew", NULL, API_SECONDS, &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream, "host %s has a new certificate\n", field_text(answer, "name"));
    return 0;
}
