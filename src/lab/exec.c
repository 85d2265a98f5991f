/* `drover lab exec`: a command in a node's namespaces, with this terminal and its exit status. */
#include <errno.h>
#include <linux/limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/command.h"
#include "lab/node.h"

#define EXIT_NOT_FOUND 127
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_SIGNAL_BASE 128

#define ALL_NAMESPACES (CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID)

/* In the child. It ends with its `drover`: one that is killed leaves nothing running. */
static void __attribute__((noreturn)) run_command(char **command, const char *folder)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (chdir(folder) < 0) {
        (void)!chdir("/");
    }
    execvp(command[0], command);
    int code = errno;
    dprintf(STDERR_FILENO, "drover: cannot run %s: %s\n", command[0], strerror(code));
    _exit(code == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Ctrl-C reaches the command itself, which decides what it means. */
static int wait_for(pid_t pid)
{
    int status;
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return EXIT_NOT_EXECUTABLE;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL_BASE + WTERMSIG(status);
}

int lab_exec(const struct lab_arguments *arguments, struct error *err)
{
    struct lab lab;
    char folder[PATH_MAX];
    if (!getcwd(folder, sizeof(folder))) {
        strcpy(folder, "/");
    }
    int result = registry_look(arguments->lab_name, &lab, err);
    if (result < 0) {
        return result;
    }
    const struct lab_node *node = registry_find_node(&lab, arguments->words[0], false, err);
    if (!node) {
        return -err->code;
    }
    result = node_enter(node, ALL_NAMESPACES, err);
    if (result < 0) {
        return result;
    }
    pid_t pid = fork();
    if (pid < 0) {
        return error_set_errno(err, errno, "cannot start a process in %s", node->name);
    }
    if (pid == 0) {
        run_command(arguments->words + 1, folder);
    }
    return wait_for(pid);
}
