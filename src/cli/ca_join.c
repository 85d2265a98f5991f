/*
 * drover ca join: a certificate for this host, or for who runs this. The key is made here and stays
 * here; what goes to the authority is a request and the token's secret, over a connection on which
 * only the authority that the token names is believed.
 *
 * A token is a secret: it is read from a file, standard input or the terminal, never from the
 * command line, which all users of a machine can see.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/tls_folder.h"
#include "ca/join_token.h"
#include "cli/command.h"

#define HOST_FOLDER "/var/lib/drover/tls"
#define TOKEN_BYTES_MOST 4096
#define TOKEN_VARIABLE "DROVER_JOIN_TOKEN_FILE"

const struct option_spec ca_join_options[] = {
    {"--join-token-file", "FILE", "holds the token (or " TOKEN_VARIABLE "; else it is asked for)"},
    {"--folder", "FOLDER",
     "where the certificate goes (a host's: " HOST_FOLDER ", an operator's: --tls)"},
    {NULL},
};

/* ---- the token ---- */

/* As for a password: what is typed is not shown. */
static int ask(const struct cli *cli, char *line, size_t size, struct error *err)
{
    struct termios before;
    bool hides = tcgetattr(STDIN_FILENO, &before) == 0;
    if (hides) {
        struct termios hidden = before;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
        fprintf(cli->notes.stream, "Join token: ");
        fflush(cli->notes.stream);
    }
    const char *got = fgets(line, (int)size, stdin);
    if (hides) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', cli->notes.stream);
    }
    return got ? 0 : error_set(err, EINVAL, "no join token was given");
}

static int read_file(const char *path, char *line, size_t size, struct error *err)
{
    struct buffer content = {0};
    int result = file_read(path, size - 1, &content, err);
    if (result == 0) {
        memcpy(line, content.data, content.length + 1);
        OPENSSL_cleanse(content.data, content.length);
    }
    buffer_done(&content);
    return result;
}

static int get_token(const struct cli *cli, struct join_token *ret_token, struct error *err)
{
    char line[TOKEN_BYTES_MOST] = "";
    const char *path = arguments_value(&cli->arguments, "--join-token-file");
    path = path ? path : getenv(TOKEN_VARIABLE);
    int result = path && path[0] && strcmp(path, "-") != 0
                     ? read_file(path, line, sizeof(line), err)
                     : ask(cli, line, sizeof(line), err);
    if (result == 0) {
        result = join_token_read(line, ret_token, err);
    }
    OPENSSL_cleanse(line, sizeof(line));
    return result;
}

/* ---- the authority ---- */

static int ask_authority(const char *address, const struct join_token *token, const char *request,
                         json_t **ret_answer, struct error *err)
{
    struct api *api = NULL;
    CLEANUP_FREE char *connect = file_path("https://%s", address);
    CLEANUP_JSON json_t *body =
        json_pack("{s:s, s:s}", "secret", token->secret, "request", request);
    if (!connect || !body) {
        return error_set_errno(err, ENOMEM, "cannot ask the authority");
    }
    int result = api_new_pinned(connect, token->fingerprint, token->server, &api, err);
    if (result == 0) {
        result = api_call(api, "POST", "/v1/ca/join", body, API_SECONDS, ret_answer, err);
    }
    api_free(api);
    return result;
}

static int store(const json_t *answer, const char *folder, const struct join_token *token,
                 struct error *err)
{
    static const char what[] = "the authority's answer";
    struct tls_grant grant;
    int result = json_get_string(answer, what, "certificate", &grant.certificate, err);
    if (result == 0) {
        result = json_get_string(answer, what, "authorities", &grant.authorities, err);
    }
    if (result == 0) {
        result = json_get_string(answer, what, "revoked", &grant.revoked, err);
    }
    return result < 0 ? result : tls_folder_store(folder, token->role, token->name, &grant, err);
}

static const char *folder_for(const struct cli *cli, enum tls_role role)
{
    const char *folder = arguments_value(&cli->arguments, "--folder");
    if (folder || role == TLS_ROLE_HOST) {
        return folder ? folder : HOST_FOLDER;
    }
    folder = arguments_value(&cli->arguments, "--tls");
    folder = folder ? folder : getenv("DROVER_TLS");
    return folder && folder[0] ? folder : API_DEFAULT_TLS;
}

static int print(const struct cli *cli, const struct join_token *token, const char *folder,
                 struct error *err)
{
    if (cli->json) {
        CLEANUP_JSON json_t *answer =
            json_pack("{s:s, s:s, s:s, s:s}", "role", tls_role_words[token->role], "name",
                      token->name, "authority", token->server, "folder", folder);
        return command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream, "%s %s has its certificate in %s\n", tls_role_words[token->role],
            token->name, folder);
    if (token->role == TLS_ROLE_HOST) {
        fprintf(cli->output.stream,
                "In its droverd.json: \"tls\": {\"folder\": \"%s\", \"authority\": \"%s\"}\n",
                folder, token->server);
    }
    return 0;
}

int ca_join_command(struct cli *cli, struct error *err)
{
    struct join_token token;
    CLEANUP_FREE char *request = NULL;
    CLEANUP_JSON json_t *answer = NULL;
    int result = get_token(cli, &token, err);
    if (result < 0) {
        return result;
    }
    const char *folder = folder_for(cli, token.role);
    result = tls_folder_request(folder, token.role, &request, err);
    if (result == 0) {
        result = ask_authority(cli->arguments.words[0], &token, request, &answer, err);
    }
    if (result == 0) {
        result = store(answer, folder, &token, err);
    }
    if (result < 0) {
        tls_folder_abandon(folder, token.role);
    }
    OPENSSL_cleanse(token.secret, sizeof(token.secret));
    return result < 0 ? result : print(cli, &token, folder, err);
}
