/*
 * A failure, told the way a user should hear it: what failed, on which object, why, and what to do.
 *
 * Functions that can fail take `struct error *err` last and return a negative errno. The object
 * lives on the caller's stack and owns nothing. `err` may be NULL where nobody will read it. The
 * habit of an error object as last argument, wrapped on its way up, is crun's
 * (src/libcrun/error.h).
 */
#pragma once

#include <errno.h>
#include <stddef.h>

struct error {
    int code;          /* positive errno; decides exit code and HTTP status */
    char message[768]; /* one sentence, no full stop */
    char remedy[384];  /* what to do about it; empty when there is nothing to say */
};

/* An initialised, empty error. */
#define ERROR_NONE ((struct error){0})

/* Fills err with errno `code` (positive or negative) and a sentence; returns -code. */
int error_set(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set(), and appends ": " and the system's words for `code`. */
int error_set_errno(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message; keeps code and remedy. Returns -err->code. */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what to do. Returns -err->code. */
int error_remedy(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* HTTP status for an error's code (400, 404, 409, 503 ...), 500 for what has no better one. */
int error_http_status(int code);

/* Exit status of a command line program for an error's code; the table is in drover(1). */
int error_exit_status(int code);
