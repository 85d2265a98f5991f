/* A node's mounts: see init_mounts.h. */
#include "lab/init_mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lab/mount_points.h"

#define PATH_SIZE 512

/* What the machine mounts and unmounts later is seen in the node, and never the reverse. */
static int become_private(struct error *err)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) {
        return error_set_errno(err, errno, "cannot make the node's mounts its own");
    }
    return 0;
}

static int mount_special(const char *type, const char *path, unsigned long flags,
                         const char *options, struct error *err)
{
    if (mount(type, path, type, MS_NOSUID | MS_NODEV | flags, options) < 0) {
        return error_set_errno(err, errno, "cannot mount %s on %s", type, path);
    }
    return 0;
}

/* Mounts a folder of the lab's; a node that has no such folder goes without. */
static int bind(const char *from, const char *to, struct error *err)
{
    if (access(from, F_OK) < 0) {
        return 0;
    }
    if (mount(from, to, NULL, MS_BIND, NULL) < 0) {
        return error_set_errno(err, errno, "cannot mount %s on %s", from, to);
    }
    return 0;
}

static int bind_node_folder(const char *lab_folder, const char *node, const char *name,
                            const char *to, struct error *err)
{
    char from[PATH_SIZE];
    snprintf(from, sizeof(from), "%s/%s/%s", lab_folder, node, name);
    return bind(from, to, err);
}

static int bind_shared(const char *lab_folder, const char *node, struct error *err)
{
    char from[PATH_SIZE];
    char to[PATH_SIZE];
    snprintf(from, sizeof(from), "%s/shared", lab_folder);
    snprintf(to, sizeof(to), MOUNT_POINT_DATASTORES "/%s-shared", node);
    return access(to, F_OK) < 0 ? 0 : bind(from, to, err);
}

int init_mounts_make(const char *lab_folder, const char *node, struct error *err)
{
    int result = become_private(err);
    if (result == 0) {
        result = bind_node_folder(lab_folder, node, "etc", MOUNT_POINT_CONFIGURATION, err);
    }
    if (result == 0) {
        result = bind_node_folder(lab_folder, node, "state", MOUNT_POINT_STATE, err);
    }
    if (result == 0) {
        result = bind_node_folder(lab_folder, node, "datastores", MOUNT_POINT_DATASTORES, err);
    }
    if (result == 0) {
        result = bind_shared(lab_folder, node, err);
    }
    if (result == 0) { /* empty after a restart of the host, as /run is */
        result = mount_special("tmpfs", MOUNT_POINT_RUN, 0, "mode=0755", err);
    }
    if (result == 0) {
        result = mount_special("proc", "/proc", MS_NOEXEC, NULL, err);
    }
    return result < 0 ? result : mount_special("sysfs", "/sys", MS_NOEXEC, NULL, err);
}

void init_mounts_release_streams(void)
{
    CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++) {
        dup2(null, fd);
    }
    (void)!chdir("/");
}
