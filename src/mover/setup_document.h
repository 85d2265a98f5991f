/* The setup document between its two ends; others use setup.h. */
#pragma once

#include <jansson.h>

#include "mover/setup.h"

/* New reference, or NULL without memory. */
json_t *mover_setup_encode(const struct mover_setup *setup);

/* A move's options as they are in the document, and in a source's statistics. New reference. */
json_t *mover_options_encode(const struct engine_source_options *options);

/* Checks everything; ret_setup is written on success only. */
int mover_setup_decode(const json_t *document, struct mover_setup *ret_setup, struct error *err);
