/* Files and folders: see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/random.h"

static int read_to_end(int fd, size_t limit, struct buffer *content)
{
    for (;;) {
        uint8_t *end = buffer_reserve(content, 65536);
        if (!end) {
            return -ENOMEM;
        }
        ssize_t got = read(fd, end, 65536 - 1);
        if (got == 0) {
            *end = '\0';
            return 0;
        }
        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        content->length += got > 0 ? (size_t)got : 0;
        if (content->length > limit) {
            return -EFBIG;
        }
    }
}

int file_read_fd(int fd, const char *what, size_t limit, struct buffer *ret_content,
                 struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = read_to_end(fd, limit, &content);
    if (result == -EFBIG) {
        return error_set(err, EFBIG, "%s is larger than %zu bytes", what, limit);
    }
    if (result < 0) {
        return error_set_errno(err, result, "cannot read %s", what);
    }
    *ret_content = content;
    content = (struct buffer){0};
    return 0;
}

int file_read(const char *path, size_t limit, struct buffer *ret_content, struct error *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot open %s", path);
    }
    return file_read_fd(fd, path, limit, ret_content, err);
}

int file_open_data(const char *path, struct error *err)
{
    struct stat status;
    if (path[0] != '/') {
        return error_set(err, EINVAL, "the path \"%.300s\" is not absolute", path);
    }
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot open %s", path);
    }
    if (fstat(fd, &status) < 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) {
        return error_set(err, EINVAL, "%s is neither a file nor a block device", path);
    }
    return steal_fd(&fd);
}

int file_write_all(int fd, const void *bytes, size_t length)
{
    const char *next = bytes;
    while (length > 0) {
        ssize_t written = write(fd, next, length);
        if (written < 0 && errno != EINTR) {
            return -errno;
        }
        if (written > 0) {
            next += written;
            length -= (size_t)written;
        }
    }
    return 0;
}

static int sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    CLEANUP_CLOSE int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return -errno;
    }
    return 0;
}

static int write_and_sync(const char *path, const void *bytes, size_t length, mode_t mode)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        return -errno;
    }
    int result = file_write_all(fd, bytes, length);
    if (result == 0 && fsync(fd) < 0) {
        result = -errno;
    }
    return result;
}

int file_write_atomic(const char *path, const void *bytes, size_t length, mode_t mode,
                      struct error *err)
{
    char random[17]; /* another host may write the same path on a shared file system */
    random_hex(random, 8);
    CLEANUP_FREE char *temporary = file_path("%s.%s.new", path, random);
    if (!temporary) {
        return error_set_errno(err, ENOMEM, "cannot write %s", path);
    }
    int result = write_and_sync(temporary, bytes, length, mode);
    if (result == 0 && rename(temporary, path) < 0) {
        result = -errno;
    }
    if (result < 0) {
        unlink(temporary);
        return error_set_errno(err, result, "cannot write %s", path);
    }
    result = sync_folder_of(path);
    return result < 0 ? error_set_errno(err, result, "cannot sync the folder of %s", path) : 0;
}

static int make_folder(const char *path, mode_t mode)
{
    struct stat status;
    if (mkdir(path, mode) == 0) {
        return 0;
    }
    if (errno != EEXIST || stat(path, &status) < 0) {
        return -errno;
    }
    return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

int file_make_folders(const char *path, mode_t mode, struct error *err)
{
    CLEANUP_FREE char *partial = strdup(path);
    if (!partial) {
        return error_set_errno(err, ENOMEM, "cannot create %s", path);
    }
    for (char *slash = partial + (*partial == '/');; slash++) {
        if (*slash != '/' && *slash != '\0') {
            continue;
        }
        char kept = *slash;
        *slash = '\0';
        int result = make_folder(partial, mode);
        if (result < 0) {
            return error_set_errno(err, result, "cannot create the folder %s", partial);
        }
        if (kept == '\0') {
            return 0;
        }
        *slash = kept;
    }
}

static int remove_below(int parent, const char *name);

static int remove_content(int folder)
{
    CLEANUP_CLOSE int stream_fd = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    CLEANUP_DIRECTORY DIR *directory = stream_fd < 0 ? NULL : fdopendir(stream_fd);
    if (!directory) {
        return -errno;
    }
    steal_fd(&stream_fd);
    struct dirent *entry;
    while (errno = 0, (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        int result = remove_below(folder, entry->d_name);
        if (result < 0) {
            return result;
        }
    }
    return -errno;
}

static int remove_below(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return -errno;
    }
    CLEANUP_CLOSE int folder =
        openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    int result = remove_content(folder);
    if (result == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        result = -errno;
    }
    return result;
}

int file_remove_tree(const char *path, struct error *err)
{
    int result = remove_below(AT_FDCWD, path);
    return result < 0 ? error_set_errno(err, result, "cannot remove %s", path) : 0;
}

int file_open_beneath_at(int root, const char *what, const char *relative, int flags, mode_t mode,
                         struct error *err)
{
    struct open_how how = {
        .flags = (__u64)(flags | O_CLOEXEC),
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root, relative, &how, sizeof(how));
    if (fd >= 0) {
        return fd;
    }
    if (errno == EXDEV || errno == ELOOP) {
        return error_set(err, errno, "%s leaves the folder %s or passes through a link", relative,
                         what);
    }
    return error_set_errno(err, errno, "cannot open %s in %s", relative, what);
}

int file_open_beneath(const char *root, const char *relative, int flags, mode_t mode,
                      struct error *err)
{
    CLEANUP_CLOSE int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return error_set_errno(err, errno, "cannot open the folder %s", root);
    }
    return file_open_beneath_at(folder, root, relative, flags, mode, err);
}

bool file_name_is_safe(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strlen(name);
    return length >= 1 && length <= 63 && name[0] != '.' && name[0] != '-' &&
           strspn(name, allowed) == length;
}

int file_next_data(int fd, uint64_t from, uint64_t size, struct file_extent *ret_extent)
{
    off_t begin = from < size ? lseek(fd, (off_t)from, SEEK_DATA) : (off_t)size;
    if ((begin < 0 && errno == ENXIO) || begin >= (off_t)size) {
        return 0;
    }
    off_t end = begin < 0 ? -1 : lseek(fd, begin, SEEK_HOLE);
    if (end < 0) {
        return -errno;
    }
    *ret_extent = (struct file_extent){(uint64_t)begin, end < (off_t)size ? (uint64_t)end : size};
    return 1;
}

char *file_path(const char *format, ...)
{
    char *path = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&path, format, arguments);
    va_end(arguments);
    return length < 0 ? NULL : path;
}
