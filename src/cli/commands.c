/* The table of commands, and how words find their way through it. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/command.h"

const struct command commands[] = {
    {"vm create", "NAME", "make a virtual machine", vm_create_command, vm_create_options, 1, 1},
    {"vm start", "NAME", "start it", vm_start_command, vm_start_options, 1, 1},
    {"vm stop", "NAME", "press its power button, or switch it off", vm_stop_command,
     vm_stop_options, 1, 1},
    {"vm list", "", "list virtual machines", vm_list_command, NULL, 0, 0},
    {"vm show", "NAME", "all about one of them", vm_show_command, NULL, 1, 1},
    {"vm console", "NAME", "its serial console; Ctrl-] leaves", vm_console_command, NULL, 1, 1},
    {"vm migrate", "NAME --to HOST", "move it to another host while it runs", vm_migrate_command,
     vm_migrate_options, 1, 1},
    {"vm rm", "NAME", "remove a stopped one, with its disks", vm_remove_command, vm_remove_options,
     1, 1},
    {"host show", "", "the host: memory, datastores, what was put right", host_show_command, NULL,
     0, 0},
    {"lease list", "", "who may run which machine, and who lives", lease_list_command, NULL, 0, 0},
    {"datastore show", "NAME", "a datastore, and how it keeps its leases", datastore_show_command,
     NULL, 1, 1},
    {"datastore set-lease", "NAME", "change that, while nothing uses it",
     datastore_set_lease_command, datastore_set_lease_options, 1, 1},
    {"task list", "", "what the agent does and did", task_list_command, NULL, 0, 0},
    {"task show", "ID", "one task, with the report of a migration", task_show_command, NULL, 1, 1},
    {"task cancel", "ID", "ask a task to give up", task_cancel_command, NULL, 1, 1},
    {"ca init", "HOST", "make a cluster's authority, on its first host", ca_init_command,
     ca_init_options, 1, 1},
    {"ca token", "NAME", "let a host (or an operator) join: a token for it", ca_token_command,
     ca_token_options, 1, 1},
    {"ca join", "ADDRESS:PORT", "get a certificate for this host or you", ca_join_command,
     ca_join_options, 1, 1},
    {"ca list", "", "certificates, and when they end", ca_list_command, NULL, 0, 0},
    {"ca renew", "", "get the agent's host another certificate now", ca_renew_command, NULL, 0, 0},
    {"ca revoke", "NAME", "make certificates void, at once", ca_revoke_command, ca_revoke_options,
     1, 1},
    {"ca rollover", "", "the next step to a new authority", ca_rollover_command, NULL, 0, 0},
    {"lab", "COMMAND", "a cluster on this machine to try things in", lab_run_command, NULL, 0, 0,
     true},
    {"version", "", "this program's version, and the agent's", version_command, NULL, 0, 0},
    {"help", "[COMMAND]", "this help, or a command's", help_command, NULL, 0, 2},
    {NULL},
};

const struct option_spec common_options[] = {
    {"--connect", "ADDRESS", "unix:PATH or https://HOST:PORT of an agent (or DROVER_CONNECT)"},
    {"--tls", "FOLDER", "certificates for https (or DROVER_TLS; else /etc/drover/tls)"},
    {"--token-file", "FILE", "holds the agent's token (or DROVER_TOKEN_FILE)"},
    {"--json", NULL, "print JSON"},
    {"--help", NULL, "print help"},
    {NULL},
};

/* The length of a name's first word. */
static size_t group_length(const char *name)
{
    return strcspn(name, " ");
}

static bool is_in_group(const struct command *command, const char *group)
{
    size_t length = group_length(command->name);
    return strlen(group) == length && strncmp(command->name, group, length) == 0;
}

static const struct command *find_exact(const char *group, const char *word)
{
    for (const struct command *command = commands; command->name; command++) {
        const char *rest = command->name + group_length(command->name);
        if (is_in_group(command, group) && (!*rest || (word && strcmp(rest + 1, word) == 0))) {
            return command;
        }
    }
    return NULL;
}

static bool group_exists(const char *group)
{
    for (const struct command *command = commands; command->name; command++) {
        if (is_in_group(command, group)) {
            return true;
        }
    }
    return false;
}

/* Collects what could stand in the place of a wrong word: a group's commands, or all groups. */
static void collect_words(const char *group, char words[][32], const char **ret_list, size_t most)
{
    size_t count = 0;
    for (const struct command *command = commands; command->name && count + 1 < most; command++) {
        size_t length = group_length(command->name);
        if (!group) {
            snprintf(words[count], sizeof(words[0]), "%.*s", (int)length, command->name);
        } else if (is_in_group(command, group)) {
            snprintf(words[count], sizeof(words[0]), "%s", command->name + length + 1);
        } else {
            continue;
        }
        ret_list[count] = words[count];
        count++;
    }
    ret_list[count] = NULL;
}

static int refuse_unknown(const char *group, const char *word, struct error *err)
{
    char words[32][32];
    const char *list[32];
    collect_words(group, words, list, 32);
    error_set(err, EINVAL, "there is no command \"%s%s%s\"", group ? group : "", group ? " " : "",
              word);
    const char *nearest = text_nearest(word, list);
    if (nearest) {
        return error_remedy(err, "did you mean \"drover %s%s%s\"?", group ? group : "",
                            group ? " " : "", nearest);
    }
    return error_remedy(err, "\"drover help\" lists the commands");
}

int command_find(int argc, char **argv, const struct command **ret_command, int *ret_used,
                 struct error *err)
{
    const char *second = argc > 1 ? argv[1] : NULL;
    const struct command *command = find_exact(argv[0], second);
    if (command) {
        *ret_used = command->name[group_length(command->name)] ? 2 : 1;
    } else if (!group_exists(argv[0])) {
        return refuse_unknown(NULL, argv[0], err);
    } else if (second && second[0] != '-') {
        return refuse_unknown(argv[0], second, err);
    } else {
        *ret_used = 1;
    }
    *ret_command = command;
    return 0;
}

int command_check_words(const struct command *command, const struct arguments *arguments,
                        struct error *err)
{
    if (arguments->word_count < command->words_least) {
        error_set(err, EINVAL, "drover %s needs more: %s", command->name, command->arguments);
        return error_remedy(err, "drover %s --help shows how", command->name);
    }
    if (arguments->word_count > command->words_most) {
        error_set(err, EINVAL, "drover %s does not know what to do with \"%s\"", command->name,
                  arguments->words[command->words_most]);
        return error_remedy(err, "drover %s --help shows how", command->name);
    }
    return 0;
}

int command_name(const struct cli *cli, size_t index, const char *what, const char **ret_name,
                 struct error *err)
{
    const char *name = cli->arguments.words[index];
    if (!file_name_is_safe(name)) {
        error_set(err, EINVAL, "\"%s\" cannot be the name of a %s", name, what);
        return error_remedy(err, "names are 1 to 63 of A-Z a-z 0-9 . _ - and do not begin with a "
                                 "dot or a dash");
    }
    *ret_name = name;
    return 0;
}

int command_print_json(const struct cli *cli, const json_t *value, struct error *err)
{
    if (json_dumpf(value, cli->output.stream, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) < 0) {
        return error_set(err, EIO, "cannot write the answer");
    }
    fputc('\n', cli->output.stream);
    return 0;
}

void command_print_error(const struct terminal *terminal, const struct error *err)
{
    char message[sizeof(err->message)];
    char remedy[sizeof(err->remedy)];
    text_clean(err->message, message, sizeof(message));
    text_clean(err->remedy, remedy, sizeof(remedy));
    fprintf(terminal->stream, "drover: %s\n", message);
    if (remedy[0]) {
        fprintf(terminal->stream, "  %s %s\n", terminal->utf8 ? "→" : "->", remedy);
    }
}
