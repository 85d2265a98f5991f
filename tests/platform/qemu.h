/*
 * A QEMU that runs the boot sector guest, started as Drover starts one: RAM in a named file, QMP
 * and serial port over inherited sockets, the preload library, no privileges, sandboxed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "qmp.h"
#include "tracker.h"

#define QEMU_MAX_ARGUMENTS 64
#define QEMU_MEMORY ((size_t)256 << 20)

struct qemu {
    pid_t pid;
    struct qmp qmp;
    int serial;
    int ram; /* the RAM file */
    char ram_path[64];
    int userfaultfd; /* its number in QEMU */
    int arguments_used;
    const char *arguments[QEMU_MAX_ARGUMENTS];
    int inherited[8];
    int inherited_used;
    bool privileged; /* run as root: for /dev/kvm */
};

/* Skips the program where there is no QEMU, or one before 7.2, or no /dev/userfaultfd. */
void qemu_require(void);

/* Prepares a QEMU: creates its RAM file PLATFORM_FOLDER/`name`. `accelerator` is "tcg" or "kvm". */
void qemu_prepare(struct qemu *qemu, const char *name, const char *accelerator);

/* Adds an argument; the text must live until qemu_start(). */
void qemu_argument(struct qemu *qemu, const char *argument);

/* Makes it a destination: it waits for migrate-incoming, and after that for cont. */
void qemu_incoming(struct qemu *qemu);

/* Lets QEMU inherit `fd` under its own number. Taken over: closed here once QEMU has it. */
void qemu_inherit(struct qemu *qemu, int fd);

/* Adds a boot disk of 1 MiB with the guest on it, opened by QEMU by its path. */
void qemu_boot_disk(struct qemu *qemu, const char *name);

/* Creates the image of such a disk, raw, owned by the user that QEMU runs as. */
void qemu_disk_new(const char *name);

/*
 * Adds a virtio disk: image format "raw" or "qcow2", a path or /dev/fdset/N, and more options (""
 * or ",option=value").
 */
void qemu_disk(struct qemu *qemu, const char *format, const char *filename, const char *options);

/* Starts it and connects QMP. */
void qemu_start(struct qemu *qemu);

/* For a QEMU that is expected to give up at its start: whether it did. */
bool qemu_refuses_to_start(struct qemu *qemu);
void qemu_stop(struct qemu *qemu);

/* Sets a migration capability. */
void qemu_capability(struct qemu *qemu, const char *name, bool on);

/* Whether QEMU's run state is `state`: "running", "postmigrate", "inmigrate" and so on. */
bool qemu_is(struct qemu *qemu, const char *state);

/* Opens a tracker on its RAM. */
void qemu_track(struct qemu *qemu, struct tracker *tracker);

/*
 * Waits until the guest made progress: `count` times '.' after what it said so far. Anything but
 * '.', ever, fails.
 */
void qemu_expect_progress(struct qemu *qemu, size_t count);

/* Waits for one character. Returns it, or 0 after a while. */
char qemu_next_character(struct qemu *qemu);
