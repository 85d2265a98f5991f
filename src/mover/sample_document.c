/* A sample between its two ends: see sample.h. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "mover/sample.h"

#define WHAT "the sample"

json_t *sample_encode(const struct engine_sample *sample)
{
    json_t *points = json_array();
    for (uint32_t i = 0; i < sample->point_count; i++) {
        json_array_append_new(points, json_pack("{s:I, s:I}", "after_ns",
                                                (json_int_t)sample->points[i].after_ns, "bytes",
                                                (json_int_t)sample->points[i].bytes));
    }
    return json_pack("{s:s, s:I, s:I, s:f, s:f, s:I, s:I, s:o}", "event", "sample", "memory_bytes",
                     (json_int_t)sample->memory_bytes, "populated_bytes",
                     (json_int_t)sample->populated_bytes, "zero_share", sample->zero_share,
                     "packed_share", sample->packed_share, "hot_bytes",
                     (json_int_t)sample->hot_bytes, "collect_ns", (json_int_t)sample->collect_ns,
                     "points", points);
}

/* A number of bytes, at most `most`. */
static int get_bytes(const json_t *object, const char *key, uint64_t most, uint64_t *ret_bytes,
                     struct error *err)
{
    int64_t value;
    int result = json_get_integer(object, WHAT, key, 0, (int64_t)most, &value, err);
    if (result == 0) {
        *ret_bytes = (uint64_t)value;
    }
    return result;
}

static int get_share(const json_t *object, const char *key, double least, double *ret_share,
                     struct error *err)
{
    const json_t *value = json_object_get(object, key);
    double share = json_number_value(value);
    if (!json_is_number(value) || !(share >= least && share <= 1)) {
        return error_set(err, EINVAL, WHAT ": \"%s\" must be a number up to 1", key);
    }
    *ret_share = share;
    return 0;
}

/* Later than the point before it, and no fewer bytes. */
static int decode_point(const json_t *entry, struct engine_sample *sample, struct error *err)
{
    struct engine_sample_point before = {0};
    struct engine_sample_point point;
    if (sample->point_count == ENGINE_SAMPLE_POINTS_MOST) {
        return error_set(err, EINVAL, WHAT ": at most %u points", ENGINE_SAMPLE_POINTS_MOST);
    }
    if (sample->point_count > 0) {
        before = sample->points[sample->point_count - 1];
    }
    int result = get_bytes(entry, "after_ns", INT64_MAX, &point.after_ns, err);
    if (result == 0) {
        result = get_bytes(entry, "bytes", sample->memory_bytes, &point.bytes, err);
    }
    if (result == 0 && (point.after_ns <= before.after_ns || point.bytes < before.bytes)) {
        result = error_set(err, EINVAL, WHAT ": its points must ascend");
    }
    if (result == 0) {
        sample->points[sample->point_count++] = point;
    }
    return result;
}

static int decode_points(const json_t *event, struct engine_sample *sample, struct error *err)
{
    json_t *list;
    size_t index;
    const json_t *entry;
    int result = json_get_array_or_empty(event, WHAT, "points", &list, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (list, index, entry) {
        result = decode_point(entry, sample, err);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int decode(const json_t *event, struct engine_sample *sample, struct error *err)
{
    int result = get_bytes(event, "memory_bytes", INT64_MAX, &sample->memory_bytes, err);
    if (result == 0) {
        result = get_bytes(event, "populated_bytes", sample->memory_bytes, &sample->populated_bytes,
                           err);
    }
    if (result == 0) {
        result = get_bytes(event, "hot_bytes", sample->memory_bytes, &sample->hot_bytes, err);
    }
    if (result == 0) {
        result = get_bytes(event, "collect_ns", INT64_MAX, &sample->collect_ns, err);
    }
    if (result == 0) {
        result = get_share(event, "zero_share", 0, &sample->zero_share, err);
    }
    if (result == 0) {
        result = get_share(event, "packed_share", 0.001, &sample->packed_share, err);
    }
    return result < 0 ? result : decode_points(event, sample, err);
}

int sample_decode(const json_t *event, struct engine_sample *ret_sample, struct error *err)
{
    struct engine_sample sample = {0};
    const char *kind;
    int result = json_get_string(event, WHAT, "event", &kind, err);
    if (result < 0) {
        return result;
    }
    if (strcmp(kind, "sample") != 0) {
        return json_to_error(event, err);
    }
    result = decode(event, &sample, err);
    if (result == 0) {
        *ret_sample = sample;
    }
    return result;
}
