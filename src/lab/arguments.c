/* Options and words of the lab's commands: see command.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "lab/command.h"

#define DEFAULT_NAME "lab"
#define DEFAULT_HOSTS 3

/* Two words: the option and a number from 1 to `most`. */
static int parse_number(char **words, unsigned most, unsigned *ret_number, struct error *err)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(words[1], &end, 10);
    if (errno || *end || end == words[1] || number < 1 || number > most) {
        return error_set(err, EINVAL, "%s takes a number from 1 to %u, not \"%s\"", words[0], most,
                         words[1]);
    }
    *ret_number = (unsigned)number;
    return 2;
}

/* Two words: the option and one of those that a datastore knows. */
static int parse_kind(char **words, const char **ret_kind, struct error *err)
{
    static const char *const kinds[] = {"local", "file", "sanlock"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(words[1], kinds[i]) == 0) {
            *ret_kind = kinds[i];
            return 2;
        }
    }
    return error_set(err, EINVAL, "%s is local, file or sanlock, not \"%s\"", words[0], words[1]);
}

/* Two words: the option and heartbeat, end of machines and take-over in milliseconds. Whether they
 * fit together is the datastore's to say. */
static int parse_times(char **words, struct lab_lease *lease, struct error *err)
{
    char more;
    unsigned heartbeat, stop_after, takeover;
    if (sscanf(words[1], "%9u,%9u,%9u%c", &heartbeat, &stop_after, &takeover, &more) != 3 ||
        heartbeat == 0) {
        return error_set(err, EINVAL,
                         "%s takes three numbers of milliseconds (500,4000,7000), not \"%s\"",
                         words[0], words[1]);
    }
    lease->heartbeat_ms = heartbeat;
    lease->stop_after_ms = stop_after;
    lease->takeover_ms = takeover;
    return 2;
}

static bool wants_value(const char *option)
{
    static const char *const options[] = {"--name",       "--hosts",       "--migration-networks",
                                          "--lease-kind", "--lease-times", "--datastore-size"};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strcmp(option, options[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* An option at `index`; returns how many words it took. */
static int parse_option(int argc, char **argv, int index, struct lab_arguments *arguments,
                        struct error *err)
{
    const char *option = argv[index];
    if (wants_value(option) && index + 1 == argc) {
        return error_set(err, EINVAL, "%s wants a value", option);
    }
    if (strcmp(option, "--name") == 0) {
        arguments->lab_name = argv[index + 1];
        return 2;
    }
    if (strcmp(option, "--hosts") == 0) {
        return parse_number(argv + index, LAB_HOSTS_MOST, &arguments->hosts, err);
    }
    if (strcmp(option, "--migration-networks") == 0) {
        return parse_number(argv + index, LAB_MIGRATION_NETWORKS_MOST,
                            &arguments->migration_networks, err);
    }
    if (strcmp(option, "--lease-kind") == 0) {
        return parse_kind(argv + index, &arguments->lease.kind, err);
    }
    if (strcmp(option, "--lease-times") == 0) {
        return parse_times(argv + index, &arguments->lease, err);
    }
    if (strcmp(option, "--datastore-size") == 0) {
        int result = units_parse_size(argv[index + 1], &arguments->datastore_bytes, err);
        return result < 0 ? result : 2;
    }
    if (strcmp(option, "--no-agents") == 0) {
        arguments->agents = false;
    } else if (strcmp(option, "--json") == 0) {
        arguments->json = true;
    } else if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
        arguments->help = true;
    } else {
        error_set(err, EINVAL, "unknown option %s", option);
        return error_remedy(err, "\"drover lab --help\" lists them");
    }
    return 1;
}

static int check_words(const struct lab_command_row *row, const struct lab_arguments *arguments,
                       struct error *err)
{
    if (arguments->help ||
        (arguments->word_count >= row->words_least && arguments->word_count <= row->words_most)) {
        return 0;
    }
    error_set(err, EINVAL, "too %s words",
              arguments->word_count < row->words_least ? "few" : "many");
    return error_remedy(err, "usage: drover lab %s %s", row->name, row->words);
}

int lab_arguments_parse(const struct lab_command_row *row, int argc, char **argv,
                        struct lab_arguments *ret_arguments, struct error *err)
{
    struct lab_arguments arguments = {.lab_name = DEFAULT_NAME,
                                      .hosts = DEFAULT_HOSTS,
                                      .migration_networks = 1,
                                      .agents = true,
                                      .words = argv};
    bool options_end = false;
    for (int index = 0; index < argc;) {
        if (!options_end && strcmp(argv[index], "--") == 0) {
            options_end = true;
            index++;
        } else if (!options_end && argv[index][0] == '-') {
            int taken = parse_option(argc, argv, index, &arguments, err);
            if (taken < 0) {
                return taken;
            }
            index += taken;
        } else {
            argv[arguments.word_count++] = argv[index++];
            options_end |= row->takes_command && arguments.word_count == row->words_least;
        }
    }
    argv[arguments.word_count] = NULL; /* at most argv[argc], which is NULL already */
    *ret_arguments = arguments;
    return check_words(row, &arguments, err);
}
