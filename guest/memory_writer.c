/*
 * Dirties a working set of stamped pages at a given rate and pattern, checks every page before it
 * overwrites it, and sweeps slowly over all of them besides. What it finds goes to the shared
 * counters and, every few seconds, to standard output.
 *
 *   memory_writer size=256M rate=20M pattern=sequential|random|hot:BYTES fill=random|text|zero
 *                 verify-rate=4M counters=FILE
 */
#include "counters.h"
#include "options.h"
#include "pace.h"
#include "working_set.h"

#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    BATCH_PAGES = 256, /* between two looks at the clock */
    TICK_NS = 2000000,
};

#define STATUS_NS 5000000000ull

struct writer {
    struct working_set set;
    struct memory_counters *counters;
    struct pace write_pace, verify_pace;
    bool sequential;
    uint64_t reach; /* pages that the pattern touches */
    uint64_t write_cursor, verify_cursor;
    uint64_t random_state;
    uint64_t sweeps;
};

static void parse_pattern(struct writer *writer, const char *pattern)
{
    uint64_t hot_bytes;

    writer->reach = writer->set.count;
    writer->sequential = strcmp(pattern, "sequential") == 0;
    if (writer->sequential || strcmp(pattern, "random") == 0)
        return;
    if (strncmp(pattern, "hot:", 4) != 0 || bytes_parse(pattern + 4, &hot_bytes) < 0 ||
        hot_bytes < PAGE_BYTES)
        errx(2, "pattern=%s: not sequential, random or hot:BYTES", pattern);
    if (hot_bytes / PAGE_BYTES < writer->reach)
        writer->reach = hot_bytes / PAGE_BYTES;
}

static uint64_t next_page(struct writer *writer)
{
    if (writer->sequential)
        return writer->write_cursor++ % writer->reach;
    writer->random_state = page_stamp_mix(writer->random_state);
    return writer->random_state % writer->reach;
}

static void verify_next(struct writer *writer)
{
    working_set_verify(&writer->set, writer->verify_cursor++);
    if (writer->verify_cursor < writer->set.count)
        return;
    working_set_verify_table(&writer->set);
    writer->verify_cursor = 0;
    writer->sweeps++;
}

static void publish(struct writer *writer)
{
    struct memory_counters *counters = writer->counters;
    const struct working_set *set = &writer->set;

    counters->bytes = set->count * PAGE_BYTES;
    counters->rate = writer->write_pace.rate;
    counters->pages_written = set->pages_written;
    counters->pages_verified = set->pages_verified;
    counters->sweeps = writer->sweeps;
    counters->wrong_pages = set->wrong_pages;
    counters->wrong_bytes = set->wrong_bytes;
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
        working_set_verify_all(&writer->set);
        writer->sweeps++;
        publish(writer);
        control->verify_served = verify_request;
    }
}

static void print_status(const struct writer *writer)
{
    const struct working_set *set = &writer->set;

    printf("drover-guest: memory pages=%" PRIu64 " written=%" PRIu64 " verified=%" PRIu64
           " wrong=%" PRIu64 "\n",
           set->count, set->pages_written, set->pages_verified, set->wrong_pages);
}

/* One batch of what is due. Returns how many pages that was. */
static uint64_t work(struct writer *writer)
{
    uint64_t now = pace_now();
    uint64_t writes = pace_due(&writer->write_pace, now, PAGE_BYTES, BATCH_PAGES);
    uint64_t checks = pace_due(&writer->verify_pace, now, PAGE_BYTES, BATCH_PAGES);

    for (uint64_t i = 0; i < writes; i++)
        working_set_write(&writer->set, next_page(writer));
    for (uint64_t i = 0; i < checks; i++)
        verify_next(writer);
    return writes + checks;
}

static void run(struct writer *writer)
{
    uint64_t next_status = pace_now() + STATUS_NS;

    for (;;) {
        if (work(writer) == 0)
            pace_sleep(TICK_NS);
        serve_requests(writer);
        publish(writer);
        if (pace_now() >= next_status) {
            print_status(writer);
            next_status = pace_now() + STATUS_NS;
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    struct writer writer = {0};
    uint64_t bytes = option_bytes(argv, "size", "64M");
    uint64_t rate = option_rate(argv, "rate", "0");
    uint64_t verify_rate = option_rate(argv, "verify-rate", "4M");
    const char *fill_name = option_text(argv, "fill", "random");
    uint64_t owner = page_stamp_mix(counters_boot_identity());
    enum page_fill fill;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (page_fill_parse(fill_name, &fill) < 0)
        errx(2, "fill=%s: not random, text or zero", fill_name);
    writer.counters = &counters_open(option_text(argv, "counters", COUNTERS_FILE))->memory;
    int result = working_set_init(&writer.set, bytes, owner, fill);
    if (result < 0)
        errx(1, "size=%" PRIu64 ": %s", bytes, strerror(-result));
    parse_pattern(&writer, option_text(argv, "pattern", "random"));
    writer.random_state = owner;
    pace_init(&writer.write_pace, rate, pace_now());
    pace_init(&writer.verify_pace, verify_rate, pace_now());
    publish(&writer);
    writer.counters->control.running = 1;
    run(&writer);
}
