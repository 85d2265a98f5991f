/* drover help, and --help on every level: printed from the same tables that parse. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static void print_options(const struct terminal *terminal, const char *title,
                          const struct option_spec *specs)
{
    if (!specs) {
        return;
    }
    fprintf(terminal->stream, "\n%s\n", title);
    for (; specs->name; specs++) {
        char left[64];
        snprintf(left, sizeof(left), "%s%s%s", specs->name, specs->value ? " " : "",
                 specs->value ? specs->value : "");
        size_t width = strlen(left) > 22 ? strlen(left) : 22;
        fprintf(terminal->stream, "  %-22s  ", left);
        terminal_print_wrapped(terminal, specs->help, (unsigned)width + 4, 26,
                               TERMINAL_COLUMNS_DEFAULT);
    }
}

static void print_command_line(const struct terminal *terminal, const struct command *command)
{
    char left[64];
    snprintf(left, sizeof(left), "%s %s", command->name, command->arguments);
    fprintf(terminal->stream, "  %-26s  %s\n", left, command->summary);
}

void command_print_overview(const struct terminal *terminal, const char *group)
{
    fprintf(terminal->stream, "usage: drover [OPTION]... %s%sCOMMAND [ARGUMENT]...\n\n",
            group ? group : "", group ? " " : "");
    if (!group) {
        fputs("Runs virtual machines, and moves them between hosts while they run.\n\n",
              terminal->stream);
    }
    for (const struct command *command = commands; command->name; command++) {
        size_t length = strcspn(command->name, " ");
        if (!group || (strlen(group) == length && strncmp(command->name, group, length) == 0)) {
            print_command_line(terminal, command);
        }
    }
    print_options(terminal, "Options everywhere:", common_options);
    fputs("\n\"drover COMMAND --help\" explains one command; drover(1) has the exit codes.\n",
          terminal->stream);
}

void command_print_help(const struct terminal *terminal, const struct command *command)
{
    fprintf(terminal->stream, "usage: drover %s %s%s\n\n", command->name, command->arguments,
            command->options ? " [OPTION]..." : "");
    fprintf(terminal->stream, "%s.\n", command->summary);
    print_options(terminal, "Options:", command->options);
    print_options(terminal, "Options everywhere:", common_options);
}

int help_command(struct cli *cli, struct error *err)
{
    const struct command *command = NULL;
    int used = 0;
    if (cli->arguments.word_count > 0) {
        int result = command_find((int)cli->arguments.word_count, (char **)cli->arguments.words,
                                  &command, &used, err);
        if (result < 0) {
            return result;
        }
    }
    if (command && command->parses_itself) {
        cli->argc = 2;
        cli->argv = (char *[]){(char *)command->name, "--help", NULL};
        return command->run(cli, err);
    }
    if (command) {
        command_print_help(&cli->output, command);
    } else {
        command_print_overview(&cli->output, cli->arguments.words[0]);
    }
    return 0;
}
