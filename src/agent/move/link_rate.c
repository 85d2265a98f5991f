/* The rate to a peer: see link_rate.h. */
#include "agent/move/link_rate.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#define VERSION 1
#define FILE_MOST ((size_t)1 << 20)
#define KEPT 5u                 /* moves to a peer */
#define ASSUMED_RATE 125000000u /* 1 Gbit/s */
#define BYTES_PER_MEGABIT 125000u
#define ROUND_BYTES_LEAST ((json_int_t)8 << 20) /* a smaller round tells nothing */
#define RATE_MOST ((json_int_t)1 << 40)

const char *link_rate_source_name(enum link_rate_source source)
{
    static const char *const names[] = {[LINK_RATE_MEASURED] = "measured",
                                        [LINK_RATE_INTERFACE] = "interface",
                                        [LINK_RATE_ASSUMED] = "assumed"};
    return names[source];
}

/* ---- remembered moves: {"version", "peers": {NAME: [{"at", "rate"}, ... newest first]}} ---- */

static char *rates_path(const struct agent_config *config)
{
    return file_path("%s/link_rates.json", config->state_folder);
}

/* The peers' object, a new reference; an empty one when there is no file that can be read. */
static json_t *load_peers(const struct agent_config *config)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = rates_path(config);
    CLEANUP_JSON json_t *document = path ? json_read_file(path, FILE_MOST, &err) : NULL;
    json_t *peers = json_object_get(document, "peers");
    if (json_integer_value(json_object_get(document, "version")) == VERSION &&
        json_is_object(peers)) {
        return json_incref(peers);
    }
    if (err.code != ENOENT && err.code != 0) {
        log_warning("the rates of earlier moves are forgotten: %s", err.message);
    }
    return json_object();
}

static int by_size(const void *one, const void *other)
{
    json_int_t left = *(const json_int_t *)one;
    json_int_t right = *(const json_int_t *)other;
    return (left > right) - (left < right);
}

/* The median; 0 when there is none. */
static uint64_t measured_rate(const struct agent_config *config, const char *peer)
{
    CLEANUP_JSON json_t *peers = load_peers(config);
    json_int_t rates[KEPT];
    size_t count = 0;
    size_t index;
    const json_t *move;
    json_array_foreach (json_object_get(peers, peer), index, move) {
        json_int_t rate = json_integer_value(json_object_get(move, "rate"));
        if (count < KEPT && rate > 0 && rate <= RATE_MOST) {
            rates[count++] = rate;
        }
    }
    qsort(rates, count, sizeof(rates[0]), by_size);
    return count > 0 ? (uint64_t)rates[count / 2] : 0;
}

/* The peer's list with one more move in it, at most KEPT. New reference. */
static json_t *extended(const json_t *moves, uint64_t bytes_per_second)
{
    char now[32];
    clock_format_utc(clock_realtime_ns(), now);
    json_t *list = json_pack("[{s:s, s:I}]", "at", now, "rate", (json_int_t)bytes_per_second);
    for (size_t i = 0; i < json_array_size(moves) && i + 1 < KEPT; i++) {
        json_array_append(list, json_array_get(moves, i));
    }
    return list;
}

static int save(const struct agent_config *config, const char *peer, uint64_t bytes_per_second,
                struct error *err)
{
    CLEANUP_FREE char *path = rates_path(config);
    CLEANUP_JSON json_t *known = load_peers(config);
    json_t *peers = json_object();
    for (size_t i = 0; i < config->peer_count; i++) {
        json_t *moves = json_object_get(known, config->peers[i].name);
        if (json_is_array(moves)) {
            json_object_set(peers, config->peers[i].name, moves);
        }
    }
    json_object_set_new(peers, peer, extended(json_object_get(known, peer), bytes_per_second));
    CLEANUP_JSON json_t *document = json_pack("{s:i, s:o}", "version", VERSION, "peers", peers);
    return path && document ? json_write_file(path, document, 0600, err)
                            : error_set_errno(err, ENOMEM, "cannot remember the rate of a move");
}

void link_rate_remember(const struct agent_config *config, const char *peer,
                        uint64_t bytes_per_second)
{
    struct error err = ERROR_NONE;
    /* Moves end at the same time: one reads and writes the file after the other. */
    CLEANUP_CLOSE int folder = open(config->state_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (bytes_per_second == 0 || folder < 0 || flock(folder, LOCK_EX) < 0) {
        return;
    }
    if (save(config, peer, bytes_per_second, &err) < 0) {
        log_warning("%s", err.message);
    }
}

/* A round's, in bytes a second; 0 when it is too short to tell. */
static double rate_of_round(const json_t *round)
{
    json_int_t bytes = json_integer_value(json_object_get(round, "bytes_sent"));
    json_int_t duration_ns = json_integer_value(json_object_get(round, "duration_ns"));
    return bytes >= ROUND_BYTES_LEAST && duration_ns > 0
               ? (double)bytes * NANOSECONDS_PER_SECOND / (double)duration_ns
               : 0;
}

uint64_t link_rate_of_move(const json_t *statistics, uint64_t bandwidth_limit)
{
    double best = 0;
    size_t index;
    const json_t *round;
    json_array_foreach (json_object_get(statistics, "rounds"), index, round) {
        double rate = rate_of_round(round);
        best = rate > best ? rate : best;
    }
    bool held_back = bandwidth_limit > 0 && best > 0.8 * (double)bandwidth_limit;
    return held_back || best > (double)RATE_MOST ? 0 : (uint64_t)best;
}

/* ---- the interface ---- */

static bool has_address(const struct ifaddrs *entry, const char *address)
{
    char text[NI_MAXHOST];
    const struct sockaddr *of = entry->ifa_addr;
    if (!of || (of->sa_family != AF_INET && of->sa_family != AF_INET6)) {
        return false;
    }
    socklen_t length =
        of->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    return getnameinfo(of, length, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0 &&
           strcmp(text, address) == 0;
}

/* What the interface says of itself, in bytes a second; 0 when it says nothing. */
static uint64_t speed_of_interface(const char *name)
{
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_FREE char *path = file_path("/sys/class/net/%s/speed", name);
    if (!path || file_read(path, 32, &content, NULL) < 0) { /* a link that is down: EINVAL */
        return 0;
    }
    long megabits = strtol((const char *)content.data, NULL, 10);
    return megabits > 0 ? (uint64_t)megabits * BYTES_PER_MEGABIT : 0;
}

/* Of the interface that has the address; 0 when that is not known. */
static uint64_t speed_of_address(const char *address)
{
    struct ifaddrs *list;
    uint64_t speed = 0;
    if (getifaddrs(&list) < 0) {
        return 0;
    }
    for (const struct ifaddrs *entry = list; entry && speed == 0; entry = entry->ifa_next) {
        speed = has_address(entry, address) ? speed_of_interface(entry->ifa_name) : 0;
    }
    freeifaddrs(list);
    return speed;
}

/* Of all migration networks together; 0 when one of them is not known. */
static uint64_t speed_of_interfaces(const struct agent_config *config)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < config->migration_address_count; i++) {
        uint64_t speed = speed_of_address(config->migration_addresses[i]);
        if (speed == 0) {
            return 0;
        }
        sum += speed;
    }
    return sum;
}

struct link_rate link_rate_of(const struct agent_config *config, const char *peer)
{
    uint64_t rate = measured_rate(config, peer);
    if (rate > 0) {
        return (struct link_rate){rate, LINK_RATE_MEASURED};
    }
    rate = speed_of_interfaces(config);
    if (rate > 0) {
        return (struct link_rate){rate, LINK_RATE_INTERFACE};
    }
    return (struct link_rate){ASSUMED_RATE, LINK_RATE_ASSUMED};
}
