/* Deadlines: see deadline.h. */
#include "base/deadline.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

#define READ_ATTEMPTS 1000 /* the guard writes for a microsecond, and may die at it */

char *deadline_path(const char *run_folder, const char *datastore_uuid)
{
    return file_path("%s/guard/%s.deadline", run_folder, datastore_uuid);
}

/* ---- the file ---- */

/* What is shorter than a page would end its readers with SIGBUS. */
static int check_file(int fd, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return error_set_errno(err, errno, "cannot look at a deadline page");
    }
    if (!S_ISREG(status.st_mode) || status.st_size != (off_t)DEADLINE_PAGE_SIZE) {
        return error_set(err, EINVAL, "a deadline page is a file of %zu bytes, and this is none",
                         DEADLINE_PAGE_SIZE);
    }
    return 0;
}

static int map(int fd, int protection, void **ret_page, struct error *err)
{
    int result = check_file(fd, err);
    if (result < 0) {
        return result;
    }
    void *page = mmap(NULL, DEADLINE_PAGE_SIZE, protection, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map a deadline page");
    }
    *ret_page = page;
    return 0;
}

static int check_page(const struct deadline_page *page, struct error *err)
{
    return deadline_page_is_valid(page)
               ? 0
               : error_set(err, EINVAL, "a deadline page is not one, or another version's");
}

/* A new file is all zeroes; the magic comes last. */
static void write_head(struct deadline_page *page)
{
    if (atomic_load(&page->magic) == 0) {
        atomic_store(&page->version, DEADLINE_VERSION);
        atomic_store(&page->magic, DEADLINE_MAGIC);
    }
}

int deadline_create(const char *path, struct deadline_page **ret_page, struct error *err)
{
    void *page;
    struct stat status;
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &status) < 0 ||
        (status.st_size == 0 && ftruncate(fd, (off_t)DEADLINE_PAGE_SIZE) < 0)) {
        return error_set_errno(err, errno, "cannot make the deadline page %s", path);
    }
    int result = map(fd, PROT_READ | PROT_WRITE, &page, err);
    if (result < 0) {
        return error_wrap(err, "%s", path);
    }
    write_head(page);
    result = check_page(page, err);
    if (result < 0) {
        deadline_unmap(page);
        return error_wrap(err, "%s", path);
    }
    *ret_page = page;
    return 0;
}

int deadline_open(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "cannot open the deadline page %s", path) : fd;
}

int deadline_map(int fd, const struct deadline_page **ret_page, struct error *err)
{
    void *page;
    int result = map(fd, PROT_READ, &page, err);
    if (result < 0) {
        return result;
    }
    result = check_page(page, err);
    if (result < 0) {
        deadline_unmap(page);
        return result;
    }
    *ret_page = page;
    return 0;
}

void deadline_unmap(const struct deadline_page *page)
{
    if (page) {
        munmap((void *)page, DEADLINE_PAGE_SIZE);
    }
}

/* ---- writing ---- */

/* Stores with release order: who sees one of them sees the odd sequence too. */
static void write_words(struct deadline_page *page, const char *text)
{
    uint64_t words[DEADLINE_REASON_WORDS] = {0};
    size_t length = strnlen(text, sizeof(words) - 1);
    memcpy(words, text, length);
    for (size_t i = 0; i < DEADLINE_REASON_WORDS; i++) {
        atomic_store_explicit(&page->reason[i], words[i], memory_order_release);
    }
}

/* Odd, also when an earlier guard died between its two halves. */
static void begin_writing(struct deadline_page *page)
{
    uint64_t sequence = atomic_load_explicit(&page->sequence, memory_order_relaxed);
    atomic_store_explicit(&page->sequence, (sequence + 1) | 1, memory_order_relaxed);
}

static void end_writing(struct deadline_page *page)
{
    uint64_t sequence = atomic_load_explicit(&page->sequence, memory_order_relaxed);
    atomic_store_explicit(&page->sequence, sequence + 1, memory_order_release);
}

void deadline_extend(struct deadline_page *page, uint64_t renewed_ns, uint64_t deadline_ns)
{
    if (deadline_has_passed(deadline_page_moment(page))) {
        atomic_fetch_add(&page->lapses, 1);
    }
    atomic_store_explicit(&page->deadline_ns, deadline_ns, memory_order_release);
    begin_writing(page);
    uint64_t counter = atomic_load_explicit(&page->counter, memory_order_relaxed);
    atomic_store_explicit(&page->counter, counter + 1, memory_order_release);
    atomic_store_explicit(&page->renewed_ns, renewed_ns, memory_order_release);
    atomic_store_explicit(&page->failure, 0, memory_order_release);
    write_words(page, "");
    end_writing(page);
}

void deadline_fail(struct deadline_page *page, const struct error *reason)
{
    begin_writing(page);
    atomic_store_explicit(&page->failure, (uint64_t)(unsigned)reason->code, memory_order_release);
    write_words(page, reason->message);
    end_writing(page);
}

/* ---- reading ---- */

static void read_once(const struct deadline_page *page, struct deadline_state *state)
{
    uint64_t words[DEADLINE_REASON_WORDS];
    state->deadline_ns = deadline_page_moment(page);
    state->lapses = deadline_page_lapses(page);
    state->counter = atomic_load_explicit(&page->counter, memory_order_acquire);
    state->renewed_ns = atomic_load_explicit(&page->renewed_ns, memory_order_acquire);
    state->failure = (int)atomic_load_explicit(&page->failure, memory_order_acquire);
    for (size_t i = 0; i < DEADLINE_REASON_WORDS; i++) {
        words[i] = atomic_load_explicit(&page->reason[i], memory_order_acquire);
    }
    memcpy(state->reason, words, sizeof(state->reason));
    state->reason[sizeof(state->reason) - 1] = '\0';
}

void deadline_read(const struct deadline_page *page, struct deadline_state *ret_state)
{
    for (int attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
        uint64_t before = atomic_load_explicit(&page->sequence, memory_order_acquire);
        read_once(page, ret_state);
        uint64_t after = atomic_load_explicit(&page->sequence, memory_order_acquire);
        if (before == after && before % 2 == 0) {
            return;
        }
        sched_yield();
    }
}

int deadline_look(const char *path, struct deadline_state *ret_state, struct error *err)
{
    const struct deadline_page *page;
    CLEANUP_CLOSE int fd = deadline_open(path, err);
    if (fd < 0) {
        return fd;
    }
    int result = deadline_map(fd, &page, err);
    if (result < 0) {
        return error_wrap(err, "%s", path);
    }
    deadline_read(page, ret_state);
    deadline_unmap(page);
    return 0;
}

bool deadline_has_passed(uint64_t deadline_ns)
{
    return clock_boottime_ns() >= deadline_ns;
}
