/* See memory_file.h. */
#include "memory_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "base/random.h"

#define PATTERN_BYTES ((size_t)2 * 1024 * 1024)

static int mount_huge_tmpfs(struct error *err)
{
    CLEANUP_CLOSE int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "huge", "always", 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "size", "100%", 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return error_set_errno(err, errno, "cannot make a tmpfs of huge pages");
    }
    int mounted = fsmount(context, FSMOUNT_CLOEXEC, 0);
    return mounted < 0 ? error_set_errno(err, errno, "cannot mount a tmpfs of huge pages")
                       : mounted;
}

int memory_file_open(uint64_t bytes, struct error *err)
{
    CLEANUP_CLOSE int root = mount_huge_tmpfs(err);
    if (root < 0) {
        return root;
    }
    CLEANUP_CLOSE int fd = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
        return error_set_errno(err, errno, "cannot make a file on a tmpfs");
    }
    return steal_fd(&fd);
}

int memory_file_fill(int fd, uint64_t bytes, struct error *err)
{
    CLEANUP_FREE void *pattern = malloc(PATTERN_BYTES);
    if (!pattern) {
        return error_set_errno(err, ENOMEM, "cannot fill a file");
    }
    random_bytes(pattern, PATTERN_BYTES);
    for (uint64_t done = 0; done < bytes;) {
        size_t wanted = bytes - done < PATTERN_BYTES ? (size_t)(bytes - done) : PATTERN_BYTES;
        ssize_t written = pwrite(fd, pattern, wanted, (off_t)done);
        if (written < 0) {
            return error_set_errno(err, errno, "cannot fill a file on a tmpfs");
        }
        done += (uint64_t)written;
    }
    return 0;
}
