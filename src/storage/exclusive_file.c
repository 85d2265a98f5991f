/* Exclusive creation: see exclusive_file.h. */
#include "storage/exclusive_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "storage/temporary.h"

static int write_temporary(int folder, const char *temporary, const char *text, int *ret_fd)
{
    CLEANUP_CLOSE int fd =
        openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int result = file_write_all(fd, text, strlen(text));
    if (result == 0 && fsync(fd) < 0) {
        result = -errno;
    }
    if (result == 0) {
        *ret_fd = steal_fd(&fd);
    }
    return result;
}

/* Over NFS the answer to a link that succeeded can get lost and its repetition fail: the number of
 * names that our file has tells the truth (open(2), "O_EXCL"). */
static int link_temporary(int folder, const char *temporary, int fd, const char *name)
{
    struct stat status;
    if (linkat(folder, temporary, folder, name, 0) == 0) {
        return 0;
    }
    int reason = errno;
    return fstat(fd, &status) == 0 && status.st_nlink == 2 ? 0 : -reason;
}

/* Gives a finished temporary file its name, or removes it. `result`: whether it was finished. */
static int finish(int folder, const char *temporary, int fd, const char *name, int result)
{
    if (result == 0) {
        result = link_temporary(folder, temporary, fd, name);
    }
    unlinkat(folder, temporary, 0);
    return result == 0 && fsync(folder) < 0 ? -errno : result;
}

static int refuse(int result, const char *folder, const char *name, struct error *err)
{
    error_set_errno(err, result, "cannot create %s%s%s", folder, *folder ? "/" : "", name);
    if (result == -ENOSPC || result == -EDQUOT) {
        error_remedy(err, "make room on the datastore, and try again");
    }
    return result;
}

int exclusive_file_create(int folder, const char *name, const json_t *value, const char *what,
                          struct error *err)
{
    char temporary[TEMPORARY_NAME_SIZE];
    CLEANUP_CLOSE int fd = -1;
    CLEANUP_FREE char *text = json_dumps(value, JSON_INDENT(2));
    if (!text) {
        return error_set_errno(err, ENOMEM, "cannot create %s", what);
    }
    temporary_name(temporary, name);
    int result = write_temporary(folder, temporary, text, &fd);
    result = finish(folder, temporary, fd, name, result);
    return result < 0 ? refuse(result, "", what, err) : 0;
}

/* Space is taken now: what is prepared must be writable later, on a full file system too. */
static int reserve(int fd, size_t size)
{
    return fallocate(fd, 0, 0, (off_t)size) < 0 || fsync(fd) < 0 ? -errno : 0;
}

int exclusive_file_create_prepared(int folder, const char *folder_path, const char *name,
                                   size_t size, exclusive_file_prepare *prepare, void *context,
                                   struct error *err)
{
    char temporary[TEMPORARY_NAME_SIZE];
    struct error reason = ERROR_NONE;
    temporary_name(temporary, name);
    CLEANUP_FREE char *path = file_path("%s/%s", folder_path, temporary);
    CLEANUP_CLOSE int fd = -1;
    int result = path ? write_temporary(folder, temporary, "", &fd) : -ENOMEM;
    if (result == 0) {
        result = reserve(fd, size);
    }
    if (result == 0) {
        result = prepare(context, path, &reason);
    }
    result = finish(folder, temporary, fd, name, result);
    if (result == 0 || !reason.message[0]) {
        return result < 0 ? refuse(result, folder_path, name, err) : 0;
    }
    if (err) {
        *err = reason;
        error_wrap(err, "cannot create %s/%s", folder_path, name);
    }
    return result;
}
