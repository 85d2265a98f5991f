/* Random numbers that a seed repeats (splitmix64, Steele, Lea and Flood 2014). */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random)
{
    uint64_t value = random->state += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

/* [low, high] */
static inline uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    return low + random_next(random) % (high - low + 1);
}

/* [low, high], every order of magnitude as likely as another. */
static inline uint64_t random_scale(struct random *random, double low, double high)
{
    double part = (double)(random_next(random) >> 11) / (double)(1ULL << 53);
    return (uint64_t)(low * pow(high / low, part));
}

/* Once in `times`. */
static inline bool random_once_in(struct random *random, uint64_t times)
{
    return random_next(random) % times == 0;
}
