/* Pairing migration addresses: see migration_paths.h. */
#include "agent/move/migration_paths.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"

#define WHAT "the peer's answer"
#define ADDRESS_BYTES 16

/* ---- addresses as bytes ---- */

/* 4 or 16 bytes; 0 for what is no address. */
static size_t parse(const char *text, uint8_t bytes[ADDRESS_BYTES])
{
    if (inet_pton(AF_INET, text, bytes) == 1) {
        return 4;
    }
    return inet_pton(AF_INET6, text, bytes) == 1 ? ADDRESS_BYTES : 0;
}

static bool same_family(const char *one, const char *other)
{
    uint8_t bytes[ADDRESS_BYTES];
    return parse(one, bytes) == parse(other, bytes);
}

static bool same_subnet(const struct migration_local *local, const char *address)
{
    uint8_t one[ADDRESS_BYTES];
    uint8_t other[ADDRESS_BYTES];
    size_t size = parse(local->address, one);
    unsigned whole = local->prefix / 8;
    unsigned rest = local->prefix % 8;
    if (local->prefix == 0 || local->prefix > size * 8 || parse(address, other) != size) {
        return false;
    }
    return memcmp(one, other, whole) == 0 &&
           (rest == 0 || (one[whole] ^ other[whole]) >> (8 - rest) == 0);
}

static unsigned bits(const uint8_t *mask, size_t size)
{
    unsigned count = 0;
    for (size_t i = 0; i < size; i++) {
        count += (unsigned)__builtin_popcount(mask[i]);
    }
    return count;
}

/* The prefix of an interface's address when it is this one, else 0. */
static unsigned prefix_of(const struct ifaddrs *interface, const char *address)
{
    uint8_t bytes[ADDRESS_BYTES];
    size_t size = parse(address, bytes);
    const struct sockaddr *own = interface->ifa_addr;
    if (!own || !interface->ifa_netmask || own->sa_family != (size == 4 ? AF_INET : AF_INET6)) {
        return 0;
    }
    if (size == 4) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)own;
        const struct sockaddr_in *mask = (const struct sockaddr_in *)interface->ifa_netmask;
        bool is_it = memcmp(&v4->sin_addr, bytes, size) == 0;
        return is_it ? bits((const uint8_t *)&mask->sin_addr, size) : 0;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)own;
    const struct sockaddr_in6 *mask = (const struct sockaddr_in6 *)interface->ifa_netmask;
    return memcmp(&v6->sin6_addr, bytes, size) == 0 ? bits((const uint8_t *)&mask->sin6_addr, size)
                                                    : 0;
}

void migration_locals(const struct agent_config *config,
                      struct migration_local ret_locals[MOVER_PATHS_MOST], size_t *ret_count)
{
    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) < 0) {
        interfaces = NULL;
    }
    for (size_t i = 0; i < config->migration_address_count; i++) {
        struct migration_local *local = &ret_locals[i];
        *local = (struct migration_local){0};
        strcpy(local->address, config->migration_addresses[i]);
        for (struct ifaddrs *each = interfaces; each && local->prefix == 0; each = each->ifa_next) {
            local->prefix = prefix_of(each, local->address);
        }
    }
    *ret_count = config->migration_address_count;
    freeifaddrs(interfaces);
}

/* ---- pairing ---- */

struct endpoint {
    char address[CONFIG_ADDRESS_SIZE];
    uint16_t port;
};

/* Both sides' addresses, each used in one group of pairs only. */
struct pairing {
    const struct migration_local *locals;
    size_t local_count;
    bool local_used[MOVER_PATHS_MOST];
    struct endpoint endpoints[MOVER_PATHS_MOST];
    size_t endpoint_count;
    bool endpoint_used[MOVER_PATHS_MOST];
    struct mover_setup *setup;
};

/* Indexes of one side that belong together. */
struct group {
    size_t members[MOVER_PATHS_MOST];
    size_t count;
};

static void add_path(const struct pairing *pairing, const char *local, size_t endpoint)
{
    struct mover_setup *setup = pairing->setup;
    if (setup->path_count < MOVER_PATHS_MOST) {
        struct mover_path *path = &setup->paths[setup->path_count++];
        strcpy(path->local_address, local);
        strcpy(path->address, pairing->endpoints[endpoint].address);
        path->port = pairing->endpoints[endpoint].port;
    }
}

/* Each member of either side at least once. Without a local address the kernel chooses one. */
static void pair(struct pairing *pairing, const struct group *locals, const struct group *endpoints)
{
    size_t count = locals->count > endpoints->count ? locals->count : endpoints->count;
    for (size_t i = 0; endpoints->count > 0 && i < count; i++) {
        size_t endpoint = endpoints->members[i % endpoints->count];
        const char *local = "";
        if (locals->count > 0) {
            size_t index = locals->members[i % locals->count];
            local = pairing->locals[index].address;
            pairing->local_used[index] = true;
        }
        pairing->endpoint_used[endpoint] = true;
        add_path(pairing, local, endpoint);
    }
}

static void pair_subnet(struct pairing *pairing, const struct migration_local *subnet)
{
    struct group locals = {.count = 0};
    struct group endpoints = {.count = 0};
    for (size_t i = 0; i < pairing->local_count; i++) {
        if (!pairing->local_used[i] && same_subnet(subnet, pairing->locals[i].address)) {
            locals.members[locals.count++] = i;
        }
    }
    for (size_t i = 0; i < pairing->endpoint_count; i++) {
        if (!pairing->endpoint_used[i] && same_subnet(subnet, pairing->endpoints[i].address)) {
            endpoints.members[endpoints.count++] = i;
        }
    }
    pair(pairing, &locals, &endpoints);
}

/* What is in nobody's subnet, and so is reached through routers. */
static void pair_the_rest(struct pairing *pairing, const char *family)
{
    struct group locals = {.count = 0};
    struct group endpoints = {.count = 0};
    for (size_t i = 0; i < pairing->local_count; i++) {
        if (!pairing->local_used[i] && same_family(pairing->locals[i].address, family)) {
            locals.members[locals.count++] = i;
        }
    }
    for (size_t i = 0; i < pairing->endpoint_count; i++) {
        if (!pairing->endpoint_used[i] && same_family(pairing->endpoints[i].address, family)) {
            endpoints.members[endpoints.count++] = i;
        }
    }
    pair(pairing, &locals, &endpoints);
}

/* ---- the answer ---- */

static int read_endpoint(const json_t *entry, struct endpoint *endpoint, struct error *err)
{
    const char *address;
    uint8_t bytes[ADDRESS_BYTES];
    int64_t port;
    int result = json_get_string(entry, WHAT, "address", &address, err);
    if (result == 0) {
        result = json_get_integer(entry, WHAT, "port", 1, UINT16_MAX, &port, err);
    }
    if (result == 0 && (strlen(address) >= sizeof(endpoint->address) || !parse(address, bytes))) {
        result = error_set(err, EINVAL, WHAT ": \"%.64s\" is not a numeric address", address);
    }
    if (result == 0) {
        strcpy(endpoint->address, address);
        endpoint->port = (uint16_t)port;
    }
    return result;
}

static int read_endpoints(const json_t *answer, struct pairing *pairing, struct error *err)
{
    json_t *list;
    const json_t *entry;
    int result = json_get_array_or_empty(answer, WHAT, "endpoints", &list, err);
    if (result < 0) {
        return result;
    }
    if (json_array_size(list) == 0 || json_array_size(list) > MOVER_PATHS_MOST) {
        return error_set(err, EINVAL, WHAT ": \"endpoints\" must have 1 to %d entries",
                         MOVER_PATHS_MOST);
    }
    json_array_foreach (list, pairing->endpoint_count, entry) {
        result = read_endpoint(entry, &pairing->endpoints[pairing->endpoint_count], err);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

int migration_paths(const struct migration_local *locals, size_t count, const json_t *answer,
                    struct mover_setup *setup, struct error *err)
{
    struct pairing pairing = {.locals = locals, .local_count = count, .setup = setup};
    int result = read_endpoints(answer, &pairing, err);
    if (result < 0) {
        return result;
    }
    setup->path_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!pairing.local_used[i]) {
            pair_subnet(&pairing, &locals[i]);
        }
    }
    pair_the_rest(&pairing, "0.0.0.0");
    pair_the_rest(&pairing, "::");
    return 0;
}
