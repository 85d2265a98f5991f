/*
 * Reading JSON that someone else wrote: every getter checks presence, type and range, and its error
 * says which key of which object is wrong. Values are jansson's; borrowed results live as long as
 * the object.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

static inline void json_cleanup(json_t **value)
{
    json_decref(*value);
}
#define CLEANUP_JSON __attribute__((cleanup(json_cleanup)))

/* Parses text (duplicate keys refused). `what` names it in errors. Returns a new reference or NULL.
 */
json_t *json_parse(const char *text, size_t length, const char *what, struct error *err);

/* Reads and parses a file of at most `limit` bytes. */
json_t *json_read_file(const char *path, size_t limit, struct error *err);

/* Writes a value as indented JSON with file_write_atomic(). */
int json_write_file(const char *path, const json_t *value, mode_t mode, struct error *err);

/* Getters: 0, or -EINVAL with err filled. `what` names the object ("vm.json"). The `_or` forms take
 * a default for a missing (or null) key. */
int json_get_string(const json_t *object, const char *what, const char *key, const char **ret_value,
                    struct error *err);
int json_get_string_or(const json_t *object, const char *what, const char *key,
                       const char *otherwise, const char **ret_value, struct error *err);
int json_get_integer(const json_t *object, const char *what, const char *key, int64_t lowest,
                     int64_t highest, int64_t *ret_value, struct error *err);
int json_get_integer_or(const json_t *object, const char *what, const char *key, int64_t lowest,
                        int64_t highest, int64_t otherwise, int64_t *ret_value, struct error *err);
int json_get_boolean_or(const json_t *object, const char *what, const char *key, bool otherwise,
                        bool *ret_value, struct error *err);
/* One of a list of words that ends with NULL: its index in the list. */
int json_get_choice_or(const json_t *object, const char *what, const char *key,
                       const char *const *words, int otherwise, int *ret_index, struct error *err);
/* A missing array gives NULL, which json_array_size() and json_array_foreach() take as empty. */
int json_get_array_or_empty(const json_t *object, const char *what, const char *key,
                            json_t **ret_value, struct error *err);
int json_get_object_or_null(const json_t *object, const char *what, const char *key,
                            json_t **ret_value, struct error *err);

/* -EINVAL when the object has a key that is not in the NULL-terminated list, naming it. */
int json_refuse_unknown_keys(const json_t *object, const char *what, const char *const *known,
                             struct error *err);

/* A string of text that may not be UTF-8 (a file's name, a truncated message), which jansson
 * refuses: then each byte beyond ASCII becomes '?'. New reference; NULL without memory. */
json_t *json_string_of_any(const char *text);

/* Overwrites the string at `key`, if there is one, where it is in memory: a secret that was used.
 */
void json_wipe(json_t *object, const char *key);

/* {"error": {"message", "remedy", "code"}} : the shape of every error in the API. New reference. */
json_t *json_from_error(const struct error *err);

/* Fills err from such an object. Returns -err->code. */
int json_to_error(const json_t *object, struct error *err);
