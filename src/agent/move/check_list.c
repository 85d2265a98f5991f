/* Findings, the facts that they stand on, their verdict: see check_list.h and checks.h. */
#include "agent/move/check_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/move/checks.h"
#include "base/error.h"
#include "base/json.h"

static const char *const level_names[] = {"ok", "warn", "block"};

void check_add(json_t *list, enum check_level level, const char *what, const char *remedy,
               const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s}", "level", level_names[level],
                                          "what", what, "message", json_string_of_any(message),
                                          "remedy", remedy));
}

const char *check_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

const char *check_host_name(const json_t *host)
{
    const char *name = check_text(host, "name");
    return name ? name : "(a host without a name)";
}

const char *check_capability(const json_t *host, const char *key)
{
    return check_text(json_object_get(host, "capabilities"), key);
}

void check_block_untold(json_t *list, const char *what, const json_t *host, const char *fact)
{
    check_add(list, CHECK_BLOCK, what, "make sure that both hosts run the same version of Drover",
              "%s does not tell %s", check_host_name(host), fact);
}

void check_destination_is_another(const struct checks_move *move, json_t *list)
{
    const char *source = check_text(move->source, "name");
    const char *destination = check_text(move->destination, "name");
    if (source && destination && strcmp(source, destination) == 0) {
        check_add(list, CHECK_BLOCK, "destination", "name another host", "%s runs on %s already",
                  move->config->name, source);
    }
}

/* What cannot be understood must not pass. */
static enum check_level level_of(const json_t *check)
{
    const char *name = json_string_value(json_object_get(check, "level"));
    for (int level = CHECK_OK; name && level <= CHECK_BLOCK; level++) {
        if (strcmp(name, level_names[level]) == 0) {
            return (enum check_level)level;
        }
    }
    return CHECK_BLOCK;
}

const char *checks_verdict(const json_t *checks)
{
    enum check_level worst = json_is_array(checks) ? CHECK_OK : CHECK_BLOCK;
    size_t index;
    json_t *check;
    json_array_foreach (checks, index, check) {
        enum check_level level = level_of(check);
        worst = level > worst ? level : worst;
    }
    return level_names[worst];
}

int checks_to_error(const json_t *checks, struct error *err)
{
    size_t index;
    json_t *check;
    if (!json_is_array(checks)) {
        return error_set(err, EPROTO, "the checks before the move gave no answer");
    }
    json_array_foreach (checks, index, check) {
        if (level_of(check) == CHECK_BLOCK) {
            const char *message = json_string_value(json_object_get(check, "message"));
            const char *remedy = json_string_value(json_object_get(check, "remedy"));
            error_set(err, ENOTSUP, "%s", message ? message : "a check before the move blocks it");
            error_remedy(err, "%s", remedy ? remedy : "");
            return -ENOTSUP;
        }
    }
    return 0;
}
