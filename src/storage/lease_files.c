/*
 * Leases as files: the kinds local and file; see lease.h and lease_kind.h.
 *
 * The owner of epoch N is named in the file owner.N of the VM's folder; creating that file
 * exclusively (link(2) of a finished temporary file: atomic, on NFS too) is the act of taking the
 * epoch, and the highest epoch counts.
 *
 * Old epochs are removed, so the name owner.N can be free because N was never taken, or because it
 * was taken long ago. The two are told apart by looking again after the creation: an epoch is
 * removed only when later ones exist, and these are there to be seen. Whoever finds one has lost.
 */
#include "storage/lease_kind.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "storage/exclusive_file.h"

#define OWNER_PREFIX "owner."
#define OWNER_VERSION 1
#define OWNER_BYTES_MOST 4096
#define EPOCH_DIGITS_MOST 18
#define READ_ATTEMPTS 16 /* a file can be removed between listing and reading, if two more came */

/* "owner.17" -> 17; 0 for any other name. */
static uint64_t epoch_of_name(const char *name)
{
    size_t prefix = strlen(OWNER_PREFIX);
    const char *digits = name + prefix;
    if (strncmp(name, OWNER_PREFIX, prefix) != 0 || digits[0] == '0' ||
        strlen(digits) > EPOCH_DIGITS_MOST || strspn(digits, "0123456789") != strlen(digits)) {
        return 0;
    }
    return strtoull(digits, NULL, 10);
}

/* A stream of its own over the folder: the descriptor stays with the caller. */
static DIR *list_folder(int folder)
{
    CLEANUP_CLOSE int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory) {
        steal_fd(&fd);
    }
    return directory;
}

static int highest_epoch(int folder, const char *vm, uint64_t *ret_epoch, struct error *err)
{
    CLEANUP_DIRECTORY DIR *directory = list_folder(folder);
    if (!directory) {
        return error_set_errno(err, errno, "cannot list the folder of %s", vm);
    }
    uint64_t highest = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(directory))) {
        uint64_t epoch = epoch_of_name(entry->d_name);
        highest = epoch > highest ? epoch : highest;
    }
    if (errno != 0) {
        return error_set_errno(err, errno, "cannot list the folder of %s", vm);
    }
    *ret_epoch = highest;
    return 0;
}

static int parse_owner(const json_t *document, const char *what, uint64_t epoch,
                       struct lease *ret_lease, struct error *err)
{
    static const char *const keys[] = {"drover_owner", "epoch", "host", NULL};
    int64_t version;
    int64_t written_epoch;
    const char *host;
    int result = json_get_integer(document, what, "drover_owner", 1, OWNER_VERSION, &version, err);
    if (result < 0 || (result = json_refuse_unknown_keys(document, what, keys, err)) < 0 ||
        (result = json_get_integer(document, what, "epoch", (int64_t)epoch, (int64_t)epoch,
                                   &written_epoch, err)) < 0 ||
        (result = json_get_string(document, what, "host", &host, err)) < 0) {
        return result;
    }
    if (*host && !file_name_is_safe(host)) {
        return error_set(err, EINVAL, "%s: \"host\" is \"%.80s\", which is not a host's name", what,
                         host);
    }
    *ret_lease = (struct lease){.epoch = epoch};
    snprintf(ret_lease->host, sizeof(ret_lease->host), "%s", host);
    return 0;
}

static int read_epoch(const struct lease_place *place, uint64_t epoch, struct lease *ret_lease,
                      struct error *err)
{
    char name[64];
    char what[512];
    CLEANUP_BUFFER struct buffer content = {0};
    snprintf(name, sizeof(name), OWNER_PREFIX "%" PRIu64, epoch);
    snprintf(what, sizeof(what), "%s/%s/%s", place->datastore->path, place->vm, name);
    CLEANUP_CLOSE int fd =
        file_open_beneath_at(place->folder, place->vm, name, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0) {
        return fd;
    }
    int result = file_read_fd(fd, what, OWNER_BYTES_MOST, &content, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *document =
        json_parse((const char *)content.data, content.length, what, err);
    return document ? parse_owner(document, what, epoch, ret_lease, err) : -EINVAL;
}

int lease_files_read(const struct lease_place *place, struct lease *ret_lease, struct error *err)
{
    int result = -ENOENT;
    for (int attempt = 0; attempt < READ_ATTEMPTS && result == -ENOENT; attempt++) {
        uint64_t epoch;
        result = highest_epoch(place->folder, place->vm, &epoch, err);
        if (result == 0 && epoch == 0) {
            *ret_lease = (struct lease){0};
            return 0;
        }
        if (result == 0) {
            result = read_epoch(place, epoch, ret_lease, err);
        }
    }
    return result;
}

/* Best effort: an old epoch that stays does no harm. */
static void remove_older(int folder, uint64_t oldest_kept)
{
    CLEANUP_DIRECTORY DIR *directory = list_folder(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        uint64_t epoch = epoch_of_name(entry->d_name);
        if (epoch > 0 && epoch < oldest_kept) {
            unlinkat(folder, entry->d_name, 0);
        }
    }
}

static int create_epoch(int folder, const char *vm, uint64_t epoch, const char *host,
                        struct error *err)
{
    char name[64];
    char what[VM_NAME_SIZE + 80];
    snprintf(name, sizeof(name), OWNER_PREFIX "%" PRIu64, epoch);
    snprintf(what, sizeof(what), "%s/%s", vm, name);
    CLEANUP_JSON json_t *document = json_pack("{s:i,s:I,s:s}", "drover_owner", OWNER_VERSION,
                                              "epoch", (json_int_t)epoch, "host", host);
    int result = exclusive_file_create(folder, name, document, what, err);
    return result == -EEXIST ? lease_lost(vm, epoch, err) : result;
}

static int check_after(const struct lease_place *place, uint64_t after, struct error *err)
{
    uint64_t highest;
    int result = highest_epoch(place->folder, place->vm, &highest, err);
    return result < 0 ? result : lease_check_after(place->vm, highest, after, err);
}

int lease_files_advance(const struct lease_place *place, uint64_t after, const char *host,
                        struct error *err)
{
    uint64_t highest;
    int result = check_after(place, after, err);
    if (result < 0 || (result = create_epoch(place->folder, place->vm, after + 1, host, err)) < 0 ||
        (result = highest_epoch(place->folder, place->vm, &highest, err)) < 0) {
        return result;
    }
    if (highest > after + 1) {
        return lease_lost(place->vm, after + 1, err);
    }
    remove_older(place->folder, after);
    return 0;
}

int lease_files_adopt(const struct lease_place *place, uint64_t epoch, struct error *err)
{
    uint64_t highest;
    int result = highest_epoch(place->folder, place->vm, &highest, err);
    return result < 0 || highest >= epoch ? result
                                          : create_epoch(place->folder, place->vm, epoch, "", err);
}
