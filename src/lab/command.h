/*
 * The lab's commands: one table of them, in lab.c. A command returns an exit status, or a negative
 * errno with err filled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "lab/folder.h"
#include "lab/registry.h"

struct lab_arguments {
    const char *lab_name;        /* --name; "lab" */
    unsigned hosts;              /* --hosts; 3 */
    unsigned migration_networks; /* --migration-networks; 1 */
    uint64_t datastore_bytes;    /* --datastore-size; 0: no limit */
    bool agents;                 /* without --no-agents */
    struct lab_lease lease;      /* --lease-kind, --lease-times */
    bool json;                   /* --json */
    bool help;                   /* --help */
    int word_count;              /* what is no option */
    char **words;
};

typedef int lab_command_function(const struct lab_arguments *arguments, struct error *err);

struct lab_command_row {
    const char *name;
    const char *words; /* "HOST CMD..." */
    const char *summary;
    lab_command_function *run;
    int words_least;
    int words_most;
    bool takes_command; /* the last of words_least begins another program's command line */
};

/* Parses what follows the command's name; sorts argv's words to its front. */
int lab_arguments_parse(const struct lab_command_row *row, int argc, char **argv,
                        struct lab_arguments *ret_arguments, struct error *err);

/* Locks a lab that is up, for a command that changes it. */
int lab_open_up(const struct lab_arguments *arguments, struct lab *ret_lab, struct error *err);

lab_command_function lab_up;
lab_command_function lab_down;
lab_command_function lab_status;
lab_command_function lab_exec;
lab_command_function lab_power_off;
lab_command_function lab_power_on;
lab_command_function lab_link;
lab_command_function lab_rate;
lab_command_function lab_agent;
lab_command_function lab_guard;

/* Ends a lab with all that belongs to it, in whatever state it is, and forgets it. */
int lab_tear_down(struct lab *lab, struct error *err);
