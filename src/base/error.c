/* Error objects: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A failure without a code would look like success. */
static int positive(int code)
{
    return code < 0 ? -code : code > 0 ? code : EIO;
}

/* Written aside first: the arguments may be err's own texts. */
static void set_message(struct error *err, int code, const char *format, va_list arguments)
{
    char message[sizeof(err->message)];
    vsnprintf(message, sizeof(message), format, arguments);
    *err = (struct error){.code = positive(code)};
    memcpy(err->message, message, sizeof(message));
}

int error_set(struct error *err, int code, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        set_message(err, code, format, arguments);
        va_end(arguments);
    }
    return -positive(code);
}

int error_set_errno(struct error *err, int code, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        set_message(err, code, format, arguments);
        va_end(arguments);
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof(err->message) - used, ": %s",
                 strerror(positive(code)));
    }
    return -positive(code);
}

int error_wrap(struct error *err, const char *format, ...)
{
    if (!err) {
        return -EIO;
    }
    char context[sizeof(err->message)];
    char message[sizeof(err->message)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof(context), format, arguments);
    va_end(arguments);
    memcpy(message, err->message, sizeof(message));
    size_t used = (size_t)snprintf(err->message, sizeof(err->message), "%s", context);
    if (used < sizeof(err->message)) {
        snprintf(err->message + used, sizeof(err->message) - used, ": %s", message);
    }
    return -positive(err->code);
}

int error_remedy(struct error *err, const char *format, ...)
{
    if (!err) {
        return -EIO;
    }
    char remedy[sizeof(err->remedy)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(remedy, sizeof(remedy), format, arguments);
    va_end(arguments);
    snprintf(err->remedy, sizeof(err->remedy), "%s", remedy);
    return -positive(err->code);
}

struct code_row {
    int code;
    int http_status;
    int exit_status;
};

/* Exit statuses: 1 other failure, 2 bad usage, 3 not found, 4 refused in this state, 5 blocked by a
 * check, 6 cancelled, 7 peer or agent not reachable, 8 timed out. */
static const struct code_row code_rows[] = {
    {EINVAL, 400, 2},      {E2BIG, 413, 2},      {EPROTO, 400, 1},       {EACCES, 403, 1},
    {EPERM, 403, 1},       {ENOENT, 404, 3},     {EEXIST, 409, 4},       {EBUSY, 409, 4},
    {ENOTSUP, 409, 5},     {ECANCELED, 409, 6},  {ECONNREFUSED, 503, 7}, {EHOSTUNREACH, 503, 7},
    {ENETUNREACH, 503, 7}, {ECONNRESET, 503, 7}, {ETIMEDOUT, 504, 8},    {ENOMEM, 507, 1},
    {ENOSPC, 507, 1},      {EFBIG, 413, 2},      {ENAMETOOLONG, 400, 2}, {EXDEV, 400, 2},
    {ELOOP, 400, 2},       {ENOTDIR, 400, 2},    {EISDIR, 400, 2},       {EADDRINUSE, 409, 4},
};

static const struct code_row *code_row_of(int code)
{
    for (size_t i = 0; i < sizeof(code_rows) / sizeof(code_rows[0]); i++) {
        if (code_rows[i].code == positive(code)) {
            return &code_rows[i];
        }
    }
    return NULL;
}

int error_http_status(int code)
{
    const struct code_row *row = code_row_of(code);
    return row ? row->http_status : 500;
}

int error_exit_status(int code)
{
    const struct code_row *row = code_row_of(code);
    return row ? row->exit_status : 1;
}
