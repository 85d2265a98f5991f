/* Who is at the other end: see caller.h. */
#include "http/caller.h"

#include <grp.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/tls.h"

#define GROUP_BYTES 16384
#define GROUPS_MOST 65536

gid_t http_caller_group(const char *name)
{
    char room[GROUP_BYTES];
    struct group entry;
    struct group *found = NULL;
    return getgrnam_r(name, &entry, room, sizeof(room), &found) == 0 && found ? found->gr_gid : 0;
}

/* ---- UNIX ---- */

static bool has_group(int fd, gid_t group)
{
    socklen_t size = GROUPS_MOST * sizeof(gid_t);
    CLEANUP_FREE gid_t *groups = malloc(size);
    if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
        return false;
    }
    for (size_t i = 0; i < size / sizeof(gid_t); i++) {
        if (groups[i] == group) {
            return true;
        }
    }
    return false;
}

static int identify_local(int fd, const struct http_admission *admission, struct caller *ret_caller,
                          struct error *err)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        return error_set_errno(err, errno, "cannot tell who is at the UNIX socket");
    }
    if (peer.uid != 0 && (admission->group == 0 ||
                          (peer.gid != admission->group && !has_group(fd, admission->group)))) {
        error_set(err, EACCES, "user %u may not talk to this agent", peer.uid);
        return error_remedy(err, "run this as root, or as a member of the group drover");
    }
    ret_caller->kind = CALLER_OPERATOR;
    snprintf(ret_caller->name, sizeof(ret_caller->name), "uid %u", peer.uid);
    return 0;
}

/* ---- TCP ---- */

/* Constant time for tokens of the right length. */
static bool is_token(const char *given, const char *token)
{
    static const char scheme[] = "Bearer ";
    size_t length = strlen(token);
    return length > 0 && strlen(given) == strlen(scheme) + length &&
           strncasecmp(given, scheme, strlen(scheme)) == 0 &&
           CRYPTO_memcmp(given + strlen(scheme), token, length) == 0;
}

static int identify_by_token(struct lws *wsi, const char *token, struct caller *ret_caller,
                             struct error *err)
{
    char given[256];
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_AUTHORIZATION) == 0) {
        *ret_caller = (struct caller){.kind = CALLER_NOBODY};
        return 0;
    }
    int length = lws_hdr_copy(wsi, given, sizeof(given), WSI_TOKEN_HTTP_AUTHORIZATION);
    if (length <= 0 || !is_token(given, token ? token : "")) {
        error_set(err, EKEYREJECTED, "the request shows no valid token");
        return error_remedy(err,
                            "send \"Authorization: Bearer TOKEN\" with the token of token_file");
    }
    *ret_caller = (struct caller){.kind = CALLER_OPERATOR, .name = "token"};
    return 0;
}

int http_caller_identify(struct lws *wsi, bool over_tcp, const struct http_admission *admission,
                         struct caller *ret_caller, struct error *err)
{
    struct tls_identity identity;
    if (!over_tcp) {
        return identify_local(lws_get_socket_fd(wsi), admission, ret_caller, err);
    }
    int result = tls_peer_identity(lws_get_ssl(wsi), &identity, err);
    if (result == 0) {
        return identify_by_token(wsi, admission->token, ret_caller, err);
    }
    if (result > 0) {
        ret_caller->kind = identity.role == TLS_ROLE_HOST ? CALLER_HOST : CALLER_OPERATOR;
        snprintf(ret_caller->name, sizeof(ret_caller->name), "%s", identity.name);
    }
    return result < 0 ? result : 0;
}
