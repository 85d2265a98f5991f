/* Deadline pages: what the guard writes, others read, and nobody else can change. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/deadline.h"
#include "scratch.h"

static const char *page_path(void **state)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/page", (const char *)*state);
    return path;
}

static struct deadline_page *create(void **state)
{
    struct deadline_page *page = NULL;
    struct error err = ERROR_NONE;
    if (deadline_create(page_path(state), &page, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return page;
}

static struct deadline_state look(void **state)
{
    struct deadline_state seen = {0};
    struct error err = ERROR_NONE;
    if (deadline_look(page_path(state), &seen, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return seen;
}

static void a_new_page_has_passed(void **state)
{
    struct deadline_page *page = create(state);
    struct deadline_state seen = look(state);
    assert_true(deadline_has_passed(seen.deadline_ns));
    assert_int_equal(seen.counter, 0);
    deadline_unmap(page);
}

static void what_is_extended_is_seen(void **state)
{
    struct deadline_page *page = create(state);
    uint64_t now = clock_boottime_ns();
    deadline_extend(page, now, now + 5 * NANOSECONDS_PER_SECOND);
    struct deadline_state seen = look(state);
    assert_true(seen.deadline_ns == now + 5 * NANOSECONDS_PER_SECOND);
    assert_true(seen.renewed_ns == now);
    assert_int_equal(seen.counter, 1);
    assert_false(deadline_has_passed(seen.deadline_ns));
    deadline_unmap(page);
}

static void what_was_extended_too_late_is_a_lapse(void **state)
{
    struct deadline_page *page = create(state);
    uint64_t now = clock_boottime_ns();
    uint64_t ahead = now + 5 * NANOSECONDS_PER_SECOND;
    deadline_extend(page, now, ahead);
    uint64_t lapses = look(state).lapses;
    deadline_extend(page, now, ahead + 1);
    assert_int_equal(look(state).lapses, lapses);
    deadline_extend(page, now, now);
    assert_int_equal(look(state).lapses, lapses);
    deadline_extend(page, now, ahead);
    assert_int_equal(look(state).lapses, lapses + 1);
    deadline_unmap(page);
}

static void a_failure_keeps_the_deadline_and_gives_its_reason(void **state)
{
    struct deadline_page *page = create(state);
    struct error reason = ERROR_NONE;
    error_set(&reason, EIO, "the datastore %s is gone", "shared");
    deadline_extend(page, 7, 1000);
    deadline_fail(page, &reason);
    struct deadline_state seen = look(state);
    assert_int_equal(seen.failure, EIO);
    assert_string_equal(seen.reason, "the datastore shared is gone");
    assert_true(seen.deadline_ns == 1000 && seen.renewed_ns == 7 && seen.counter == 1);
    deadline_extend(page, 8, 2000);
    seen = look(state);
    assert_int_equal(seen.failure, 0);
    assert_string_equal(seen.reason, "");
    deadline_unmap(page);
}

/* A guard that was restarted goes on with the page that QEMUs have mapped. */
static void the_next_guard_goes_on_with_the_same_page(void **state)
{
    struct deadline_page *page = create(state);
    deadline_extend(page, 1, 1000);
    deadline_unmap(page);
    CLEANUP_CLOSE int fd = deadline_open(page_path(state), NULL);
    const struct deadline_page *mapped = NULL;
    assert_int_equal(deadline_map(fd, &mapped, NULL), 0);
    page = create(state);
    assert_true(deadline_page_moment(mapped) == 1000);
    deadline_extend(page, 2, 2000);
    assert_true(deadline_page_moment(mapped) == 2000);
    deadline_unmap(mapped);
    deadline_unmap(page);
}

/* As a guard that was killed in the middle of its writing leaves it. */
static void an_unfinished_write_stops_nobody(void **state)
{
    struct deadline_page *page = create(state);
    deadline_extend(page, 1, 1000);
    atomic_fetch_add(&page->sequence, 1);
    assert_true(look(state).deadline_ns == 1000);
    deadline_extend(page, 2, 2000);
    assert_int_equal(look(state).counter, 2);
    deadline_unmap(page);
}

static void readers_cannot_write(void **state)
{
    struct stat status;
    deadline_unmap(create(state));
    CLEANUP_CLOSE int fd = deadline_open(page_path(state), NULL);
    assert_true(mmap(NULL, DEADLINE_PAGE_SIZE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void other_files_are_refused(void **state)
{
    static char wrong[DEADLINE_PAGE_SIZE + 1];
    struct error err = ERROR_NONE;
    struct deadline_state seen;
    struct deadline_page *page;
    memset(wrong, 'x', DEADLINE_PAGE_SIZE);
    assert_int_equal(deadline_look(page_path(state), &seen, &err), -ENOENT);
    scratch_write(state, "page", "short");
    assert_int_equal(deadline_look(page_path(state), &seen, &err), -EINVAL);
    assert_int_equal(deadline_create(page_path(state), &page, &err), -EINVAL);
    scratch_write(state, "page", wrong);
    assert_int_equal(deadline_look(page_path(state), &seen, &err), -EINVAL);
    assert_int_equal(deadline_create(page_path(state), &page, &err), -EINVAL);
}

#define RENEWALS 2000

static void *renew(void *argument)
{
    struct deadline_page *page = argument;
    for (uint64_t i = 1; i <= RENEWALS; i++) {
        deadline_extend(page, i, i);
        clock_sleep_ns(20 * NANOSECONDS_PER_MICROSECOND);
    }
    return NULL;
}

/* What is read together was written together. */
static void a_reader_sees_whole_renewals(void **state)
{
    struct deadline_page *page = create(state);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, renew, page), 0);
    struct deadline_state seen = {0};
    while (seen.counter < RENEWALS) {
        deadline_read(page, &seen);
        assert_true(seen.renewed_ns == seen.counter);
    }
    pthread_join(writer, NULL);
    deadline_unmap(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_new_page_has_passed),
        scratch_test(what_is_extended_is_seen),
        scratch_test(what_was_extended_too_late_is_a_lapse),
        scratch_test(a_failure_keeps_the_deadline_and_gives_its_reason),
        scratch_test(the_next_guard_goes_on_with_the_same_page),
        scratch_test(an_unfinished_write_stops_nobody),
        scratch_test(readers_cannot_write),
        scratch_test(other_files_are_refused),
        scratch_test(a_reader_sees_whole_renewals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
