/*
 * What is shown of an answer. A field that is missing or of another type is shown as nothing or
 * zero: an agent of another version is still worth looking at. Whatever decides something is read
 * with base/json.h instead.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#define FIELD_SIZE 32

/* A string; "" when it is none. Borrowed. */
const char *field_text(const json_t *object, const char *key);

/* A number, whole or not; 0 when it is none or negative. */
double field_real(const json_t *object, const char *key);
uint64_t field_number(const json_t *object, const char *key);

/* Formatted into text of FIELD_SIZE, which is returned: a count, a size in bytes, a rate in bytes a
 * second, a duration in milliseconds; "-" where the field is missing or null. */
const char *field_count(const json_t *object, const char *key, char text[FIELD_SIZE]);
const char *field_size(const json_t *object, const char *key, char text[FIELD_SIZE]);
const char *field_rate(const json_t *object, const char *key, char text[FIELD_SIZE]);
const char *field_milliseconds(const json_t *object, const char *key, char text[FIELD_SIZE]);
