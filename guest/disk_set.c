/* See disk_set.h. */
#include "disk_set.h"

#include "pace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FAULTS_DESCRIBED = 20,
    RUN_BLOCKS = 64, /* moved at once where many blocks in a row are wanted */
};

static void count_error(struct disk_set *set, const char *what, uint64_t index)
{
    set->errors++;
    if (set->errors <= FAULTS_DESCRIBED)
        printf("drover-guest: disk fault block=%" PRIu64 " %s failed: %m\n", index, what);
}

static int open_disk(struct disk_set *set, const char *path)
{
    int flags = O_RDWR | O_CREAT | O_CLOEXEC;

    set->descriptor = open(path, flags | O_DIRECT, 0600);
    set->direct = set->descriptor >= 0;
    if (!set->direct && errno == EINVAL)
        set->descriptor = open(path, flags, 0600);
    return set->descriptor < 0 ? -errno : 0;
}

/* Bytes that can be used, at most `wanted`; a regular file is made as long as that. */
static int64_t claim_bytes(int descriptor, uint64_t wanted)
{
    struct stat status;
    uint64_t device_bytes;

    if (fstat(descriptor, &status) < 0)
        return -errno;
    if (S_ISREG(status.st_mode)) {
        if ((uint64_t)status.st_size < wanted && ftruncate(descriptor, (off_t)wanted) < 0)
            return -errno;
        return (int64_t)wanted;
    }
    if (ioctl(descriptor, BLKGETSIZE64, &device_bytes) < 0)
        return -errno;
    return (int64_t)(device_bytes < wanted ? device_bytes : wanted);
}

static int allocate_tables(struct disk_set *set)
{
    set->generations = calloc(set->count, sizeof(*set->generations));
    set->previous = calloc(set->count, sizeof(*set->previous));
    set->buffer = aligned_alloc(PAGE_BYTES, (size_t)RUN_BLOCKS * PAGE_BYTES);
    set->witness = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    if (!set->generations || !set->previous || !set->buffer || !set->witness)
        return -ENOMEM;
    return 0;
}

static bool transfer(struct disk_set *set, void *blocks, uint64_t index, uint64_t count,
                     bool write_it)
{
    off_t offset = (off_t)(index * PAGE_BYTES);
    ssize_t length = (ssize_t)(count * PAGE_BYTES);
    ssize_t moved = write_it ? pwrite(set->descriptor, blocks, (size_t)length, offset)
                             : pread(set->descriptor, blocks, (size_t)length, offset);

    if (moved == length)
        return true;
    if (moved >= 0)
        errno = EIO;
    count_error(set, write_it ? "write" : "read", index);
    return false;
}

/* Without O_DIRECT: what is dirty must be written before it can be dropped. */
static void drop_cached(struct disk_set *set, uint64_t index, uint64_t count)
{
    if (set->direct)
        return;
    if (fdatasync(set->descriptor) < 0)
        count_error(set, "sync", index);
    posix_fadvise(set->descriptor, (off_t)(index * PAGE_BYTES), (off_t)(count * PAGE_BYTES),
                  POSIX_FADV_DONTNEED);
}

static bool read_blocks(struct disk_set *set, uint64_t index, uint64_t count)
{
    drop_cached(set, index, count);
    return transfer(set, set->buffer, index, count, false);
}

static struct page_stamp stamp_of(const struct disk_set *set, uint64_t index)
{
    return (struct page_stamp){set->owner, index, set->generations[index]};
}

/* A block of the run that the buffer holds. */
static void *block_at(const struct disk_set *set, uint64_t position)
{
    return (unsigned char *)set->buffer + position * PAGE_BYTES;
}

static void stamp_block(struct disk_set *set, uint64_t index)
{
    struct page_stamp stamp = stamp_of(set, index);

    page_stamp_write(set->buffer, &stamp, set->fill);
    transfer(set, set->buffer, index, 1, true);
}

/*
 * Two copies of one guest would count alike, but not at the same nanosecond: the clock in the
 * witness tells them apart.
 */
static void stamp_witness(struct disk_set *set)
{
    uint64_t moment = pace_now();
    struct page_stamp stamp = {set->owner ^ page_stamp_mix(moment), 0, set->counter};

    page_stamp_write(set->witness, &stamp, PAGE_FILL_TEXT);
    transfer(set, set->witness, 0, 1, true);
}

static uint64_t run_length(const struct disk_set *set, uint64_t index)
{
    return set->count - index < RUN_BLOCKS ? set->count - index : RUN_BLOCKS;
}

/* The first content of every block; the witness gets its own thereafter. */
static void stamp_all(struct disk_set *set)
{
    for (uint64_t index = 0; index < set->count; index += RUN_BLOCKS) {
        uint64_t count = run_length(set, index);
        for (uint64_t i = 0; i < count; i++) {
            struct page_stamp stamp = stamp_of(set, index + i);
            page_stamp_write(block_at(set, i), &stamp, set->fill);
        }
        transfer(set, set->buffer, index, count, true);
    }
    stamp_witness(set);
    disk_set_sync(set);
}

int disk_set_init(struct disk_set *set, const char *path, uint64_t bytes, uint64_t owner,
                  enum page_fill fill)
{
    *set = (struct disk_set){.owner = owner, .fill = fill};
    int result = open_disk(set, path);
    if (result < 0)
        return result;

    int64_t claimed = claim_bytes(set->descriptor, bytes);
    set->count = claimed > 0 ? (uint64_t)claimed / PAGE_BYTES : 0;
    if (claimed < 0)
        result = (int)claimed;
    else if (set->count < 2)
        result = -ENOSPC;
    else
        result = allocate_tables(set);
    if (result < 0) {
        disk_set_done(set);
        return result;
    }

    stamp_all(set);
    return set->errors > 0 ? -EIO : 0;
}

void disk_set_done(struct disk_set *set)
{
    close(set->descriptor);
    free(set->buffer);
    free(set->witness);
    free(set->generations);
    free(set->previous);
    set->buffer = set->witness = set->generations = set->previous = NULL;
}

static void describe(const struct disk_set *set, uint64_t index, const struct page_check *check)
{
    if (set->wrong_blocks > FAULTS_DESCRIBED)
        return;
    printf("drover-guest: disk fault block=%" PRIu64 " verdict=%s wrong_bytes=%zu first=%zu "
           "generation=%" PRIu64 "\n",
           index, page_verdict_name(check->verdict), check->wrong_bytes, check->first_wrong,
           set->generations[index]);
}

static struct page_check check_witness(struct disk_set *set, const unsigned char *found)
{
    struct page_check check = {.verdict = PAGE_RIGHT};
    const unsigned char *expected = set->witness;

    for (size_t i = PAGE_BYTES; i-- > 0;) {
        if (found[i] != expected[i]) {
            check.wrong_bytes++;
            check.first_wrong = i;
        }
    }
    if (check.wrong_bytes > 0) {
        check.verdict = PAGE_CORRUPT;
        set->foreign_witnesses++;
    }
    return check;
}

/* Checks what was read of a block, and counts it. */
static struct page_check judge(struct disk_set *set, uint64_t index, const void *found)
{
    struct page_stamp stamp = stamp_of(set, index);
    struct page_check check =
        index == 0 ? check_witness(set, found)
                   : page_stamp_check(found, &stamp, set->previous[index], set->fill);

    set->blocks_verified++;
    if (check.verdict != PAGE_RIGHT) {
        set->wrong_blocks++;
        set->wrong_bytes += check.wrong_bytes;
        describe(set, index, &check);
    }
    return check;
}

static void repair(struct disk_set *set, uint64_t index)
{
    if (index == 0)
        stamp_witness(set);
    else
        stamp_block(set, index);
}

struct page_check disk_set_verify(struct disk_set *set, uint64_t index)
{
    struct page_check check = {.verdict = PAGE_RIGHT};

    if (!read_blocks(set, index, 1))
        return check;
    check = judge(set, index, set->buffer);
    if (check.verdict != PAGE_RIGHT)
        repair(set, index);
    return check;
}

void disk_set_write(struct disk_set *set, uint64_t index)
{
    disk_set_verify(set, index);
    set->counter++;
    set->blocks_written++;
    if (index == 0) {
        stamp_witness(set);
        return;
    }
    set->previous[index] = set->generations[index];
    set->generations[index] = set->counter;
    stamp_block(set, index);
}

void disk_set_sync(struct disk_set *set)
{
    disk_set_write(set, 0);
    if (fsync(set->descriptor) < 0)
        count_error(set, "sync", 0);
    set->syncs++;
}

/* A repair overwrites the buffer, so a wrong block ends its run and the next run begins behind it.
 */
void disk_set_verify_all(struct disk_set *set)
{
    uint64_t index = 0;

    while (index < set->count) {
        uint64_t count = run_length(set, index), i = 0;
        if (!read_blocks(set, index, count)) {
            index += count;
            continue;
        }
        enum page_verdict verdict = PAGE_RIGHT;
        for (; i < count && verdict == PAGE_RIGHT; i++)
            verdict = judge(set, index + i, block_at(set, i)).verdict;
        if (verdict != PAGE_RIGHT)
            repair(set, index + i - 1);
        index += i;
    }
}
