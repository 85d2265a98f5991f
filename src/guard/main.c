/* drover-guard: command line, start, main loop. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "guard/guard.h"
#include "guard/machines.h"
#include "guard/protection.h"
#include "guard/watchdog.h"

#define TICK_NS (500 * NANOSECONDS_PER_MILLISECOND)
#define URGENT_TICK_NS                                                        \
    (50 * NANOSECONDS_PER_MILLISECOND) /* a machine has outlived its deadline \
                                        */
#define END_PATIENCE_NS (2 * NANOSECONDS_PER_SECOND)

struct options {
    const char *run_folder;
    const char *watchdog; /* NULL: none */
    bool verbose;
};

static void print_help(void)
{
    puts("usage: drover-guard [--run-folder FOLDER] [--watchdog DEVICE] [--verbose]\n"
         "\n"
         "Proves on the host's datastores that it lives, and ends its machines when it cannot.\n"
         "\n"
         "  --run-folder FOLDER  that of droverd (default: /run/drover)\n"
         "  --watchdog DEVICE    resets the host when machines do not end: /dev/watchdog\n"
         "  --verbose            log more\n"
         "  --version            print the version and end\n"
         "  --help               print this and end");
}

/* 0, or the exit status + 1 for what ends here. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"run-folder", required_argument, NULL, 'r'},
        {"watchdog", required_argument, NULL, 'w'},
        {"verbose", no_argument, NULL, 'v'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    *options = (struct options){.run_folder = "/run/drover"};
    while ((option = getopt_long(argc, argv, "h", known, NULL)) >= 0) {
        switch (option) {
        case 'r':
            options->run_folder = optarg;
            break;
        case 'w':
            options->watchdog = optarg;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'V':
            puts("drover-guard " DROVER_VERSION);
            return EXIT_SUCCESS + 1;
        case 'h':
            print_help();
            return EXIT_SUCCESS + 1;
        default:
            return 2 + 1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "drover-guard: \"%s\" is not understood; see drover-guard --help\n",
                argv[optind]);
        return 2 + 1;
    }
    return 0;
}

/* ---- what the loop waits for ---- */

/* Before any thread starts: all of them block what the loop takes. */
static int watch_signals(struct error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "cannot watch for signals") : fd;
}

static int watch_instructions(const char *run_folder, struct error *err)
{
    CLEANUP_FREE char *folder = file_path("%s/" INSTRUCTIONS_FOLDER, run_folder);
    CLEANUP_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (!folder || fd < 0 || inotify_add_watch(fd, folder, IN_MOVED_TO) < 0) {
        return error_set_errno(err, folder ? errno : ENOMEM, "cannot watch %s/%s", run_folder,
                               INSTRUCTIONS_FOLDER);
    }
    return steal_fd(&fd);
}

static void take_changes(struct guard *guard, int changes)
{
    _Alignas(struct inotify_event) char events[4096];
    while (read(changes, events, sizeof(events)) > 0) {
    }
    guard_follow_instructions(guard);
}

/* ---- the loop ---- */

static int milliseconds_to_wait(struct guard *guard, size_t outlived)
{
    uint64_t now = clock_boottime_ns();
    uint64_t next = guard_next_deadline(guard);
    uint64_t wait = outlived > 0 ? URGENT_TICK_NS : TICK_NS;
    if (next > now && next - now < wait) {
        wait = next - now;
    }
    return (int)(wait / NANOSECONDS_PER_MILLISECOND) + 1;
}

/* Until it is asked to end. */
static void keep_guard(struct guard *guard, struct watchdog *watchdog, int signals, int changes)
{
    for (;;) {
        size_t outlived = guard_enforce(guard);
        watchdog_limit(watchdog, guard_margin_ns(guard));
        if (outlived == 0) {
            watchdog_pet(watchdog);
        }
        struct pollfd waiting[] = {{.fd = signals, .events = POLLIN},
                                   {.fd = changes, .events = POLLIN}};
        if (poll(waiting, 2, milliseconds_to_wait(guard, outlived)) < 0) {
            continue;
        }
        if (waiting[0].revents) {
            return;
        }
        if (waiting[1].revents) {
            take_changes(guard, changes);
        }
    }
}

static void end(struct guard *guard, struct watchdog *watchdog)
{
    size_t running = machines_count(guard->run_folder, NULL);
    if (running > 0) {
        log_warning("ending; %zu machine%s: without a guard each ends when its deadline comes",
                    running, running == 1 ? " runs here" : "s run here");
    } else {
        log_info("ending; no machine runs here");
    }
    guard_end(guard, END_PATIENCE_NS);
    watchdog_close(watchdog);
}

static int run(const struct options *options, struct error *err)
{
    struct guard guard = {.run_folder = options->run_folder};
    struct watchdog watchdog = {.fd = -1};
    int result = protection_lock(options->run_folder, err);
    if (result < 0) {
        return result;
    }
    protection_take();
    CLEANUP_CLOSE int signals = watch_signals(err);
    CLEANUP_CLOSE int changes = signals < 0 ? -1 : watch_instructions(options->run_folder, err);
    if (changes < 0) {
        return -err->code;
    }
    if (options->watchdog && (result = watchdog_open(&watchdog, options->watchdog, err)) < 0) {
        return result;
    }
    guard_follow_instructions(&guard);
    keep_guard(&guard, &watchdog, signals, changes);
    end(&guard, &watchdog);
    return 0;
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = ERROR_NONE;
    int ends = read_options(argc, argv, &options);
    if (ends) {
        return ends - 1;
    }
    signal(SIGPIPE, SIG_IGN);
    log_start("drover-guard", options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    if (run(&options, &err) < 0) {
        fprintf(stderr, "drover-guard: %s\n", err.message);
        if (err.remedy[0]) {
            fprintf(stderr, "  %s\n", err.remedy);
        }
        return error_exit_status(err.code);
    }
    _exit(EXIT_SUCCESS); /* a thread may hang in its datastore: it ends with the process */
}
