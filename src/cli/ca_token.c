/* drover ca token: what a machine or a person needs to join. The token alone is on standard output,
 * so that it can go into a file. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/tls_certificate.h"
#include "cli/command.h"
#include "cli/fields.h"

const struct option_spec ca_token_options[] = {
    {"--operator", NULL, "for a person, not for a host"},
    {"--address", "ADDRESS", "at which operators reach the host; may be repeated"},
    {"--minutes", "N", "how long it is good for (10)"},
    {NULL},
};

static json_t *make_request(const struct cli *cli, const char *name, int64_t minutes)
{
    const char *addresses[TLS_ADDRESSES_MOST + 1];
    size_t count = arguments_values(&cli->arguments, "--address", addresses,
                                    sizeof(addresses) / sizeof(addresses[0]));
    bool is_operator = arguments_has(&cli->arguments, "--operator");
    json_int_t lifetime_s = minutes * 60;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_string(addresses[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:I}", "role",
                     tls_role_words[is_operator ? TLS_ROLE_OPERATOR : TLS_ROLE_HOST], "name", name,
                     "addresses", list, "lifetime_s", lifetime_s);
}

int ca_token_command(struct cli *cli, struct error *err)
{
    const char *name;
    int64_t minutes = 10;
    CLEANUP_JSON json_t *answer = NULL;
    if (command_name(cli, 0, "host", &name, err) < 0 ||
        arguments_integer(&cli->arguments, "--minutes", 1, 1440, &minutes, err) < 0) {
        return -err->code;
    }
    CLEANUP_JSON json_t *request = make_request(cli, name, minutes);
    int result = api_call(cli->api, "POST", "/v1/ca/tokens", request, API_SECONDS, &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream, "%s\n", field_text(answer, "token"));
    fprintf(
        cli->notes.stream,
        "good for %s, once, in the next %lld minutes: drover ca join ADDRESS:PORT asks for it\n",
        name, (long long)minutes);
    return 0;
}
