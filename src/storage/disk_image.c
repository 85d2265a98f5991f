/* Disk images: see disk_image.h. */
#include "storage/disk_image.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/units.h"

#define EXAMINE_TIMEOUT_NS (60 * NANOSECONDS_PER_SECOND)
#define COPY_TIMEOUT_NS (86400 * NANOSECONDS_PER_SECOND) /* a day */
#define OUTPUT_BYTES_MOST ((size_t)1 << 20)
#define SOURCE_FD 10 /* in qemu-img */
#define SOURCE_PATH "/dev/fd/10"

/* ---- running qemu-img ---- */

/* What it printed, bounded; an empty string when nothing can be had. */
static int read_output(int fd, struct buffer *ret_text, struct error *err)
{
    if (lseek(fd, 0, SEEK_SET) < 0) {
        return error_set_errno(err, errno, "cannot read what qemu-img printed");
    }
    return file_read_fd(fd, "the output of qemu-img", OUTPUT_BYTES_MOST, ret_text, err);
}

/* "qemu-img: /dev/fd/10: error ..." -> the first line, without the program's name. */
static int refuse_with_reason(int errors, const char *what, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    int result = read_output(errors, &text, err);
    if (result < 0) {
        return result;
    }
    if (!text.data) {
        return error_set(err, EIO, "qemu-img could not handle %s", what);
    }
    char *reason = (char *)text.data;
    reason[strcspn(reason, "\n")] = '\0';
    const char *prefix = "qemu-img: ";
    if (strncmp(reason, prefix, strlen(prefix)) == 0) {
        reason += strlen(prefix);
    }
    return error_set(err, EIO, "%s: qemu-img: %s", what, *reason ? reason : "gave no reason");
}

static int wait_for_success(const struct process_identity *process, uint64_t timeout_ns, int errors,
                            const char *what, struct error *err)
{
    int status = -1;
    int ended = process_wait(process, timeout_ns, &status);
    if (ended != 1) {
        process_kill(process, NULL);
        return error_set(err, ETIMEDOUT, "%s: qemu-img did not end in time", what);
    }
    if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return refuse_with_reason(errors, what, err);
    }
    return 0;
}

/* Output and errors go to files in memory: no pipe that could fill up. */
static int run_qemu_img(const char *const *arguments, int source_fd, uint64_t timeout_ns,
                        struct buffer *ret_output, const char *what, struct error *err)
{
    CLEANUP_CLOSE int output = memfd_create("output", MFD_CLOEXEC);
    CLEANUP_CLOSE int errors = memfd_create("errors", MFD_CLOEXEC);
    if (output < 0 || errors < 0) {
        return error_set_errno(err, errno, "%s: cannot run qemu-img", what);
    }
    const struct process_fd fds[] = {
        {output, STDOUT_FILENO}, {errors, STDERR_FILENO}, {source_fd, SOURCE_FD}};
    const struct process_spec spec = {
        .arguments = arguments, .fds = fds, .fd_count = source_fd >= 0 ? 3 : 2};
    struct process_identity process;
    int result = process_start(&spec, &process, err);
    if (result < 0) {
        error_remedy(err, "install qemu-utils on this host");
        return error_wrap(err, "%s", what);
    }
    result = wait_for_success(&process, timeout_ns, errors, what, err);
    return result < 0 || !ret_output ? result : read_output(output, ret_output, err);
}

static int query_qemu_img(const char *const *arguments, int source_fd, const char *what,
                          json_t **ret_answer, struct error *err)
{
    CLEANUP_BUFFER struct buffer output = {0};
    int result = run_qemu_img(arguments, source_fd, EXAMINE_TIMEOUT_NS, &output, what, err);
    if (result < 0) {
        return result;
    }
    *ret_answer = json_parse((const char *)output.data, output.length, "qemu-img's answer", err);
    return *ret_answer ? 0 : -EINVAL;
}

/* ---- imports ---- */

static int refuse_image(const char *path, const char *reason, const char *remedy, struct error *err)
{
    int result = error_set(err, EINVAL, "the image %s %s", path, reason);
    error_remedy(err, "%s", remedy);
    return result;
}

/* Formats whose images are complete in one file, as far as the checks below make sure. */
static bool format_is_known(const char *format)
{
    static const char *const known[] = {"raw", "qcow2", "vdi", "vhdx", "vpc", "vmdk"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(format, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the image needs more than its own file. */
static bool image_names_other_files(const json_t *info)
{
    const json_t *data = json_object_get(json_object_get(info, "format-specific"), "data");
    const char *vmdk_type = json_string_value(json_object_get(data, "create-type"));
    bool vmdk_is_whole = !vmdk_type || strcmp(vmdk_type, "monolithicSparse") == 0 ||
                         strcmp(vmdk_type, "streamOptimized") == 0;
    return json_object_get(info, "backing-filename") ||
           json_object_get(info, "full-backing-filename") || json_object_get(data, "data-file") ||
           !vmdk_is_whole;
}

static int check_info(struct disk_import *import, const json_t *info, struct error *err)
{
    const char *format;
    int64_t size;
    int result = json_get_string(info, import->path, "format", &format, err);
    if (result < 0) {
        return result;
    }
    if (!format_is_known(format)) {
        return refuse_image(import->path, "has a format that Drover does not copy",
                            "convert it to qcow2 with qemu-img convert first", err);
    }
    if (image_names_other_files(info)) {
        return refuse_image(import->path,
                            "depends on another file (backing file, data file or "
                            "extent)",
                            "make it one file with qemu-img convert first", err);
    }
    if (json_object_get(info, "encrypted")) {
        return refuse_image(import->path, "is encrypted", "decrypt it with qemu-img convert first",
                            err);
    }
    result = json_get_integer(info, import->path, "virtual-size", 1, (int64_t)DISK_SIZE_MOST, &size,
                              err);
    snprintf(import->format, sizeof(import->format), "%s", format);
    return result;
}

static int examine_import(struct disk_import *import, struct error *err)
{
    const char *const arguments[] = {"qemu-img", "info", "--output=json", SOURCE_PATH, NULL};
    CLEANUP_JSON json_t *info = NULL;
    int result = query_qemu_img(arguments, import->fd, "cannot examine the image", &info, err);
    if (result == -EIO) { /* its contents are what qemu-img does not like */
        err->code = EINVAL;
        error_remedy(err, "give an image that qemu-img can read");
        result = -EINVAL;
    }
    return result < 0 ? error_wrap(err, "%s", import->path) : check_info(import, info, err);
}

/* What the copy needs on the datastore, from qemu-img itself. */
static int measure_import(struct disk_import *import, const char *target_format, struct error *err)
{
    const char *const arguments[] = {"qemu-img",    "measure",      "--output=json",
                                     "-f",          import->format, "-O",
                                     target_format, SOURCE_PATH,    NULL};
    CLEANUP_JSON json_t *answer = NULL;
    int64_t required;
    int result = query_qemu_img(arguments, import->fd, "cannot measure the image", &answer, err);
    if (result == 0) {
        result =
            json_get_integer(answer, "qemu-img's answer", "required", 0, INT64_MAX, &required, err);
    }
    if (result < 0) {
        return error_wrap(err, "%s", import->path);
    }
    import->required_bytes = (uint64_t)required;
    return 0;
}

int disk_import_open(struct disk_import *import, const char *path, const char *target_format,
                     struct error *err)
{
    *import = (struct disk_import){.fd = -1, .path = path};
    CLEANUP_CLOSE int fd = file_open_data(path, err);
    if (fd < 0) {
        return fd;
    }
    import->fd = fd;
    int result = examine_import(import, err);
    if (result == 0) {
        result = measure_import(import, target_format, err);
    }
    import->fd = result == 0 ? steal_fd(&fd) : -1;
    return result;
}

void disk_import_done(struct disk_import *import)
{
    close_fd(&import->fd);
}

/* ---- making ---- */

/* qemu-img leaves its output in the page cache. */
static int sync_image(const char *path, struct error *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0600) < 0 || fsync(fd) < 0) {
        return error_set_errno(err, errno, "cannot sync %s", path);
    }
    return 0;
}

int disk_image_create(const char *path, const char *format, uint64_t size_bytes, struct error *err)
{
    char size[32];
    snprintf(size, sizeof(size), "%" PRIu64, size_bytes);
    const char *const arguments[] = {"qemu-img", "create", "-q", "-f", format, path, size, NULL};
    int result = run_qemu_img(arguments, -1, EXAMINE_TIMEOUT_NS, NULL, "cannot create a disk", err);
    return result < 0 ? result : sync_image(path, err);
}

int disk_image_copy(const struct disk_import *import, const char *path, const char *format,
                    struct error *err)
{
    const char *const arguments[] = {"qemu-img", "convert", "-q",        "-f", import->format,
                                     "-O",       format,    SOURCE_PATH, path, NULL};
    int result =
        run_qemu_img(arguments, import->fd, COPY_TIMEOUT_NS, NULL, "cannot copy the image", err);
    return result < 0 ? error_wrap(err, "%s", import->path) : sync_image(path, err);
}

/* ---- qcow2 headers (QEMU's docs/interop/qcow2.txt) ---- */

#define QCOW2_MAGIC 0x514649fb
#define QCOW2_HEADER_BYTES 104
#define QCOW2_EXTERNAL_DATA_FILE (1ULL << 2)

static uint32_t read_be32(const uint8_t *header, size_t offset)
{
    uint32_t value;
    memcpy(&value, header + offset, sizeof(value));
    return be32toh(value);
}

static uint64_t read_be64(const uint8_t *header, size_t offset)
{
    uint64_t value;
    memcpy(&value, header + offset, sizeof(value));
    return be64toh(value);
}

int disk_image_check_qcow2(int fd, const char *what, struct error *err)
{
    uint8_t header[QCOW2_HEADER_BYTES] = {0};
    ssize_t length = pread(fd, header, sizeof(header), 0);
    if (length < 0) {
        return error_set_errno(err, errno, "cannot read %s", what);
    }
    uint32_t version = read_be32(header, 4);
    if (length < (ssize_t)sizeof(header) || read_be32(header, 0) != QCOW2_MAGIC ||
        (version != 2 && version != 3)) {
        return refuse_image(what, "is no qcow2 image",
                            "correct the disk's \"format\" or restore its file", err);
    }
    if (read_be64(header, 8) != 0) {
        return refuse_image(what, "has a backing file", "flatten it with qemu-img convert", err);
    }
    if (version == 3 && (read_be64(header, 72) & QCOW2_EXTERNAL_DATA_FILE)) {
        return refuse_image(what, "keeps its data in another file",
                            "make it one file with qemu-img convert", err);
    }
    if (read_be32(header, 32) != 0) {
        return refuse_image(what, "is encrypted", "decrypt it with qemu-img convert", err);
    }
    return 0;
}
