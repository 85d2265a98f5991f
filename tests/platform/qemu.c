/* See qemu.h. */
#include "qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

#define QEMU "qemu-system-x86_64"
#define SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#define PATIENCE_MS 10000
#define DISK_SIZE (1 << 20)

extern const char boot_sector[512];

/* Arguments that are made up live as long as the program. */
static const char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

static const char *format(const char *pattern, ...)
{
    va_list values;
    char *result;

    va_start(values, pattern);
    platform_must(vasprintf(&result, pattern, values) >= 0, "vasprintf");
    va_end(values);
    return result;
}

void qemu_require(void)
{
    FILE *version = popen(QEMU " --version 2>/dev/null", "re");
    int major = 0, minor = 0;

    if (!version || fscanf(version, "QEMU emulator version %d.%d", &major, &minor) != 2)
        platform_skip_program(QEMU " is not installed");
    pclose(version);
    if (major < 7 || (major == 7 && minor < 2))
        platform_skip_program("QEMU is %d.%d, older than 7.2", major, minor);
    if (access("/dev/userfaultfd", R_OK | W_OK) < 0)
        platform_skip_program("/dev/userfaultfd does not open: %s", strerror(errno));
}

void qemu_argument(struct qemu *qemu, const char *argument)
{
    assert_true(qemu->arguments_used < QEMU_MAX_ARGUMENTS - 1);
    qemu->arguments[qemu->arguments_used++] = argument;
}

static void argument_pair(struct qemu *qemu, const char *option, const char *value)
{
    qemu_argument(qemu, option);
    qemu_argument(qemu, value);
}

void qemu_incoming(struct qemu *qemu)
{
    argument_pair(qemu, "-incoming", "defer");
    qemu_argument(qemu, "-S");
}

void qemu_inherit(struct qemu *qemu, int fd)
{
    qemu->inherited[qemu->inherited_used++] = fd;
}

/* A socket pair: returns our end, and gives QEMU the other as the character device `id`. */
static int add_socket(struct qemu *qemu, const char *id)
{
    int ends[2];

    platform_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    qemu_inherit(qemu, ends[1]);
    argument_pair(qemu, "-chardev", format("socket,id=%s,fd=%d", id, ends[1]));
    return ends[0];
}

static void make_ram(struct qemu *qemu, const char *name)
{
    qemu->ram = platform_file_new(name, QEMU_MEMORY);
    platform_must(fchown(qemu->ram, PLATFORM_UNPRIVILEGED_ID, PLATFORM_UNPRIVILEGED_ID) == 0,
                  "fchown");
    snprintf(qemu->ram_path, sizeof(qemu->ram_path), "%s/%s", PLATFORM_FOLDER, name);
    argument_pair(qemu, "-object",
                  format("memory-backend-file,id=ram0,share=on,mem-path=%s,size=%dM",
                         qemu->ram_path, (int)(QEMU_MEMORY >> 20)));
}

void qemu_prepare(struct qemu *qemu, const char *name, const char *accelerator)
{
    *qemu = (struct qemu){.arguments = {QEMU}, .arguments_used = 1};
    qemu->userfaultfd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    qemu_inherit(qemu, qemu->userfaultfd);
    argument_pair(qemu, "-machine", "q35,memory-backend=ram0");
    argument_pair(qemu, "-accel", accelerator);
    argument_pair(qemu, "-m", "256M");
    make_ram(qemu, name);
    qemu_argument(qemu, "-nodefaults");
    argument_pair(qemu, "-display", "none");
    argument_pair(qemu, "-sandbox", SANDBOX);
    qemu->qmp.fd = add_socket(qemu, "qmp");
    argument_pair(qemu, "-mon", "chardev=qmp,mode=control");
    qemu->serial = add_socket(qemu, "serial");
    argument_pair(qemu, "-serial", "chardev:serial");
}

void qemu_disk_new(const char *name)
{
    int disk = platform_file_new(name, DISK_SIZE);

    platform_must(pwrite(disk, boot_sector, sizeof(boot_sector), 0) == sizeof(boot_sector),
                  "pwrite");
    platform_must(fchown(disk, PLATFORM_UNPRIVILEGED_ID, PLATFORM_UNPRIVILEGED_ID) == 0, "fchown");
    close(disk);
}

void qemu_disk(struct qemu *qemu, const char *image_format, const char *filename,
               const char *options)
{
    argument_pair(qemu, "-blockdev",
                  format("driver=file,node-name=file0,filename=%s,cache.direct=off,aio=threads%s",
                         filename, options));
    argument_pair(qemu, "-blockdev", format("driver=%s,node-name=disk0,file=file0", image_format));
    argument_pair(qemu, "-device", "virtio-blk-pci,drive=disk0");
}

void qemu_boot_disk(struct qemu *qemu, const char *name)
{
    const char *path = format(PLATFORM_FOLDER "/%s", name);

    if (access(path, F_OK) < 0)
        qemu_disk_new(name);
    qemu_disk(qemu, "raw", path, "");
}

static void run(struct qemu *qemu)
{
    for (int i = 0; i < qemu->inherited_used; i++)
        fcntl(qemu->inherited[i], F_SETFD, 0);
    setenv("PLATFORM_USERFAULTFD_DEVICE", format("%d", qemu->userfaultfd), 1);
    setenv("LD_PRELOAD", PLATFORM_PRELOAD, 1);
    if (!qemu->privileged && platform_drop_privileges() < 0)
        _exit(1);
    execvp(QEMU, (char *const *)qemu->arguments);
    _exit(1);
}

static void launch(struct qemu *qemu)
{
    qemu->pid = platform_fork();
    platform_must(qemu->pid >= 0, "fork");
    if (qemu->pid == 0)
        run(qemu);
    for (int i = 0; i < qemu->inherited_used; i++)
        close(qemu->inherited[i]);
}

void qemu_start(struct qemu *qemu)
{
    launch(qemu);
    qmp_start(&qemu->qmp, qemu->qmp.fd);
}

/* The QMP greeting may come before the device that fails; the end of the connection tells. */
bool qemu_refuses_to_start(struct qemu *qemu)
{
    struct pollfd poll_fd = {.fd = qemu->qmp.fd, .events = POLLIN};
    char greeting[512];

    launch(qemu);
    while (poll(&poll_fd, 1, PATIENCE_MS) > 0)
        if (recv(qemu->qmp.fd, greeting, sizeof(greeting), 0) <= 0)
            return true;
    return false;
}

void qemu_stop(struct qemu *qemu)
{
    if (qemu->pid <= 0)
        return;
    platform_reap(qemu->pid);
    qmp_stop(&qemu->qmp);
    close(qemu->serial);
    close(qemu->ram);
    unlink(qemu->ram_path);
    qemu->pid = 0;
}

void qemu_capability(struct qemu *qemu, const char *name, bool on)
{
    qmp_do(&qemu->qmp, "migrate-set-capabilities",
           json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", name, "state", on));
}

bool qemu_is(struct qemu *qemu, const char *state)
{
    json_t *status = qmp_run(&qemu->qmp, "query-status", NULL);
    bool is = strcmp(json_string_value(json_object_get(status, "status")), state) == 0;

    if (!is)
        print_message("run state: %s\n", json_string_value(json_object_get(status, "status")));
    json_decref(status);
    return is;
}

static uint64_t ram_address(const struct qemu *qemu)
{
    char path[64], line[512];
    uint64_t address = 0;
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)qemu->pid);
    maps = fopen(path, "re");
    platform_must(maps != NULL, path);
    while (address == 0 && fgets(line, sizeof(line), maps))
        if (strstr(line, qemu->ram_path))
            address = strtoull(line, NULL, 16);
    fclose(maps);
    assert_true(address != 0);
    return address;
}

void qemu_track(struct qemu *qemu, struct tracker *tracker)
{
    tracker_open(tracker, qemu->pid, qemu->userfaultfd, ram_address(qemu), QEMU_MEMORY);
}

char qemu_next_character(struct qemu *qemu)
{
    struct pollfd poll_fd = {.fd = qemu->serial, .events = POLLIN};
    char character;

    if (poll(&poll_fd, 1, PATIENCE_MS) <= 0 || read(qemu->serial, &character, 1) != 1)
        return 0;
    return character;
}

void qemu_expect_progress(struct qemu *qemu, size_t count)
{
    char early;

    while (recv(qemu->serial, &early, 1, MSG_DONTWAIT) == 1)
        assert_int_equal(early, '.');
    for (size_t i = 0; i < count; i++)
        assert_int_equal(qemu_next_character(qemu), '.');
}
