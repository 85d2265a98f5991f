/* drover ca revoke: a certificate is void from now on, and who does not know it yet is named. */
#include <stdio.h>

#include "base/json.h"
#include "base/tls_certificate.h"
#include "cli/ca_told.h"
#include "cli/command.h"

const struct option_spec ca_revoke_options[] = {
    {"--operator", NULL, "a person's, not a host's"},
    {NULL},
};

int ca_revoke_command(struct cli *cli, struct error *err)
{
    const char *name;
    CLEANUP_JSON json_t *answer = NULL;
    bool is_operator = arguments_has(&cli->arguments, "--operator");
    if (command_name(cli, 0, "host", &name, err) < 0) {
        return -err->code;
    }
    CLEANUP_JSON json_t *request =
        json_pack("{s:s, s:s}", "role",
                  tls_role_words[is_operator ? TLS_ROLE_OPERATOR : TLS_ROLE_HOST], "name", name);
    int result =
        api_call(cli->api, "POST", "/v1/ca/revoke", request, API_SECONDS_UNLIMITED, &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream, "the certificates of %s are void\n", name);
    ca_told_print(cli, answer);
    return 0;
}
