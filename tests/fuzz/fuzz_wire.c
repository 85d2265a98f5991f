/*
 * libFuzzer's entry: every decoder of wire/frame.h. The first byte chooses it, what follows is what
 * it reads. What was decoded must come back the same from what is encoded of it.
 */
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "wire/frame.h"

#define RUNS 64u
#define MEMORY_PAGES 1000u

/* A body, and a second one from what the first was encoded to. Bytes that a decoder passes over
 * (after a text's end) need not come back. */
#define TRY_BODY(NAME, name)                                    \
    static void try_##name(const uint8_t *bytes, size_t length) \
    {                                                           \
        struct error err = ERROR_NONE;                          \
        struct wire_##name value = {0}, again = {0};            \
        uint8_t encoded[WIRE_##NAME##_SIZE];                    \
        if (length < WIRE_##NAME##_SIZE) {                      \
            return;                                             \
        }                                                       \
        int result = wire_##name##_decode(bytes, &value, &err); \
        harness_check_refusal(result, &err);                    \
        if (result < 0) {                                       \
            return;                                             \
        }                                                       \
        wire_##name##_encode(&value, encoded);                  \
        if (wire_##name##_decode(encoded, &again, &err) < 0) {  \
            abort();                                            \
        }                                                       \
        uint8_t twice[WIRE_##NAME##_SIZE];                      \
        wire_##name##_encode(&again, twice);                    \
        if (memcmp(encoded, twice, sizeof(twice)) != 0) {       \
            abort();                                            \
        }                                                       \
    }
WIRE_BODIES(TRY_BODY)

static void try_header_check(const uint8_t *bytes, size_t length)
{
    struct error err = ERROR_NONE;
    struct wire_header header;
    if (length < WIRE_HEADER_SIZE || wire_header_decode(bytes, &header, &err) < 0) {
        return;
    }
    int result = wire_header_check(&header, &err);
    harness_check_refusal(result, &err);
    if (result == 0 && strcmp(wire_type_name(header.type), "unknown") == 0) {
        abort();
    }
}

static void try_versions_agree(const uint8_t *bytes, size_t length)
{
    struct error err = ERROR_NONE;
    struct wire_versions versions;
    unsigned version;
    if (length >= WIRE_VERSIONS_SIZE && wire_versions_decode(bytes, &versions, &err) == 0) {
        harness_check_refusal(wire_versions_agree(&versions, "source", &version, &err), &err);
    }
}

/* A table's runs: what is accepted is ascending, apart, and inside. */
static void try_runs(const uint8_t *bytes, size_t length)
{
    struct error err = ERROR_NONE;
    struct wire_run runs[RUNS];
    uint64_t pages = 0, end = 0;
    uint32_t count = (uint32_t)(length / WIRE_RUN_SIZE < RUNS ? length / WIRE_RUN_SIZE : RUNS);
    int result = wire_runs_decode(bytes, count, MEMORY_PAGES, runs, &pages, &err);
    harness_check_refusal(result, &err);
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        if (runs[i].count == 0 || runs[i].first < end || runs[i].first >= MEMORY_PAGES ||
            runs[i].count > MEMORY_PAGES - runs[i].first) {
            abort();
        }
        end = runs[i].first + runs[i].count;
        pages -= runs[i].count;
    }
    if (result == 0 && pages != 0) {
        abort();
    }
}

typedef void try_function(const uint8_t *bytes, size_t length);

#define TRY_ENTRY(NAME, name) try_##name,

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static try_function *const functions[] = {WIRE_BODIES(TRY_ENTRY) try_header_check,
                                              try_versions_agree, try_runs};
    size_t count = sizeof(functions) / sizeof(functions[0]);
    if (length > 0) {
        functions[bytes[0] % count](bytes + 1, length - 1);
    }
    return 0;
}
