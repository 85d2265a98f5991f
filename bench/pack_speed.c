/*
 * What each packing method makes of a kind of memory, and how fast: ratio, and MB of content a
 * second of one processor for packing and for unpacking. The figures behind PACK_CHUNK_PAGES, the
 * choice of lz4 for differences, and the models of tests/unit/engine/test_pack_choice.c.
 *
 * usage: drover-pack-speed [MIB of memory, default 64]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/delta_cache.h"
#include "engine/pack.h"
#include "unit/engine/pack_samples.h"

struct memory {
    uint8_t *now;
    uint8_t *before; /* what the destination has */
    size_t size;
};

struct figures {
    double packed, content;
    double pack_s, unpack_s;
};

struct kind {
    const char *name;
    enum sample_kind sample;
    size_t changes; /* bytes changed in each page since it was sent */
};

static double processor_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / (double)NANOSECONDS_PER_SECOND;
}

static void unpack_chunk(struct unpacker *unpacker, enum pack_method method, const uint8_t *packed,
                         size_t length, const struct memory *memory, uint64_t first,
                         struct figures *figures)
{
    const uint8_t *bases[PACK_CHUNK_PAGES], *content;
    for (uint64_t i = 0; i < PACK_CHUNK_PAGES; i++) {
        bases[i] = memory->before + (first + i) * ENGINE_PAGE_SIZE;
    }
    memcpy(unpacker->packed, packed, length);
    double began = processor_seconds();
    int result = unpacker_unpack(unpacker, method, length, PACK_CHUNK_PAGES, bases, &content, NULL);
    figures->unpack_s += processor_seconds() - began;
    if (result < 0 ||
        memcmp(content, memory->now + first * ENGINE_PAGE_SIZE, PACK_CHUNK_BYTES) != 0) {
        fprintf(stderr, "drover-pack-speed: %s does not come back as it was\n",
                pack_method_name(method));
        exit(EXIT_FAILURE);
    }
}

static struct figures measure(struct packer *packer, struct unpacker *unpacker,
                              enum pack_method method, const struct memory *memory)
{
    struct figures figures = {0};
    for (uint64_t page = 0; page * ENGINE_PAGE_SIZE < memory->size; page += PACK_CHUNK_PAGES) {
        struct page_run run = {.first = page, .count = PACK_CHUNK_PAGES};
        const uint8_t *packed;
        size_t length = PACK_CHUNK_BYTES;
        double began = processor_seconds();
        packer_take(packer, memory->now, &run, 1);
        bool shrinks = packer_pack(packer, method, &packed, &length);
        figures.pack_s += processor_seconds() - began;
        if (shrinks) {
            unpack_chunk(unpacker, method, packed, length, memory, page, &figures);
        }
        figures.packed += (double)length;
        figures.content += (double)PACK_CHUNK_BYTES;
    }
    return figures;
}

/* As if all of it had been sent twice. */
static void remember_all(struct delta_cache *cache, const struct memory *memory)
{
    for (int i = 0; i < 2; i++) {
        for (uint64_t page = 0; page * ENGINE_PAGE_SIZE < memory->size; page++) {
            delta_cache_store(cache, page, memory->before + page * ENGINE_PAGE_SIZE);
        }
    }
}

static void print_row(const struct kind *kind, enum pack_method method,
                      const struct figures *figures)
{
    printf("%-20s %-6s %6.3f %8.0f", kind->name, pack_method_name(method),
           figures->packed / figures->content, figures->content / figures->pack_s / 1e6);
    if (figures->unpack_s > 0) {
        printf(" %8.0f", figures->content / figures->unpack_s / 1e6);
    }
    putchar('\n');
}

static int measure_kind(const struct kind *kind, const struct memory *memory)
{
    struct sample_random random = {1};
    struct packer packer;
    struct unpacker unpacker;
    struct error err = ERROR_NONE;
    struct delta_cache *cache =
        delta_cache_new(memory->size / ENGINE_PAGE_SIZE, memory->size * 2, &err);
    if (!cache || packer_init(&packer, cache, &err) < 0 || unpacker_init(&unpacker, &err) < 0) {
        fprintf(stderr, "drover-pack-speed: %s\n", err.message);
        return -1;
    }
    sample_fill(&random, kind->sample, memory->before, memory->size);
    memcpy(memory->now, memory->before, memory->size);
    remember_all(cache, memory);
    sample_change(&random, memory->now, memory->size, kind->changes);
    for (enum pack_method method = PACK_LZ4; method <= PACK_DELTA; method++) {
        struct figures figures = measure(&packer, &unpacker, method, memory);
        print_row(kind, method, &figures);
    }
    unpacker_done(&unpacker);
    packer_done(&packer);
    delta_cache_free(cache);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct kind kinds[] = {
        {"text", SAMPLE_TEXT, 0},
        {"text, 64 changed", SAMPLE_TEXT, 64},
        {"random, all changed", SAMPLE_RANDOM, ENGINE_PAGE_SIZE},
        {"random, 1 KiB changed", SAMPLE_RANDOM, 1024},
        {"random, 64 changed", SAMPLE_RANDOM, 64},
    };
    size_t size = (size_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 64) << 20;
    struct memory memory = {malloc(size), malloc(size), size};
    if (!memory.now || !memory.before || size == 0) {
        fputs("usage: drover-pack-speed [MIB of memory, default 64]\n", stderr);
        return EXIT_FAILURE;
    }
    printf("%-20s %-6s %6s %8s %8s\n", "memory", "method", "ratio", "pack", "unpack");
    int result = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && result == 0; i++) {
        result = measure_kind(&kinds[i], &memory);
    }
    free(memory.now);
    free(memory.before);
    return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
