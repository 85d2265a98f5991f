/* See udp_probe.h. */
#include "udp_probe.h"

#include "echo_record.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUICKEST_OF_NS 100000000ull

int udp_probe_init(struct udp_probe *probe, struct timeline *timeline, const struct addrinfo *guest,
                   uint64_t sequence_limit)
{
    int one = 1;

    *probe = (struct udp_probe){.timeline = timeline, .sequence_limit = sequence_limit};
    probe->answered = mmap(NULL, sequence_limit, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (probe->answered == MAP_FAILED)
        return -ENOMEM;
    probe->descriptor = socket(guest->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->descriptor < 0)
        return -errno;
    setsockopt(probe->descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one));
    if (connect(probe->descriptor, guest->ai_addr, guest->ai_addrlen) < 0)
        return -errno;
    return 0;
}

void udp_probe_done(struct udp_probe *probe)
{
    close(probe->descriptor);
    munmap(probe->answered, probe->sequence_limit);
}

void udp_probe_send(struct udp_probe *probe)
{
    unsigned char bytes[ECHO_RECORD_BYTES];
    struct echo_record record = {
        .client_sequence = probe->next_sequence,
        .client_ns = timeline_now(probe->timeline),
    };

    if (probe->next_sequence == probe->sequence_limit)
        return;
    probe->next_sequence++;
    echo_record_encode(&record, bytes);
    /* The first failure may be the news of an earlier datagram that was refused. */
    if (send(probe->descriptor, bytes, sizeof(bytes), 0) < 0 &&
        send(probe->descriptor, bytes, sizeof(bytes), 0) < 0)
        probe->timeline->open->udp_unsent++;
}

static uint64_t wall_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* The kernel stamps with the wall clock; what has passed since is taken off our own. */
static uint64_t arrival_time(const struct timeline *timeline, struct msghdr *message)
{
    uint64_t now = timeline_now(timeline);
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    struct timespec stamp;

    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_TIMESTAMPNS)
        return now;
    memcpy(&stamp, CMSG_DATA(control), sizeof(stamp));
    uint64_t age = wall_now() - ((uint64_t)stamp.tv_sec * 1000000000ull + (uint64_t)stamp.tv_nsec);
    return age < now ? now - age : now;
}

static void commit_quickest(struct udp_probe *probe)
{
    struct clock_offset *offset = &probe->timeline->open->offset;

    if (!probe->quickest.known)
        return;
    if (!offset->known)
        offset->first_ns = probe->quickest.offset_ns;
    offset->known = true;
    offset->last_ns = probe->quickest.offset_ns;
    probe->quickest.known = false;
}

static void note_clock(struct udp_probe *probe, const struct echo_record *record,
                       uint64_t arrival_ns)
{
    struct quickest_answer *quickest = &probe->quickest;
    uint64_t rtt = arrival_ns - record->client_ns;

    if (quickest->known && arrival_ns - quickest->since_ns > QUICKEST_OF_NS)
        commit_quickest(probe);
    if (!quickest->known)
        *quickest = (struct quickest_answer){true, arrival_ns, UINT64_MAX, 0};
    if (rtt >= quickest->rtt_ns)
        return;
    quickest->rtt_ns = rtt;
    quickest->offset_ns = (int64_t)(record->guest_ns - record->client_ns - rtt / 2);
}

static void note_order(struct udp_probe *probe, const struct echo_record *record,
                       struct interval *interval)
{
    bool first = probe->last_arrival_ns == 0;

    if (!first && record->client_sequence < probe->highest_sequence) {
        interval->udp_reordered++;
        return;
    }
    probe->highest_sequence = record->client_sequence;
    if (!first && record->server_sequence <= probe->highest_server_sequence)
        interval->server_backwards++;
    probe->highest_server_sequence = record->server_sequence;
}

static void accept_answer(struct udp_probe *probe, const struct echo_record *record,
                          uint64_t arrival_ns)
{
    struct interval *open = probe->timeline->open;
    struct interval *owner = timeline_owner_of_udp(probe->timeline, record->client_sequence);
    struct interval *interval = owner ? owner : open;

    if (probe->answered[record->client_sequence]) {
        interval->udp_duplicated++;
        return;
    }
    probe->answered[record->client_sequence] = 1;
    if (owner)
        owner->udp_received++;
    else
        open->udp_late++;
    note_order(probe, record, interval);
    if (probe->last_arrival_ns != 0)
        silence_note(&interval->udp_silence, probe->last_arrival_ns, arrival_ns);
    if (arrival_ns > probe->last_arrival_ns)
        probe->last_arrival_ns = arrival_ns;
    if (arrival_ns > record->client_ns && arrival_ns - record->client_ns > interval->longest_rtt_ns)
        interval->longest_rtt_ns = arrival_ns - record->client_ns;
    if (interval == open && arrival_ns > record->client_ns)
        note_clock(probe, record, arrival_ns);
}

static bool receive_one(struct udp_probe *probe)
{
    unsigned char bytes[ECHO_RECORD_BYTES + 1];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec part = {bytes, sizeof(bytes)};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    struct echo_record record;

    ssize_t length = recvmsg(probe->descriptor, &message, 0);
    if (length < 0)
        return errno == ECONNREFUSED || errno == EHOSTUNREACH;
    if (length != ECHO_RECORD_BYTES || echo_record_decode(bytes, &record) < 0 ||
        record.client_sequence >= probe->next_sequence)
        probe->timeline->open->udp_wrong++;
    else
        accept_answer(probe, &record, arrival_time(probe->timeline, &message));
    return true;
}

void udp_probe_receive(struct udp_probe *probe)
{
    while (receive_one(probe))
        ;
}

void udp_probe_end_interval(struct udp_probe *probe)
{
    struct interval *open = probe->timeline->open;
    uint64_t since = probe->last_arrival_ns ? probe->last_arrival_ns : open->begin_ns;

    commit_quickest(probe);
    silence_note(&open->udp_silence, since, timeline_now(probe->timeline));
}
