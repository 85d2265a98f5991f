/* See interval.h. */
#include "interval.h"

#include <inttypes.h>

#define NS_PER_MS 1e6

void silence_note(struct silence *silence, uint64_t from_ns, uint64_t to_ns)
{
    if (to_ns <= from_ns || to_ns - from_ns <= silence->longest_ns)
        return;
    silence->longest_ns = to_ns - from_ns;
    silence->at_ns = to_ns;
}

static void add_silence(struct silence *total, const struct silence *part)
{
    if (part->longest_ns > total->longest_ns)
        *total = *part;
}

static void take_longer(uint64_t *total, uint64_t part)
{
    if (part > *total)
        *total = part;
}

void interval_add(struct interval *total, const struct interval *part)
{
    total->udp_received += part->udp_received + part->udp_late;
    total->udp_reordered += part->udp_reordered;
    total->udp_duplicated += part->udp_duplicated;
    total->udp_wrong += part->udp_wrong;
    total->udp_late += part->udp_late;
    total->udp_unsent += part->udp_unsent;
    total->tcp_received += part->tcp_received;
    total->tcp_resets += part->tcp_resets;
    total->tcp_wrong += part->tcp_wrong;
    total->server_backwards += part->server_backwards;
    take_longer(&total->longest_rtt_ns, part->longest_rtt_ns);
    take_longer(&total->longest_client_stall_ns, part->longest_client_stall_ns);
    add_silence(&total->udp_silence, &part->udp_silence);
    add_silence(&total->tcp_silence, &part->tcp_silence);
    total->end_ns = part->end_ns;
    total->end_udp = part->end_udp;
    total->end_tcp = part->end_tcp;
    if (part->offset.known) {
        if (!total->offset.known)
            total->offset = part->offset;
        total->offset.last_ns = part->offset.last_ns;
    }
}

static void print_udp(const struct interval *interval, FILE *out)
{
    uint64_t sent = interval->end_udp - interval->first_udp;

    fprintf(out,
            "\"sent_udp\":%" PRIu64 ",\"received_udp\":%" PRIu64 ",\"lost_udp\":%" PRIu64
            ",\"unsent_udp\":%" PRIu64 ",\"late_udp\":%" PRIu64 ",\"reordered_udp\":%" PRIu64
            ",\"duplicated_udp\":%" PRIu64 ",\"wrong_udp\":%" PRIu64
            ",\"max_udp_gap_ms\":%.3f,\"max_udp_gap_at_ms\":%.3f,\"max_udp_rtt_ms\":%.3f,",
            sent, interval->udp_received, sent - interval->udp_received, interval->udp_unsent,
            interval->udp_late, interval->udp_reordered, interval->udp_duplicated,
            interval->udp_wrong, (double)interval->udp_silence.longest_ns / NS_PER_MS,
            (double)interval->udp_silence.at_ns / NS_PER_MS,
            (double)interval->longest_rtt_ns / NS_PER_MS);
}

static void print_tcp(const struct interval *interval, FILE *out)
{
    fprintf(out,
            "\"sent_tcp\":%" PRIu64 ",\"received_tcp\":%" PRIu64 ",\"tcp_resets\":%" PRIu64
            ",\"wrong_tcp\":%" PRIu64 ",\"max_tcp_stall_ms\":%.3f,\"max_tcp_stall_at_ms\":%.3f,",
            interval->end_tcp - interval->first_tcp, interval->tcp_received, interval->tcp_resets,
            interval->tcp_wrong, (double)interval->tcp_silence.longest_ns / NS_PER_MS,
            (double)interval->tcp_silence.at_ns / NS_PER_MS);
}

void interval_print(const struct interval *interval, const char *type, FILE *out)
{
    const struct clock_offset *offset = &interval->offset;

    fprintf(out, "{\"type\":\"%s\",\"name\":\"%s\",\"begin_ms\":%.3f,\"end_ms\":%.3f,", type,
            interval->name, (double)interval->begin_ns / NS_PER_MS,
            (double)interval->end_ns / NS_PER_MS);
    print_udp(interval, out);
    print_tcp(interval, out);
    fprintf(out, "\"server_backwards\":%" PRIu64 ",", interval->server_backwards);
    if (offset->known)
        fprintf(out, "\"guest_clock_shift_ms\":%.3f,",
                (double)(offset->last_ns - offset->first_ns) / NS_PER_MS);
    else
        fputs("\"guest_clock_shift_ms\":null,", out);
    fprintf(out, "\"max_client_stall_ms\":%.3f}\n",
            (double)interval->longest_client_stall_ns / NS_PER_MS);
    fflush(out);
}
