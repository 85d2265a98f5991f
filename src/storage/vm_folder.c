/*
 * VM folders: see vm_folder.h. A folder is built beside its place under a temporary name and moved
 * there whole; removal moves it away first. Nobody ever sees half a VM.
 */
#include "storage/vm_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/units.h"
#include "storage/disk_image.h"
#include "storage/lease.h"
#include "storage/temporary.h"

#define BOOT_FILE_BYTES_MOST (1ULL << 30)
#define NEW_DISK_BYTES (1ULL << 20) /* an empty image and the file system's own bookkeeping */
#define COPY_BYTES_AT_ONCE (16U << 20)

/* ---- names and paths ---- */

static int check_name(const char *name, const char *of, struct error *err)
{
    if (file_name_is_safe(name)) {
        return 0;
    }
    int result = error_set(err, EINVAL, "\"%.80s\" cannot be the name of %s", name, of);
    error_remedy(err, "use 1 to 63 letters, digits, '.', '_' and '-', beginning with a letter, a "
                      "digit or '_'");
    return result;
}

static int sync_folder(const char *path, struct error *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return error_set_errno(err, errno, "cannot sync the folder %s", path);
    }
    return 0;
}

/* ---- creation: everything is opened and checked, then built ---- */

/* What a folder is built from, open. */
struct build {
    const struct datastore *datastore;
    const struct vm_config *config;
    const struct vm_folder_sources *sources;
    struct disk_import imports[VM_DISKS_MOST];
    int kernel;
    int initrd;
    char *folder; /* the temporary one's path */
};

static void build_init(struct build *build, const struct datastore *datastore,
                       const struct vm_config *config, const struct vm_folder_sources *sources)
{
    *build = (struct build){
        .datastore = datastore, .config = config, .sources = sources, .kernel = -1, .initrd = -1};
    for (size_t i = 0; i < VM_DISKS_MOST; i++) {
        build->imports[i].fd = -1;
    }
}

static void build_done(struct build *build)
{
    for (size_t i = 0; i < VM_DISKS_MOST; i++) {
        disk_import_done(&build->imports[i]);
    }
    close_fd(&build->kernel);
    close_fd(&build->initrd);
    free(build->folder);
}

static int taken(const struct build *build, struct error *err)
{
    int result = error_set(err, EEXIST, "the name %s is taken on datastore %s", build->config->name,
                           build->datastore->name);
    error_remedy(err, "choose another name, or remove the VM that has it");
    return result;
}

static int check_name_is_free(const struct build *build, struct error *err)
{
    struct stat status;
    int result = check_name(build->config->name, "a VM", err);
    if (result < 0) {
        return result;
    }
    CLEANUP_FREE char *path = file_path("%s/%s", build->datastore->path, build->config->name);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot create VM %s", build->config->name);
    }
    return lstat(path, &status) == 0 ? taken(build, err) : 0;
}

static int check_disk_size(const struct vm_disk *disk, uint64_t size_bytes, struct error *err)
{
    if (size_bytes >= DISK_SIZE_LEAST && size_bytes <= DISK_SIZE_MOST && size_bytes % 512 == 0) {
        return 0;
    }
    int result = error_set(err, EINVAL,
                           "%s: a size of %llu bytes is not possible: 1 MiB to 64 TiB in whole "
                           "sectors of 512 bytes",
                           disk->name, (unsigned long long)size_bytes);
    error_remedy(err, "give a size such as 10G, or an image to import");
    return result;
}

static int open_disk_sources(struct build *build, struct error *err)
{
    for (size_t i = 0; i < build->config->disk_count; i++) {
        const struct vm_disk *disk = &build->config->disks[i];
        const struct vm_folder_disk_source *source = &build->sources->disks[i];
        int result = source->import_path ? disk_import_open(&build->imports[i], source->import_path,
                                                            disk->format, err)
                                         : check_disk_size(disk, source->size_bytes, err);
        if (result < 0) {
            return source->import_path ? error_wrap(err, "%s", disk->name) : result;
        }
    }
    return 0;
}

static int open_boot_file(const char *file, const char *path, const char *key, int *ret_fd,
                          struct error *err)
{
    if ((file[0] != '\0') != (path != NULL)) {
        int result = error_set(err, EINVAL,
                               path ? "a file for %s is given, but the VM's definition "
                                      "names none"
                                    : "the VM's definition names a %s, but no file is "
                                      "given for it",
                               key);
        error_remedy(err, "give both boot.%s in the definition and the path to copy, or neither",
                     key);
        return result;
    }
    if (!path) {
        return 0;
    }
    CLEANUP_CLOSE int fd = file_open_data(path, err);
    if (fd < 0) {
        return fd;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0 || (uint64_t)size > BOOT_FILE_BYTES_MOST) {
        return error_set(err, EINVAL, "%s cannot be a %s: it has %lld bytes", path, key,
                         (long long)size);
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int check_space(const struct build *build, struct error *err)
{
    uint64_t needed = 0;
    uint64_t total;
    uint64_t free_bytes;
    for (size_t i = 0; i < build->config->disk_count; i++) {
        needed += build->imports[i].required_bytes + NEW_DISK_BYTES;
    }
    needed += build->kernel >= 0 ? (uint64_t)lseek(build->kernel, 0, SEEK_END) : 0;
    needed += build->initrd >= 0 ? (uint64_t)lseek(build->initrd, 0, SEEK_END) : 0;
    int result = datastore_space(build->datastore, &total, &free_bytes, err);
    if (result < 0 || needed <= free_bytes) {
        return result;
    }
    char needed_text[32];
    char free_text[32];
    units_format_size(needed, needed_text, sizeof(needed_text));
    units_format_size(free_bytes, free_text, sizeof(free_text));
    result = error_set(err, ENOSPC, "VM %s needs %s, but datastore %s has %s free",
                       build->config->name, needed_text, build->datastore->name, free_text);
    error_remedy(err, "free space on it or use another datastore");
    return result;
}

static int open_sources(struct build *build, struct error *err)
{
    const struct vm_config *config = build->config;
    const struct vm_folder_sources *sources = build->sources;
    int result = check_name_is_free(build, err);
    if (result < 0 ||
        (result = open_boot_file(config->kernel, sources->kernel_path, "kernel", &build->kernel,
                                 err)) < 0 ||
        (result = open_boot_file(config->initrd, sources->initrd_path, "initrd", &build->initrd,
                                 err)) < 0 ||
        (result = open_disk_sources(build, err)) < 0) {
        return result;
    }
    return check_space(build, err);
}

static int copy_content(int from, int to)
{
    off_t offset = 0;
    ssize_t copied;
    do {
        copied = sendfile(to, from, &offset, COPY_BYTES_AT_ONCE);
    } while (copied > 0 || (copied < 0 && errno == EINTR));
    return copied < 0 || fsync(to) < 0 ? -errno : 0;
}

static int copy_boot_file(const struct build *build, int from, const char *file, struct error *err)
{
    if (from < 0) {
        return 0;
    }
    CLEANUP_CLOSE int to =
        file_open_beneath(build->folder, file, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
    if (to < 0) {
        return to;
    }
    int result = copy_content(from, to);
    return result < 0 ? error_set_errno(err, result, "cannot copy %s", file) : 0;
}

static int make_disks(const struct build *build, struct error *err)
{
    for (size_t i = 0; i < build->config->disk_count; i++) {
        const struct vm_disk *disk = &build->config->disks[i];
        CLEANUP_FREE char *path = file_path("%s/%s", build->folder, disk->file);
        if (!path) {
            return error_set_errno(err, ENOMEM, "cannot create %s", disk->name);
        }
        int result =
            build->imports[i].fd >= 0
                ? disk_image_copy(&build->imports[i], path, disk->format, err)
                : disk_image_create(path, disk->format, build->sources->disks[i].size_bytes, err);
        if (result < 0) {
            return error_wrap(err, "%s", disk->name);
        }
    }
    return 0;
}

static int write_config(const struct build *build, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/" VM_CONFIG_FILE, build->folder);
    CLEANUP_JSON json_t *document = vm_config_to_json(build->config);
    if (!path || !document) {
        return error_set_errno(err, ENOMEM, "cannot write the definition of %s",
                               build->config->name);
    }
    return json_write_file(path, document, 0600, err);
}

/* rename(2) refuses to replace a folder that has something in it. */
static int move_into_place(const struct build *build, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/%s", build->datastore->path, build->config->name);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot create VM %s", build->config->name);
    }
    if (rename(build->folder, path) == 0) {
        return sync_folder(build->datastore->path, err);
    }
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
        return taken(build, err);
    }
    return error_set_errno(err, errno, "cannot move the folder of VM %s into place",
                           build->config->name);
}

static int fill_folder(const struct build *build, struct error *err)
{
    int result = copy_boot_file(build, build->kernel, build->config->kernel, err);
    if (result < 0 ||
        (result = copy_boot_file(build, build->initrd, build->config->initrd, err)) < 0 ||
        (result = make_disks(build, err)) < 0 || (result = write_config(build, err)) < 0) {
        return result;
    }
    return move_into_place(build, err);
}

static int build_folder(struct build *build, struct error *err)
{
    char name[TEMPORARY_NAME_SIZE];
    temporary_name(name, build->config->name);
    build->folder = file_path("%s/%s", build->datastore->path, name);
    if (!build->folder || mkdir(build->folder, 0700) < 0) {
        return error_set_errno(err, build->folder ? errno : ENOMEM,
                               "cannot make a folder for VM %s on datastore %s",
                               build->config->name, build->datastore->name);
    }
    int result = fill_folder(build, err);
    if (result < 0) {
        file_remove_tree(build->folder, NULL);
    }
    return result;
}

int vm_folder_create(const struct datastore *datastore, const struct vm_config *config,
                     const struct vm_folder_sources *sources, struct error *err)
{
    __attribute__((cleanup(build_done))) struct build build;
    build_init(&build, datastore, config, sources);
    int result = open_sources(&build, err);
    if (result == 0) {
        result = build_folder(&build, err);
    }
    return result < 0 ? error_wrap(err, "cannot create VM %s", config->name) : 0;
}

/* ---- use ---- */

static int read_config(int fd, const char *what, struct vm_config *ret_config, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = file_read_fd(fd, what, VM_CONFIG_BYTES_MOST, &content, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *document =
        json_parse((const char *)content.data, content.length, what, err);
    return document ? vm_config_from_json(document, what, ret_config, err) : -EINVAL;
}

int vm_folder_load(const struct datastore *datastore, const char *name,
                   struct vm_config *ret_config, struct error *err)
{
    struct vm_config config;
    char what[512];
    CLEANUP_CLOSE int fd =
        vm_folder_open_file(datastore, name, VM_CONFIG_FILE, NULL, O_RDONLY, err);
    if (fd < 0) {
        return fd;
    }
    snprintf(what, sizeof(what), "%s/%s/" VM_CONFIG_FILE, datastore->path, name);
    int result = read_config(fd, what, &config, err);
    if (result < 0) {
        return result;
    }
    if (strcmp(config.name, name) != 0) {
        result = error_set(err, EINVAL, "%s names the VM %s, but its folder is %s", what,
                           config.name, name);
        error_remedy(err, "rename the folder, or correct \"name\" in the file");
        return result;
    }
    *ret_config = config;
    return 0;
}

/* A folder that has lost its name can be taken by nobody any more; this tells whether it was
 * before, from a host that stood still. */
static int check_epoch(const struct datastore *datastore, const char *name, int folder,
                       uint64_t epoch, struct error *err)
{
    struct lease lease;
    int result = lease_read_in(datastore, name, folder, &lease, err);
    if (result == 0 && lease.epoch != epoch) {
        result = error_set(err, EBUSY, "VM %s was taken by host %s meanwhile: it is not removed",
                           name, *lease.host ? lease.host : "(none)");
    }
    return result;
}

static int take_name_away(const struct datastore *datastore, const char *name, int folder,
                          uint64_t epoch, const char *path, const char *gone, struct error *err)
{
    if (rename(path, gone) < 0) {
        return error_set_errno(err, errno, "cannot remove VM %s", name);
    }
    int result = check_epoch(datastore, name, folder, epoch, err);
    if (result < 0 && rename(gone, path) < 0) {
        log_error("VM %s: its folder is now %s: %s", name, gone, strerror(errno));
    }
    return result < 0 ? result : sync_folder(datastore->path, err);
}

int vm_folder_remove(const struct datastore *datastore, const char *name, uint64_t epoch,
                     struct error *err)
{
    char gone_name[TEMPORARY_NAME_SIZE];
    int result = check_name(name, "a VM", err);
    if (result < 0) {
        return result;
    }
    temporary_name(gone_name, name);
    CLEANUP_FREE char *path = file_path("%s/%s", datastore->path, name);
    CLEANUP_FREE char *gone = file_path("%s/%s", datastore->path, gone_name);
    if (!path || !gone) {
        return error_set_errno(err, ENOMEM, "cannot remove VM %s", name);
    }
    CLEANUP_CLOSE int folder =
        file_open_beneath(datastore->path, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (folder < 0) {
        return error_wrap(err, "cannot remove VM %s", name);
    }
    result = take_name_away(datastore, name, folder, epoch, path, gone, err);
    return result < 0 ? result : file_remove_tree(gone, err);
}

/* A second open of what was examined: the path is not looked up again. */
static int reopen(int examined, int flags, const char *what, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", examined);
    int fd = open(path, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, errno, "cannot open %s", what) : fd;
}

int vm_folder_open_file(const struct datastore *datastore, const char *name, const char *file,
                        const char *format, int flags, struct error *err)
{
    char relative[2 * VM_NAME_SIZE];
    char what[512];
    struct stat status;
    int result = check_name(name, "a VM", err);
    if (result < 0 || (result = check_name(file, "a VM's file", err)) < 0) {
        return result;
    }
    snprintf(relative, sizeof(relative), "%s/%s", name, file);
    snprintf(what, sizeof(what), "%s/%s", datastore->path, relative);
    CLEANUP_CLOSE int examined = file_open_beneath(datastore->path, relative, O_PATH, 0, err);
    if (examined < 0) {
        return examined;
    }
    if (fstat(examined, &status) < 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) {
        return error_set(err, EINVAL, "%s is neither a file nor a block device", what);
    }
    CLEANUP_CLOSE int fd = reopen(examined, flags, what, err);
    if (fd < 0) {
        return fd;
    }
    if (format && strcmp(format, "qcow2") == 0) {
        result = disk_image_check_qcow2(fd, what, err);
    }
    return result < 0 ? result : steal_fd(&fd);
}
