/*
 * Loaded into QEMU: has the kernel kill it at its deadline (base/deadline.h), which is when other
 * hosts may begin to think of running its machine.
 *
 * Theory of operation. A POSIX timer on CLOCK_BOOTTIME stands at the deadline and sends SIGKILL. It
 * is the kernel's: it needs no process of Drover's to live, and no instruction of QEMU's; it ends a
 * QEMU that is stopped, traced or frozen too, before it runs again. A thread sleeps a quarter of
 * what is left, reads the page, and sets the timer to where the deadline is by then. Nobody but the
 * guard can move it, for the page is mapped read-only from a read-only descriptor.
 *
 * A deadline that has passed is final, whatever the page says afterwards: a host that was frozen
 * and comes back may renew its lease before this process runs again, and by then somebody else may
 * run the machine. So the thread reads the page first and the clock after it, and dies when it is
 * late. So may it be between the taking of the lease and the timer: then the page has seen a lapse.
 *
 * Fails closed: what cannot be armed ends QEMU before it is one. QEMU's command line names
 * QEMU_DEADLINE_FD, which is there only once the timer is armed, so a QEMU into which this library
 * was not loaded refuses to start as well (command_line.c).
 */
#include "vmm/qemu/preload_deadline.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/deadline_page.h"
#include "vmm/qemu/preload.h"
#include "vmm/qemu/preload_thread.h"

#define NANOSECONDS 1000000000ULL
#define SLEEP_LEAST_NS 5000000ULL

struct watch {
    const struct deadline_page *page;
    timer_t timer;
    uint64_t armed_ns; /* where the timer stands */
};

static __attribute__((noreturn)) void give_up(const char *what)
{
    perror(what);
    fputs("drover: this machine could not be ended in time, so it is not started\n", stderr);
    _exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

static struct timespec to_timespec(uint64_t nanoseconds)
{
    return (struct timespec){(time_t)(nanoseconds / NANOSECONDS),
                             (long)(nanoseconds % NANOSECONDS)};
}

static void die(void)
{
    kill(getpid(), SIGKILL);
}

/* A moment of 0 would disarm the timer: it has passed, as any other that is not ahead. */
static int arm(struct watch *watch, uint64_t moment)
{
    struct itimerspec at = {.it_value = to_timespec(moment)};
    if (moment <= now_ns()) {
        return -1;
    }
    watch->armed_ns = moment;
    return timer_settime(watch->timer, TIMER_ABSTIME, &at, NULL);
}

/* Follows the deadline once; the page is read before the clock. */
static void follow(struct watch *watch)
{
    uint64_t moment = deadline_page_moment(watch->page);
    if (now_ns() >= watch->armed_ns || (moment != watch->armed_ns && arm(watch, moment) < 0)) {
        die();
    }
}

static void sleep_a_quarter(const struct watch *watch)
{
    uint64_t now = now_ns();
    uint64_t quarter = watch->armed_ns > now ? (watch->armed_ns - now) / 4 : 0;
    struct timespec pause = to_timespec(quarter > SLEEP_LEAST_NS ? quarter : SLEEP_LEAST_NS);
    clock_nanosleep(CLOCK_BOOTTIME, 0, &pause, NULL);
}

static __attribute__((noreturn)) void *keep(void *argument)
{
    struct watch watch = *(struct watch *)argument;
    free(argument);
    prctl(PR_SET_NAME, "drover-deadline");
    for (;;) {
        sleep_a_quarter(&watch);
        follow(&watch);
    }
}

static void map_page(struct watch *watch, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || status.st_size < (off_t)DEADLINE_PAGE_SIZE) {
        give_up("drover: the deadline is no page");
    }
    watch->page = mmap(NULL, DEADLINE_PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (watch->page == MAP_FAILED) {
        give_up("drover: cannot map the deadline");
    }
    if (!deadline_page_is_valid(watch->page)) {
        give_up("drover: the deadline is of another version of Drover");
    }
    mlock(watch->page, DEADLINE_PAGE_SIZE); /* where it is allowed */
}

static void arm_first(struct watch *watch, uint64_t lapses)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    if (timer_create(CLOCK_BOOTTIME, &event, &watch->timer) < 0) {
        give_up("drover: cannot make a timer for the deadline");
    }
    if (arm(watch, deadline_page_moment(watch->page)) < 0) {
        give_up("drover: the deadline has passed: drover-guard does not renew it");
    }
    if (deadline_page_lapses(watch->page) != lapses) {
        give_up("drover: the deadline passed after this machine's lease was taken");
    }
}

void preload_arm_deadline(void)
{
    const char *numbers = getenv(PRELOAD_DEADLINE_VARIABLE);
    int fd;
    uint64_t lapses;
    if (!numbers) {
        return;
    }
    struct watch *watch = malloc(sizeof(*watch));
    if (!watch || sscanf(numbers, "%d,%" SCNu64, &fd, &lapses) != 2) {
        give_up("drover: cannot follow the deadline");
    }
    map_page(watch, fd);
    arm_first(watch, lapses);
    if (preload_start_thread(keep, watch) != 0) {
        give_up("drover: no thread to follow the deadline");
    }
    if (dup2(fd, QEMU_DEADLINE_FD) < 0) { /* for -add-fd, which wants it without close-on-exec */
        give_up("drover: cannot place the deadline");
    }
    close(fd);
    unsetenv(PRELOAD_DEADLINE_VARIABLE);
}
