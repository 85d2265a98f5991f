/*
 * drover ca init: the authority of a cluster, and the first host's certificate. It works on this
 * machine's files, without an agent: there is nobody yet whom an agent could believe.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/tls_folder.h"
#include "ca/authority.h"
#include "cli/command.h"

#define AUTHORITY_FOLDER "/var/lib/drover/ca"
#define HOST_FOLDER "/var/lib/drover/tls"
#define DAY_S 86400

const struct option_spec ca_init_options[] = {
    {"--folder", "FOLDER", "where the authority is kept (" AUTHORITY_FOLDER ")"},
    {"--host-folder", "FOLDER", "where this host's certificate is kept (" HOST_FOLDER ")"},
    {"--address", "ADDRESS", "at which operators reach this host; may be repeated"},
    {"--days", "N", "how long certificates live (90); agents renew theirs in time"},
    {NULL},
};

static const char *folder_of(const struct cli *cli, const char *option, const char *otherwise)
{
    const char *folder = arguments_value(&cli->arguments, option);
    return folder ? folder : otherwise;
}

static int certify_host(const char *authority_folder, const char *host_folder,
                        const struct tls_identity *identity, struct error *err)
{
    CLEANUP_FREE char *request = NULL;
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    int result = tls_folder_request(host_folder, TLS_ROLE_HOST, &request, err);
    if (result == 0) {
        result = authority_open(authority_folder, &authority, err);
    }
    if (result == 0) {
        result = authority_issue(authority, identity, request, &answer, err);
    }
    if (result < 0) {
        return result;
    }
    const struct tls_grant grant = authority_answer_grant(&answer);
    return tls_folder_store(host_folder, TLS_ROLE_HOST, identity->name, &grant, err);
}

static int print(const struct cli *cli, const char *host, const char *authority_folder,
                 const char *host_folder, struct error *err)
{
    if (cli->json) {
        CLEANUP_JSON json_t *answer = json_pack("{s:s, s:s, s:s}", "host", host, "authority_folder",
                                                authority_folder, "tls_folder", host_folder);
        return command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream,
            "The authority is in %s: keep a copy of it where nobody else comes.\n"
            "Host %s has its certificate in %s. In its droverd.json:\n"
            "    \"tls\": {\"folder\": \"%s\", \"authority\": \"%s\"}\n"
            "Then let the other hosts join: drover ca token NAME\n",
            authority_folder, host, host_folder, host_folder, host);
    return 0;
}

int ca_init_command(struct cli *cli, struct error *err)
{
    const char *addresses[TLS_ADDRESSES_MOST + 1];
    size_t count = arguments_values(&cli->arguments, "--address", addresses,
                                    sizeof(addresses) / sizeof(addresses[0]));
    const char *host = cli->arguments.words[0];
    const char *authority_folder = folder_of(cli, "--folder", AUTHORITY_FOLDER);
    const char *host_folder = folder_of(cli, "--host-folder", HOST_FOLDER);
    struct tls_identity identity;
    int64_t days = AUTHORITY_CERTIFICATE_LIFETIME_S / DAY_S;
    int result = arguments_integer(&cli->arguments, "--days", 1, 3650, &days, err);
    if (result == 0) {
        result = tls_identity_make(TLS_ROLE_HOST, host, addresses, count, &identity, err);
    }
    if (result == 0) {
        result = authority_init(authority_folder, days * DAY_S, err);
    }
    if (result == 0) {
        result = certify_host(authority_folder, host_folder, &identity, err);
    }
    return result < 0 ? result : print(cli, host, authority_folder, host_folder, err);
}
