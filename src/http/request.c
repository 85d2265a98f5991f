/* Routes and queries: see request.h. */
#include "http/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* One component: from `text` to the next slash or the end. */
static size_t component_length(const char *text)
{
    return strcspn(text, "/");
}

int route_match(const char *pattern, const char *path,
                char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE])
{
    size_t found = 0;
    while (*pattern == '/' && *path == '/') {
        pattern++;
        path++;
        size_t wanted = component_length(pattern);
        size_t given = component_length(path);
        if (wanted == 2 && strncmp(pattern, "{}", 2) == 0) {
            if (given == 0 || given >= REQUEST_PARAMETER_SIZE || found == REQUEST_PARAMETERS_MOST) {
                return false;
            }
            memcpy(parameters[found], path, given);
            parameters[found++][given] = '\0';
        } else if (wanted != given || strncmp(pattern, path, wanted) != 0) {
            return false;
        }
        pattern += wanted;
        path += given;
    }
    return *pattern == '\0' && *path == '\0';
}

const struct route *route_find(const struct route *routes, size_t count, struct request *request,
                               struct error *err)
{
    bool path_exists = false;
    for (size_t i = 0; i < count; i++) {
        if (route_match(routes[i].pattern, request->path, request->parameters)) {
            if (routes[i].method == request->method) {
                return &routes[i];
            }
            path_exists = true;
        }
    }
    if (path_exists) {
        error_set(err, ENOSYS, "this method is not for %s", request->path);
    } else {
        error_set(err, ENOENT, "there is nothing at %s", request->path);
    }
    error_remedy(err, "docs/openapi.yaml lists the calls");
    return NULL;
}

int request_check_access(const struct caller *caller, enum access access, bool is_peer,
                         const char *host, struct error *err)
{
    if (caller->kind == CALLER_OPERATOR || access == ACCESS_ANYONE) {
        return 0;
    }
    if (caller->kind == CALLER_NOBODY) {
        error_set(err, EKEYREJECTED, "the request shows neither a certificate nor a token");
        return error_remedy(err, "use an operator's certificate (drover ca join), or send "
                                 "\"Authorization: Bearer TOKEN\" with the token of token_file");
    }
    if (access == ACCESS_OPERATOR) {
        return error_set(err, EACCES,
                         "this call is for operators: the certificate of host %s is "
                         "not enough for it",
                         caller->name);
    }
    if (access == ACCESS_PEER && !is_peer) {
        error_set(err, EACCES, "host %s is no peer of host %s", caller->name, host);
        return error_remedy(err, "add it to \"peers\" in the configuration of host %s", host);
    }
    return 0;
}

/* The text after "key=", up to the next "&"; NULL when it is not there. */
static const char *query_value(const char *query, const char *key, size_t *ret_length)
{
    size_t key_length = strlen(key);
    while (*query) {
        size_t length = strcspn(query, "&");
        if (length > key_length && strncmp(query, key, key_length) == 0 &&
            query[key_length] == '=') {
            *ret_length = length - key_length - 1;
            return query + key_length + 1;
        }
        query += length + (query[length] == '&');
    }
    return NULL;
}

int request_query_integer(const struct request *request, const char *key, int64_t lowest,
                          int64_t highest, int64_t otherwise, int64_t *ret_value, struct error *err)
{
    size_t length;
    const char *text = query_value(request->query, key, &length);
    if (!text) {
        *ret_value = otherwise;
        return 0;
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || length == 0 || end != text + length || value < lowest || value > highest) {
        return error_set(err, EINVAL, "\"%s\" must be a whole number from %lld to %lld", key,
                         (long long)lowest, (long long)highest);
    }
    *ret_value = value;
    return 0;
}

int request_error_status(int code)
{
    switch (code) {
    case ENOSYS:
        return 405;
    case EKEYREJECTED:
        return 401;
    case EMSGSIZE:
        return 413;
    default:
        return error_http_status(code);
    }
}
