/*
 * What a client of the guest notices: a steady stream of UDP datagrams and a TCP session that is
 * meant to last, both echoed by the guest's echo_server, and lines of JSON about what was lost,
 * late, wrong or broken.
 *
 *   drover-traffic-client --guest ADDRESS --seconds N [--udp-rate HZ] [--tcp-period MS]
 *                         [--udp-port P] [--tcp-port P] [--no-stdin]
 *
 * Runs until the time is over, standard input ends or SIGTERM or SIGINT comes. A line `mark NAME`
 * on standard input, or SIGUSR1, ends an interval; its line follows when it has settled
 * (interval.h). At the end come the last interval, named "end", and the totals. README.md has the
 * fields.
 */
#include "echo_record.h"
#include "tcp_probe.h"
#include "timeline.h"
#include "udp_probe.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull

enum {
    SECONDS_MAX = 3600,
    UDP_RATE_MAX = 10000,
    EVENTS_AT_ONCE = 8,
    LINE_BYTES = 256,
};

enum source { SOURCE_TIMER, SOURCE_SIGNAL, SOURCE_STDIN, SOURCE_UDP, SOURCE_TCP };

struct settings {
    const char *guest;
    const char *udp_port, *tcp_port;
    uint64_t seconds;
    uint64_t udp_rate;
    uint64_t tcp_period_ns;
    bool use_stdin;
};

struct client {
    struct settings settings;
    struct timeline timeline;
    struct udp_probe udp;
    struct tcp_probe tcp;
    int poll_descriptor, timer, signals;
    uint64_t last_tick_ns, next_record_ns;
    bool announced, ending;
    char line[LINE_BYTES];
    size_t line_length;
};

/* Tags for epoll: the address says which source it was. */
static char source_tags[SOURCE_TCP + 1];

static uint64_t parse_number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || number < least || number > most)
        errx(2, "--%s %s: give a whole number from %llu to %llu", name, text,
             (unsigned long long)least, (unsigned long long)most);
    return number;
}

static void usage(void)
{
    fputs("usage: drover-traffic-client --guest ADDRESS --seconds N [--udp-rate HZ]\n"
          "       [--tcp-period MS] [--udp-port P] [--tcp-port P] [--no-stdin]\n",
          stderr);
    exit(2);
}

static struct settings parse_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"guest", required_argument, NULL, 'g'},    {"seconds", required_argument, NULL, 's'},
        {"udp-rate", required_argument, NULL, 'r'}, {"tcp-period", required_argument, NULL, 'p'},
        {"udp-port", required_argument, NULL, 'u'}, {"tcp-port", required_argument, NULL, 't'},
        {"no-stdin", no_argument, NULL, 'n'},       {0},
    };
    struct settings settings = {NULL, "7001", "7000", 0, 1000, SECOND_NS / 100, true};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'g':
            settings.guest = optarg;
            break;
        case 's':
            settings.seconds = parse_number("seconds", optarg, 1, SECONDS_MAX);
            break;
        case 'r':
            settings.udp_rate = parse_number("udp-rate", optarg, 1, UDP_RATE_MAX);
            break;
        case 'p':
            settings.tcp_period_ns = parse_number("tcp-period", optarg, 1, 10000) * 1000000;
            break;
        case 'u':
            settings.udp_port = optarg;
            break;
        case 't':
            settings.tcp_port = optarg;
            break;
        case 'n':
            settings.use_stdin = false;
            break;
        default:
            usage();
        }
    }
    if (!settings.guest || settings.seconds == 0 || optind != argc)
        usage();
    return settings;
}

static struct addrinfo *resolve(const char *host, const char *port, int type)
{
    struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    int result = getaddrinfo(host, port, &hints, &found);

    if (result != 0)
        errx(2, "%s port %s: %s; give a numeric address", host, port, gai_strerror(result));
    return found;
}

static void watch(struct client *client, int descriptor, enum source source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &source_tags[source]};

    /* A regular file on standard input cannot be waited for; it has no marks to give either. */
    if (epoll_ctl(client->poll_descriptor, EPOLL_CTL_ADD, descriptor, &event) < 0 &&
        source != SOURCE_STDIN)
        err(1, "epoll");
}

static void start_timer(struct client *client)
{
    uint64_t period = SECOND_NS / client->settings.udp_rate;
    struct timespec time = {(time_t)(period / SECOND_NS), (long)(period % SECOND_NS)};
    struct itimerspec timer = {time, time};

    client->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (client->timer < 0 || timerfd_settime(client->timer, 0, &timer, NULL) < 0)
        err(1, "timer");
    watch(client, client->timer, SOURCE_TIMER);
}

static void start_signals(struct client *client)
{
    sigset_t wanted;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGUSR1);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    client->signals = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    if (client->signals < 0)
        err(1, "signals");
    watch(client, client->signals, SOURCE_SIGNAL);
}

/* A measuring instrument must not wait for what it measures. Best effort: it takes privilege. */
static void raise_priority(void)
{
    struct sched_param priority = {.sched_priority = 1};

    if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0)
        fputs("drover-traffic-client: no real-time priority; look at max_client_stall_ms\n",
              stderr);
}

static void start(struct client *client)
{
    const struct settings *settings = &client->settings;
    struct addrinfo *udp = resolve(settings->guest, settings->udp_port, SOCK_DGRAM);
    struct addrinfo *tcp = resolve(settings->guest, settings->tcp_port, SOCK_STREAM);

    client->poll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    if (client->poll_descriptor < 0 || timeline_init(&client->timeline) < 0)
        err(1, "cannot start");
    int result = udp_probe_init(&client->udp, &client->timeline, udp,
                                settings->seconds * settings->udp_rate);
    if (result < 0)
        errx(1, "%s: %s", settings->guest, strerror(-result));
    freeaddrinfo(udp);
    tcp_probe_init(&client->tcp, &client->timeline, tcp, client->poll_descriptor,
                   &source_tags[SOURCE_TCP]);
    watch(client, client->udp.descriptor, SOURCE_UDP);
    if (settings->use_stdin) {
        fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
        watch(client, STDIN_FILENO, SOURCE_STDIN);
    }
    raise_priority();
    start_signals(client);
    start_timer(client);
}

static void mark(struct client *client, const char *name)
{
    udp_probe_receive(&client->udp);
    udp_probe_end_interval(&client->udp);
    tcp_probe_end_interval(&client->tcp);
    if (timeline_mark(&client->timeline, name, client->udp.next_sequence,
                      client->tcp.next_sequence) < 0)
        errx(1, "out of memory");
}

static void end(struct client *client)
{
    if (client->ending)
        return;
    mark(client, "end");
    client->ending = true;
}

static void announce(struct client *client, uint64_t now)
{
    if (client->announced || client->udp.last_arrival_ns == 0 || client->tcp.last_arrival_ns == 0)
        return;
    printf("{\"type\":\"started\",\"after_ms\":%.3f}\n", (double)now / 1e6);
    fflush(stdout);
    client->announced = true;
}

static void note_own_stall(struct client *client, uint64_t now)
{
    uint64_t due = client->last_tick_ns + SECOND_NS / client->settings.udp_rate;
    struct interval *open = client->timeline.open;

    if (client->last_tick_ns != 0 && now > due && now - due > open->longest_client_stall_ns)
        open->longest_client_stall_ns = now - due;
    client->last_tick_ns = now;
}

/* Ticks that were missed are not made up for: a burst would measure itself. */
static void on_timer(struct client *client)
{
    uint64_t expirations;
    uint64_t now = timeline_now(&client->timeline);

    if (read(client->timer, &expirations, sizeof(expirations)) < 0)
        return;
    timeline_report_settled(&client->timeline, now, stdout);
    announce(client, now);
    if (client->ending)
        return;
    note_own_stall(client, now);
    udp_probe_send(&client->udp);
    if (now >= client->next_record_ns) {
        tcp_probe_tick(&client->tcp);
        client->next_record_ns += client->settings.tcp_period_ns;
        if (client->next_record_ns < now)
            client->next_record_ns = now;
    }
    if (now >= client->settings.seconds * SECOND_NS)
        end(client);
}

static void on_signal(struct client *client)
{
    struct signalfd_siginfo info;

    while (read(client->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGUSR1 && !client->ending)
            mark(client, "signal");
        else if (info.ssi_signo != SIGUSR1)
            end(client);
    }
}

static void on_line(struct client *client, const char *line)
{
    if (strncmp(line, "mark ", 5) == 0 && line[5] != '\0')
        mark(client, line + 5);
    else
        fprintf(stderr, "drover-traffic-client: %s: unknown line; there is: mark NAME\n", line);
}

static void on_stdin(struct client *client)
{
    ssize_t length =
        read(STDIN_FILENO, client->line + client->line_length, LINE_BYTES - client->line_length);
    char *newline;

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    client->line_length += length > 0 ? (size_t)length : 0;
    while ((newline = memchr(client->line, '\n', client->line_length)) && !client->ending) {
        size_t used = (size_t)(newline - client->line) + 1;
        *newline = '\0';
        on_line(client, client->line);
        client->line_length -= used;
        memmove(client->line, client->line + used, client->line_length);
    }
    if (length > 0 && client->line_length < LINE_BYTES)
        return;
    epoll_ctl(client->poll_descriptor, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    end(client);
}

static void dispatch(struct client *client, const struct epoll_event *event)
{
    switch ((enum source)((char *)event->data.ptr - source_tags)) {
    case SOURCE_TIMER:
        on_timer(client);
        break;
    case SOURCE_SIGNAL:
        on_signal(client);
        break;
    case SOURCE_STDIN:
        on_stdin(client);
        break;
    case SOURCE_UDP:
        udp_probe_receive(&client->udp);
        break;
    case SOURCE_TCP:
        tcp_probe_event(&client->tcp);
        break;
    }
}

int main(int argc, char **argv)
{
    static struct client client;

    client.settings = parse_arguments(argc, argv);
    start(&client);
    while (!client.ending || !timeline_is_settled(&client.timeline)) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int count = epoll_wait(client.poll_descriptor, events, EVENTS_AT_ONCE, -1);
        if (count < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < count; i++)
            dispatch(&client, &events[i]);
    }
    timeline_finish(&client.timeline);
    interval_print(&client.timeline.total, "total", stdout);
    tcp_probe_done(&client.tcp);
    udp_probe_done(&client.udp);
    timeline_done(&client.timeline);
    return 0;
}
