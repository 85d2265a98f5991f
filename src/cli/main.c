/* drover: the command line. Finds the command, prepares what it needs, turns its result into an
 * exit status. */
#include <curl/curl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

static const char *option_or_environment(const struct arguments *arguments, const char *option,
                                         const char *variable)
{
    const char *value = arguments_value(arguments, option);
    if (value) {
        return value;
    }
    value = getenv(variable);
    return value && value[0] ? value : NULL;
}

static int run_command(struct cli *cli, const struct command *command, struct error *err)
{
    int result = command_check_words(command, &cli->arguments, err);
    if (result < 0) {
        return result;
    }
    const struct api_options options = {
        .connect = option_or_environment(&cli->arguments, "--connect", "DROVER_CONNECT"),
        .token_file = option_or_environment(&cli->arguments, "--token-file", "DROVER_TOKEN_FILE"),
        .tls_folder = option_or_environment(&cli->arguments, "--tls", "DROVER_TLS"),
    };
    result = api_new(&options, &cli->api, err);
    if (result < 0) {
        return result;
    }
    result = command->run(cli, err);
    api_free(cli->api);
    return result;
}

/* argv begins at the first word that is no option. */
static int run_words(struct cli *cli, int argc, char **argv, struct error *err)
{
    const struct command *command = NULL;
    int used = 0;
    int result = command_find(argc, argv, &command, &used, err);
    if (result < 0) {
        return result;
    }
    if (command && command->parses_itself) {
        cli->argc = argc - used + 1;
        cli->argv = argv + used - 1;
        return command->run(cli, err);
    }
    const struct option_spec *own = command ? command->options : NULL;
    result = arguments_parse(&cli->arguments, own, common_options, argc - used, argv + used, err);
    if (result < 0) {
        return result;
    }
    cli->json = arguments_has(&cli->arguments, "--json");
    bool wants_help = arguments_has(&cli->arguments, "--help");
    if (command && wants_help) {
        command_print_help(&cli->output, command);
        return 0;
    }
    if (command) {
        return run_command(cli, command, err);
    }
    command_print_overview(wants_help ? &cli->output : &cli->notes, argv[0]);
    return wants_help ? 0 : error_exit_status(EINVAL);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    int used = arguments_parse_leading(&cli->arguments, common_options, argc, argv, err);
    if (used < 0) {
        return used;
    }
    if (used < argc) {
        return run_words(cli, argc - used, argv + used, err);
    }
    bool wants_help = arguments_has(&cli->arguments, "--help");
    command_print_overview(wants_help ? &cli->output : &cli->notes, NULL);
    return wants_help ? 0 : error_exit_status(EINVAL);
}

/* Output that could not be written (a full disk) is a failure like any other. */
static int finish_output(const struct cli *cli, int result, struct error *err)
{
    bool failed = ferror(cli->output.stream) || fflush(cli->output.stream) != 0;
    if (failed && result >= 0) {
        return error_set_errno(err, errno, "cannot write to standard output");
    }
    return result;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_NONE;
    struct cli cli = {0};
    setlocale(LC_CTYPE, "");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    terminal_init(&cli.output, stdout);
    terminal_init(&cli.notes, stderr);
    int result = run(&cli, argc - 1, argv + 1, &err);
    result = finish_output(&cli, result, &err);
    curl_global_cleanup();
    if (result < 0) {
        command_print_error(&cli.notes, &err);
        return error_exit_status(err.code);
    }
    return result;
}
