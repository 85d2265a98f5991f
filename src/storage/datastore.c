/* Datastores: see datastore.h. */
#include "storage/datastore.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "storage/exclusive_file.h"
#include "storage/temporary.h"
#include "storage/vm_folder.h"

#define MARKER "drover-datastore.json"
#define MARKER_VERSION 1
#define MARKER_BYTES_MOST 4096

/* ---- identity ---- */

static int check_name_and_path(const char *name, const char *path, struct error *err)
{
    if (!file_name_is_safe(name)) {
        int result = error_set(err, EINVAL, "\"%.80s\" cannot be a datastore's name", name);
        error_remedy(err, "use 1 to 63 letters, digits, '.', '_' and '-'");
        return result;
    }
    if (path[0] != '/' || strlen(path) >= sizeof(((struct datastore *)0)->path)) {
        int result = error_set(err, EINVAL,
                               "the path \"%.300s\" of datastore %s must be absolute "
                               "and shorter than %zu bytes",
                               path, name, sizeof(((struct datastore *)0)->path));
        error_remedy(err, "give the folder's full path in the agent's configuration");
        return result;
    }
    return 0;
}

static int create_marker(int folder, const char *path, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_generate(uuid);
    CLEANUP_JSON json_t *marker =
        json_pack("{s:i,s:s}", "drover_datastore", MARKER_VERSION, "uuid", uuid);
    int result = exclusive_file_create(folder, MARKER, marker, path, err);
    return result == -EEXIST ? 0 : result;
}

static int check_marker_version(const json_t *marker, const char *what, struct error *err)
{
    int64_t version;
    int result = json_get_integer(marker, what, "drover_datastore", 1, INT64_MAX, &version, err);
    if (result == 0 && version > MARKER_VERSION) {
        result = error_set(err, ENOTSUP,
                           "%s has version %lld of the datastore format; this Drover, %s, knows "
                           "versions up to %d",
                           what, (long long)version, DROVER_VERSION, MARKER_VERSION);
        error_remedy(err, "upgrade Drover on this host");
    }
    return result;
}

/* What a marker says. */
struct marker {
    char uuid[UUID_TEXT_SIZE];
    struct lease_settings lease;
};

static int parse_marker(const json_t *document, const char *what, struct marker *ret_marker,
                        struct error *err)
{
    struct marker marker = {0};
    const char *uuid;
    int result = check_marker_version(document, what, err);
    if (result < 0 || (result = json_get_string(document, what, "uuid", &uuid, err)) < 0 ||
        (result = lease_settings_from_json(document, what, &marker.lease, err)) < 0) {
        return result;
    }
    if (!uuid_is_valid(uuid)) {
        result =
            error_set(err, EINVAL, "%s: \"uuid\" is \"%.80s\", which is not a UUID", what, uuid);
        error_remedy(err, "restore the file; the datastore is known by this UUID");
        return result;
    }
    memcpy(marker.uuid, uuid, UUID_TEXT_SIZE);
    *ret_marker = marker;
    return 0;
}

static int read_marker(int folder, const char *path, struct marker *ret_marker, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_FREE char *what = file_path("%s/" MARKER, path);
    CLEANUP_CLOSE int fd =
        file_open_beneath_at(folder, path, MARKER, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0 || !what) {
        return fd < 0 ? fd : -ENOMEM;
    }
    int result = file_read_fd(fd, what, MARKER_BYTES_MOST, &content, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *document =
        json_parse((const char *)content.data, content.length, what, err);
    return document ? parse_marker(document, what, ret_marker, err) : -EINVAL;
}

static int open_folder(const char *name, const char *path, struct error *err)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        int result = error_set_errno(err, errno, "cannot open datastore %s at %s", name, path);
        error_remedy(err, "mount or create the folder on this host");
        return result;
    }
    return folder;
}

static void describe(const char *name, const char *path, const struct marker *marker,
                     struct datastore *ret_datastore)
{
    struct datastore datastore = {.lease = marker->lease};
    snprintf(datastore.name, sizeof(datastore.name), "%s", name);
    snprintf(datastore.path, sizeof(datastore.path), "%s", path);
    memcpy(datastore.uuid, marker->uuid, sizeof(datastore.uuid));
    *ret_datastore = datastore;
}

static int open_at(const char *name, const char *path, bool may_make,
                   struct datastore *ret_datastore, struct error *err)
{
    struct marker marker;
    int result = check_name_and_path(name, path, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int folder = open_folder(name, path, err);
    if (folder < 0) {
        return folder;
    }
    result = read_marker(folder, path, &marker, err);
    if (result == -ENOENT && !may_make) {
        error_set(err, ESTALE, "%s is not the datastore %s: it has no " MARKER, path, name);
        return error_remedy(err, "mount the datastore there");
    }
    if (result == -ENOENT && (result = create_marker(folder, path, err)) == 0) {
        result = read_marker(folder, path, &marker, err);
    }
    if (result < 0) {
        return error_wrap(err, "datastore %s", name);
    }
    describe(name, path, &marker, ret_datastore);
    return 0;
}

int datastore_open(const char *name, const char *path, struct datastore *ret_datastore,
                   struct error *err)
{
    return open_at(name, path, true, ret_datastore, err);
}

int datastore_open_existing(const char *name, const char *path, struct datastore *ret_datastore,
                            struct error *err)
{
    return open_at(name, path, false, ret_datastore, err);
}

static int stale(const struct datastore *datastore, const char *why, struct error *err)
{
    error_set(err, ESTALE, "%s is not the datastore %s any more: %s", datastore->path,
              datastore->name, why);
    return error_remedy(err, "mount the datastore there again, or restart droverd when it was "
                             "changed on purpose");
}

int datastore_open_root(const struct datastore *datastore, struct error *err)
{
    struct marker marker;
    CLEANUP_CLOSE int folder = open_folder(datastore->name, datastore->path, err);
    if (folder < 0) {
        return folder;
    }
    int result = read_marker(folder, datastore->path, &marker, err);
    if (result == -ENOENT) {
        return stale(datastore, "it has no " MARKER, err);
    }
    if (result < 0) {
        error_wrap(err, "datastore %s", datastore->name);
        return result;
    }
    if (strcmp(marker.uuid, datastore->uuid) != 0) {
        return stale(datastore, "it has another UUID", err);
    }
    if (!lease_settings_equal(&marker.lease, &datastore->lease)) {
        return stale(datastore, "its lease settings were changed", err);
    }
    return steal_fd(&folder);
}

int datastore_open_known(const char *name, const char *path, const char *uuid,
                         struct datastore *ret_datastore, struct error *err)
{
    struct datastore datastore;
    int result = datastore_open_existing(name, path, &datastore, err);
    if (result < 0) {
        return result;
    }
    if (strcmp(datastore.uuid, uuid) != 0) {
        error_set(err, ESTALE, "%s is not the datastore %s: it has another UUID", path, name);
        return error_remedy(err, "mount the datastore there");
    }
    *ret_datastore = datastore;
    return 0;
}

int datastore_set_lease(const struct datastore *datastore, const struct lease_settings *settings,
                        struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/" MARKER, datastore->path);
    CLEANUP_CLOSE int folder = datastore_open_root(datastore, err);
    if (folder < 0 || !path) {
        return folder < 0 ? folder : error_set_errno(err, ENOMEM, "cannot write " MARKER);
    }
    CLEANUP_JSON json_t *marker = json_read_file(path, MARKER_BYTES_MOST, err);
    if (!marker) {
        return -EIO;
    }
    json_object_set_new(marker, "lease", lease_settings_to_json(settings));
    return json_write_file(path, marker, 0600, err);
}

int datastore_space(const struct datastore *datastore, uint64_t *ret_total, uint64_t *ret_free,
                    struct error *err)
{
    struct statvfs status;
    if (statvfs(datastore->path, &status) < 0) {
        return error_set_errno(err, errno, "cannot tell the space of datastore %s",
                               datastore->name);
    }
    *ret_total = (uint64_t)status.f_blocks * status.f_frsize;
    *ret_free = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}

/* ---- content ---- */

static int entry_is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static bool holds_vm(int folder, const char *name)
{
    struct stat status;
    char path[NAME_MAX + sizeof("/" VM_CONFIG_FILE)];
    snprintf(path, sizeof(path), "%s/" VM_CONFIG_FILE, name);
    return fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static int visit_vm(const struct datastore *datastore, const char *name,
                    datastore_visit_function *visit, void *context)
{
    struct vm_config config;
    struct error reason = ERROR_NONE;
    int result = vm_folder_load(datastore, name, &config, &reason);
    if (result == -ENOENT) {
        return 0; /* removed just now */
    }
    return visit(context, name, result == 0 ? &config : NULL, &reason);
}

int datastore_each_vm(const struct datastore *datastore, datastore_visit_function *visit,
                      void *context, struct error *err)
{
    struct dirent **entries;
    CLEANUP_CLOSE int folder = open(datastore->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int count = folder < 0 ? -1 : scandirat(folder, ".", &entries, entry_is_visible, alphasort);
    if (count < 0) {
        return error_set_errno(err, errno, "cannot list datastore %s", datastore->name);
    }
    int result = 0;
    for (int i = 0; i < count; i++) {
        if (result >= 0 && holds_vm(folder, entries[i]->d_name)) {
            result = visit_vm(datastore, entries[i]->d_name, visit, context);
        }
        free(entries[i]);
    }
    free(entries);
    return result < 0 ? result : 0;
}

/* ---- what a crash left ---- */

static int clean_folder(const char *path, bool descend, struct error *err)
{
    CLEANUP_DIRECTORY DIR *directory = opendir(path);
    if (!directory) {
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : error_set_errno(err, errno, "cannot list %s", path);
    }
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(directory))) {
        CLEANUP_FREE char *inner = file_path("%s/%s", path, entry->d_name);
        if (!inner) {
            return error_set_errno(err, ENOMEM, "cannot clean %s", path);
        }
        if (temporary_is_abandoned(entry->d_name)) {
            result = file_remove_tree(inner, err);
        } else if (descend && entry->d_name[0] != '.' && entry->d_type != DT_LNK) {
            result = clean_folder(inner, false, err);
        }
    }
    return result;
}

int datastore_clean(const struct datastore *datastore, struct error *err)
{
    return clean_folder(datastore->path, true, err);
}
