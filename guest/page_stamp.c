/* See page_stamp.h. */
#include "page_stamp.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
    WORDS = PAGE_BYTES / sizeof(uint64_t),
    HEADER_WORDS = 4,
};

static const uint64_t stamp_magic = 0x64726f7665722d70; /* "drover-p" */

/* Sebastiano Vigna's splitmix64 finaliser. */
uint64_t page_stamp_mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

/* George Marsaglia's xorshift64: cheap even where multiplication is emulated. */
static uint64_t next_random(uint64_t state)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^ (state << 17);
}

static uint64_t stamp_key(const struct page_stamp *stamp)
{
    uint64_t key = page_stamp_mix(stamp->owner ^ page_stamp_mix(stamp->index));

    return page_stamp_mix(key ^ stamp->generation) | 1;
}

static void write_header(uint64_t *words, const struct page_stamp *stamp)
{
    words[0] = stamp_magic;
    words[1] = stamp->owner;
    words[2] = stamp->index;
    words[3] = stamp->generation;
}

static void fill_random(uint64_t *words, uint64_t key)
{
    for (size_t i = HEADER_WORDS; i < WORDS; i++) {
        key = next_random(key);
        words[i] = key;
    }
}

static void fill_text(uint64_t *words, uint64_t key)
{
    static const char vocabulary[16][9] = {
        "machine ", "network ", "moving, ", "of the  ", "and so  ", "storage ",
        "between ", "a host. ", "page by ", "to its  ", "running ", "cluster ",
        "nobody  ", "without ", "notices ", "memory, ",
    };

    for (size_t i = HEADER_WORDS; i < WORDS; i++) {
        key = next_random(key);
        memcpy(&words[i], vocabulary[key >> 60], sizeof(words[i]));
    }
}

/* The key at the end, too: a page torn in the middle must show it. */
static void fill_zero(uint64_t *words, uint64_t key)
{
    memset(words + HEADER_WORDS, 0, PAGE_BYTES - HEADER_WORDS * sizeof(*words));
    words[WORDS - 1] = key;
}

void page_stamp_write(void *page, const struct page_stamp *stamp, enum page_fill fill)
{
    uint64_t *words = page;

    if (fill == PAGE_FILL_ZERO && stamp->generation % 2 == 0) {
        memset(page, 0, PAGE_BYTES);
        return;
    }
    write_header(words, stamp);
    switch (fill) {
    case PAGE_FILL_RANDOM:
        fill_random(words, stamp_key(stamp));
        break;
    case PAGE_FILL_TEXT:
        fill_text(words, stamp_key(stamp));
        break;
    case PAGE_FILL_ZERO:
        fill_zero(words, stamp_key(stamp));
        break;
    }
}

static bool page_is(const void *page, const struct page_stamp *stamp, enum page_fill fill)
{
    uint64_t expected[WORDS];

    page_stamp_write(expected, stamp, fill);
    return memcmp(page, expected, PAGE_BYTES) == 0;
}

static bool page_is_zero(const unsigned char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

/* Every byte that is not of `now` is of `before`. */
static bool page_is_mixed(const unsigned char *page, const unsigned char *now,
                          const struct page_stamp *before, enum page_fill fill)
{
    uint64_t words[WORDS];
    const unsigned char *old = (const unsigned char *)words;

    page_stamp_write(words, before, fill);
    for (size_t i = 0; i < PAGE_BYTES; i++) {
        if (page[i] != now[i] && page[i] != old[i])
            return false;
    }
    return true;
}

/* What a wrong page says of itself, its own header, decides what to call it. */
static enum page_verdict judge_wrong_page(const void *page, const void *expected,
                                          const struct page_stamp *stamp, uint64_t previous,
                                          enum page_fill fill)
{
    uint64_t header[HEADER_WORDS];
    struct page_stamp before = {stamp->owner, stamp->index, previous};

    memcpy(header, page, sizeof(header));
    struct page_stamp found = {header[1], header[2], header[3]};

    if (page_is_zero(page))
        return PAGE_ZEROED;
    if (header[0] == stamp_magic && page_is(page, &found, fill))
        return found.index == stamp->index ? PAGE_STALE : PAGE_MISPLACED;
    if (page_is_mixed(page, expected, &before, fill))
        return PAGE_TORN;
    return PAGE_CORRUPT;
}

struct page_check page_stamp_check(const void *page, const struct page_stamp *stamp,
                                   uint64_t previous, enum page_fill fill)
{
    struct page_check check = {.verdict = PAGE_RIGHT};
    uint64_t words[WORDS];
    const unsigned char *expected = (const unsigned char *)words;
    const unsigned char *found = page;

    page_stamp_write(words, stamp, fill);
    if (memcmp(found, expected, PAGE_BYTES) == 0)
        return check;

    for (size_t i = PAGE_BYTES; i-- > 0;) {
        if (found[i] != expected[i]) {
            check.wrong_bytes++;
            check.first_wrong = i;
        }
    }
    check.verdict = judge_wrong_page(page, expected, stamp, previous, fill);
    return check;
}

const char *page_verdict_name(enum page_verdict verdict)
{
    static const char *const names[] = {
        [PAGE_RIGHT] = "right", [PAGE_STALE] = "stale",   [PAGE_MISPLACED] = "misplaced",
        [PAGE_TORN] = "torn",   [PAGE_ZEROED] = "zeroed", [PAGE_CORRUPT] = "corrupt",
    };

    return names[verdict];
}

int page_fill_parse(const char *text, enum page_fill *ret_fill)
{
    static const char *const names[] = {
        [PAGE_FILL_RANDOM] = "random",
        [PAGE_FILL_TEXT] = "text",
        [PAGE_FILL_ZERO] = "zero",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_fill = (enum page_fill)i;
            return 0;
        }
    }
    return -EINVAL;
}
