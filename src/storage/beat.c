/* Beats in files: see beat.h. */
#include "storage/beat.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static int name_of(const char *host, char path[sizeof(BEAT_FOLDER) + VM_NAME_SIZE],
                   struct error *err)
{
    if (!file_name_is_safe(host)) {
        return error_set(err, EINVAL, "\"%.80s\" is not a host's name", host);
    }
    snprintf(path, sizeof(BEAT_FOLDER) + VM_NAME_SIZE, BEAT_FOLDER "/%s", host);
    return 0;
}

int beat_file_open(const struct datastore *datastore, int root, const char *host, int flags,
                   struct error *err)
{
    char path[sizeof(BEAT_FOLDER) + VM_NAME_SIZE];
    int result = name_of(host, path, err);
    return result < 0
               ? result
               : file_open_beneath_at(root, datastore->path, path, flags | O_NONBLOCK, 0, err);
}

static int make_folder(const struct datastore *datastore, int root, const char *name,
                       struct error *err)
{
    if (mkdirat(root, name, 0700) < 0 && errno != EEXIST) {
        return error_set_errno(err, errno, "cannot make the folder %s/%s", datastore->path, name);
    }
    return 0;
}

int beat_file_create(const struct datastore *datastore, int root, const char *host,
                     struct error *err)
{
    char path[sizeof(BEAT_FOLDER) + VM_NAME_SIZE];
    int result = name_of(host, path, err);
    if (result < 0 || (result = make_folder(datastore, root, ".drover", err)) < 0 ||
        (result = make_folder(datastore, root, BEAT_FOLDER, err)) < 0) {
        return result;
    }
    CLEANUP_CLOSE int folder =
        file_open_beneath_at(root, datastore->path, BEAT_FOLDER, O_RDONLY | O_DIRECTORY, 0, err);
    if (folder < 0) {
        return folder;
    }
    CLEANUP_CLOSE int fd =
        openat(folder, host, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fsync(folder) < 0) {
        return error_set_errno(err, errno, "cannot create %s/%s", datastore->path, path);
    }
    return steal_fd(&fd);
}

int beat_file_read(const struct datastore *datastore, int fd, const char *host,
                   struct beat *ret_beat, struct disk_heartbeat *ret_record, struct error *err)
{
    struct beat beat = {.present = true};
    struct disk_heartbeat record;
    struct error reason = ERROR_NONE;
    ssize_t length = pread(fd, beat.bytes, sizeof(beat.bytes), 0);
    if (length < 0) {
        return error_set_errno(err, errno, "cannot read the heartbeat of host %s on datastore %s",
                               host, datastore->name);
    }
    int result = disk_heartbeat_decode(beat.bytes, &record, &reason); /* a short one is damaged */
    if (result == -ENOTSUP) {
        return error_set(err, ENOTSUP, "the heartbeat of host %s on datastore %s: %s", host,
                         datastore->name, reason.message);
    }
    beat.valid = result == 0 && strcmp(record.host, host) == 0 &&
                 strcmp(record.datastore, datastore->uuid) == 0;
    if (!beat.valid) {
        memset(beat.bytes, 0, sizeof(beat.bytes));
    } else if (ret_record) {
        *ret_record = record;
    }
    *ret_beat = beat;
    return 0;
}
