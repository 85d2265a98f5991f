/* Checked JSON: see json.h. */
#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/choice.h"
#include "base/cleanup.h"
#include "base/file.h"

json_t *json_parse(const char *text, size_t length, const char *what, struct error *err)
{
    json_error_t reason;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &reason);
    if (!value) {
        error_set(err, EINVAL, "%s is not valid JSON: line %d, column %d: %s", what, reason.line,
                  reason.column, reason.text);
    }
    return value;
}

json_t *json_read_file(const char *path, size_t limit, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    if (file_read(path, limit, &content, err) < 0) {
        return NULL;
    }
    return json_parse((const char *)content.data, content.length, path, err);
}

int json_write_file(const char *path, const json_t *value, mode_t mode, struct error *err)
{
    CLEANUP_FREE char *text = json_dumps(value, JSON_INDENT(2));
    if (!text) {
        return error_set_errno(err, ENOMEM, "cannot write %s", path);
    }
    return file_write_atomic(path, text, strlen(text), mode, err);
}

/* The value at key, or NULL when it is missing or null; -EINVAL when `object` is none. */
static int find(const json_t *object, const char *what, const char *key, json_t **ret_value,
                struct error *err)
{
    if (!json_is_object(object)) {
        return error_set(err, EINVAL, "%s: an object was expected where \"%s\" is read", what, key);
    }
    json_t *value = json_object_get(object, key);
    *ret_value = json_is_null(value) ? NULL : value;
    return 0;
}

static int missing(const char *what, const char *key, struct error *err)
{
    return error_set(err, EINVAL, "%s: \"%s\" is missing", what, key);
}

int json_get_string_or(const json_t *object, const char *what, const char *key,
                       const char *otherwise, const char **ret_value, struct error *err)
{
    json_t *value;
    int result = find(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    if (value && !json_is_string(value)) {
        return error_set(err, EINVAL, "%s: \"%s\" must be a string", what, key);
    }
    if (value && strlen(json_string_value(value)) != json_string_length(value)) {
        return error_set(err, EINVAL, "%s: \"%s\" contains a null byte", what, key);
    }
    *ret_value = value ? json_string_value(value) : otherwise;
    return 0;
}

int json_get_string(const json_t *object, const char *what, const char *key, const char **ret_value,
                    struct error *err)
{
    const char *value;
    int result = json_get_string_or(object, what, key, NULL, &value, err);
    if (result < 0) {
        return result;
    }
    if (!value) {
        return missing(what, key, err);
    }
    *ret_value = value;
    return 0;
}

int json_get_choice_or(const json_t *object, const char *what, const char *key,
                       const char *const *words, int otherwise, int *ret_index, struct error *err)
{
    char list[128];
    const char *text;
    int result = json_get_string_or(object, what, key, words[otherwise], &text, err);
    if (result < 0) {
        return result;
    }
    int index = choice_find(words, text);
    if (index < 0) {
        choice_list(words, list, sizeof(list));
        return error_set(err, EINVAL, "%s: \"%s\" must be %s, not \"%s\"", what, key, list, text);
    }
    *ret_index = index;
    return 0;
}

static int read_integer(const json_t *value, const char *what, const char *key, int64_t lowest,
                        int64_t highest, int64_t *ret_value, struct error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < lowest ||
        json_integer_value(value) > highest) {
        return error_set(err, EINVAL, "%s: \"%s\" must be a whole number from %lld to %lld", what,
                         key, (long long)lowest, (long long)highest);
    }
    *ret_value = json_integer_value(value);
    return 0;
}

int json_get_integer(const json_t *object, const char *what, const char *key, int64_t lowest,
                     int64_t highest, int64_t *ret_value, struct error *err)
{
    json_t *value;
    int result = find(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    return value ? read_integer(value, what, key, lowest, highest, ret_value, err)
                 : missing(what, key, err);
}

int json_get_integer_or(const json_t *object, const char *what, const char *key, int64_t lowest,
                        int64_t highest, int64_t otherwise, int64_t *ret_value, struct error *err)
{
    json_t *value;
    int result = find(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    if (value) {
        return read_integer(value, what, key, lowest, highest, ret_value, err);
    }
    *ret_value = otherwise;
    return 0;
}

int json_get_boolean_or(const json_t *object, const char *what, const char *key, bool otherwise,
                        bool *ret_value, struct error *err)
{
    json_t *value;
    int result = find(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    if (value && !json_is_boolean(value)) {
        return error_set(err, EINVAL, "%s: \"%s\" must be true or false", what, key);
    }
    *ret_value = value ? json_is_true(value) : otherwise;
    return 0;
}

int json_get_array_or_empty(const json_t *object, const char *what, const char *key,
                            json_t **ret_value, struct error *err)
{
    json_t *value;
    int result = find(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    if (value && !json_is_array(value)) {
        return error_set(err, EINVAL, "%s: \"%s\" must be a list", what, key);
    }
    *ret_value = value;
    return 0;
}

int json_get_object_or_null(const json_t *object, const char *what, const char *key,
                            json_t **ret_value, struct error *err)
{
    json_t *value;
    int result = find(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    if (value && !json_is_object(value)) {
        return error_set(err, EINVAL, "%s: \"%s\" must be an object", what, key);
    }
    *ret_value = value;
    return 0;
}

static int is_known(const char *key, const char *const *known)
{
    for (; *known; known++) {
        if (strcmp(key, *known) == 0) {
            return 1;
        }
    }
    return 0;
}

int json_refuse_unknown_keys(const json_t *object, const char *what, const char *const *known,
                             struct error *err)
{
    if (!json_is_object(object)) {
        return error_set(err, EINVAL, "%s must be an object", what);
    }
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value) {
        if (!is_known(key, known)) {
            return error_set(err, EINVAL, "%s: \"%s\" is not a key that this version knows", what,
                             key);
        }
    }
    return 0;
}

json_t *json_string_of_any(const char *text)
{
    json_t *string = json_string(text);
    if (string) {
        return string;
    }
    CLEANUP_FREE char *ascii = strdup(text);
    for (char *byte = ascii; byte && *byte; byte++) {
        *byte = (unsigned char)*byte < 0x80 ? *byte : '?';
    }
    return ascii ? json_string(ascii) : NULL;
}

void json_wipe(json_t *object, const char *key)
{
    const json_t *string = json_object_get(object, key);
    char *text = (char *)json_string_value(string); /* nobody has a use for it any more */
    if (text) {
        explicit_bzero(text, json_string_length(string));
    }
}

json_t *json_from_error(const struct error *err)
{
    return json_pack("{s:{s:o,s:o,s:i}}", "error", "message", json_string_of_any(err->message),
                     "remedy", json_string_of_any(err->remedy), "code", err->code);
}

int json_to_error(const json_t *object, struct error *err)
{
    const json_t *inner = json_object_get(object, "error");
    const char *message = json_string_value(json_object_get(inner, "message"));
    const char *remedy = json_string_value(json_object_get(inner, "remedy"));
    int code = (int)json_integer_value(json_object_get(inner, "code"));
    error_set(err, code > 0 && code < 4096 ? code : EIO, "%s",
              message && message[0] ? message : "unknown error");
    return error_remedy(err, "%s", remedy ? remedy : "");
}
