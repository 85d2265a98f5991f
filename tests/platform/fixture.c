/* See fixture.h. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

void fixture_start(struct fixture *fixture, const char *name, size_t pages)
{
    *fixture = (struct fixture){.pages = pages};
    fixture->written = calloc(pages, 1);
    fixture->expected = calloc(pages, 1);
    platform_must(fixture->written && fixture->expected, "calloc");
    fixture->ram = platform_file_new(name, pages * PLATFORM_PAGE);
    guest_start(&fixture->guest, fixture->ram, pages * PLATFORM_PAGE);
    tracker_open(&fixture->tracker, fixture->guest.pid, fixture->guest.userfaultfd,
                 fixture->guest.address, fixture->guest.size);
}

void fixture_stop(struct fixture *fixture)
{
    tracker_close(&fixture->tracker);
    guest_stop(&fixture->guest);
    if (fixture->ram > 0) {
        platform_must(ftruncate(fixture->ram, 0) == 0, "ftruncate");
        close(fixture->ram);
    }
    free(fixture->written);
    free(fixture->expected);
    *fixture = (struct fixture){0};
}

void fixture_expect(struct fixture *fixture, size_t first, size_t count, size_t stride)
{
    for (size_t i = 0; i < count; i++)
        fixture->expected[first + i * stride] = 1;
}

void fixture_write(struct fixture *fixture, size_t first, size_t count, size_t stride)
{
    guest_write(&fixture->guest, first, count, stride);
    fixture_expect(fixture, first, count, stride);
}

size_t fixture_scan(struct fixture *fixture)
{
    long pages = tracker_scan(&fixture->tracker, fixture->written);

    platform_must(pages >= 0, "PAGEMAP_SCAN");
    return (size_t)pages;
}

void fixture_assert_exact(struct fixture *fixture)
{
    fixture_scan(fixture);
    assert_memory_equal(fixture->written, fixture->expected, fixture->pages);
    memset(fixture->expected, 0, fixture->pages);
}

size_t fixture_assert_none_missed(struct fixture *fixture)
{
    size_t pages = fixture_scan(fixture);

    for (size_t page = 0; page < fixture->pages; page++)
        if (fixture->expected[page] && !fixture->written[page])
            fail_msg("the write to page %zu was missed", page);
    memset(fixture->expected, 0, fixture->pages);
    return pages;
}
