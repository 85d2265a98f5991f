/*
 * How the engine sees the machine that it moves: one vtable a side. It knows nothing of QEMU.
 *
 * Guest memory is one run of bytes, [0, memory_size), in 4 KiB pages; offsets are offsets into the
 * RAM file. All calls are made from the engine's one thread. The habit of a core that sees the
 * world through a vtable is canonical/raft's (include/raft.h, struct raft_io).
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "engine/page_set.h"
#include "engine/statistics.h"

#define ENGINE_PAGE_SIZE 4096u

/* Takes a piece of the device state, or none: then it is a moment to look around. Returns 0 or a
 * negative errno that ends the saving. */
typedef int engine_emit_function(void *context, const void *bytes, size_t length,
                                 struct error *err);

struct engine_source_guest_operations {
    /* Begins tracking: from now on every page written is reported by a later collect_dirty(). */
    int (*start_tracking)(void *guest, struct error *err);

    /* Adds to `pages` all pages that exist (hold or may hold anything but zeroes). */
    int (*collect_populated)(void *guest, struct page_set *pages, struct error *err);

    /* Adds to `dirty` the pages of `within` written since they were last collected, and protects
     * them again: what is written after that is reported by a later call. Pages of `skip` (NULL:
     * none) may be left out, unprotected: they are reported once they are asked for again. Pages
     * outside of `within` are left as they are. When `within` is all of memory, adds to `dropped`
     * the pages that became holes (their content is zeroes now); a page in both is taken as dirty.
     */
    int (*collect_dirty)(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err);

    /* Makes writers wait: the first write to a page of `where` since it was last collected goes
     * on only as fast as `bytes_per_second` of such pages allow; writes elsewhere are not touched.
     * Called again, it changes the rate, and adds pages to `where`; what may have been written
     * unseen while a page changed hands is reported dirty by the next collection. Ends with
     * stop_tracking(), or by end_pace(). NULL: cannot. -EOPNOTSUPP: not this guest. */
    int (*pace)(void *guest, const struct page_set *where, uint64_t bytes_per_second,
                struct error *err);
    void (*end_pace)(void *guest);

    /* How long writers have waited for pace(), all of them together. NULL: never. */
    uint64_t (*waited_ns)(void *guest);

    /* Ends tracking; the guest runs on at full speed. Called once for each start that succeeded,
     * whatever happened after it. */
    void (*stop_tracking)(void *guest);

    /* Stops the vCPUs. Device state that comes before the stop (ROMs, video memory) is emitted on
     * the way, while the guest still runs; emits no bytes every few milliseconds, so that the
     * engine can send what is still written. On return no vCPU runs, no device writes into guest
     * memory any more, and the device state is being saved, so that the last pages are looked for
     * meanwhile; nothing of it is emitted yet. */
    int (*stop)(void *guest, engine_emit_function *emit, void *context, struct error *err);

    /* When the vCPUs stopped, on the engine's clock; asked after stop(). NULL: when stop()
     * returned.
     */
    uint64_t (*stopped_ns)(void *guest);

    /* Waits until the device state is saved and the disks are released, and emits the rest of it,
     * to its end. All that stop() left in memory has been sent before. Saving must not dirty what
     * the devices look at while they load; whatever it dirties is collected and sent after it. */
    int (*finish_state)(void *guest, engine_emit_function *emit, void *context, struct error *err);

    /* For a guest that sends its memory by itself: all of it comes out of stop(), as device state,
     * and the tracking calls report no pages. Puts what it knows of its progress in place of what
     * the engine reckons; asked from stop() on, until finish_state(). Such a stop() is pre-copy: it
     * lets the engine look around by emitting no bytes, at least every some 20 ms, and minds the
     * move's limits by itself. NULL: the engine sends the pages. */
    void (*progress)(void *guest, struct engine_progress *progress);

    /* Undoes stop() and the saving, whichever of them were begun: disks taken back, vCPUs
     * running. Only called while this side owns the VM. */
    int (*resume)(void *guest, struct error *err);
};

struct engine_source_guest {
    const struct engine_source_guest_operations *operations;
    void *guest;
    uint64_t memory_size; /* bytes, a multiple of ENGINE_PAGE_SIZE */
    const uint8_t
        *memory;   /* readable mapping of the RAM file; reading a hole here may allocate it */
    int memory_fd; /* the RAM file, for sendfile(2) and pread(2) */
};

struct engine_destination_guest_operations {
    /* Fails when the new machine has ended: the source need not send another page, nor stop its
     * guest for nothing. Asked before each frame. NULL: it cannot end by itself. */
    int (*check)(void *guest, struct error *err);

    /* Takes the next piece of the device state, in order. */
    int (*load_state)(void *guest, const void *bytes, size_t length, struct error *err);

    /* The device state is complete: returns when it is loaded and the guest could run at once. */
    int (*finish_load)(void *guest, struct error *err);

    /* Runs the guest: disks taken, network up and announced, vCPUs running. Only called while this
     * side owns the VM. */
    int (*run)(void *guest, struct error *err);
};

struct engine_destination_guest {
    const struct engine_destination_guest_operations *operations;
    void *guest;
    uint64_t memory_size;
    uint8_t *memory; /* writable shared mapping of the RAM file, all holes at first */
    int memory_fd;   /* the RAM file, for fallocate(2) */
};
