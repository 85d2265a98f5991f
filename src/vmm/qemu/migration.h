/*
 * QEMU's part of a move, as QMP: its own migration stream out of one QEMU and into another, each
 * through a pipe. Drover's engine has it without guest memory; a native move has all in it.
 *
 * Source:       prepare, begin, (event STOP, MIGRATION pre-switchover), continue, (MIGRATION
 *               completed); undo at any point
 * Destination:  prepare and begin, (stream written), await, run
 *
 * The order is QEMU's docs/devel/migration.rst, "pause-before-switchover": between its pause and
 * `continue` no vCPU runs, no I/O is on its way any more, and no device is saved yet.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "vmm/qemu/qmp.h"

/* What an outgoing stream carries, and when QEMU stops the guest for its end. */
struct qemu_outgoing {
    bool memory;   /* guest memory too; the other side must know (qemu_incoming_begin()) */
    bool throttle; /* vCPUs slowed down when they write faster than it sends (auto-converge) */
    uint64_t leftover_ms; /* stops when what is left to send takes so long, at least 1 */
    uint64_t bandwidth;   /* bytes a second while the guest runs; 0: unlimited */
};
#define QEMU_LEFTOVER_MOST_MS 2000000u /* QEMU's own limit */

/* Sets what the stream leaves out and when it pauses. Long before the stop: none of it is blackout.
 * -EBUSY when the guest does not run (a paused one is not moved). */
int qemu_outgoing_prepare(struct qmp *qmp, const struct qemu_outgoing *outgoing, struct error *err);

/* Starts the stream into `writer` (borrowed, QEMU gets its own): QEMU sends guest memory if it is
 * to, ROMs and video memory, again and again what was written meanwhile, then stops the guest and
 * pauses. */
int qemu_outgoing_begin(struct qmp *qmp, int writer, struct error *err);

/* The stream does not get to its end (the guest writes faster than it sends): stop when what is
 * left takes `leftover_ms`, more than before. Does not wait. */
int qemu_outgoing_hurry(struct qmp *qmp, uint64_t leftover_ms, struct error *err);

/* How far a stream with guest memory is. */
struct qemu_transfer {
    uint64_t total; /* bytes: size of the guest's memory, video memory and ROMs */
    uint64_t remaining;
    uint64_t sent; /* on the wire, for memory */
    uint64_t rounds;
    uint64_t rate;       /* bytes a second */
    uint64_t dirty_rate; /* likewise; 0 before the second round */
    uint64_t pages_sent; /* of 4 KiB */
    uint64_t pages_zero;
};

/* Asks for it without waiting: the answer is among the events, where qemu_outgoing_told() finds it,
 * true. A migration that is being set up has nothing of memory to tell: then nothing is filled. */
int qemu_outgoing_ask(struct qmp *qmp, struct error *err);
bool qemu_outgoing_told(const json_t *event, struct qemu_transfer *ret_transfer);

/* Asks, and waits. -ENODATA when there was no migration. */
int qemu_outgoing_transfer(struct qmp *qmp, struct qemu_transfer *ret_transfer, struct error *err);

/* Once the guest has stopped: makes the continue() that follows fast. */
int qemu_outgoing_prepare_continue(struct qmp *qmp, struct error *err);

/* From the pause on, to the end of the stream. Does not wait: QEMU may need its stream drained
 * first. */
int qemu_outgoing_continue(struct qmp *qmp, struct error *err);

/* Back to a running guest, from any point, disks taken back. The caller has closed the stream's
 * reading end. Also right for a source whose mover died. */
int qemu_outgoing_undo(struct qmp *qmp, struct error *err);

/* Makes a QEMU started with -incoming defer read its device state from `reader` (borrowed), and
 * with `memory` the guest's memory too. */
int qemu_incoming_begin(struct qmp *qmp, int reader, bool memory, struct error *err);

/* Waits at most timeout_ns until the whole stream is loaded: 1, the guest is paused and ready to
 * run; 0, not yet. */
int qemu_incoming_await(struct qmp *qmp, uint64_t timeout_ns, struct error *err);

/* Runs the vCPUs; at a destination it takes the disks first. In two halves, for who has something
 * to do meanwhile: qemu_run_await() returns with QEMU's word that they run, which comes before the
 * reply to the command. That may wait long for a CPU which vCPUs now use. */
int qemu_run_begin(struct qmp *qmp, struct error *err);
int qemu_run_await(struct qmp *qmp, struct error *err);

/* Before qemu_run_begin(): makes it fast. */
int qemu_run_prepare(struct qmp *qmp, struct error *err);

/* Both halves; nothing, where they run already. */
int qemu_run(struct qmp *qmp, struct error *err);

/* What an event says of a migration. */
enum qemu_migration_news {
    QEMU_NEWS_OTHER,
    QEMU_NEWS_STOPPED,   /* no vCPU runs */
    QEMU_NEWS_RESUMED,   /* vCPUs run */
    QEMU_NEWS_PAUSED,    /* pre-switchover */
    QEMU_NEWS_COMPLETED, /* the stream is complete */
    QEMU_NEWS_FAILED,    /* or cancelled, or the last command was refused */
};
enum qemu_migration_news qemu_migration_news(const json_t *event);

/* Fills err with the reason that QEMU gives for a failed migration. Returns -EIO. */
int qemu_migration_failure(struct qmp *qmp, const char *what, struct error *err);
