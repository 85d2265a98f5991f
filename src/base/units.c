/* Sizes and durations: see units.h. */
#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

static int refuse_size(const char *text, struct error *err)
{
    int result = error_set(err, EINVAL, "\"%.80s\" is not a size", text);
    error_remedy(err, "write a number with K, M, G or T, such as 512M or 1.5G");
    return result;
}

int units_parse_size(const char *text, uint64_t *ret_bytes, struct error *err)
{
    static const char *const suffixes[] = {"", "K", "M", "G", "T"};
    char *end;
    size_t digits = strspn(text, "0123456789.");
    double number = strtod(text, &end);
    if (digits == 0 || end != text + digits ||
        !isfinite(number)) { /* no sign, space, hex, exponent */
        return refuse_size(text, err);
    }
    char unit = *end;
    const char *rest = unit ? end + 1 : end;
    if (*rest && strcasecmp(rest, "iB") != 0 && strcasecmp(rest, "B") != 0) {
        return refuse_size(text, err);
    }
    double factor = 1;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++, factor *= 1024) {
        char letter[2] = {unit, '\0'};
        if (strcasecmp(letter, suffixes[i]) == 0 && number * factor < 0x1p62) {
            *ret_bytes = (uint64_t)(number * factor);
            return 0;
        }
    }
    return refuse_size(text, err);
}

void units_format_size(uint64_t bytes, char *text, size_t size)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= (unit == 0 ? 1024 : 1023.5) && unit < sizeof(names) / sizeof(names[0]) - 1) {
        number /= 1024;
        unit++;
    }
    snprintf(text, size, unit == 0 || number >= 99.95 ? "%.0f %s" : "%.1f %s", number, names[unit]);
}

void units_format_duration(uint64_t nanoseconds, char *text, size_t size)
{
    double milliseconds = (double)nanoseconds / (double)NANOSECONDS_PER_MILLISECOND;
    if (milliseconds < 9.95) {
        snprintf(text, size, "%.1f ms", milliseconds);
    } else if (milliseconds < 999.5) {
        snprintf(text, size, "%.0f ms", milliseconds);
    } else if (milliseconds < 59950) {
        snprintf(text, size, "%.1f s", milliseconds / 1000);
    } else {
        unsigned long long seconds =
            (nanoseconds + NANOSECONDS_PER_SECOND / 2) / NANOSECONDS_PER_SECOND;
        snprintf(text, size, "%llu min %llu s", seconds / 60, seconds % 60);
    }
}
