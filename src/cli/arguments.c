/* Options and words: see arguments.h. */
#include "cli/arguments.h"

#include <stdlib.h>
#include <string.h>

#include "base/choice.h"
#include "base/units.h"
#include "cli/terminal.h"

static const struct option_spec *find_spec(const struct option_spec *specs, const char *name,
                                           size_t length)
{
    for (; specs && specs->name; specs++) {
        if (strlen(specs->name) == length && strncmp(specs->name, name, length) == 0) {
            return specs;
        }
    }
    return NULL;
}

static size_t collect_names(const struct option_spec *specs, const char **names, size_t count)
{
    for (; specs && specs->name && count < ARGUMENTS_OPTIONS_MOST - 1; specs++) {
        names[count++] = specs->name;
    }
    names[count] = NULL;
    return count;
}

static int refuse_unknown(const char *text, const struct option_spec *specs,
                          const struct option_spec *common, struct error *err)
{
    const char *names[ARGUMENTS_OPTIONS_MOST];
    char name[64];
    size_t count = collect_names(specs, names, 0);
    collect_names(common, names, count);
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "="), text);
    error_set(err, EINVAL, "there is no option \"%s\" here", name);
    const char *nearest = text_nearest(name, names);
    return nearest ? error_remedy(err, "did you mean %s?", nearest)
                   : error_remedy(err, "add --help to see the options");
}

static int add_option(struct arguments *arguments, const struct option_spec *spec,
                      const char *value, struct error *err)
{
    if (arguments->option_count == ARGUMENTS_OPTIONS_MOST) {
        return error_set(err, EINVAL, "more than %d options", ARGUMENTS_OPTIONS_MOST);
    }
    arguments->options[arguments->option_count].spec = spec;
    arguments->options[arguments->option_count].value = value;
    arguments->option_count++;
    return 0;
}

/* Takes the option at argv[0], with its value; returns how many of argv that were. */
static int take_option(struct arguments *arguments, const struct option_spec *specs,
                       const struct option_spec *common, int argc, char **argv, struct error *err)
{
    const char *text = strcmp(argv[0], "-h") == 0 ? "--help" : argv[0];
    size_t length = strcspn(text, "=");
    const struct option_spec *spec = find_spec(specs, text, length);
    spec = spec ? spec : find_spec(common, text, length);
    if (!spec) {
        return refuse_unknown(text, specs, common, err);
    }
    const char *attached = text[length] ? text + length + 1 : NULL;
    if (attached && !spec->value) {
        return error_set(err, EINVAL, "option %s takes no value", spec->name);
    }
    if (spec->value && !attached && argc < 2) {
        return error_set(err, EINVAL, "option %s needs a value: %s", spec->name, spec->value);
    }
    bool separate = spec->value && !attached;
    int result = add_option(arguments, spec, separate ? argv[1] : attached, err);
    return result < 0 ? result : 1 + separate;
}

static bool is_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0';
}

static int add_word(struct arguments *arguments, const char *word, struct error *err)
{
    if (arguments->word_count == ARGUMENTS_WORDS_MOST) {
        return error_set(err, EINVAL, "too many arguments, at \"%s\"", word);
    }
    arguments->words[arguments->word_count++] = word;
    return 0;
}

int arguments_parse_leading(struct arguments *arguments, const struct option_spec *specs, int argc,
                            char **argv, struct error *err)
{
    int index = 0;
    while (index < argc && is_option(argv[index])) {
        int taken = take_option(arguments, specs, NULL, argc - index, argv + index, err);
        if (taken < 0) {
            return taken;
        }
        index += taken;
    }
    return index;
}

int arguments_parse(struct arguments *arguments, const struct option_spec *specs,
                    const struct option_spec *common, int argc, char **argv, struct error *err)
{
    bool words_only = false;
    for (int index = 0; index < argc;) {
        int taken = 1;
        if (!words_only && strcmp(argv[index], "--") == 0) {
            words_only = true;
        } else if (!words_only && is_option(argv[index])) {
            taken = take_option(arguments, specs, common, argc - index, argv + index, err);
        } else if (add_word(arguments, argv[index], err) < 0) {
            return -EINVAL;
        }
        if (taken < 0) {
            return taken;
        }
        index += taken;
    }
    return 0;
}

bool arguments_has(const struct arguments *arguments, const char *name)
{
    for (size_t i = 0; i < arguments->option_count; i++) {
        if (strcmp(arguments->options[i].spec->name, name) == 0) {
            return true;
        }
    }
    return false;
}

const char *arguments_value(const struct arguments *arguments, const char *name)
{
    for (size_t i = arguments->option_count; i > 0; i--) {
        if (strcmp(arguments->options[i - 1].spec->name, name) == 0) {
            return arguments->options[i - 1].value;
        }
    }
    return NULL;
}

size_t arguments_values(const struct arguments *arguments, const char *name,
                        const char **ret_values, size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < arguments->option_count && count < most; i++) {
        if (strcmp(arguments->options[i].spec->name, name) == 0) {
            ret_values[count++] = arguments->options[i].value;
        }
    }
    return count;
}

int arguments_choice(const struct arguments *arguments, const char *name, const char *const *words,
                     int *ret_index, struct error *err)
{
    char list[128];
    const char *text = arguments_value(arguments, name);
    int index = text ? choice_find(words, text) : -1;
    if (!text) {
        return 0;
    }
    if (index < 0) {
        choice_list(words, list, sizeof(list));
        error_set(err, EINVAL, "%s cannot be \"%s\"", name, text);
        return error_remedy(err, "use %s", list);
    }
    *ret_index = index;
    return 0;
}

int arguments_integer(const struct arguments *arguments, const char *name, int64_t lowest,
                      int64_t highest, int64_t *ret_value, struct error *err)
{
    const char *text = arguments_value(arguments, name);
    if (!text) {
        return 0;
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < lowest || value > highest) {
        return error_set(err, EINVAL, "%s must be a whole number from %lld to %lld, not \"%s\"",
                         name, (long long)lowest, (long long)highest, text);
    }
    *ret_value = value;
    return 0;
}

int arguments_size(const struct arguments *arguments, const char *name, uint64_t *ret_bytes,
                   struct error *err)
{
    const char *text = arguments_value(arguments, name);
    if (text && units_parse_size(text, ret_bytes, err) < 0) {
        return error_wrap(err, "%s", name);
    }
    return 0;
}
