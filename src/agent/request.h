/* A request and its answer, free of how they travel: what handlers see. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define REQUEST_PATH_SIZE 512
#define REQUEST_QUERY_SIZE 512
#define REQUEST_PARAMETERS_MOST 2
#define REQUEST_PARAMETER_SIZE 128
#define REQUEST_BODY_MOST ((size_t)1 << 20)

enum request_method { REQUEST_GET, REQUEST_POST, REQUEST_DELETE };

struct request {
    enum request_method method;
    char path[REQUEST_PATH_SIZE];   /* unescaped, without the query */
    char query[REQUEST_QUERY_SIZE]; /* "after=3&wait_ms=1000"; empty: none */
    char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE]; /* what "{}" stood for */
    json_t *body; /* an object; an empty one when there was no body */
};

struct response {
    int status;
    json_t *body; /* owned */
};

/* Answers a request, on a worker thread; may block. Negative with err filled becomes an error
 * answer of the fitting status. */
typedef int request_handler(void *context, const struct request *request,
                            struct response *ret_response, struct error *err);

struct route {
    enum request_method method;
    const char *pattern; /* "/v1/vms/{}/start": each {} is one path component */
    request_handler *handler;
};

/* Finds the route for request->method and ->path and fills request->parameters. NULL with err:
 * ENOENT, or ENOSYS when the path exists with other methods only (HTTP 405). */
const struct route *route_find(const struct route *routes, size_t count, struct request *request,
                               struct error *err);

/* Whether `path` fits `pattern`; fills parameters. */
int route_match(const char *pattern, const char *path,
                char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE]);

/* A whole number from the query; `otherwise` when it is not there. */
int request_query_integer(const struct request *request, const char *key, int64_t lowest,
                          int64_t highest, int64_t otherwise, int64_t *ret_value,
                          struct error *err);

/* HTTP status of an error: error_http_status(), and those that only the server knows. */
int request_error_status(int code);
