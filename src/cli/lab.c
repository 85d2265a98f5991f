/* drover lab: has a table of commands, options and errors of its own, in src/lab. */
#include "lab/lab.h"

#include "cli/command.h"

int lab_run_command(struct cli *cli, struct error *err)
{
    (void)err; /* it tells the user itself */
    return lab_command(cli->argc, cli->argv);
}
