/*
 * drover-copy-path: which way of sending and receiving a guest's memory is the fastest here, and
 * what it costs. Copies a file like a guest's RAM file into a fresh one, in every way that it is
 * given, alternating, and prints medians beside a bare TCP stream's over the same link.
 *
 * A sender and a receiver process, over loopback or between two network namespaces of its own.
 * Before each copy the memory for it is touched once: a virtual machine's is slow at first touch;
 * --cold shows how slow. TCP_ZEROCOPY_RECEIVE is no way: it maps pages of the network over those of
 * a mapping, and what is mapped over a file is not in the file.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"
#include "base/units.h"
#include "copy_variant.h"
#include "memory_file.h"
#include "net/link.h"

#define RUNS_MOST 99
#define VARIANTS_MOST 64
#define CONNECT_NS (10 * NANOSECONDS_PER_SECOND)
#define VETH_MTU 9000
/* Free memory goes back to the hypervisor meanwhile. */
#define COLD_NS (4 * NANOSECONDS_PER_SECOND)
#define BARE "send=sendfile,receive=discard,lowat=256K"

static const char usage[] =
    "usage: drover-copy-path [--runs 5] [--bytes 1536M] [--link loopback|veth] [--cold] "
    "[VARIANT...]\n"
    "\n"
    "VARIANT is a list of settings, separated by commas:\n"
    "  send=sendfile|send|zerocopy|splice|vmsplice    how it is sent\n"
    "  receive=mapping|pwrite|splice|discard          how it is received\n"
    "  connections=N stripe=BYTES                     a thread each; turns of so many bytes\n"
    "  buffer=BYTES                                   of pwrite, and the size of pipes\n"
    "  ahead=BYTES helpers=N step=BYTES               populate ahead of the data, in N threads\n"
    "  populate=madvise|fallocate|touch               how\n"
    "  sndbuf=BYTES rcvbuf=BYTES lowat=BYTES waitall  of the sockets\n"
    "  congestion=NAME                                TCP's congestion control\n"
    "The first one is always " BARE ": a bare TCP stream.\n";

/* One copy, as its two processes saw it. */
struct outcome {
    double seconds; /* from the first byte sent to the last one received */
    double sender_cpu;
    double receiver_cpu;
};

struct entry {
    const char *text;
    struct copy_variant variant;
    struct outcome outcomes[RUNS_MOST];
};

struct bench {
    uint64_t bytes;
    unsigned runs;
    bool veth;
    bool cold;              /* memory as the hypervisor gives it, not touched before */
    int source;             /* file */
    int namespaces[2];      /* the sender's and the receiver's */
    const char *address;    /* the receiver's */
    struct outcome *shared; /* with the child processes */
    struct entry entries[VARIANTS_MOST];
    unsigned entry_count;
};

static void fail(const struct error *error) __attribute__((noreturn));
static void fail(const struct error *error)
{
    errx(1, "%s", error->message);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void enter(int namespace_fd)
{
    if (setns(namespace_fd, CLONE_NEWNET) < 0) {
        err(1, "cannot enter a network namespace");
    }
}

static int new_namespace(void)
{
    struct error error = ERROR_NONE;
    if (unshare(CLONE_NEWNET) < 0) {
        err(1, "cannot make a network namespace");
    }
    if (link_set_up("lo", true, &error) < 0) {
        fail(&error);
    }
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? (err(1, "cannot open a network namespace"), -1) : fd;
}

static void set_up_link(int namespace_fd, const char *name, const char *address)
{
    struct error error = ERROR_NONE;
    enter(namespace_fd);
    if (link_add_address(name, address, 24, &error) < 0 || link_set_up(name, true, &error) < 0) {
        fail(&error);
    }
}

static void make_network(struct bench *bench)
{
    struct error error = ERROR_NONE;
    bench->namespaces[1] = new_namespace();
    bench->address = "127.0.0.1";
    if (!bench->veth) {
        bench->namespaces[0] = bench->namespaces[1];
        return;
    }
    bench->namespaces[0] = new_namespace();
    struct link_end ends[] = {{"source", bench->namespaces[0], NULL},
                              {"destination", bench->namespaces[1], NULL}};
    if (link_add_veth(&ends[0], &ends[1], VETH_MTU, &error) < 0) {
        fail(&error);
    }
    set_up_link(bench->namespaces[1], "destination", "10.99.0.2");
    set_up_link(bench->namespaces[0], "source", "10.99.0.1");
    bench->address = "10.99.0.2";
}

static void touch_memory(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, bytes, MADV_HUGEPAGE) < 0 ||
        madvise(memory, bytes, MADV_POPULATE_WRITE) < 0) {
        err(1, "cannot touch %llu bytes of memory", (unsigned long long)bytes);
    }
    munmap(memory, bytes);
}

/* Runs in the sender's process. The receiver's word that all is there ends the time. */
static void play_sender(const struct bench *bench, const struct copy_variant *variant,
                        uint16_t port)
{
    struct error error = ERROR_NONE;
    int connections[COPY_CONNECTIONS_MOST];
    for (uint64_t i = 0; i < variant->connections; i++) {
        connections[i] = socket_connect_tcp(bench->address, port, CONNECT_NS, &error);
        if (connections[i] < 0) {
            fail(&error);
        }
    }
    char word;
    double cpu = cpu_seconds();
    uint64_t began = clock_monotonic_ns();
    if (copy_send(variant, bench->source, bench->bytes, connections, &error) < 0) {
        fail(&error);
    }
    if (recv(connections[0], &word, 1, 0) != 1) {
        errx(1, "the receiver failed");
    }
    bench->shared->seconds = (double)(clock_monotonic_ns() - began) / 1e9;
    bench->shared->sender_cpu = cpu_seconds() - cpu;
}

static void play_receiver(const struct bench *bench, const struct copy_variant *variant,
                          int listener, int file)
{
    struct error error = ERROR_NONE;
    int connections[COPY_CONNECTIONS_MOST];
    for (uint64_t i = 0; i < variant->connections; i++) {
        connections[i] = socket_accept(listener, CONNECT_NS, &error);
        if (connections[i] < 0) {
            fail(&error);
        }
    }
    double cpu = cpu_seconds();
    if (copy_receive(variant, file, bench->bytes, connections, &error) < 0) {
        fail(&error);
    }
    bench->shared->receiver_cpu = cpu_seconds() - cpu;
    if (send(connections[0], "", 1, MSG_NOSIGNAL) != 1) {
        err(1, "cannot answer the sender");
    }
}

/* `name`: for perf(1) to tell the sides apart. */
static pid_t start_child(const char *name)
{
    pid_t child = fork();
    if (child < 0) {
        err(1, "cannot start a process");
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
    }
    return child;
}

static void await_child(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        exit(1);
    }
}

static void compare(const struct bench *bench, int copy)
{
    void *ours = mmap(NULL, bench->bytes, PROT_READ, MAP_SHARED, bench->source, 0);
    void *theirs = mmap(NULL, bench->bytes, PROT_READ, MAP_SHARED, copy, 0);
    if (ours == MAP_FAILED || theirs == MAP_FAILED || memcmp(ours, theirs, bench->bytes) != 0) {
        errx(1, "the copy differs");
    }
    munmap(ours, bench->bytes);
    munmap(theirs, bench->bytes);
}

static struct outcome run_once(struct bench *bench, const struct copy_variant *variant)
{
    struct error error = ERROR_NONE;
    uint16_t port;
    CLEANUP_CLOSE int copy = memory_file_open(bench->bytes, &error);
    enter(bench->namespaces[1]);
    CLEANUP_CLOSE int listener = socket_listen_tcp(bench->address, 0, &port, &error);
    if (copy < 0 || listener < 0) {
        fail(&error);
    }
    if (bench->cold) {
        clock_sleep_ns(COLD_NS);
    } else {
        touch_memory(2 * bench->bytes); /* a copy is not given the very same pages */
    }
    pid_t receiver = start_child("copy-receiver");
    if (receiver == 0) {
        play_receiver(bench, variant, listener, copy);
        _exit(0);
    }
    enter(bench->namespaces[0]);
    pid_t sender = start_child("copy-sender");
    if (sender == 0) {
        play_sender(bench, variant, port);
        _exit(0);
    }
    await_child(sender);
    await_child(receiver);
    if (variant->receiver != COPY_DISCARD) {
        compare(bench, copy);
    }
    return *bench->shared;
}

static int compare_doubles(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

struct summary {
    double median;
    double best;
};

/* Of the field at `offset` of each outcome. */
static struct summary summarise(const struct bench *bench, const struct entry *entry, size_t offset)
{
    double values[RUNS_MOST];
    for (unsigned i = 0; i < bench->runs; i++) {
        memcpy(&values[i], (const char *)&entry->outcomes[i] + offset, sizeof(double));
    }
    qsort(values, bench->runs, sizeof(double), compare_doubles);
    return (struct summary){.median = values[bench->runs / 2], .best = values[0]};
}

static void print_entry(const struct bench *bench, const struct entry *entry, struct summary bare)
{
    struct summary wall = summarise(bench, entry, offsetof(struct outcome, seconds));
    struct summary sender = summarise(bench, entry, offsetof(struct outcome, sender_cpu));
    struct summary receiver = summarise(bench, entry, offsetof(struct outcome, receiver_cpu));
    printf("%7.3f %7.3f %6.2f %6.2f %9.3f %9.3f  %s\n", wall.median, wall.best,
           bare.median / wall.median, bare.best / wall.best, sender.median, receiver.median,
           entry->text);
}

/* The best of many runs says most on a machine that has other work too. */
static void print(const struct bench *bench)
{
    struct summary bare = summarise(bench, &bench->entries[0], offsetof(struct outcome, seconds));
    printf("seconds, median and best; rate, as ratio to the first one's; CPU seconds, medians\n");
    printf("%7s %7s %6s %6s %9s %9s  %s\n", "median", "best", "rate", "best", "sender", "receiver",
           "variant");
    for (unsigned i = 0; i < bench->entry_count; i++) {
        print_entry(bench, &bench->entries[i], bare);
    }
}

static void add_variant(struct bench *bench, const char *text)
{
    struct error error = ERROR_NONE;
    struct entry *entry = &bench->entries[bench->entry_count];
    if (bench->entry_count == VARIANTS_MOST) {
        errx(2, "more than %d variants", VARIANTS_MOST);
    }
    if (copy_variant_parse(text, &entry->variant, &error) < 0) {
        errx(2, "%s", error.message);
    }
    entry->text = text;
    bench->entry_count++;
}

static void parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"runs", required_argument, NULL, 'r'}, {"bytes", required_argument, NULL, 'b'},
        {"link", required_argument, NULL, 'l'}, {"cold", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},       {0}};
    struct error error = ERROR_NONE;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            exit(0);
        } else if (option == 'c') {
            bench->cold = true;
        } else if (option == 'r') {
            bench->runs = (unsigned)strtoul(optarg, NULL, 10);
        } else if (option == 'b' && units_parse_size(optarg, &bench->bytes, &error) == 0) {
            continue;
        } else if (option == 'l' &&
                   (strcmp(optarg, "veth") == 0 || strcmp(optarg, "loopback") == 0)) {
            bench->veth = strcmp(optarg, "veth") == 0;
        } else {
            errx(2, "see drover-copy-path --help");
        }
    }
    if (bench->runs == 0 || bench->runs > RUNS_MOST || bench->bytes == 0) {
        errx(2, "see drover-copy-path --help");
    }
    add_variant(bench, BARE);
    for (int i = optind; i < argc; i++) {
        add_variant(bench, argv[i]);
    }
}

int main(int argc, char **argv)
{
    static struct bench bench = {.bytes = 1536ull * 1024 * 1024, .runs = 5};
    struct error error = ERROR_NONE;
    parse(&bench, argc, argv);
    make_network(&bench);
    bench.shared = mmap(NULL, sizeof(*bench.shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench.source = memory_file_open(bench.bytes, &error);
    if (bench.source < 0 || memory_file_fill(bench.source, bench.bytes, &error) < 0) {
        fail(&error);
    }
    for (unsigned run = 0; run < bench.runs; run++) {
        for (unsigned i = 0; i < bench.entry_count; i++) {
            bench.entries[i].outcomes[run] = run_once(&bench, &bench.entries[i].variant);
        }
    }
    print(&bench);
    return 0;
}
