/* See report.h. */
#include "report.h"

#include "options.h"
#include "pace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1e6

#define PRINT_COUNTER(name) \
    fprintf(out, "%s\"" #name "\":%" PRIu64, separator, section->name), separator = ",";

static void print_memory(FILE *out, const struct memory_counters *section)
{
    const char *separator = "";

    if (!section->control.running) {
        fputs("\"memory\":null", out);
        return;
    }
    fputs("\"memory\":{", out);
    MEMORY_COUNTERS(PRINT_COUNTER)
    fputs("}", out);
}

static void print_disk(FILE *out, const struct disk_counters *section)
{
    const char *separator = "";

    if (!section->control.running) {
        fputs("\"disk\":null", out);
        return;
    }
    fputs("\"disk\":{", out);
    DISK_COUNTERS(PRINT_COUNTER)
    fputs("}", out);
}

static void print_echo(FILE *out, const struct echo_counters *section)
{
    const char *separator = "";

    fputs("\"echo\":{", out);
    ECHO_COUNTERS(PRINT_COUNTER)
    fputs("}", out);
}

static void print_gaps(FILE *out, const struct clock_counters *clock)
{
    uint64_t seen = clock->gaps_seen;
    uint64_t first = seen > CLOCK_GAPS_KEPT ? seen - CLOCK_GAPS_KEPT : 0;

    for (uint64_t i = first; i < seen; i++) {
        const struct clock_gap *gap = &clock->gaps[i % CLOCK_GAPS_KEPT];
        fprintf(out, "%s{\"at_ms\":%.3f,\"ms\":%.3f}", i == first ? "" : ",",
                (double)gap->at_ns / NS_PER_MS, (double)gap->length_ns / NS_PER_MS);
    }
}

static void print_clock(FILE *out, const struct clock_counters *clock)
{
    if (!clock->running) {
        fputs("\"clock\":null", out);
        return;
    }
    fprintf(out,
            "\"clock\":{\"wakeups\":%" PRIu64 ",\"longest_gap_ms\":%.3f,"
            "\"longest_gap_at_ms\":%.3f,\"longest_boottime_gap_ms\":%.3f,\"gaps_seen\":%" PRIu64
            ",\"gaps\":[",
            clock->wakeups, (double)clock->longest.length_ns / NS_PER_MS,
            (double)clock->longest.at_ns / NS_PER_MS,
            (double)clock->longest_boottime_ns / NS_PER_MS, clock->gaps_seen);
    print_gaps(out, clock);
    fputs("]}", out);
}

static void print_report(const struct counters *counters, char *answer)
{
    FILE *out = fmemopen(answer, REPORT_BYTES, "w");

    if (!out) {
        snprintf(answer, REPORT_BYTES, "{\"error\":\"out of memory\"}\n");
        return;
    }
    fprintf(out, "{\"boot_id\":\"%016" PRIx64 "\",\"uptime_ms\":%.3f,", counters_boot_identity(),
            (double)pace_now() / NS_PER_MS);
    print_memory(out, &counters->memory);
    fputs(",", out);
    print_disk(out, &counters->disk);
    fputs(",", out);
    print_clock(out, &counters->clock);
    fputs(",", out);
    print_echo(out, &counters->echo);
    fputs("}\n", out);
    fclose(out);
}

static bool control_is_served(const struct writer_control *control, uint64_t verify, uint64_t rate)
{
    if (!control->running)
        return true;
    return control->verify_served >= verify && control->rate_served >= rate;
}

bool report_poll(const struct counters *counters, const struct report_wait *wait, char *answer)
{
    const struct clock_counters *clock = &counters->clock;

    if (!control_is_served(&counters->memory.control, wait->memory_verify, wait->memory_rate) ||
        !control_is_served(&counters->disk.control, wait->disk_verify, wait->disk_rate) ||
        (clock->running && clock->reset_served < wait->clock_reset))
        return false;
    print_report(counters, answer);
    return true;
}

static bool request_rate(struct writer_control *control, const char *text, uint64_t *ret_request,
                         char *answer)
{
    uint64_t rate;

    if (rate_parse(text, &rate) < 0) {
        snprintf(answer, REPORT_BYTES, "{\"error\":\"the rate is not bytes a second or max\"}\n");
        return false;
    }
    control->rate_wanted = rate;
    *ret_request = ++control->rate_request;
    return true;
}

enum report_outcome report_command(struct counters *counters, const char *line,
                                   struct report_wait *wait, char *answer)
{
    struct writer_control *memory = &counters->memory.control;
    struct writer_control *disk = &counters->disk.control;

    *wait = (struct report_wait){0};
    if (strcmp(line, "quit") == 0)
        return REPORT_QUIT;
    if (strcmp(line, "verify") == 0) {
        wait->memory_verify = ++memory->verify_request;
        wait->disk_verify = ++disk->verify_request;
    } else if (strcmp(line, "clock-reset") == 0) {
        wait->clock_reset = ++counters->clock.reset_request;
    } else if (strncmp(line, "memory rate ", 12) == 0) {
        if (!request_rate(memory, line + 12, &wait->memory_rate, answer))
            return REPORT_ANSWERED;
    } else if (strncmp(line, "disk rate ", 10) == 0) {
        if (!request_rate(disk, line + 10, &wait->disk_rate, answer))
            return REPORT_ANSWERED;
    } else if (strcmp(line, "report") != 0) {
        snprintf(answer, REPORT_BYTES,
                 "{\"error\":\"unknown command; there are report, verify, clock-reset, memory rate "
                 "BYTES, disk rate BYTES and quit\"}\n");
        return REPORT_ANSWERED;
    }
    return report_poll(counters, wait, answer) ? REPORT_ANSWERED : REPORT_PENDING;
}
