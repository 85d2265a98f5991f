/* How guests write memory: see patterns.h. */
#include "patterns.h"

#define HOT_SHARE 16u /* of memory: 128 MiB of 2 GiB */

const char *pattern_name(enum pattern pattern)
{
    static const char *const names[PATTERNS] = {"uniform", "sequential", "hot set", "mixed"};
    return names[pattern];
}

uint64_t pattern_next_page(struct pattern_writer *writer)
{
    uint64_t hot = writer->pages / HOT_SHARE;
    switch (writer->pattern) {
    case PATTERN_SEQUENTIAL:
        return writer->position++ % writer->pages;
    case PATTERN_HOT_SET:
        return random_between(&writer->random, 0, hot - 1);
    case PATTERN_MIXED: /* a few pages of their own without end, the others all over */
        return random_once_in(&writer->random, 4)
                   ? random_between(&writer->random, 0, writer->pages - 1)
                   : random_between(&writer->random, 0, hot / 64);
    default:
        return random_between(&writer->random, 0, writer->pages - 1);
    }
}
