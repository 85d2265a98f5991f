/*
 * QEMU's arguments: see command_line.h.
 *
 * Disks are passed as descriptors in fd sets (-add-fd), which QEMU opens as /dev/fdset/N: that
 * works for raw and qcow2, in a running machine and in one that waits for a migration, and QEMU's
 * image locks hold across both, since each side has an open file description of its own.
 */
#include "vmm/qemu/command_line.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/json.h"

/* PCI slots on the root bus. Eight devices share a slot as functions of it. */
#define SLOT_VGA 0x02
#define SLOT_USB 0x04
#define SLOT_DISKS 0x08
#define SLOT_NICS 0x10
#define FUNCTIONS_PER_SLOT 8

/* Arguments are collected without checks in between: the first failure sticks. */
struct builder {
    struct qemu_command_line line;
    int failure; /* 0 or -errno */
};

static void add_owned(struct builder *builder, char *argument)
{
    struct qemu_command_line *line = &builder->line;
    if (!argument || line->argument_count == QEMU_ARGUMENTS_MOST) {
        builder->failure = argument ? -E2BIG : -ENOMEM;
        free(argument);
        return;
    }
    line->arguments[line->argument_count++] = argument;
}

static void add(struct builder *builder, const char *argument)
{
    add_owned(builder, strdup(argument));
}

__attribute__((format(printf, 3, 4))) static void
add_option(struct builder *builder, const char *name, const char *format, ...)
{
    va_list arguments;
    char *value = NULL;
    add(builder, name);
    va_start(arguments, format);
    if (vasprintf(&value, format, arguments) < 0) {
        value = NULL;
    }
    va_end(arguments);
    add_owned(builder, value);
}

/* Steals `value`: QEMU takes JSON where a path could hold a comma. */
static void add_json(struct builder *builder, const char *name, json_t *value)
{
    CLEANUP_JSON json_t *owned = value;
    add(builder, name);
    add_owned(builder, owned ? json_dumps(owned, JSON_COMPACT) : NULL);
}

/* The number that `parent_fd` will have in QEMU. */
static int add_fd(struct builder *builder, int parent_fd)
{
    struct qemu_command_line *line = &builder->line;
    int child_fd = QEMU_FIRST_FD + (int)line->fd_count;
    line->fds[line->fd_count++] = (struct process_fd){parent_fd, child_fd};
    return child_fd;
}

/* QEMU ends when it is named a descriptor that is not there: it runs with the library that has
 * armed the deadline, or not at all. */
static void add_deadline(struct builder *builder, int deadline_fd)
{
    builder->line.deadline_fd = -1;
    if (deadline_fd >= 0) {
        builder->line.deadline_fd = add_fd(builder, deadline_fd);
        add_option(builder, "-add-fd", "fd=%d,set=%d", QEMU_DEADLINE_FD, QEMU_DEADLINE_FD);
    }
}

static void add_machine(struct builder *builder, const struct qemu_machine *machine)
{
    add(builder, "qemu-system-x86_64");
    add(builder, "-nodefaults");
    add(builder, "-no-user-config");
    add_option(builder, "-name", "guest=%s,debug-threads=on", machine->name); /* for top -H */
    add_option(builder, "-uuid", "%s", machine->uuid);
    /* What nobody uses takes time in the blackout all the same, to be saved and loaded: the
     * stream's description of itself, a SATA and an SMBus controller. */
    add_option(builder, "-machine", "%s,memory-backend=ram0,suppress-vmdesc=on,sata=off,smbus=off",
               machine->machine_type);
    add_option(builder, "-accel", "%s", qemu_accelerator_name(machine->accelerator));
    /* enforce: a feature that this host lacks is an error, not a different machine. */
    add_option(builder, "-cpu", "%s,enforce", machine->cpu_model);
    add_option(builder, "-smp", "%u", machine->vcpus);
    add_option(builder, "-m", "%" PRIu64 "B", machine->memory_bytes);
    add_json(builder, "-object",
             json_pack("{s:s, s:s, s:s, s:I, s:b}", "qom-type", "memory-backend-file", "id", "ram0",
                       "mem-path", machine->ram_path, "size", (json_int_t)machine->memory_bytes,
                       "share", 1));
    add_option(builder, "-rtc", "base=utc");
    add_option(builder, "-msg", "timestamp=on");
    add_option(builder, "-sandbox",
               "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

/* A socket in the run folder that QEMU listens on. */
static void add_socket(struct builder *builder, const struct qemu_machine *machine, const char *id,
                       const char *file)
{
    add_option(builder, "-chardev", "socket,id=%s,path=%s/%s,server=on,wait=off", id,
               machine->run_folder, file);
}

/* One monitor for the agent and one for the mover: each has one user at a time. */
static void add_consoles(struct builder *builder, const struct qemu_machine *machine)
{
    add_socket(builder, machine, "qmp", "qmp.sock");
    add_option(builder, "-mon", "chardev=qmp,mode=control");
    add_socket(builder, machine, "mover-qmp", "mover.qmp.sock");
    add_option(builder, "-mon", "chardev=mover-qmp,mode=control");
    add_option(builder, "-chardev",
               "socket,id=serial0,path=%s/serial.sock,server=on,wait=off,logfile=%s/serial.log,"
               "logappend=on",
               machine->run_folder, machine->run_folder);
    add_option(builder, "-serial", "chardev:serial0");
}

static void add_display(struct builder *builder, const struct qemu_machine *machine)
{
    if (!machine->vga) {
        add_option(builder, "-display", "none");
        return;
    }
    add_option(builder, "-vnc", "unix:%s/vnc.sock", machine->run_folder);
    add_option(builder, "-device", "VGA,id=vga,addr=0x%02x", SLOT_VGA);
    /* Absolute coordinates: the pointer of a VNC viewer and of the guest agree. */
    add_option(builder, "-device", "qemu-xhci,id=usb,addr=0x%02x", SLOT_USB);
    add_option(builder, "-device", "usb-tablet,id=tablet,bus=usb.0");
}

static void add_disk(struct builder *builder, const struct qemu_disk *disk, int index)
{
    char file_node[80];
    char file_name[32];
    snprintf(file_node, sizeof(file_node), "%s-file", disk->name);
    snprintf(file_name, sizeof(file_name), "/dev/fdset/%d", index);
    add_option(builder, "-add-fd", "fd=%d,set=%d", add_fd(builder, disk->fd), index);
    /* Through the page cache: what QEMU reads past it into guest memory would be seen by no dirty
     * tracker. */
    add_json(builder, "-blockdev",
             json_pack("{s:s, s:s, s:s, s:s, s:{s:b, s:b}, s:s, s:s}", "driver", "file",
                       "node-name", file_node, "filename", file_name, "aio", "threads", "cache",
                       "direct", 0, "no-flush", 0, "locking", "on", "discard", "unmap"));
    json_t *format = json_pack("{s:s, s:s, s:s, s:s}", "driver", disk->format, "node-name",
                               disk->name, "file", file_node, "discard", "unmap");
    if (strcmp(disk->format, "qcow2") == 0) {
        json_object_set_new(format, "backing", json_null()); /* a disk is one file */
    }
    add_json(builder, "-blockdev", format);
    add_option(builder, "-device",
               "virtio-blk-pci,id=%s,drive=%s,serial=%s,addr=0x%02x.%d,multifunction=on,"
               "bootindex=%d",
               disk->name, disk->name, disk->name, SLOT_DISKS + index / FUNCTIONS_PER_SLOT,
               index % FUNCTIONS_PER_SLOT, index + 1);
}

static void add_nic(struct builder *builder, const struct qemu_nic *nic, int index)
{
    add_option(builder, "-netdev", "tap,id=net%d,fd=%d,vhost=off", index,
               add_fd(builder, nic->tap_fd));
    add_option(builder, "-device",
               "virtio-net-pci,id=nic%d,netdev=net%d,mac=%s,romfile=,addr=0x%02x.%d,"
               "multifunction=on",
               index, index, nic->mac, SLOT_NICS + index / FUNCTIONS_PER_SLOT,
               index % FUNCTIONS_PER_SLOT);
}

/* QEMU's loader knows no fd sets: it opens our descriptor again by its name in /proc. */
static void add_kernel(struct builder *builder, const struct qemu_machine *machine)
{
    if (machine->kernel_fd < 0) {
        return;
    }
    add_option(builder, "-kernel", "/proc/self/fd/%d", add_fd(builder, machine->kernel_fd));
    if (machine->initrd_fd >= 0) {
        add_option(builder, "-initrd", "/proc/self/fd/%d", add_fd(builder, machine->initrd_fd));
    }
    if (machine->kernel_arguments) {
        add_option(builder, "-append", "%s", machine->kernel_arguments);
    }
}

/* Only what a guest needs: each virtio device costs the blackout about a millisecond, since QEMU
 * saves and loads the state of 1,024 queues for it. */
static void add_devices(struct builder *builder, const struct qemu_machine *machine)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        add_disk(builder, &machine->disks[i], (int)i);
    }
    for (size_t i = 0; i < machine->nic_count; i++) {
        add_nic(builder, &machine->nics[i], (int)i);
    }
}

/* Opening by /proc checks the file's mode, for QEMU's user. */
static int check_readable(int fd, const char *what, uid_t uid, struct error *err)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        return fd < 0 ? 0 : error_set_errno(err, errno, "cannot look at the %s", what);
    }
    bool readable = uid == 0 || (status.st_mode & S_IROTH) ||
                    (status.st_uid == uid && (status.st_mode & S_IRUSR));
    if (!readable) {
        error_set(err, EACCES, "the %s of the guest is not readable by QEMU's user", what);
        return error_remedy(err, "make it readable for everyone (chmod 0644)");
    }
    return 0;
}

/* Paths become part of comma-separated options. */
static int check_path(const char *path, struct error *err)
{
    return strchr(path, ',') ? error_set(err, EINVAL, "the path %s contains a comma", path) : 0;
}

static int check_machine(const struct qemu_machine *machine, struct error *err)
{
    if (machine->disk_count > QEMU_DISKS_MOST || machine->nic_count > QEMU_NICS_MOST) {
        return error_set(err, EINVAL, "a VM has at most %d disks and %d NICs", QEMU_DISKS_MOST,
                         QEMU_NICS_MOST);
    }
    int result = check_path(machine->run_folder, err);
    if (result == 0) {
        result = check_readable(machine->kernel_fd, "kernel", machine->uid, err);
    }
    if (result == 0) {
        result = check_readable(machine->initrd_fd, "initramfs", machine->uid, err);
    }
    return result;
}

int qemu_command_line_build(const struct qemu_machine *machine, int userfaultfd_device,
                            struct qemu_command_line *ret_line, struct error *err)
{
    struct builder builder = {0};
    int result = check_machine(machine, err);
    if (result < 0) {
        return result;
    }
    if (userfaultfd_device >= 0) {
        add_fd(&builder, userfaultfd_device);
    }
    add_machine(&builder, machine);
    add_deadline(&builder, machine->deadline_fd);
    add_consoles(&builder, machine);
    add_display(&builder, machine);
    add_devices(&builder, machine);
    add_kernel(&builder, machine);
    if (machine->incoming) {
        add_option(&builder, "-incoming", "defer");
        add(&builder, "-S");
    }
    if (builder.failure < 0) {
        qemu_command_line_done(&builder.line);
        return error_set_errno(err, builder.failure, "cannot describe %s to QEMU", machine->name);
    }
    *ret_line = builder.line;
    return 0;
}

void qemu_command_line_done(struct qemu_command_line *line)
{
    for (size_t i = 0; i < line->argument_count; i++) {
        free(line->arguments[i]);
    }
    *line = (struct qemu_command_line){0};
}
