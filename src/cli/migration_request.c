/* What drover vm migrate asks for: see migration.h. */
#include "base/file.h"
#include "base/json.h"
#include "cli/migration.h"

#define BLACKOUT_MS_MOST 60000
#define TIMEOUT_SECONDS_MOST 604800 /* a week */
#define CHANNELS_MOST 64

const struct option_spec vm_migrate_options[] = {
    {"--to", "HOST", "where to"},
    {"--dry-run", NULL, "only check, change nothing; exit code 5 when something blocks the move"},
    {"--blackout", "MS", "the longest stop of the guest to aim at (50)"},
    {"--pace", "on|off", "let writers in the guest wait when the link cannot keep up (on)"},
    {"--timeout", "SECONDS", "the time limit for all until the switchover (none)"},
    {"--on-timeout", "WHAT", "abort: give up then; stop: move with a longer blackout (abort)"},
    {"--compress", "auto|off", "compress where it makes the move faster (auto)"},
    {"--channels", "N", "connections at most (as many as pay)"},
    {"--engine", "NAME", "auto, drover or native, QEMU's own migration (auto)"},
    {"--bandwidth", "RATE", "send no more than this a second, such as 100M (no limit)"},
    {"--progress", "KIND", "live, plain, json or none; live on a terminal, else plain"},
    {"--no-wait", NULL, "leave the move to the agent at once, and print the task's id"},
    {NULL},
};

static int add_limits(const struct arguments *arguments, json_t *request, struct error *err)
{
    int64_t blackout_ms = 50;
    int64_t timeout_s = 0;
    uint64_t bandwidth = 0;
    if (arguments_integer(arguments, "--blackout", 1, BLACKOUT_MS_MOST, &blackout_ms, err) < 0 ||
        arguments_integer(arguments, "--timeout", 1, TIMEOUT_SECONDS_MOST, &timeout_s, err) < 0 ||
        arguments_size(arguments, "--bandwidth", &bandwidth, err) < 0) {
        return -EINVAL;
    }
    CLEANUP_JSON json_t *limits =
        json_pack("{s:I,s:I,s:I}", "blackout_ms", (json_int_t)blackout_ms, "timeout_s",
                  (json_int_t)timeout_s, "bandwidth_limit", (json_int_t)bandwidth);
    return json_object_update(request, limits) < 0
               ? error_set_errno(err, ENOMEM, "cannot ask for the move")
               : 0;
}

/* What was not given is left out: the agent has the defaults. */
static int add_choices(const struct arguments *arguments, json_t *request, struct error *err)
{
    static const struct {
        const char *option;
        const char *key;
        const char *words[4];
    } choices[] = {
        {"--pace", "pace", {"on", "off"}},
        {"--on-timeout", "on_timeout", {"abort", "stop"}},
        {"--compress", "compress", {"auto", "off"}},
        {"--engine", "engine", {"auto", "drover", "native"}},
    };
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        int index = -1;
        int result = arguments_choice(arguments, choices[i].option, choices[i].words, &index, err);
        if (result == 0 && index >= 0) {
            result =
                json_object_set_new(request, choices[i].key, json_string(choices[i].words[index]));
        }
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int add_channels(const struct arguments *arguments, json_t *request, struct error *err)
{
    int64_t channels = -1;
    int result = arguments_integer(arguments, "--channels", 0, CHANNELS_MOST, &channels, err);
    if (result == 0 && channels >= 0) {
        result = json_object_set_new(request, "channels", json_integer((json_int_t)channels));
    }
    return result;
}

static int check_arguments(const struct arguments *arguments, struct error *err)
{
    const char *to = arguments_value(arguments, "--to");
    if (!to) {
        error_set(err, EINVAL, "drover vm migrate needs a destination");
        return error_remedy(err, "name it with --to HOST; drover host show lists the peers");
    }
    if (!file_name_is_safe(to)) {
        return error_set(err, EINVAL, "\"%s\" cannot be the name of a host", to);
    }
    if (arguments_has(arguments, "--on-timeout") && !arguments_has(arguments, "--timeout")) {
        error_set(err, EINVAL, "--on-timeout without a time limit");
        return error_remedy(err, "give one with --timeout SECONDS");
    }
    return 0;
}

int migration_request(const struct arguments *arguments, json_t **ret_request, struct error *err)
{
    if (check_arguments(arguments, err) < 0) {
        return -err->code;
    }
    CLEANUP_JSON json_t *request = json_pack("{s:s,s:b}", "to", arguments_value(arguments, "--to"),
                                             "dry_run", arguments_has(arguments, "--dry-run"));
    if (!request) {
        return error_set_errno(err, ENOMEM, "cannot ask for the move");
    }
    int result = add_limits(arguments, request, err);
    if (result == 0) {
        result = add_choices(arguments, request, err);
    }
    if (result == 0) {
        result = add_channels(arguments, request, err);
    }
    if (result == 0) {
        *ret_request = json_incref(request);
    }
    return result;
}
