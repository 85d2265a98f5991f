/*
 * What the guest's programs publish for the report: one small shared file, a section a program.
 * Each counter is atomic by itself; a section as a whole may be some milliseconds old.
 */
#ifndef GUEST_COUNTERS_H
#define GUEST_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#define COUNTERS_FILE "/run/drover-counters"

/* The field lists make the sections and the report's JSON alike. Bytes, or bytes a second. */
#define MEMORY_COUNTERS(FIELD) \
    FIELD(bytes)               \
    FIELD(rate)                \
    FIELD(pages_written)       \
    FIELD(pages_verified)      \
    FIELD(sweeps)              \
    FIELD(wrong_pages)         \
    FIELD(wrong_bytes)

#define DISK_COUNTERS(FIELD) \
    FIELD(bytes)             \
    FIELD(rate)              \
    FIELD(counter)           \
    FIELD(blocks_written)    \
    FIELD(blocks_verified)   \
    FIELD(syncs)             \
    FIELD(sweeps)            \
    FIELD(foreign_witnesses) \
    FIELD(wrong_blocks)      \
    FIELD(wrong_bytes)       \
    FIELD(errors)

#define ECHO_COUNTERS(FIELD) \
    FIELD(udp_datagrams)     \
    FIELD(tcp_connections)   \
    FIELD(tcp_records)       \
    FIELD(malformed)

#define COUNTERS_DECLARE(name) _Atomic uint64_t name;

/* Requests go the other way: a program that sees a number it has not served serves it. */
struct writer_control {
    _Atomic uint64_t running; /* 1 from the moment that everything is stamped */
    _Atomic uint64_t rate_wanted;
    _Atomic uint64_t rate_request, rate_served;
    _Atomic uint64_t verify_request, verify_served;
};

struct memory_counters {
    struct writer_control control;
    MEMORY_COUNTERS(COUNTERS_DECLARE)
};

struct disk_counters {
    struct writer_control control;
    DISK_COUNTERS(COUNTERS_DECLARE)
};

struct clock_gap {
    _Atomic uint64_t at_ns; /* when it ended, CLOCK_MONOTONIC */
    _Atomic uint64_t length_ns;
};

enum { CLOCK_GAPS_KEPT = 64 };

struct clock_counters {
    _Atomic uint64_t running;
    _Atomic uint64_t reset_request, reset_served;
    struct clock_gap longest;
    _Atomic uint64_t longest_boottime_ns;
    _Atomic uint64_t wakeups;
    _Atomic uint64_t gaps_seen; /* longer than the limit; the ring holds the last of them */
    struct clock_gap gaps[CLOCK_GAPS_KEPT];
};

struct echo_counters {
    _Atomic uint64_t running;
    ECHO_COUNTERS(COUNTERS_DECLARE)
};

struct counters {
    struct memory_counters memory;
    struct disk_counters disk;
    struct clock_counters clock;
    struct echo_counters echo;
};

/* Maps the shared file, and makes it if it is not there. Ends the program when it cannot. */
struct counters *counters_open(const char *path);

/* A number that differs from one boot to the next, from the kernel's boot_id. */
uint64_t counters_boot_identity(void);

#endif
