/*
 * The disk blocks that the guest writes and checks: 4 KiB each, stamped as memory pages are. Block
 * 0 is the witness: it holds a counter, the clock and the boot's identity, and is read back before
 * each rewrite, so that a second running copy of the guest on the same disk shows as a foreign
 * witness.
 *
 * Blocks are read and written past the guest's own page cache (O_DIRECT), or, where a file system
 * refuses that, dropped from it before they are read.
 */
#ifndef GUEST_DISK_SET_H
#define GUEST_DISK_SET_H

#include "page_stamp.h"

#include <stdbool.h>

struct disk_set {
    int descriptor; /* owned */
    bool direct;
    void *buffer;          /* owned: a run of blocks, aligned for direct reads */
    void *witness;         /* owned: what block 0 should hold */
    uint64_t *generations; /* owned: one a block: the counter when it was last written */
    uint64_t *previous;    /* owned: the one before */
    uint64_t count;        /* blocks, the witness included */
    uint64_t owner;
    enum page_fill fill;
    uint64_t counter; /* writes since the start */

    uint64_t blocks_written;
    uint64_t blocks_verified;
    uint64_t syncs;
    uint64_t foreign_witnesses; /* each also counted as a wrong block */
    uint64_t wrong_blocks;
    uint64_t wrong_bytes;
    uint64_t errors; /* reads, writes and syncs that failed */
};

/*
 * Opens `path` and stamps its first `bytes`, or as much of them as there is: a regular file grows
 * to them. `owner` identifies this boot. Returns 0 or -errno.
 */
int disk_set_init(struct disk_set *set, const char *path, uint64_t bytes, uint64_t owner,
                  enum page_fill fill);

void disk_set_done(struct disk_set *set);

/* Reads a block back and checks it. A wrong one is counted, described and stamped anew. */
struct page_check disk_set_verify(struct disk_set *set, uint64_t index);

/* Checks a block, then writes its next content. Index 0 is the witness. */
void disk_set_write(struct disk_set *set, uint64_t index);

/* Rewrites the witness and makes everything written so far durable. */
void disk_set_sync(struct disk_set *set);

/* Checks all blocks. */
void disk_set_verify_all(struct disk_set *set);

#endif
