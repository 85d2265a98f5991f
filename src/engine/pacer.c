/* Pacing writers: see pacer.h. */
#include "engine/pacer.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/kernel.h"
#include "engine/guest.h"

#define MESSAGES_MOST 64u
#define JOIN_MOST 512u /* pages between two runs that are protected by one call */

static uint64_t run_end(struct page_run run)
{
    return run.first + run.count;
}

/* The first run of members in [from, end). */
static bool next_run(const struct page_set *set, uint64_t from, uint64_t end,
                     struct page_run *ret_run)
{
    return page_set_next_run_within(set, (struct page_run){from, end - from}, UINT64_MAX, ret_run);
}

static struct uffdio_range range_of(const struct pacer *pacer, struct page_run run)
{
    return (struct uffdio_range){.start = pacer->address + run.first * ENGINE_PAGE_SIZE,
                                 .len = run.count * ENGINE_PAGE_SIZE};
}

/* Protects, or takes the protection off and wakes who waits. 0 or -errno. */
static int protect(const struct pacer *pacer, struct page_run run, bool on)
{
    struct uffdio_writeprotect protect = {.range = range_of(pacer, run),
                                          .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
    int result;
    do {
        result = ioctl(pacer->userfaultfd, UFFDIO_WRITEPROTECT, &protect);
    } while (result < 0 && errno == EAGAIN);
    return result < 0 ? -errno : 0;
}

static void wake(const struct pacer *pacer, struct page_run run)
{
    struct uffdio_range range = range_of(pacer, run);
    ioctl(pacer->userfaultfd, UFFDIO_WAKE, &range); /* fails when the target is gone */
}

static void ring(const struct pacer *pacer)
{
    eventfd_write(pacer->doorbell, 1); /* cannot fail: its reader empties it */
}

/* ---- the thread ---- */

/* The pages to let go for a writer that wants `page`: more than one for who goes in order. */
static struct page_run pages_to_go(const struct pacer *pacer, uint64_t page)
{
    struct page_run run = {page, 1};
    uint64_t most = throttle_batch(&pacer->throttle);
    uint64_t before = 0;
    while (before < most && before < page && page_set_has(&pacer->noted, page - before - 1)) {
        before++;
    }
    while (run.count < before && run_end(run) < pacer->pages &&
           page_set_has(&pacer->paced, run_end(run)) &&
           !page_set_has(&pacer->noted, run_end(run))) {
        run.count++;
    }
    return run;
}

static void let_go(struct pacer *pacer, const struct pacer_fault *fault, uint64_t now_ns)
{
    struct page_run run = {fault->page, 1};
    if (page_set_has(&pacer->paced, fault->page) && !page_set_has(&pacer->noted, fault->page)) {
        run = pages_to_go(pacer, fault->page);
        page_set_add(&pacer->noted, run);
        throttle_charge(&pacer->throttle, run.count, now_ns);
    }
    if (protect(pacer, run, false) < 0) {
        wake(pacer, run); /* no longer ours: the writer tries again */
    }
    pacer->waited_ns += now_ns - fault->arrived_ns;
}

static bool costs_nothing(const struct pacer *pacer, uint64_t page)
{
    return page_set_has(&pacer->noted, page) || !page_set_has(&pacer->paced, page);
}

/* Lets go whose time has come. When to look again; UINT64_MAX: nobody waits. */
static uint64_t let_go_all_due(struct pacer *pacer)
{
    size_t kept = 0;
    uint64_t again_ns = UINT64_MAX;
    for (size_t i = 0; i < pacer->waiting_count; i++) {
        const struct pacer_fault fault = pacer->waiting[i];
        uint64_t now_ns = clock_monotonic_ns();
        uint64_t due_ns = throttle_due_ns(&pacer->throttle, fault.arrived_ns);
        if (due_ns <= now_ns || fault.spared || costs_nothing(pacer, fault.page)) {
            let_go(pacer, &fault, now_ns);
        } else {
            again_ns = due_ns < again_ns ? due_ns : again_ns;
            pacer->waiting[kept++] = fault;
        }
    }
    pacer->waiting_count = kept;
    return again_ns;
}

/* Takes over the faults that are there, as far as there is room; the others wait in the kernel. */
static void read_faults(struct pacer *pacer)
{
    struct uffd_msg messages[MESSAGES_MOST];
    size_t room = PACER_WAITING_MOST - pacer->waiting_count;
    room = room < MESSAGES_MOST ? room : MESSAGES_MOST;
    ssize_t got = room ? read(pacer->userfaultfd, messages, room * sizeof(*messages)) : 0;
    uint64_t now_ns = clock_monotonic_ns();
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(*messages); i++) {
        const struct uffd_msg *message = &messages[i];
        uint64_t page = (message->arg.pagefault.address - pacer->address) / ENGINE_PAGE_SIZE;
        bool spared = (pid_t)message->arg.pagefault.feat.ptid == pacer->spared_thread;
        if (message->event == UFFD_EVENT_PAGEFAULT && page < pacer->pages) {
            pacer->waiting[pacer->waiting_count++] = (struct pacer_fault){page, now_ns, spared};
        }
    }
}

static void await(const struct pacer *pacer, uint64_t until_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait_ns / NANOSECONDS_PER_SECOND),
                               .tv_nsec = (long)(wait_ns % NANOSECONDS_PER_SECOND)};
    bool has_room = pacer->waiting_count < PACER_WAITING_MOST;
    struct pollfd pollers[] = {{.fd = pacer->doorbell, .events = POLLIN},
                               {.fd = has_room ? pacer->userfaultfd : -1, .events = POLLIN}};
    if (ppoll(pollers, 2, until_ns == UINT64_MAX ? NULL : &timeout, NULL) > 0 &&
        pollers[0].revents) {
        eventfd_t rings;
        eventfd_read(pacer->doorbell, &rings);
    }
}

static void *serve(void *argument)
{
    struct pacer *pacer = argument;
    prctl(PR_SET_NAME, "pacer");
    prctl(PR_SET_TIMERSLACK, 1UL); /* the default of 50 us is the time of a page at 80 MB/s */
    for (;;) {
        read_faults(pacer);
        pthread_mutex_lock(&pacer->lock);
        uint64_t again_ns = let_go_all_due(pacer);
        bool ending = pacer->ending;
        pthread_mutex_unlock(&pacer->lock);
        if (ending) {
            return NULL;
        }
        await(pacer, again_ns);
    }
}

/* ---- the engine's side ---- */

static int enable(const struct pacer *pacer, struct error *err)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID |
                                         UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
                                         UFFD_FEATURE_WP_UNPOPULATED};
    return ioctl(pacer->userfaultfd, UFFDIO_API, &api) < 0
               ? error_set_errno(err, errno, "cannot use the guest's userfaultfd for pacing")
               : 0;
}

int pacer_init(struct pacer *pacer, int userfaultfd, uint64_t address, uint64_t pages,
               pid_t spared_thread, struct error *err)
{
    *pacer = (struct pacer){.userfaultfd = userfaultfd,
                            .spared_thread = spared_thread,
                            .address = address,
                            .pages = pages,
                            .doorbell = -1,
                            .lock = PTHREAD_MUTEX_INITIALIZER};
    int result = enable(pacer, err);
    if (result < 0) {
        return result;
    }
    pacer->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pacer->doorbell < 0 || page_set_init(&pacer->paced, pages) < 0 ||
        page_set_init(&pacer->noted, pages) < 0) {
        pacer_done(pacer);
        return error_set(err, ENOMEM, "no memory to pace the guest's writers");
    }
    return 0;
}

void pacer_done(struct pacer *pacer)
{
    struct page_run run;
    while (pacer->paced.words && page_set_next_run(&pacer->paced, 0, UINT64_MAX, &run)) {
        pacer_give_back(pacer, run, NULL);
    }
    pacer_stop(pacer);
    page_set_done(&pacer->paced);
    page_set_done(&pacer->noted);
    close_fd(&pacer->doorbell);
}

int pacer_start(struct pacer *pacer, struct error *err)
{
    if (pacer->started) {
        return 0;
    }
    pacer->ending = false;
    pacer->waiting_count = 0;
    int result = pthread_create(&pacer->thread, NULL, serve, pacer);
    if (result != 0) {
        return error_set_errno(err, result, "cannot start the thread that paces writers");
    }
    pacer->started = true;
    return 0;
}

void pacer_set_rate(struct pacer *pacer, uint64_t bytes_per_second)
{
    pthread_mutex_lock(&pacer->lock);
    throttle_set(&pacer->throttle, bytes_per_second);
    pthread_mutex_unlock(&pacer->lock);
    ring(pacer);
}

static void unregister(const struct pacer *pacer, struct page_run run)
{
    struct uffdio_range range = range_of(pacer, run);
    ioctl(pacer->userfaultfd, UFFDIO_UNREGISTER, &range); /* fails when the target is gone */
    wake(pacer, run); /* only who waits for a missing page is woken by the call above */
}

int pacer_take(struct pacer *pacer, struct page_run run, struct error *err)
{
    struct uffdio_register range = {.range = range_of(pacer, run), .mode = UFFDIO_REGISTER_MODE_WP};
    if (ioctl(pacer->userfaultfd, UFFDIO_REGISTER, &range) < 0) {
        return error_set_errno(err, errno, "cannot pace writers of the guest's memory");
    }
    pthread_mutex_lock(&pacer->lock);
    page_set_add(&pacer->paced, run);
    page_set_remove(&pacer->noted, run);
    int result = protect(pacer, run, true);
    if (result < 0) {
        page_set_remove(&pacer->paced, run);
    }
    pthread_mutex_unlock(&pacer->lock);
    if (result < 0) {
        unregister(pacer, run);
        return error_set_errno(err, result, "cannot protect the guest's memory from its writers");
    }
    return 0;
}

void pacer_give_back(struct pacer *pacer, struct page_run run, struct page_set *pages)
{
    unregister(pacer, run);
    pthread_mutex_lock(&pacer->lock);
    if (pages) {
        page_set_unite_within(pages, &pacer->noted, run);
    }
    page_set_remove(&pacer->paced, run);
    page_set_remove(&pacer->noted, run);
    pthread_mutex_unlock(&pacer->lock);
}

/* The first run of noted pages in [from, end) that is not to be skipped. */
static bool next_to_collect(const struct pacer *pacer, const struct page_set *skip, uint64_t from,
                            uint64_t end, struct page_run *ret_run)
{
    struct page_run run, skipped;
    while (next_run(&pacer->noted, from, end, &run)) {
        if (!skip || !next_run(skip, run.first, run_end(run), &skipped)) {
            *ret_run = run;
            return true;
        }
        if (skipped.first > run.first) {
            *ret_run = (struct page_run){run.first, skipped.first - run.first};
            return true;
        }
        from = run_end(skipped);
    }
    return false;
}

void pacer_note(struct pacer *pacer, struct page_run within, const struct page_set *pages)
{
    pthread_mutex_lock(&pacer->lock);
    page_set_unite_within(&pacer->noted, pages, within);
    pthread_mutex_unlock(&pacer->lock);
}

/* Whether what lies between two collected runs is paced and protected anyway. */
static bool can_join(const struct pacer *pacer, struct page_run first, struct page_run second)
{
    struct page_run run;
    return !pacer->doubtful && second.first - run_end(first) <= JOIN_MOST &&
           !next_run(&pacer->noted, run_end(first), second.first, &run) &&
           page_set_next_run(&pacer->paced, first.first, UINT64_MAX, &run) &&
           run_end(run) >= run_end(second);
}

/* Under the lock. Each call costs, so neighbours share one. */
static int collect(struct pacer *pacer, struct page_run within, const struct page_set *skip,
                   struct page_set *pages)
{
    struct page_run run, joined = {0};
    int result = 0;
    for (uint64_t page = within.first;
         result == 0 && next_to_collect(pacer, skip, page, run_end(within), &run);
         page = run_end(run)) {
        page_set_add(pages, run);
        page_set_remove(&pacer->noted, run);
        if (joined.count && can_join(pacer, joined, run)) {
            joined.count = run_end(run) - joined.first;
        } else {
            result = joined.count ? protect(pacer, joined, true) : 0;
            joined = run;
        }
    }
    return result == 0 && joined.count ? protect(pacer, joined, true) : result;
}

int pacer_collect(struct pacer *pacer, struct page_run within, const struct page_set *skip,
                  struct page_set *pages, struct error *err)
{
    pthread_mutex_lock(&pacer->lock);
    int result = collect(pacer, within, skip, pages);
    pthread_mutex_unlock(&pacer->lock);
    return result < 0 ? error_set_errno(err, result, "cannot protect paced memory again") : 0;
}

void pacer_stop(struct pacer *pacer)
{
    if (!pacer->started) {
        return;
    }
    pthread_mutex_lock(&pacer->lock);
    pacer->ending = true;
    pthread_mutex_unlock(&pacer->lock);
    ring(pacer);
    pthread_join(pacer->thread, NULL);
    pacer->started = false;
    wake(pacer, (struct page_run){0, pacer->pages});
}

uint64_t pacer_waited_ns(struct pacer *pacer)
{
    pthread_mutex_lock(&pacer->lock);
    uint64_t waited_ns = pacer->waited_ns;
    pthread_mutex_unlock(&pacer->lock);
    return waited_ns;
}
