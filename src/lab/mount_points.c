/* Mount points of the nodes: see mount_points.h. */
#include "lab/mount_points.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lab/registry.h"

/* An empty file per mount point that is ours: ".made-2" for the third. */
#define MADE_PATH LAB_CONTROL_ROOT "/.made-%zu"

static const char *const mount_points[] = {
    MOUNT_POINT_CONFIGURATION,
    MOUNT_POINT_STATE,
    MOUNT_POINT_RUN,
    MOUNT_POINT_DATASTORES,
};
#define MOUNT_POINT_COUNT (sizeof(mount_points) / sizeof(mount_points[0]))

/* Noted before it is made: a note too many does no harm, a folder without note would stay. */
static int make_one(size_t index, struct error *err)
{
    char note[64];
    if (access(mount_points[index], F_OK) == 0) {
        return 0;
    }
    snprintf(note, sizeof(note), MADE_PATH, index);
    CLEANUP_CLOSE int fd = open(note, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || (mkdir(mount_points[index], 0755) < 0 && errno != EEXIST)) {
        return error_set_errno(err, errno, "cannot make %s", mount_points[index]);
    }
    return 0;
}

int mount_points_make(struct error *err)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < MOUNT_POINT_COUNT; i++) {
        result = make_one(i, err);
    }
    return result;
}

void mount_points_remove(void)
{
    char note[64];
    for (size_t i = 0; i < MOUNT_POINT_COUNT; i++) {
        snprintf(note, sizeof(note), MADE_PATH, i);
        if (unlink(note) == 0) {
            rmdir(mount_points[i]);
        }
    }
}
