/* See support.h. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SKIPPED 77

void platform_skip_program(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    printf("skipped, because ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    exit(SKIPPED);
}

void platform_fail(const char *what, const char *file, int line)
{
    print_error("%s: %s\n", what, strerror(errno));
    _fail(file, line);
}

void platform_private_mounts(void)
{
    if (geteuid() != 0)
        platform_skip_program("mount namespaces, tmpfs and tap devices need root");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        platform_skip_program("no mount namespace can be made here: %s", strerror(errno));
    if (mount("drover-platform", PLATFORM_FOLDER, "tmpfs", 0, "mode=755,huge=never") < 0)
        platform_skip_program("no tmpfs can be mounted on %s: %s", PLATFORM_FOLDER,
                              strerror(errno));
}

void platform_mount_tmpfs(const char *name, const char *options)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", PLATFORM_FOLDER, name);
    platform_must(mkdir(path, 0755) == 0 || errno == EEXIST, path);
    platform_must(mount("drover-platform", path, "tmpfs", 0, options) == 0, options);
}

int platform_file_new(const char *name, size_t size)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", PLATFORM_FOLDER, name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    platform_must(fd >= 0, path);
    platform_must(ftruncate(fd, (off_t)size) == 0, path);
    return fd;
}

size_t platform_file_allocated(int fd)
{
    struct stat status;

    platform_must(fstat(fd, &status) == 0, "fstat");
    return (size_t)status.st_blocks * 512;
}

int platform_drop_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};

    if (setgroups(0, NULL) < 0 ||
        setresgid(PLATFORM_UNPRIVILEGED_ID, PLATFORM_UNPRIVILEGED_ID, PLATFORM_UNPRIVILEGED_ID) <
            0 ||
        setresuid(PLATFORM_UNPRIVILEGED_ID, PLATFORM_UNPRIVILEGED_ID, PLATFORM_UNPRIVILEGED_ID) < 0)
        return -1;
    if (syscall(SYS_capset, &header, none) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

pid_t platform_fork(void)
{
    pid_t parent = getpid();
    pid_t child = fork();

    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    return 0;
}

void platform_reap(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int platform_run(int (*body)(void *argument), void *argument)
{
    int status;
    pid_t child = platform_fork();

    platform_must(child >= 0, "fork");
    if (child == 0)
        _exit(body(argument));
    platform_must(waitpid(child, &status, 0) == child, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

double platform_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}
