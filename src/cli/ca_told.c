/* Whom the authority has told: see ca_told.h. */
#include "cli/ca_told.h"

#include <stdio.h>

#include "cli/fields.h"

void ca_told_print(const struct cli *cli, const json_t *answer)
{
    size_t index;
    const json_t *missed;
    json_array_foreach (json_object_get(answer, "not_told"), index, missed) {
        char reason[768];
        text_clean(field_text(missed, "reason"), reason, sizeof(reason));
        fprintf(cli->notes.stream,
                "host %s does not know it yet, and asks within a minute of "
                "reaching this one: %s\n",
                field_text(missed, "host"), reason);
    }
}
