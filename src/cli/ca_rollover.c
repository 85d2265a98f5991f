/* drover ca rollover: one step at a time from one authority to the next. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/ca_told.h"
#include "cli/command.h"
#include "cli/fields.h"

/* What the step has brought about, and what the next one is for. */
static const char *describe(const char *stage)
{
    if (strcmp(stage, "announced") == 0) {
        return "A new authority is trusted beside the old one.\n"
               "Next: drover ca rollover, and it signs; all hosts renew their certificates.\n";
    }
    if (strcmp(stage, "switched") == 0) {
        return "The new authority signs; hosts get certificates of it within a minute, operators\n"
               "have to join again.\n"
               "Next, when \"drover ca list\" shows them all: drover ca rollover, and the old one\n"
               "is forgotten.\n";
    }
    return "The old authority is forgotten.\n";
}

int ca_rollover_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    int result =
        api_call(cli->api, "POST", "/v1/ca/rollover", NULL, API_SECONDS_UNLIMITED, &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    fputs(describe(field_text(answer, "stage")), cli->output.stream);
    ca_told_print(cli, answer);
    return 0;
}
