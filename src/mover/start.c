/* Starting a mover, in the agent: see setup.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/socket.h"
#include "mover/setup_document.h"

#define FDS_MOST (MOVER_NICS_MOST + MOVER_PATHS_MOST + 8)

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
static struct mover_setup renumber(const struct mover_setup *setup, int watch,
                                   struct placement *placement)
{
    struct mover_setup renumbered = *setup;
    renumbered.memory_fd = place(placement, setup->memory_fd);
    renumbered.qmp_fd = place(placement, setup->qmp_fd);
    for (size_t i = 0; i < setup->nic_count; i++) {
        renumbered.nics[i].tap_fd = place(placement, setup->nics[i].tap_fd);
    }
    if (setup->role == MOVER_ROLE_SOURCE) {
        renumbered.userfaultfd = place(placement, setup->userfaultfd);
        renumbered.pagemap_fd = place(placement, setup->pagemap_fd);
        renumbered.watch_fd = place(placement, watch);
    } else {
        for (size_t i = 0; i < setup->listen_count; i++) {
            renumbered.listen_fds[i] = place(placement, setup->listen_fds[i]);
        }
    }
    return renumbered;
}

/* Tells when pages of the RAM file were given back. Made here: the mover may not open the file. */
static int watch_memory(int memory_fd, struct error *err)
{
    CLEANUP_FREE char *path = file_path("/proc/self/fd/%d", memory_fd);
    CLEANUP_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (!path || watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0) {
        return error_set_errno(err, errno, "cannot watch the guest's RAM file");
    }
    return steal_fd(&watch);
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
    if (write(fd, text, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) < 0) {
        return error_set_errno(err, errno, "cannot write the mover's setup");
    }
    return 0;
}

int mover_start(const struct mover_setup *setup, const char *program, const char *control_path,
                const char *log_path, uid_t uid, struct process_identity *ret_process,
                struct error *err)
{
    bool is_source = setup->role == MOVER_ROLE_SOURCE;
    const char *const arguments[] = {program, is_source ? "source" : "destination", setup->vm_name,
                                     setup->move_id, NULL};
    CLEANUP_CLOSE int document = memfd_create("drover-mover-setup", MFD_CLOEXEC);
    if (document < 0) {
        return error_set_errno(err, errno, "cannot write the mover's setup");
    }
    CLEANUP_CLOSE int control = socket_listen_unix(control_path, 0600, err);
    if (control < 0) {
        return control;
    }
    CLEANUP_CLOSE int watch = is_source ? watch_memory(setup->memory_fd, err) : -1;
    if (is_source && watch < 0) {
        return watch;
    }
    struct placement placement = {0};
    place(&placement, document);
    place(&placement, control);
    struct mover_setup renumbered = renumber(setup, watch, &placement);
    struct process_spec spec = {.arguments = arguments,
                                .fds = placement.fds,
                                .fd_count = placement.count,
                                .log_path = log_path,
                                .uid = uid,
                                .gid = (gid_t)uid};
    int result = write_document(document, &renumbered, err);
    if (result == 0) {
        result = process_start(&spec, ret_process, err);
    }
    if (result < 0) {
        unlink(control_path);
    }
    return result;
}
