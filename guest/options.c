/* See options.h. */
#include "options.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *option_text(char **argv, const char *name, const char *fallback)
{
    size_t length = strlen(name);
    const char *value = fallback;

    for (char **argument = argv + 1; *argument; argument++) {
        if (strncmp(*argument, name, length) == 0 && (*argument)[length] == '=')
            value = *argument + length + 1;
    }
    return value;
}

static int suffix_shift(const char *suffix)
{
    static const char letters[] = "KMG";

    if (*suffix == '\0')
        return 0;
    const char *found = strchr(letters, toupper((unsigned char)*suffix));
    if (!found || suffix[1] != '\0')
        return -1;
    return (int)(found - letters + 1) * 10;
}

int bytes_parse(const char *text, uint64_t *ret_bytes)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    int shift = suffix_shift(end);
    if (errno != 0 || shift < 0 || number > (uint64_t)INT64_MAX >> shift)
        return -EINVAL;
    *ret_bytes = (uint64_t)number << shift;
    return 0;
}

int rate_parse(const char *text, uint64_t *ret_rate)
{
    if (strcmp(text, "max") == 0) {
        *ret_rate = RATE_MAX;
        return 0;
    }
    return bytes_parse(text, ret_rate);
}

uint64_t option_bytes(char **argv, const char *name, const char *fallback)
{
    const char *text = option_text(argv, name, fallback);
    uint64_t bytes;

    if (bytes_parse(text, &bytes) < 0)
        errx(2, "%s=%s: not an amount of bytes; give digits and K, M or G", name, text);
    return bytes;
}

uint64_t option_rate(char **argv, const char *name, const char *fallback)
{
    const char *text = option_text(argv, name, fallback);
    uint64_t rate;

    if (rate_parse(text, &rate) < 0)
        errx(2, "%s=%s: not a rate; give bytes a second (digits and K, M or G) or max", name, text);
    return rate;
}
