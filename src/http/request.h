/* A request and its answer, free of how they travel: what handlers see. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define REQUEST_PATH_SIZE 512
#define REQUEST_QUERY_SIZE 512
#define REQUEST_PARAMETERS_MOST 2
#define REQUEST_PARAMETER_SIZE 128
#define REQUEST_BODY_MOST ((size_t)1 << 20)

/* Who asks. What a host or an operator is called is what its certificate says. */
enum caller_kind { CALLER_NOBODY, CALLER_OPERATOR, CALLER_HOST };

#define CALLER_NAME_SIZE 64

struct caller {
    enum caller_kind kind;
    char name[CALLER_NAME_SIZE]; /* for the log, and a host's for what it may do */
};

/* Who may make a call, besides operators, who may make all. A host's certificate is good for what
 * moves and certificates take, and for nothing that steers VMs which are not its own. */
enum access {
    ACCESS_OPERATOR,
    ACCESS_PEER,   /* a host of the cluster that this one has among its peers */
    ACCESS_MEMBER, /* any host of the cluster */
    ACCESS_ANYONE  /* who shows nothing at all: the call has a secret of its own */
};

enum request_method { REQUEST_GET, REQUEST_POST, REQUEST_DELETE };

struct request {
    enum request_method method;
    char path[REQUEST_PATH_SIZE];   /* unescaped, without the query */
    char query[REQUEST_QUERY_SIZE]; /* "after=3&wait_ms=1000"; empty: none */
    char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE]; /* what "{}" stood for */
    json_t *body; /* an object; an empty one when there was no body */
    struct caller caller;
};

struct response {
    int status;
    json_t *body; /* owned */
};

/* Answers a request, on a worker thread; may block. Negative with err filled becomes an error
 * answer of the fitting status. */
typedef int request_handler(void *context, const struct request *request,
                            struct response *ret_response, struct error *err);

/* In the order in which a row is read. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct route {
    enum request_method method;
    const char *pattern; /* "/v1/vms/{}/start": each {} is one path component */
    request_handler *handler;
    enum access access; /* left out: operators */
};

/* Finds the route for request->method and ->path and fills request->parameters. NULL with err:
 * ENOENT, or ENOSYS when the path exists with other methods only (HTTP 405). */
const struct route *route_find(const struct route *routes, size_t count, struct request *request,
                               struct error *err);

/* Whether the caller may make the call: 0, -EKEYREJECTED for who showed nothing, -EACCES. `is_peer`
 * is whether a calling host is one of our peers; `host` is who we are, for the error. */
int request_check_access(const struct caller *caller, enum access access, bool is_peer,
                         const char *host, struct error *err);

/* Whether `path` fits `pattern`; fills parameters. */
int route_match(const char *pattern, const char *path,
                char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE]);

/* A whole number from the query; `otherwise` when it is not there. */
int request_query_integer(const struct request *request, const char *key, int64_t lowest,
                          int64_t highest, int64_t otherwise, int64_t *ret_value,
                          struct error *err);

/* HTTP status of an error: error_http_status(), and those that only the server knows. */
int request_error_status(int code);
