/* Samples of memory: see pack_samples.h. */
#include "pack_samples.h"

#include <string.h>

#define WORDS 4096u
#define LETTERS_MOST 10u
#define PAGE 4096u

/* xorshift64, Marsaglia 2003. */
uint64_t sample_next(struct sample_random *random)
{
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return random->state;
}

/* Below `limit`, small numbers more often. */
static uint64_t skewed(struct sample_random *random, uint64_t limit)
{
    uint64_t number = sample_next(random) % limit;
    return number * (sample_next(random) % limit) / limit;
}

static void make_words(struct sample_random *random, char words[WORDS][LETTERS_MOST + 1])
{
    for (unsigned i = 0; i < WORDS; i++) {
        size_t length = 2 + sample_next(random) % (LETTERS_MOST - 1);
        for (size_t j = 0; j < length; j++) {
            words[i][j] = "etaoinshrdlucmfwypvbgkjqxz"[skewed(random, 26)];
        }
        words[i][length] = '\0';
    }
}

static void fill_text(struct sample_random *random, uint8_t *bytes, size_t length)
{
    static char words[WORDS][LETTERS_MOST + 1];
    make_words(random, words);
    for (size_t at = 0; at < length;) {
        const char *word = words[skewed(random, skewed(random, WORDS) + 1)];
        size_t letters = strlen(word);
        letters = letters < length - at ? letters : length - at;
        memcpy(bytes + at, word, letters);
        at += letters;
        if (at < length) {
            bytes[at++] = sample_next(random) % 12 ? ' ' : '\n';
        }
    }
}

static void fill_random(struct sample_random *random, uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
        uint64_t number = sample_next(random);
        size_t part = length - at < sizeof(number) ? length - at : sizeof(number);
        memcpy(bytes + at, &number, part);
    }
}

void sample_fill(struct sample_random *random, enum sample_kind kind, uint8_t *bytes, size_t length)
{
    kind == SAMPLE_TEXT ? fill_text(random, bytes, length) : fill_random(random, bytes, length);
}

void sample_change(struct sample_random *random, uint8_t *bytes, size_t length, size_t changes)
{
    for (size_t page = 0; page + PAGE <= length; page += PAGE) {
        size_t at = changes < PAGE ? sample_next(random) % (PAGE - changes) : 0;
        fill_random(random, bytes + page + at, changes);
    }
}
