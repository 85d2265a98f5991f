/* Condition variables whose time limits are moments of clock_monotonic_ns(). */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

void condition_init(pthread_cond_t *condition);

/* As pthread_cond_wait(3), but no longer than until `deadline_ns`: false when that has passed. */
bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline_ns);
