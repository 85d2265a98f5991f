/* `drover lab`: the table of its commands. */
#include "lab/lab.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lab/command.h"
#include "lab/init.h"

static const struct lab_command_row rows[] = {
    {"up",
     "[--name NAME] [--hosts N] [--migration-networks N]\n"
     "      [--lease-kind KIND] [--lease-times HEARTBEAT,STOP,TAKEOVER]\n"
     "      [--datastore-size SIZE] [--no-agents]",
     "make a lab", lab_up, 0, 0, false},
    {"status", "[--name NAME] [--json]", "show its nodes", lab_status, 0, 0, false},
    {"exec", "[--name NAME] HOST COMMAND...", "run a command in a node", lab_exec, 2, INT_MAX,
     true},
    {"down", "[--name NAME]", "end it, with all that belongs to it", lab_down, 0, 0, false},
    {"power-off", "[--name NAME] HOST", "pull a host's plug", lab_power_off, 1, 1, false},
    {"power-on", "[--name NAME] HOST", "start it again", lab_power_on, 1, 1, false},
    {"link", "[--name NAME] HOST NETWORK up|down", "pull a cable, or plug it in", lab_link, 3, 3,
     false},
    {"rate", "[--name NAME] HOST NETWORK RATE|none", "limit a cable, in bytes a second (\"100M\")",
     lab_rate, 3, 3, false},
    {"agent", "[--name NAME] HOST start|stop|kill|status", "a host's droverd", lab_agent, 2, 2,
     false},
    {"guard", "[--name NAME] HOST start|stop|kill|status", "a host's drover-guard", lab_guard, 2, 2,
     false},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static int print_help(FILE *stream)
{
    fprintf(stream,
            "A small data centre of namespaces on this machine: hosts h1, h2, ..., a client,\n"
            "a switch.\n\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        fprintf(stream, "  drover lab %s %s\n      %s\n", rows[i].name, rows[i].words,
                rows[i].summary);
    }
    fprintf(stream,
            "\nNetworks are vm, migration, management, and with --migration-networks 2\n"
            "migration2.\nSeveral labs stand side by side under different names; the default is "
            "\"lab\".\nDROVER_LAB_FOLDER is where their files are (/var/lib/drover-lab).\n");
    return 0;
}

static int tell(const struct error *err)
{
    fprintf(stderr, "drover: %s\n", err->message);
    if (err->remedy[0]) {
        fprintf(stderr, "  -> %s\n", err->remedy);
    }
    return error_exit_status(err->code);
}

static int check_privilege(struct error *err)
{
    if (geteuid() != 0) {
        error_set(err, EPERM, "a lab is made of namespaces and network links, which takes root");
        return error_remedy(err, "run it as root, for example with sudo");
    }
    return 0;
}

int lab_open_up(const struct lab_arguments *arguments, struct lab *ret_lab, struct error *err)
{
    int result = registry_open(arguments->lab_name, false, ret_lab, err);
    if (result == 0 && ret_lab->state != LAB_UP) {
        error_set(err, EBUSY, "the lab %s is not up: its start was interrupted", ret_lab->name);
        return error_remedy(err, "clean with \"drover lab down\", or start it with \"up\"");
    }
    return result;
}

static int run(const struct lab_command_row *row, int argc, char **argv)
{
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    int result = lab_arguments_parse(row, argc, argv, &arguments, &err);
    if (result == 0 && arguments.help) {
        return print_help(stdout);
    }
    if (result == 0) {
        result = check_privilege(&err);
    }
    if (result == 0) {
        result = row->run(&arguments, &err);
    }
    return result < 0 ? tell(&err) : result;
}

int lab_command(int argc, char **argv)
{
    struct error err = ERROR_NONE;
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "init") == 0) {
        return init_run(argc - 1, argv + 1);
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(argv[1], rows[i].name) == 0) {
            return run(&rows[i], argc - 2, argv + 2);
        }
    }
    error_set(&err, EINVAL, "unknown command \"lab %s\"", argv[1]);
    error_remedy(&err, "\"drover lab --help\" lists them");
    return tell(&err);
}
