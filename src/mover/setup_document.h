/* The setup document between its two ends; others use setup.h. */
#pragma once

#include <jansson.h>

#include "mover/setup.h"

/* New reference, or NULL without memory. */
json_t *mover_setup_encode(const struct mover_setup *setup);

/* Checks everything; ret_setup is written on success only. */
int mover_setup_decode(const json_t *document, struct mover_setup *ret_setup, struct error *err);
