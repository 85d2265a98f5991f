/*
 * A blocking QMP client (QEMU's docs/interop/qmp-spec): one command at a time, events kept in order
 * until someone asks for them. One thread.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

/* For commands that QEMU answers at once: it hangs when it takes longer. */
#define QMP_TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)

struct qmp {
    int fd; /* owned */
    struct buffer input;
    json_t *events;      /* array of events not yet asked for; owned */
    int64_t last_id;     /* of the latest command: tells its reply from an earlier one's */
    char *ahead;         /* command sent all but its last character; NULL: none; owned */
    unsigned complaints; /* of commands taken back, still to come */
};

/* Connects to a monitor's UNIX socket and negotiates; or takes a connected socket that was
 * negotiated already (by the agent, for a mover that may not open paths). */
int qmp_connect(struct qmp *qmp, const char *socket_path, uint64_t timeout_ns, struct error *err);
int qmp_adopt(struct qmp *qmp, int fd, struct error *err);
/* Gives the negotiated socket away; the client is done afterwards. */
int qmp_release(struct qmp *qmp);
void qmp_done(struct qmp *qmp);

/* Runs a command; `arguments` (may be NULL) is borrowed. On success *ret_value (may be NULL) is a
 * new reference to "return". QEMU's own error text is in err. */
int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, uint64_t timeout_ns,
                json_t **ret_value, struct error *err);

/* As qmp_execute(), with a descriptor attached (getfd, add-fd). */
int qmp_execute_with_fd(struct qmp *qmp, const char *command, json_t *arguments, int fd,
                        uint64_t timeout_ns, json_t **ret_value, struct error *err);

/* Sends a command and does not wait: its reply, {"return": ...} or {"error": ...}, comes out of
 * qmp_next_event() among the events. For who must attend to something else meanwhile. */
int qmp_send(struct qmp *qmp, const char *command, json_t *arguments, struct error *err);

/* Sends all of a command but its last character, which qmp_send() of the same command then adds:
 * QEMU reads its monitor a byte at a time, some 10 us each, which an urgent command cannot wait
 * for. Any other command that is sent instead takes it back; QEMU's complaint goes unheard. The
 * same command sent ahead once more is no news. */
int qmp_send_ahead(struct qmp *qmp, const char *command, json_t *arguments, struct error *err);

/* Takes the oldest event, waiting for one at most timeout_ns: 1 and a new reference, 0 none came,
 * negative when the monitor is gone. */
int qmp_next_event(struct qmp *qmp, uint64_t timeout_ns, json_t **ret_event, struct error *err);

/* Drops the events that nobody asked for yet, those still in the socket included. */
int qmp_discard_events(struct qmp *qmp, struct error *err);

/* Fills err with QEMU's words in a reply {"error": {...}} to `command`. Returns -err->code. */
int qmp_reply_error(const json_t *reply, const char *command, struct error *err);

#define CLEANUP_QMP __attribute__((cleanup(qmp_done)))
