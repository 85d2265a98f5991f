/* The walls around a mover: see sandbox.h. */
#include "mover/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "mover/sandbox_calls.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

int sandbox_leave_files(struct error *err)
{
    return geteuid() == 0 ? 0 : confine_leave_files(err); /* root: a developer, by hand */
}

/* ---- the last word ---- */

/* The digits of a number, at the end of a buffer: printf is not to be called in a handler. */
static char *print_number(char *end, unsigned number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return end;
}

/* The call was not made. A second one kills: the signal is blocked now. */
static void end_here(int signal, siginfo_t *info, void *context)
{
    static const char before[] = "drover-mover error: it tried system call ";
    static const char after[] = ", which is not among those it needs: it ends here\n";
    char number[16];
    const char *digits = print_number(number + sizeof(number), (unsigned)info->si_syscall);
    (void)signal;
    (void)context;
    if (write(STDERR_FILENO, before, sizeof(before) - 1) < 0 ||
        write(STDERR_FILENO, digits, (size_t)(number + sizeof(number) - digits)) < 0 ||
        write(STDERR_FILENO, after, sizeof(after) - 1) < 0) {
        /* Nobody is left to tell. */
    }
    for (;;) {
        pause();
    }
}

static int prepare_last_word(struct error *err)
{
    struct sigaction action = {.sa_sigaction = end_here, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) < 0
               ? error_set_errno(err, errno, "cannot prepare the filter of system calls")
               : 0;
}

/* ---- the filter ---- */

static int add_rule(scmp_filter_ctx filter, const struct sandbox_rule *rule)
{
    struct scmp_arg_cmp conditions[SANDBOX_CONDITIONS_MOST];
    unsigned count = 0;
    while (count < SANDBOX_CONDITIONS_MOST && rule->only[count].mask != 0) {
        const struct sandbox_condition *only = &rule->only[count];
        conditions[count++] = (struct scmp_arg_cmp){.arg = only->argument,
                                                    .op = SCMP_CMP_MASKED_EQ,
                                                    .datum_a = only->mask,
                                                    .datum_b = only->value};
    }
    uint32_t action = rule->answer ? SCMP_ACT_ERRNO((uint32_t)rule->answer) : SCMP_ACT_ALLOW;
    return seccomp_rule_add_array(filter, action, rule->call, count, conditions);
}

static int fill_filter(scmp_filter_ctx filter, unsigned role)
{
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; result == 0 && i < sizeof(sandbox_rules) / sizeof(sandbox_rules[0]); i++) {
        if (sandbox_rules[i].roles & role) {
            result = add_rule(filter, &sandbox_rules[i]);
        }
    }
    return result;
}

static unsigned role_bit(enum mover_role role)
{
    return role == MOVER_ROLE_SOURCE        ? SANDBOX_SOURCE
           : role == MOVER_ROLE_DESTINATION ? SANDBOX_DESTINATION
                                            : SANDBOX_SAMPLE;
}

int sandbox_filter_calls(enum mover_role role, struct error *err)
{
    if (IS_SANITIZED) {
        log_warning("built with a sanitizer: system calls are not filtered");
        return 0;
    }
    int result = prepare_last_word(err);
    if (result < 0) {
        return result;
    }
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    result = filter ? fill_filter(filter, role_bit(role)) : -ENOMEM;
    if (result == 0) {
        result = seccomp_load(filter);
    }
    seccomp_release(filter);
    return result < 0 ? error_set_errno(err, -result, "cannot filter this process's system calls")
                      : 0;
}
