/*
 * Network links in the calling thread's network namespace, through netlink: up and down, addresses,
 * veth pairs, a rate limit. Names are the kernel's, at most 15 characters.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define LINK_NAME_SIZE 16

/* One end of a veth pair. */
struct link_end {
    const char *name;
    int namespace_fd;   /* the network namespace to make it in; -1: the caller's */
    const uint8_t *mac; /* 6 bytes; NULL: the kernel makes one up */
};

/* Makes a pair of links, each the other's cable, both down. -EEXIST when a name is taken. The pair
 * goes with the first of the two namespaces that ends. */
int link_add_veth(const struct link_end *one, const struct link_end *other, unsigned mtu,
                  struct error *err);

/* Removes a link, and with a veth its other end. Missing is success. */
int link_remove(const char *name, struct error *err);

int link_set_up(const char *name, bool up, struct error *err);

/* Gives a link an IPv4 address ("10.78.0.1", 24). Idempotent. */
int link_add_address(const char *name, const char *address, unsigned prefix, struct error *err);

/* Keeps the link from IPv6: no link-local address, no router discovery. */
void link_disable_ipv6(const char *name);

/* What the link may send, in bytes a second (a token bucket of 10 ms); 0: no limit. Idempotent. */
int link_limit_rate(const char *name, uint64_t bytes_per_second, struct error *err);

/* Index of a link by name; -ENODEV with a remedy when there is none. */
int link_index(const char *name, struct error *err);
