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
    error_set(err, EINVAL, "\"%s\" is not a size", text);
    return error_remedy(err, "write a number with K, M, G or T, such as 512M or 1.5G");
}

int units_parse_size(const char *text, uint64_t *ret_bytes, struct error *err)
{
    static const char *const suffixes[] = {"", "K", "M", "G", "T"};
    char *end;
    double number = strtod(text, &end);
    if (end == text || text[0] == '-' || !isfinite(number)) {
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
    while (number >= 1024 && unit < sizeof(names) / sizeof(names[0]) - 1) {
        number /= 1024;
        unit++;
    }
    snprintf(text, size, unit == 0 || number >= 100 ? "%.0f %s" : "%.1f %s", number, names[unit]);
}

void units_format_duration(uint64_t nanoseconds, char *text, size_t size)
{
    uint64_t seconds = nanoseconds / NANOSECONDS_PER_SECOND;
    double milliseconds = (double)nanoseconds / (double)NANOSECONDS_PER_MILLISECOND;
    if (milliseconds < 10) {
        snprintf(text, size, "%.1f ms", milliseconds);
    } else if (milliseconds < 1000) {
        snprintf(text, size, "%.0f ms", milliseconds);
    } else if (seconds < 60) {
        snprintf(text, size, "%.1f s", milliseconds / 1000);
    } else {
        snprintf(text, size, "%llu min %llu s", (unsigned long long)(seconds / 60),
                 (unsigned long long)(seconds % 60));
    }
}
