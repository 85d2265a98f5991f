/* What the operator asks of a move: the fields of POST /v1/vms/NAME/migrate. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/source.h"

/* What saving and loading the device state is expected to take. */
#define MIGRATE_DEVICE_STATE_NS (10 * NANOSECONDS_PER_MILLISECOND)

enum migrate_engine {
    MIGRATE_ENGINE_AUTO,   /* Drover's, unless the VM or a kernel does not allow it */
    MIGRATE_ENGINE_DROVER, /* Drover's, or the move is refused */
    MIGRATE_ENGINE_NATIVE, /* QEMU's own migration */
};

struct migrate_options {
    const char *to; /* a peer's name; borrowed */
    enum migrate_engine engine;
    uint64_t blackout_target_ns;
    uint64_t timeout_ns; /* 0: none */
    enum engine_on_timeout on_timeout;
    bool pace;
    bool compress;
    unsigned channels;        /* 0: as many as pay */
    uint64_t bandwidth_limit; /* bytes a second; 0: none */
};

/* Reads and checks the whole request; outputs are written on success only. `body` must live as long
 * as the options. */
int migrate_options_from_json(const json_t *body, struct migrate_options *ret_options,
                              bool *ret_dry_run, struct error *err);

/* Puts them where a source mover reads them; leaves the rest alone. */
void migrate_options_apply(const struct migrate_options *options,
                           struct engine_source_options *engine_options);
