/* The lockspace of a datastore: see lockspace.h. */
#include "storage/lockspace.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sanlock.h>
#include <sanlock_admin.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "storage/exclusive_file.h"

#define NUMBERS_FOLDER ".drover/numbers"
#define NUMBER_VERSION 1
#define NUMBER_BYTES_MOST 4096
#define LOCKSPACE_NAME "lockspace"
#define SECTOR_SIZE 512
#define SECTORS_AT_ONCE 8     /* 4 KiB: what O_DIRECT can read on any disk */
#define SANLOCK_ERRORS (-200) /* from here down results are sanlock's own */

int lockspace_error(int sanlock_result, struct error *err, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    if (sanlock_result <= SANLOCK_ERRORS) {
        return error_set(err, EIO, "%s: sanlock says: %s (%d)", what,
                         sanlock_strerror(sanlock_result), sanlock_result);
    }
    if (sanlock_result != -ECONNREFUSED && sanlock_result != -ENOENT) {
        return error_set_errno(err, sanlock_result, "%s", what);
    }
    error_set(err, ENOTCONN, "%s: the sanlock daemon of this host does not answer", what);
    error_remedy(err, "start it: systemctl start sanlock");
    return -ENOTCONN;
}

/* ---- numbers ---- */

static int open_drover_folder(const struct datastore *datastore, int root, const char *name,
                              bool make, struct error *err)
{
    if (make && ((mkdirat(root, ".drover", 0700) < 0 && errno != EEXIST) ||
                 (mkdirat(root, name, 0700) < 0 && errno != EEXIST))) {
        return error_set_errno(err, errno, "cannot make the folder %s/%s", datastore->path, name);
    }
    return file_open_beneath_at(root, datastore->path, name, O_RDONLY | O_DIRECTORY, 0, err);
}

/* "17" -> 17; 0 for any other name. */
static unsigned number_of_name(const char *name)
{
    unsigned number = 0;
    if (name[0] == '0' || strlen(name) > 4 || strspn(name, "0123456789") != strlen(name)) {
        return 0;
    }
    sscanf(name, "%u", &number);
    return number <= LOCKSPACE_HOSTS_MOST ? number : 0;
}

static int read_number(const struct datastore *datastore, int folder, unsigned number,
                       char ret_host[VM_NAME_SIZE], struct error *err)
{
    char name[16];
    const char *host;
    int64_t version;
    CLEANUP_BUFFER struct buffer content = {0};
    snprintf(name, sizeof(name), "%u", number);
    CLEANUP_FREE char *what = file_path("%s/" NUMBERS_FOLDER "/%s", datastore->path, name);
    CLEANUP_CLOSE int fd =
        file_open_beneath_at(folder, NUMBERS_FOLDER, name, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0 || !what) {
        return fd < 0 ? fd : -ENOMEM;
    }
    int result = file_read_fd(fd, what, NUMBER_BYTES_MOST, &content, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *document =
        json_parse((const char *)content.data, content.length, what, err);
    if (!document) {
        return -EINVAL;
    }
    result =
        json_get_integer(document, what, "drover_host_number", 1, NUMBER_VERSION, &version, err);
    if (result < 0 || (result = json_get_string(document, what, "host", &host, err)) < 0) {
        return result;
    }
    if (!file_name_is_safe(host)) {
        return error_set(err, EINVAL, "%s: \"%.80s\" is not a host's name", what, host);
    }
    snprintf(ret_host, VM_NAME_SIZE, "%s", host);
    return 0;
}

int lockspace_each_host(const struct datastore *datastore, int root, lockspace_visit *visit,
                        void *context, struct error *err)
{
    char host[VM_NAME_SIZE];
    CLEANUP_CLOSE int folder = open_drover_folder(datastore, root, NUMBERS_FOLDER, false, err);
    if (folder < 0) {
        return folder == -ENOENT ? 0 : folder;
    }
    CLEANUP_CLOSE int listed = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_DIRECTORY DIR *directory = listed < 0 ? NULL : fdopendir(listed);
    if (!directory) {
        return error_set_errno(err, errno, "cannot list %s/" NUMBERS_FOLDER, datastore->path);
    }
    steal_fd(&listed);
    struct dirent *entry;
    int result = 0;
    while (result == 0 && (entry = readdir(directory))) {
        unsigned number = number_of_name(entry->d_name);
        if (number > 0 && (result = read_number(datastore, folder, number, host, err)) == 0) {
            result = visit(context, number, host, err);
        }
    }
    return result;
}

/* What a walk over the numbers looks for. */
struct number_search {
    const char *host;
    unsigned number; /* of the host; 0: it has none */
    bool taken[LOCKSPACE_HOSTS_MOST + 1];
};

static int search(void *context, unsigned number, const char *host, struct error *err)
{
    struct number_search *looked = context;
    (void)err;
    looked->taken[number] = true;
    looked->number = strcmp(host, looked->host) == 0 ? number : looked->number;
    return 0;
}

/* -EEXIST: somebody else took it first. */
static int take_number(const struct datastore *datastore, int root, const char *host,
                       unsigned number, struct error *err)
{
    char name[16];
    CLEANUP_CLOSE int folder = open_drover_folder(datastore, root, NUMBERS_FOLDER, true, err);
    if (folder < 0) {
        return folder;
    }
    snprintf(name, sizeof(name), "%u", number);
    CLEANUP_JSON json_t *document =
        json_pack("{s:i, s:s}", "drover_host_number", NUMBER_VERSION, "host", host);
    return exclusive_file_create(folder, name, document, name, err);
}

static unsigned lowest_free(const struct number_search *looked)
{
    unsigned number = 1;
    while (number <= LOCKSPACE_HOSTS_MOST && looked->taken[number]) {
        number++;
    }
    return number;
}

int lockspace_number(const struct datastore *datastore, int root, const char *host, bool take,
                     unsigned *ret_number, struct error *err)
{
    for (;;) {
        struct number_search looked = {.host = host};
        int result = lockspace_each_host(datastore, root, search, &looked, err);
        if (result < 0) {
            return result;
        }
        if (looked.number > 0) {
            *ret_number = looked.number;
            return 0;
        }
        if (!take) {
            return error_set(err, ENOENT, "host %s has no number on datastore %s", host,
                             datastore->name);
        }
        unsigned number = lowest_free(&looked);
        if (number > LOCKSPACE_HOSTS_MOST) {
            return error_set(err, ENOSPC,
                             "datastore %s has %d hosts already: sanlock knows no more",
                             datastore->name, LOCKSPACE_HOSTS_MOST);
        }
        result = take_number(datastore, root, host, number, err);
        if (result < 0 && result != -EEXIST) {
            return result;
        }
    }
}

/* ---- the daemon ---- */

static void fill(const struct datastore *datastore, unsigned number, const char *path,
                 struct sanlk_lockspace *ret_lockspace)
{
    memset(ret_lockspace, 0, sizeof(*ret_lockspace));
    memcpy(ret_lockspace->name, datastore->uuid, UUID_TEXT_SIZE);
    snprintf(ret_lockspace->host_id_disk.path, SANLK_PATH_LEN, "%s", path);
    ret_lockspace->host_id = number;
    ret_lockspace->flags = SANLK_LSF_ALIGN1M | SANLK_LSF_SECTOR512;
}

static void fill_in_place(const struct datastore *datastore, unsigned number,
                          struct sanlk_lockspace *ret_lockspace)
{
    char path[SANLK_PATH_LEN];
    snprintf(path, sizeof(path), "%s/.drover/" LOCKSPACE_NAME, datastore->path);
    fill(datastore, number, path, ret_lockspace);
}

static uint32_t io_timeout_s(const struct datastore *datastore)
{
    return (uint32_t)(datastore->lease.heartbeat_ns / (2 * NANOSECONDS_PER_SECOND));
}

/* The daemon's version call is how one learns whether it is there. */
int lockspace_check(const struct datastore *datastore, unsigned number, struct error *err)
{
    struct sanlk_lockspace lockspace;
    uint32_t version;
    uint32_t protocol;
    int result = sanlock_version(0, &version, &protocol);
    if (result < 0) {
        return lockspace_error(result, err, "cannot ask about the lockspace of datastore %s",
                               datastore->name);
    }
    fill_in_place(datastore, number, &lockspace);
    result = sanlock_inq_lockspace(&lockspace, 0);
    if (result == 0) {
        return 0;
    }
    if (result == -ENOENT) {
        return error_set(err, ENOENT, "the sanlock daemon is not in the lockspace of datastore %s",
                         datastore->name);
    }
    return error_set(err, EAGAIN, "the sanlock daemon is joining the lockspace of datastore %s",
                     datastore->name);
}

struct preparation {
    const struct datastore *datastore;
};

static int prepare(void *context, const char *path, struct error *err)
{
    const struct preparation *preparation = context;
    struct sanlk_lockspace lockspace;
    fill(preparation->datastore, 0, path, &lockspace);
    int result = sanlock_write_lockspace(&lockspace, 0, 0, io_timeout_s(preparation->datastore));
    return result < 0 ? lockspace_error(result, err, "cannot make a lockspace") : 0;
}

static int make(const struct datastore *datastore, int root, struct error *err)
{
    struct preparation preparation = {datastore};
    CLEANUP_FREE char *path = file_path("%s/.drover", datastore->path);
    CLEANUP_CLOSE int folder = open_drover_folder(datastore, root, ".drover", true, err);
    if (folder < 0 || !path) {
        return folder < 0 ? folder : -ENOMEM;
    }
    if (faccessat(folder, LOCKSPACE_NAME, F_OK, 0) == 0) {
        return 0;
    }
    int result = exclusive_file_create_prepared(folder, path, LOCKSPACE_NAME, LOCKSPACE_AREA_SIZE,
                                                prepare, &preparation, err);
    return result == -EEXIST ? 0 : result;
}

int lockspace_join(const struct datastore *datastore, int root, unsigned number, struct error *err)
{
    struct sanlk_lockspace lockspace;
    int result = make(datastore, root, err);
    if (result < 0) {
        return result;
    }
    fill_in_place(datastore, number, &lockspace);
    result = sanlock_add_lockspace_timeout(&lockspace, SANLK_ADD_ASYNC, io_timeout_s(datastore));
    if (result == 0 || result == -EEXIST || result == -EINPROGRESS) {
        return 0;
    }
    return lockspace_error(result, err, "cannot join the lockspace of datastore %s",
                           datastore->name);
}

/* ---- sectors ---- */

int lockspace_open_direct(const struct datastore *datastore, int folder, const char *path,
                          int flags, struct error *err)
{
    int fd = file_open_beneath_at(folder, datastore->path, path, flags | O_DIRECT, 0, err);
    return fd == -EINVAL ? file_open_beneath_at(folder, datastore->path, path, flags, 0, err) : fd;
}

int lockspace_read(const struct datastore *datastore, int root, unsigned number,
                   struct beat *ret_beat, struct error *err)
{
    static const uint8_t nothing[SECTOR_SIZE];
    _Alignas(4096) uint8_t sectors[SECTORS_AT_ONCE][SECTOR_SIZE];
    _Static_assert(SECTOR_SIZE == DISK_RECORD_SIZE, "a beat is a sector");
    unsigned index = number - 1;
    off_t at = (off_t)(index / SECTORS_AT_ONCE) * (off_t)sizeof(sectors);
    CLEANUP_CLOSE int fd =
        lockspace_open_direct(datastore, root, ".drover/" LOCKSPACE_NAME, O_RDONLY, err);
    if (fd < 0) {
        return fd;
    }
    ssize_t length = pread(fd, sectors, sizeof(sectors), at);
    if (length != (ssize_t)sizeof(sectors)) {
        return error_set_errno(err, length < 0 ? errno : EIO,
                               "cannot read the lockspace of datastore %s", datastore->name);
    }
    memcpy(ret_beat->bytes, sectors[index % SECTORS_AT_ONCE], SECTOR_SIZE);
    ret_beat->present = memcmp(ret_beat->bytes, nothing, SECTOR_SIZE) != 0;
    ret_beat->valid = ret_beat->present;
    return 0;
}
