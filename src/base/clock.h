/* Time: nanoseconds everywhere inside, one unit only; wall-clock text for people. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NANOSECONDS_PER_MICROSECOND 1000ULL
#define NANOSECONDS_PER_MILLISECOND 1000000ULL
#define NANOSECONDS_PER_SECOND 1000000000ULL

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t clock_monotonic_ns(void);

/* CLOCK_BOOTTIME, in nanoseconds: as monotonic, and goes on while the host is suspended. */
uint64_t clock_boottime_ns(void);

/* The processor time that the calling thread has had, in nanoseconds. */
uint64_t clock_thread_ns(void);

/* CLOCK_REALTIME, in nanoseconds since 1970. */
uint64_t clock_realtime_ns(void);

/* "2026-11-21T08:00:00.123Z" for a CLOCK_REALTIME value; `text` holds at least 32 bytes. */
void clock_format_utc(uint64_t realtime_ns, char text[32]);

/* Sleeps, continuing after signals. */
void clock_sleep_ns(uint64_t duration_ns);
