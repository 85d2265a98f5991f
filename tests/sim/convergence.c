/*
 * How quickly moves of busy guests come to an end, in the simulator: guests that write in several
 * patterns, at several shares of what the link carries, against pre-copy as hypervisors do it
 * (rounds_model.h). Prints a table; fails when a move loses what it was better by.
 *
 *     convergence [PATTERN SHARE]     of one guest: the course of its move, paced
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "busy_move.h"
#include "rounds_model.h"

#define PAGES 8192u /* 32 MiB */
#define LINK_RATE 12500000u
#define PAGE_SIZE 4096u
#define STATE_NS (3 * NANOSECONDS_PER_MILLISECOND)
#define TARGET_NS (12 * NANOSECONDS_PER_MILLISECOND)
#define LIMIT_NS (60 * NANOSECONDS_PER_SECOND)

static struct busy_guest make_guest(enum pattern pattern, unsigned share)
{
    return (struct busy_guest){.pages = PAGES,
                               .link_rate = LINK_RATE,
                               .pattern = pattern,
                               .write_rate = (double)LINK_RATE / PAGE_SIZE * share / 100,
                               .target_ns = TARGET_NS,
                               .state_ns = STATE_NS,
                               .limit_ns = LIMIT_NS,
                               .collects_stretches = true};
}

static struct rounds_result model(const struct busy_guest *guest)
{
    struct pattern_writer writer = {
        .pattern = guest->pattern, .pages = PAGES, .position = PAGES / 3, .random = {.state = 7}};
    struct rounds_terms terms = {.pages = PAGES,
                                 .link_rate = LINK_RATE,
                                 .write_rate = guest->write_rate,
                                 .downtime_ns = TARGET_NS,
                                 .limit_ns = LIMIT_NS};
    return rounds_model(&terms, &writer);
}

static double over_memory(uint64_t bytes)
{
    return (double)bytes / ((double)PAGES * PAGE_SIZE);
}

static double seconds(uint64_t duration_ns)
{
    return (double)duration_ns / NANOSECONDS_PER_SECOND;
}

static void print_result(const struct busy_result *result)
{
    printf(" | %6.2f %6.2f s%c %5.1f ms %4.0f %% %3u", over_memory(result->bytes),
           seconds(result->until_stop_ns), result->moved ? ' ' : '!',
           seconds(result->statistics.blackout_ns) * 1e3, result->writes_lost * 100,
           result->statistics.round_count);
}

/* What must be reached: bytes and time, of those that rounds alone would take; their bytes when
 * they do not come to an end are without limit. Uniform writing at half of the link's rate cannot
 * do with less than 0.80 of them: each page that is sent is one that was dirty, whoever sends it.
 */
struct row {
    enum pattern pattern;
    unsigned share;      /* per cent of what the link carries */
    double free_running; /* ratio of bytes and of time without pacing; 0: need not end */
    double paced;        /* the same with pacing allowed */
    double writes_lost;  /* paced */
};

static const struct row rows[] = {
    {PATTERN_UNIFORM, 10, 1.00, 1.00, 0.05},    {PATTERN_UNIFORM, 50, 0.85, 0.85, 0.05},
    {PATTERN_UNIFORM, 90, 0.72, 0.45, 0.22},    {PATTERN_UNIFORM, 150, 0, 0.10, 0.40},
    {PATTERN_SEQUENTIAL, 10, 1.02, 1.02, 0.05}, {PATTERN_SEQUENTIAL, 50, 0.75, 0.75, 0.05},
    {PATTERN_SEQUENTIAL, 90, 0.40, 0.20, 0.22}, {PATTERN_SEQUENTIAL, 150, 0, 0.12, 0.48},
    {PATTERN_HOT_SET, 10, 1.02, 1.02, 0.05},    {PATTERN_HOT_SET, 50, 1.04, 1.04, 0.05},
    {PATTERN_HOT_SET, 90, 1.04, 1.04, 0.10},    {PATTERN_HOT_SET, 150, 0, 0.10, 0.10},
    {PATTERN_MIXED, 50, 1.00, 1.00, 0.05},      {PATTERN_MIXED, 90, 0.95, 0.95, 0.05},
    {PATTERN_MIXED, 150, 0.90, 0.90, 0.05},
};

static bool keeps(const struct busy_result *result, const struct rounds_result *rounds,
                  double ratio)
{
    return result->moved && !result->failure[0] &&
           (double)result->bytes <= (double)rounds->bytes * ratio &&
           (double)result->until_stop_ns <= (double)rounds->total_ns * ratio &&
           result->statistics.predicted_blackout_ns <= TARGET_NS &&
           result->statistics.blackout_ns <= TARGET_NS;
}

static bool check_row(const struct row *row)
{
    struct busy_guest guest = make_guest(row->pattern, row->share);
    struct rounds_result rounds = model(&guest);
    struct busy_result result;
    bool good = true;
    printf("%-10s %4u %% | %6.2f %6.2f s%c", pattern_name(row->pattern), row->share,
           over_memory(rounds.bytes), seconds(rounds.total_ns), rounds.completed ? ' ' : '!');
    if (row->free_running > 0) {
        busy_move_run(&guest, &result);
        print_result(&result);
        good = keeps(&result, &rounds, row->free_running);
    } else {
        printf(" | %35s", "-");
    }
    guest.pace = true;
    busy_move_run(&guest, &result);
    print_result(&result);
    good = good && keeps(&result, &rounds, row->paced) && result.writes_lost <= row->writes_lost;
    printf("%s %s\n", good ? "" : "  FAILED", result.failure);
    return good;
}

/* What is written behind the first copy's back, with and without a look right before a stretch is
 * sent. */
static bool check_stretches(void)
{
    struct busy_guest guest = make_guest(PATTERN_UNIFORM, 50);
    struct busy_result with, without;
    busy_move_run(&guest, &with);
    guest.collects_stretches = false;
    busy_move_run(&guest, &without);
    bool good = with.moved && without.moved &&
                over_memory(with.bytes) - 1 <= (over_memory(without.bytes) - 1) * 2 / 3;
    printf("sent again: %.2f of memory, without a look before each stretch %.2f%s\n",
           over_memory(with.bytes) - 1, over_memory(without.bytes) - 1, good ? "" : "  FAILED");
    return good;
}

static int trace_one(const char *pattern, const char *share)
{
    struct busy_guest guest = make_guest((enum pattern)atoi(pattern), (unsigned)atoi(share));
    struct busy_result result;
    guest.trace = guest.pace = true;
    busy_move_run(&guest, &result);
    print_result(&result);
    puts(result.failure);
    return result.failure[0] != 0;
}

int main(int argc, char **argv)
{
    bool good = true;
    if (argc == 3) {
        return trace_one(argv[1], argv[2]);
    }
    setlinebuf(stdout);
    puts("bytes in memory sizes, time until the guest stops, blackout, writes lost, rounds\n"
         "guest             | whole rounds     | not paced                           | paced");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        good = check_row(&rows[i]) && good;
    }
    return check_stretches() && good ? 0 : 1;
}
