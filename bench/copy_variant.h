/*
 * One way to carry a guest's memory from file to file over TCP, as `drover-copy-path` tries them:
 * how it is sent, how it is received, and with what settings.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define COPY_CONNECTIONS_MOST 16

enum copy_sender {
    COPY_SENDFILE, /* sendfile(2) from the file */
    COPY_SEND,     /* send(2) from a mapping of the file: a copy */
    COPY_ZEROCOPY, /* the same with MSG_ZEROCOPY: none, where the link allows it */
    COPY_SPLICE,   /* file to pipe, pipe to socket */
    COPY_VMSPLICE, /* mapping to pipe, pipe to socket */
};

enum copy_receiver {
    COPY_DISCARD,      /* into one buffer, thrown away: the bare stream */
    COPY_MAPPING,      /* recv(2) straight into a mapping of the file */
    COPY_PWRITE,       /* into one buffer, from there pwrite(2) */
    COPY_SPLICE_WRITE, /* socket to pipe, pipe to file */
};

/* How pages are made before data comes for them. */
enum copy_populate { COPY_MADVISE, COPY_FALLOCATE, COPY_TOUCH };

struct copy_variant {
    enum copy_sender sender;
    enum copy_receiver receiver;
    enum copy_populate populate;
    uint64_t connections; /* a thread each, on both sides */
    uint64_t stripe;      /* bytes that one connection carries before the next one's turn */
    uint64_t buffer;      /* bytes: COPY_DISCARD's and COPY_PWRITE's buffer, the size of pipes */
    uint64_t ahead;       /* bytes that are populated ahead of the data; 0: none */
    uint64_t helpers;     /* threads that populate */
    uint64_t step;        /* bytes that they populate at once */
    uint64_t sndbuf;      /* SO_SNDBUF; 0: the kernel's tuning */
    uint64_t rcvbuf;      /* SO_RCVBUF; 0: the kernel's tuning */
    uint64_t lowat;       /* SO_RCVLOWAT; 0: as it is */
    bool waitall;         /* MSG_WAITALL */
    char congestion[16];  /* TCP_CONGESTION of the sender; empty: the host's */
};

/* Reads "send=sendfile,receive=mapping,connections=2,...": what is left out has its default. */
int copy_variant_parse(const char *text, struct copy_variant *ret_variant, struct error *err);

/* Sends bytes [0, bytes) of `file` over the variant's connections. */
int copy_send(const struct copy_variant *variant, int file, uint64_t bytes, const int *connections,
              struct error *err);

/* Receives them into `file`, all holes at first. */
int copy_receive(const struct copy_variant *variant, int file, uint64_t bytes,
                 const int *connections, struct error *err);

/* The next stripe of connection `index`, beginning at *position (at first index * stripe), which
 * moves on; its length, 0 after the last. */
uint64_t copy_variant_next_stripe(const struct copy_variant *variant, uint64_t bytes,
                                  uint64_t *position, uint64_t *ret_offset);
