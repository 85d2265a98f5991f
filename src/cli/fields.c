/* Fields of answers, for people: see fields.h. */
#include "cli/fields.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/units.h"

/* Milliseconds below this are shown with a tenth: of a blackout every one counts. */
#define TENTHS_BELOW 100

/* Beyond this a double is no exact count any more, and no size of anything. */
#define NUMBER_MOST 0x1p53

const char *field_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

double field_real(const json_t *object, const char *key)
{
    double value = json_number_value(json_object_get(object, key));
    return isfinite(value) && value > 0 ? fmin(value, NUMBER_MOST) : 0;
}

uint64_t field_number(const json_t *object, const char *key)
{
    return (uint64_t)field_real(object, key);
}

static const char *missing(char text[FIELD_SIZE])
{
    snprintf(text, FIELD_SIZE, "-");
    return text;
}

static int is_missing(const json_t *object, const char *key)
{
    return !json_is_number(json_object_get(object, key));
}

const char *field_count(const json_t *object, const char *key, char text[FIELD_SIZE])
{
    if (is_missing(object, key)) {
        return missing(text);
    }
    snprintf(text, FIELD_SIZE, "%llu", (unsigned long long)field_number(object, key));
    return text;
}

const char *field_size(const json_t *object, const char *key, char text[FIELD_SIZE])
{
    if (is_missing(object, key)) {
        return missing(text);
    }
    units_format_size(field_number(object, key), text, FIELD_SIZE);
    return text;
}

const char *field_rate(const json_t *object, const char *key, char text[FIELD_SIZE])
{
    char size[FIELD_SIZE];
    if (is_missing(object, key)) {
        return missing(text);
    }
    snprintf(text, FIELD_SIZE, "%s/s", field_size(object, key, size));
    return text;
}

const char *field_milliseconds(const json_t *object, const char *key, char text[FIELD_SIZE])
{
    if (is_missing(object, key)) {
        return missing(text);
    }
    double milliseconds = field_real(object, key);
    if (milliseconds < TENTHS_BELOW) {
        snprintf(text, FIELD_SIZE, "%.1f ms", milliseconds);
    } else {
        double nanoseconds = milliseconds * (double)NANOSECONDS_PER_MILLISECOND;
        units_format_duration((uint64_t)fmin(nanoseconds, NUMBER_MOST), text, FIELD_SIZE);
    }
    return text;
}
