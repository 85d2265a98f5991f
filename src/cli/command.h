/*
 * Commands: one file each, one table of them all (commands.c). A command gets what main() prepared
 * and returns 0, an exit status above 0 when it has told the user itself, or a negative errno with
 * err filled.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "cli/api.h"
#include "cli/arguments.h"
#include "cli/terminal.h"

struct cli {
    struct arguments arguments;
    struct api *api;
    struct terminal output; /* standard output */
    struct terminal notes;  /* standard error: progress and questions */
    bool json;
    int argc; /* for a command that parses them itself: its name's last word, and what follows */
    char **argv;
};

typedef int command_function(struct cli *cli, struct error *err);

struct command {
    const char *name;      /* "vm create" */
    const char *arguments; /* "NAME", for the help */
    const char *summary;   /* one line */
    command_function *run;
    const struct option_spec *options; /* NULL: none of its own */
    size_t words_least;
    size_t words_most;
    bool parses_itself; /* takes argc and argv as they are; no api */
};

/* The table; ends with an empty one. Commands of one group follow one another. */
extern const struct command commands[];

/* The options that every command takes. */
extern const struct option_spec common_options[];

/* Finds the command that the first words of argv name; *ret_used is how many. When they name only a
 * group ("vm"), the result is NULL and *ret_used 1. -EINVAL (and the nearest suggested) for what is
 * neither. */
int command_find(int argc, char **argv, const struct command **ret_command, int *ret_used,
                 struct error *err);

/* -EINVAL when there are too few or too many words. */
int command_check_words(const struct command *command, const struct arguments *arguments,
                        struct error *err);

/* Help: about everything (group NULL), a group ("vm"), or one command. */
void command_print_overview(const struct terminal *terminal, const char *group);
void command_print_help(const struct terminal *terminal, const struct command *command);

/* The word at `index`, checked to be a name that may be part of a path; `what` says whose. */
int command_name(const struct cli *cli, size_t index, const char *what, const char **ret_name,
                 struct error *err);

/* Prints a value as indented JSON on standard output. */
int command_print_json(const struct cli *cli, const json_t *value, struct error *err);

/* Prints a failure: "drover: MESSAGE", and below it the remedy behind an arrow. */
void command_print_error(const struct terminal *terminal, const struct error *err);

command_function ca_init_command;
command_function ca_join_command;
command_function ca_list_command;
command_function ca_renew_command;
command_function ca_revoke_command;
command_function ca_rollover_command;
command_function ca_token_command;
command_function datastore_set_lease_command;
command_function datastore_show_command;
command_function help_command;
command_function host_show_command;
command_function lab_run_command;
command_function lease_list_command;
command_function task_cancel_command;
command_function task_list_command;
command_function task_show_command;
command_function version_command;
command_function vm_console_command;
command_function vm_create_command;
command_function vm_list_command;
command_function vm_migrate_command;
command_function vm_remove_command;
command_function vm_show_command;
command_function vm_start_command;
command_function vm_stop_command;

extern const struct option_spec ca_init_options[];
extern const struct option_spec ca_join_options[];
extern const struct option_spec ca_revoke_options[];
extern const struct option_spec ca_token_options[];
extern const struct option_spec datastore_set_lease_options[];
extern const struct option_spec vm_create_options[];
extern const struct option_spec vm_migrate_options[];
extern const struct option_spec vm_remove_options[];
extern const struct option_spec vm_start_options[];
extern const struct option_spec vm_stop_options[];
