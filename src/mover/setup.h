/*
 * What a mover is told when it starts: one JSON document on descriptor MOVER_SETUP_FD, which names
 * the other descriptors by number. The agent opens everything; the mover opens nothing, and runs as
 * its own user without capabilities. Secrets are in the document, never on the command line, nor in
 * any log; what was read of them is wiped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"
#include "base/secure_stream.h"
#include "engine/source.h"

#define MOVER_SETUP_FD 3 /* readable: the setup document */
#define MOVER_CONTROL_FD                                                 \
    4 /* listening UNIX socket: agents connect here, see control.h; of a \
         sample the connection itself */
#define MOVER_NICS_MOST 16
#define MOVER_PATHS_MOST 16
#define MOVER_CHANNELS_MOST 64

enum mover_role {
    MOVER_ROLE_SOURCE,
    MOVER_ROLE_DESTINATION,
    MOVER_ROLE_SAMPLE, /* only watches how the guest writes: sample.h */
};

/* "source", "destination", "sample". */
const char *mover_role_name(enum mover_role role);

/* What moves the guest's memory. Both sides are told the same. */
enum mover_engine {
    MOVER_ENGINE_DROVER, /* Drover's own */
    MOVER_ENGINE_NATIVE, /* QEMU's migration, relayed */
};

struct mover_nic {
    int tap_fd;
    char mac[18];
};

/* A way to the destination: over which of the source's addresses to which of the destination's. */
struct mover_path {
    char local_address[64]; /* connected from; empty: the kernel chooses */
    char address[64];       /* the destination mover's */
    uint16_t port;
};

struct mover_setup {
    enum mover_role role;
    enum mover_engine engine;
    char move_id[37];
    char vm_name[64];
    uint8_t token[ENGINE_TOKEN_SIZE];
    bool encrypted;               /* all channels, with `key` */
    uint8_t key[SECURE_KEY_SIZE]; /* this move's alone */
    uint64_t memory_size;
    int memory_fd; /* RAM file: writable at the destination, elsewhere read-only */
    int qmp_fd;    /* a negotiated monitor of the VM's QEMU, the mover's alone */
    struct mover_nic nics[MOVER_NICS_MOST];
    size_t nic_count;

    /* source and sample, with Drover's engine */
    int userfaultfd;
    int pagemap_fd;
    int watch_fd; /* non-blocking inotify, IN_MODIFY of the RAM file; made by mover_start() */
    uint64_t memory_address;

    /* sample only, which has no token, no monitor and no NICs */
    uint64_t sample_ns; /* how long to watch */

    /* source only */
    int pacing_fd; /* a synchronous userfaultfd, see engine/pacer.h; -1: writers cannot be paced */
    int processor_fd; /* /proc/stat, open, for what may be used of the processors; -1: not known;
                         opened by mover_start() */
    struct mover_path paths[MOVER_PATHS_MOST]; /* at least one; the first carries what there is one
                                                  connection for */
    size_t path_count;
    struct engine_source_options options;

    /* destination only */
    int listen_fds[MOVER_PATHS_MOST]; /* listening TCP sockets, one for each of this host's
                                         migration addresses, which take one peer: the one with the
                                         token */
    size_t listen_count;
    uint64_t silence_limit_ns;
};

/* Whether it tracks the guest's writes, and is given what that takes. */
bool mover_setup_tracks(const struct mover_setup *setup);

/* In the agent: starts a mover as `uid`, with duplicates of the descriptors named in `setup`, its
 * control socket at `control_path`, and its log at `log_path`. The descriptors stay the caller's.
 */
int mover_start(const struct mover_setup *setup, const char *program, const char *control_path,
                const char *log_path, uid_t uid, struct process_identity *ret_process,
                struct error *err);

/* As mover_start(), for the role that samples: instead of a control socket there is a connection,
 * *ret_connection, over which sample.h says what is told. */
int mover_start_sample(const struct mover_setup *setup, const char *program, const char *log_path,
                       uid_t uid, struct process_identity *ret_process, int *ret_connection,
                       struct error *err);

/* In the mover: reads and checks the document. */
int mover_setup_read(int fd, struct mover_setup *ret_setup, struct error *err);
