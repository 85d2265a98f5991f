/* A move's figures, from the movers' to the API's: see "Report" in docs/api.md. Pure functions. */
#pragma once

#include <jansson.h>

#include "base/error.h"

struct migrate_report {
    const char *from;
    const char *to;
    const char *engine;        /* "drover" or "native" */
    const char *engine_reason; /* why native was chosen; empty: it was not, or as asked */
    const char *outcome;       /* "moved" or "stayed" */
    const json_t *source;      /* the source mover's statistics; NULL: it died */
    const json_t *destination; /* the destination's; NULL: unknown */
    json_t *forecast;          /* made at the beginning; NULL: none was */
};

/* New reference. */
json_t *migrate_report_to_json(const struct migrate_report *report);

/* A task's "progress" from a mover's progress event. New reference. */
json_t *migrate_progress_to_json(const json_t *event);
