/*
 * What every platform test needs: skipping with a reason, a private tmpfs, and children that die
 * with us.
 *
 * Each test program proves facts about the kernel or QEMU that Drover stands on. A missing
 * prerequisite is never a failure: it is said, and the program ends with the exit code by which
 * Meson knows a skipped test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <sys/types.h>

#define PLATFORM_PAGE ((size_t)4096)
#define PLATFORM_HUGE_PAGE ((size_t)2 << 20)
#define PLATFORM_UNPRIVILEGED_ID 65534
#define PLATFORM_FOLDER "/mnt"

/* Ends the program as skipped (exit code 77), saying why. */
void platform_skip_program(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Ends the running cmocka case as skipped, saying why. */
#define platform_skip_case(...)             \
    do {                                    \
        print_message("skipped, because "); \
        print_message(__VA_ARGS__);         \
        print_message("\n");                \
        skip();                             \
    } while (0)

/* Fails the running case with errno's meaning unless `holds`. */
#define platform_must(holds, what)                     \
    do {                                               \
        if (!(holds))                                  \
            platform_fail((what), __FILE__, __LINE__); \
    } while (0)
void platform_fail(const char *what, const char *file, int line);

/*
 * Enters a mount namespace of our own, with an empty tmpfs of 4 KiB pages over PLATFORM_FOLDER:
 * what is mounted or created there vanishes with the program. Skips the program without root.
 */
void platform_private_mounts(void);

/*
 * Mounts another tmpfs on PLATFORM_FOLDER/`name`, with mount options such as "huge=always,size=8m".
 */
void platform_mount_tmpfs(const char *name, const char *options);

/*
 * Creates and opens the file PLATFORM_FOLDER/`name`, `size` bytes long, all hole. The caller closes
 * it.
 */
int platform_file_new(const char *name, size_t size);

/* Bytes that `fd` occupies, holes left out. */
size_t platform_file_allocated(int fd);

/* Gives up root, its groups and all capabilities for good. Returns 0, or -1 with errno. */
int platform_drop_privileges(void);

/*
 * Runs `body` in a child process and returns what it returned (0 to 255), or -1 if it was killed by
 * a signal. The child dies with the test program. For bodies that change privileges.
 */
int platform_run(int (*body)(void *argument), void *argument);

/* Forks; the child is killed by the kernel if the program ends before it. Returns like fork(). */
pid_t platform_fork(void);

/* Kills and reaps the child behind `pid`. */
void platform_reap(pid_t pid);

/* Monotonic milliseconds, for time limits and reports. */
double platform_now_ms(void);
