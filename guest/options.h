/*
 * Arguments of the form name=value, as the guest's programs take them, and the amounts in them.
 */
#ifndef GUEST_OPTIONS_H
#define GUEST_OPTIONS_H

#include <stdint.h>

/* As fast as it goes. Fits a signed 64-bit integer, as readers of the report want it. */
#define RATE_MAX INT64_MAX

/*
 * The value of the argument `name`=..., or `fallback`. The last one given counts. Points into argv.
 */
const char *option_text(char **argv, const char *name, const char *fallback);

/* The same as an amount of bytes: digits and optionally K, M or G. Ends the program on nonsense. */
uint64_t option_bytes(char **argv, const char *name, const char *fallback);

/* The same as bytes a second: an amount, or "max". Ends the program on nonsense. */
uint64_t option_rate(char **argv, const char *name, const char *fallback);

/* Reads an amount, resp. a rate. Return 0, or -EINVAL. */
int bytes_parse(const char *text, uint64_t *ret_bytes);
int rate_parse(const char *text, uint64_t *ret_rate);

#endif
