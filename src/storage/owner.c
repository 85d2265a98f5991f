/*
 * Owner files: see owner.h.
 *
 * Old epochs are removed, so the name owner.N can be free because N was never taken, or because it
 * was taken long ago. The two are told apart by looking again after the creation: an epoch is
 * removed only when later ones exist, and these are there to be seen. Whoever finds one has lost.
 */
#include "storage/owner.h"

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
#define EPOCH_MOST 999999999999999999ULL
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

static int open_folder(const struct datastore *datastore, const char *vm, struct error *err)
{
    if (!file_name_is_safe(vm)) {
        return error_set(err, EINVAL, "\"%.80s\" is not a VM's name", vm);
    }
    return file_open_beneath(datastore->path, vm, O_RDONLY | O_DIRECTORY, 0, err);
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
                       struct owner *ret_owner, struct error *err)
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
    *ret_owner = (struct owner){.epoch = epoch};
    snprintf(ret_owner->host, sizeof(ret_owner->host), "%s", host);
    return 0;
}

static int read_epoch(const struct datastore *datastore, const char *vm, uint64_t epoch,
                      struct owner *ret_owner, struct error *err)
{
    char what[512];
    char relative[VM_NAME_SIZE + 32];
    CLEANUP_BUFFER struct buffer content = {0};
    snprintf(relative, sizeof(relative), "%s/" OWNER_PREFIX "%" PRIu64, vm, epoch);
    snprintf(what, sizeof(what), "%s/%s", datastore->path, relative);
    CLEANUP_CLOSE int fd =
        file_open_beneath(datastore->path, relative, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0) {
        return fd;
    }
    int result = file_read_fd(fd, what, OWNER_BYTES_MOST, &content, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *document =
        json_parse((const char *)content.data, content.length, what, err);
    return document ? parse_owner(document, what, epoch, ret_owner, err) : -EINVAL;
}

int owner_read(const struct datastore *datastore, const char *vm, struct owner *ret_owner,
               struct error *err)
{
    CLEANUP_CLOSE int folder = open_folder(datastore, vm, err);
    if (folder < 0) {
        return folder;
    }
    int result = -ENOENT;
    for (int attempt = 0; attempt < READ_ATTEMPTS && result == -ENOENT; attempt++) {
        uint64_t epoch;
        result = highest_epoch(folder, vm, &epoch, err);
        if (result == 0 && epoch == 0) {
            *ret_owner = (struct owner){0};
            return 0;
        }
        if (result == 0) {
            result = read_epoch(datastore, vm, epoch, ret_owner, err);
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

static int lost(const char *vm, uint64_t epoch, struct error *err)
{
    return error_set(err, EEXIST, "epoch %" PRIu64 " of %s was taken by somebody else", epoch, vm);
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
    return result == -EEXIST ? lost(vm, epoch, err) : result;
}

static int check_after(int folder, const char *vm, uint64_t after, struct error *err)
{
    uint64_t highest;
    int result = highest_epoch(folder, vm, &highest, err);
    if (result < 0) {
        return result;
    }
    if (highest > after) {
        return lost(vm, after + 1, err);
    }
    if (highest < after) {
        return error_set(err, EINVAL,
                         "epoch %" PRIu64 " of %s was never taken: the last is %" PRIu64, after, vm,
                         highest);
    }
    return 0;
}

int owner_advance(const struct datastore *datastore, const char *vm, uint64_t after,
                  const char *host, struct error *err)
{
    uint64_t highest;
    if ((*host && !file_name_is_safe(host)) || after >= EPOCH_MOST) {
        return error_set(err, EINVAL, "\"%.80s\" cannot own epoch %" PRIu64 " of %s", host,
                         after + 1, vm);
    }
    CLEANUP_CLOSE int folder = open_folder(datastore, vm, err);
    if (folder < 0) {
        return folder;
    }
    int result = check_after(folder, vm, after, err);
    if (result < 0 || (result = create_epoch(folder, vm, after + 1, host, err)) < 0 ||
        (result = highest_epoch(folder, vm, &highest, err)) < 0) {
        return result;
    }
    if (highest > after + 1) {
        return lost(vm, after + 1, err);
    }
    remove_older(folder, after);
    return 0;
}
