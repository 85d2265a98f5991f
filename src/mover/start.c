/* Starting a mover, in the agent: see setup.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/socket.h"
#include "engine/tracker.h"
#include "mover/setup_document.h"
#include "mover/walls.h"

#define FDS_MOST (MOVER_NICS_MOST + MOVER_PATHS_MOST + 9)

/* Descriptors get new numbers in the mover: 3 and 4 are the document and the control socket. */
struct placement {
    struct process_fd fds[FDS_MOST];
    size_t count;
};

static int place(struct placement *placement, int parent_fd)
{
    int child_fd = MOVER_SETUP_FD + (int)placement->count;
    placement->fds[placement->count++] = (struct process_fd){parent_fd, child_fd};
    return child_fd;
}

/* The setup as the mover is to read it: with its own numbers. */
static struct mover_setup renumber(const struct mover_setup *setup, int watch, int processor,
                                   struct placement *placement)
{
    struct mover_setup renumbered = *setup;
    renumbered.processor_fd = processor < 0 ? -1 : place(placement, processor);
    renumbered.memory_fd = place(placement, setup->memory_fd);
    if (setup->role != MOVER_ROLE_SAMPLE) {
        renumbered.qmp_fd = place(placement, setup->qmp_fd);
        for (size_t i = 0; i < setup->nic_count; i++) {
            renumbered.nics[i].tap_fd = place(placement, setup->nics[i].tap_fd);
        }
    }
    if (mover_setup_tracks(setup)) {
        renumbered.userfaultfd = place(placement, setup->userfaultfd);
        renumbered.pagemap_fd = place(placement, setup->pagemap_fd);
        renumbered.watch_fd = place(placement, watch);
    }
    if (setup->role == MOVER_ROLE_SOURCE && setup->pacing_fd >= 0) {
        renumbered.pacing_fd = place(placement, setup->pacing_fd);
    }
    if (setup->role == MOVER_ROLE_DESTINATION) {
        for (size_t i = 0; i < setup->listen_count; i++) {
            renumbered.listen_fds[i] = place(placement, setup->listen_fds[i]);
        }
    }
    return renumbered;
}

/* The document in a file without a name, ready to read. */
static int write_document(int fd, const struct mover_setup *setup, struct error *err)
{
    CLEANUP_JSON json_t *document = mover_setup_encode(setup);
    CLEANUP_FREE char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    if (!text) {
        return error_set_errno(err, ENOMEM, "cannot write the mover's setup");
    }
    size_t length = strlen(text);
    bool written = write(fd, text, length) == (ssize_t)length && lseek(fd, 0, SEEK_SET) == 0;
    int code = errno;
    explicit_bzero(text, length);
    json_wipe(document, "key");
    return written ? 0 : error_set_errno(err, code, "cannot write the mover's setup");
}

/* What both ways to start one have in common. */
struct start {
    const struct mover_setup *setup;
    const char *program;
    const char *log_path;
    uid_t uid;
};

/* `control`: what the mover gets as MOVER_CONTROL_FD. */
static int start(const struct start *start, int control, struct process_identity *ret_process,
                 struct error *err)
{
    const struct mover_setup *setup = start->setup;
    bool tracks = mover_setup_tracks(setup);
    const char *const arguments[] = {start->program, mover_role_name(setup->role), setup->vm_name,
                                     setup->move_id[0] ? setup->move_id : NULL, NULL};
    struct mover_walls walls;
    int result = mover_walls_build(&walls, setup, start->program, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int document = memfd_create("drover-mover-setup", MFD_CLOEXEC);
    if (document < 0) {
        return error_set_errno(err, errno, "cannot write the mover's setup");
    }
    CLEANUP_CLOSE int watch = tracks ? engine_tracker_make_watch(setup->memory_fd, err) : -1;
    if (tracks && watch < 0) {
        return watch;
    }
    /* Without it the mover only knows less. */
    CLEANUP_CLOSE int processor =
        setup->role == MOVER_ROLE_SOURCE ? open("/proc/stat", O_RDONLY | O_CLOEXEC) : -1;
    struct placement placement = {0};
    place(&placement, document);
    place(&placement, control);
    struct mover_setup renumbered = renumber(setup, watch, processor, &placement);
    struct process_spec spec = {.arguments = arguments,
                                .fds = placement.fds,
                                .fd_count = placement.count,
                                .log_path = start->log_path,
                                .uid = start->uid,
                                .gid = (gid_t)start->uid,
                                .confinement = &walls.confinement};
    result = write_document(document, &renumbered, err);
    explicit_bzero(renumbered.key, sizeof(renumbered.key));
    return result < 0 ? result : process_start(&spec, ret_process, err);
}

int mover_start(const struct mover_setup *setup, const char *program, const char *control_path,
                const char *log_path, uid_t uid, struct process_identity *ret_process,
                struct error *err)
{
    struct start what = {setup, program, log_path, uid};
    CLEANUP_CLOSE int control = socket_listen_unix(control_path, 0600, err);
    if (control < 0) {
        return control;
    }
    int result = start(&what, control, ret_process, err);
    if (result < 0) {
        unlink(control_path);
    }
    return result;
}

int mover_start_sample(const struct mover_setup *setup, const char *program, const char *log_path,
                       uid_t uid, struct process_identity *ret_process, int *ret_connection,
                       struct error *err)
{
    struct start what = {setup, program, log_path, uid};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return error_set_errno(err, errno, "cannot talk to the mover");
    }
    CLEANUP_CLOSE int ours = ends[0];
    CLEANUP_CLOSE int its = ends[1];
    int result = start(&what, its, ret_process, err);
    if (result == 0) {
        *ret_connection = steal_fd(&ours);
    }
    return result;
}
