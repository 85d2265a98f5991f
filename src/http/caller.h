/*
 * Who is at the other end of a connection.
 *
 * Over the UNIX socket: whoever the kernel says it is (SO_PEERCRED), root or in a group. Over TCP:
 * whose certificate the TLS handshake has accepted, or an operator who shows the token; who shows
 * neither is nobody.
 */
#pragma once

#include <libwebsockets.h>
#include <sys/types.h>

#include "http/request.h"

struct http_admission {
    const char *token; /* empty or NULL: there is none */
    gid_t group;       /* whose members may use the UNIX socket, besides root; 0: nobody */
};

/* -EACCES for who may not use the UNIX socket, -EKEYREJECTED for a wrong token, -EINVAL for a
 * certificate that names nobody. */
int http_caller_identify(struct lws *wsi, bool over_tcp, const struct http_admission *admission,
                         struct caller *ret_caller, struct error *err);

/* The group's number; 0 when the machine has no such group. */
gid_t http_caller_group(const char *name);
