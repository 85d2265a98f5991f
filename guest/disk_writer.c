/*
 * Writes stamped blocks to a disk at a given rate, makes them durable every few writes, and reads
 * back and checks what it wrote: each block before it is overwritten, and all of them in slow
 * sweeps.
 *
 *   disk_writer path=/dev/vda size=64M rate=1M sync-every=16 fill=random|text|zero verify-rate=512K
 *               counters=FILE
 */
#include "counters.h"
#include "disk_set.h"
#include "options.h"
#include "pace.h"

#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    BATCH_BLOCKS = 16, /* between two looks at the clock */
    TICK_NS = 5000000,
};

#define STATUS_NS 5000000000ull

struct writer {
    struct disk_set set;
    struct disk_counters *counters;
    struct pace write_pace, verify_pace;
    uint64_t sync_every, unsynced;
    uint64_t verify_cursor;
    uint64_t random_state;
    uint64_t sweeps;
};

static volatile sig_atomic_t asked_to_end;

static void on_terminate(int signal_number)
{
    (void)signal_number;
    asked_to_end = 1;
}

/* Any block but the witness, which disk_set_sync() rewrites. */
static uint64_t next_block(struct writer *writer)
{
    writer->random_state = page_stamp_mix(writer->random_state);
    return 1 + writer->random_state % (writer->set.count - 1);
}

static void write_next(struct writer *writer)
{
    disk_set_write(&writer->set, next_block(writer));
    if (++writer->unsynced < writer->sync_every)
        return;
    disk_set_sync(&writer->set);
    writer->unsynced = 0;
}

static void verify_next(struct writer *writer)
{
    disk_set_verify(&writer->set, writer->verify_cursor++);
    if (writer->verify_cursor < writer->set.count)
        return;
    writer->verify_cursor = 0;
    writer->sweeps++;
}

static void publish(struct writer *writer)
{
    struct disk_counters *counters = writer->counters;
    const struct disk_set *set = &writer->set;

    counters->bytes = set->count * PAGE_BYTES;
    counters->rate = writer->write_pace.rate;
    counters->counter = set->counter;
    counters->blocks_written = set->blocks_written;
    counters->blocks_verified = set->blocks_verified;
    counters->syncs = set->syncs;
    counters->sweeps = writer->sweeps;
    counters->foreign_witnesses = set->foreign_witnesses;
    counters->wrong_blocks = set->wrong_blocks;
    counters->wrong_bytes = set->wrong_bytes;
    counters->errors = set->errors;
}

static void serve_requests(struct writer *writer)
{
    struct writer_control *control = &writer->counters->control;
    uint64_t rate_request = control->rate_request;
    uint64_t verify_request = control->verify_request;

    if (rate_request != control->rate_served) {
        pace_init(&writer->write_pace, control->rate_wanted, pace_now());
        publish(writer);
        control->rate_served = rate_request;
    }
    if (verify_request != control->verify_served) {
        disk_set_verify_all(&writer->set);
        writer->sweeps++;
        publish(writer);
        control->verify_served = verify_request;
    }
}

static void print_status(const struct writer *writer)
{
    const struct disk_set *set = &writer->set;

    printf("drover-guest: disk blocks=%" PRIu64 " written=%" PRIu64 " verified=%" PRIu64
           " syncs=%" PRIu64 " wrong=%" PRIu64 " foreign=%" PRIu64 " errors=%" PRIu64 "\n",
           set->count, set->blocks_written, set->blocks_verified, set->syncs, set->wrong_blocks,
           set->foreign_witnesses, set->errors);
}

/* One batch of what is due. Returns how many blocks that was. */
static uint64_t work(struct writer *writer)
{
    uint64_t now = pace_now();
    uint64_t writes = pace_due(&writer->write_pace, now, PAGE_BYTES, BATCH_BLOCKS);
    uint64_t checks = pace_due(&writer->verify_pace, now, PAGE_BYTES, BATCH_BLOCKS);

    for (uint64_t i = 0; i < writes; i++)
        write_next(writer);
    for (uint64_t i = 0; i < checks; i++)
        verify_next(writer);
    return writes + checks;
}

static void run(struct writer *writer)
{
    uint64_t next_status = pace_now() + STATUS_NS;

    while (!asked_to_end) {
        if (work(writer) == 0)
            pace_sleep(TICK_NS);
        serve_requests(writer);
        publish(writer);
        if (pace_now() >= next_status) {
            print_status(writer);
            next_status = pace_now() + STATUS_NS;
        }
    }
    disk_set_sync(&writer->set);
    print_status(writer);
}

int main(int argc, char **argv)
{
    (void)argc;
    struct writer writer = {0};
    const char *path = option_text(argv, "path", "/dev/vda");
    uint64_t bytes = option_bytes(argv, "size", "64M");
    uint64_t rate = option_rate(argv, "rate", "1M");
    uint64_t verify_rate = option_rate(argv, "verify-rate", "512K");
    const char *fill_name = option_text(argv, "fill", "random");
    uint64_t owner = page_stamp_mix(counters_boot_identity());
    enum page_fill fill;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, on_terminate);
    if (page_fill_parse(fill_name, &fill) < 0)
        errx(2, "fill=%s: not random, text or zero", fill_name);
    writer.sync_every = option_bytes(argv, "sync-every", "16");
    writer.counters = &counters_open(option_text(argv, "counters", COUNTERS_FILE))->disk;
    int result = disk_set_init(&writer.set, path, bytes, owner, fill);
    if (result < 0)
        errx(1, "%s: %s", path, strerror(-result));
    writer.random_state = owner;
    pace_init(&writer.write_pace, rate, pace_now());
    pace_init(&writer.verify_pace, verify_rate, pace_now());
    publish(&writer);
    writer.counters->control.running = 1;
    run(&writer);
    disk_set_done(&writer.set);
    return 0;
}
