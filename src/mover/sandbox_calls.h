/*
 * Every system call that a mover may make once it is confined, by role and, where it matters, by
 * argument. Included by sandbox.c, and by the program that lists it for the test.
 *
 * Kept right by tests/system/test_mover_calls.py, which traces real moves of every kind: what a
 * mover needs and is not here ends it, and what is here and nobody needs fails the test, but for
 * what is marked as seldom.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/kernel.h"

#define SANDBOX_SOURCE 1u
#define SANDBOX_DESTINATION 2u
#define SANDBOX_SAMPLE 4u

#define SANDBOX_CONDITIONS_MOST 2
#define SIGNAL_OF_SETUID 33 /* glibc's SIGSETXID: the first thread installs its handler */

struct sandbox_condition {
    unsigned argument;
    uint64_t mask; /* 0: no condition */
    uint64_t value;
};

struct sandbox_rule {
    int call;
    unsigned roles;
    int answer;  /* errno that it gets instead of being made; 0: it is made */
    bool seldom; /* for the test alone */
    struct sandbox_condition only[SANDBOX_CONDITIONS_MOST]; /* all of them must hold */
};

#define ALL (SANDBOX_SOURCE | SANDBOX_DESTINATION | SANDBOX_SAMPLE)
#define MOVE (SANDBOX_SOURCE | SANDBOX_DESTINATION)
#define TRACK (SANDBOX_SOURCE | SANDBOX_SAMPLE)
#define SOURCE SANDBOX_SOURCE
#define SAMPLE SANDBOX_SAMPLE
#define DESTINATION SANDBOX_DESTINATION

/* clang-format off */

/* CALL: moves make it. SELDOM: only circumstances that no test can make have it made; the reason is
 * beside it. REFUSE: libraries ask for it, and do without. HAS, IS: only with such an argument. */
#define CALL(name, roles, ...) {SCMP_SYS(name), roles, 0, false, {__VA_ARGS__}}
#define SELDOM(name, roles, ...) {SCMP_SYS(name), roles, 0, true, {__VA_ARGS__}}
#define REFUSE(name, answer) {SCMP_SYS(name), ALL, answer, true, {{0}}}
#define HAS(argument, mask, value) {argument, mask, value}
#define IS(argument, value) {argument, UINT32_MAX, (uint32_t)(value)}
#define NOTHING {0}

static const struct sandbox_rule sandbox_rules[] = {
    /* memory, never executable */
    CALL(mmap, ALL, HAS(2, PROT_EXEC, 0)),
    CALL(mprotect, MOVE, HAS(2, PROT_EXEC, 0)),
    CALL(munmap, ALL, NOTHING),
    CALL(brk, MOVE, NOTHING),
    SELDOM(brk, SAMPLE, NOTHING),       /* a large guest's sets of pages */
    SELDOM(mremap, ALL, NOTHING),       /* a large buffer grows */
    CALL(madvise, MOVE, NOTHING),

    /* threads, never processes */
    REFUSE(clone3, ENOSYS),             /* its flags cannot be looked at here: clone(2) it is */
    CALL(clone, MOVE, HAS(0, CLONE_THREAD, CLONE_THREAD)),
    CALL(rseq, MOVE, NOTHING),
    CALL(set_robust_list, MOVE, NOTHING),
    CALL(rt_sigprocmask, MOVE, NOTHING),
    CALL(rt_sigaction, MOVE, IS(0, SIGNAL_OF_SETUID)),
    CALL(prctl, SOURCE, IS(0, PR_SET_NAME)),
    CALL(prctl, SOURCE, IS(0, PR_SET_TIMERSLACK)),
    CALL(futex, MOVE, NOTHING),
    CALL(exit, MOVE, NOTHING),
    CALL(exit_group, ALL, NOTHING),
    SELDOM(sched_yield, ALL, NOTHING),  /* a lock of glibc's that is held for long */
    CALL(sched_getaffinity, SOURCE, NOTHING),

    /* the last words of an assertion, and the end after them */
    SELDOM(getpid, SAMPLE, NOTHING),
    SELDOM(gettid, ALL, NOTHING),
    SELDOM(tgkill, ALL, IS(2, SIGABRT)),
    SELDOM(rt_sigaction, ALL, IS(0, SIGABRT)),

    /* time, waiting */
    SELDOM(clock_gettime, ALL, NOTHING), /* where the machine's clock is too slow for the vDSO */
    CALL(clock_nanosleep, MOVE, NOTHING),
    SELDOM(restart_syscall, ALL, NOTHING), /* waits go on after SIGSTOP and SIGCONT */
    CALL(poll, MOVE, NOTHING),
    CALL(ppoll, ALL, NOTHING),
    CALL(eventfd2, MOVE, NOTHING),

    /* descriptors that it has */
    CALL(read, ALL, NOTHING),
    CALL(write, MOVE, NOTHING),
    SELDOM(write, SAMPLE, NOTHING),     /* the log */
    CALL(writev, DESTINATION, NOTHING),
    CALL(pread64, TRACK, NOTHING),
    CALL(pwrite64, DESTINATION, NOTHING),
    CALL(lseek, TRACK, NOTHING),
    SELDOM(fallocate, DESTINATION, NOTHING), /* much of what was sent is zeroes now */
    CALL(sendfile, SOURCE, NOTHING),
    CALL(pipe2, MOVE, NOTHING),
    CALL(close, ALL, NOTHING),
    CALL(fcntl, MOVE, IS(1, F_GETFL)),
    CALL(fcntl, MOVE, IS(1, F_SETFL)),
    CALL(fcntl, MOVE, IS(1, F_SETPIPE_SZ)),
    REFUSE(openat, ENOENT),             /* glibc, for how many processors there are; OpenSSL */
    CALL(sysinfo, MOVE, NOTHING),       /* OpenSSL; glibc, to sort much */
    CALL(getrandom, MOVE, NOTHING),
    CALL(getpid, MOVE, NOTHING),        /* OpenSSL, to notice a fork */

    /* connections: its agent's, QEMU's monitor, the other mover's */
    CALL(accept4, MOVE, NOTHING),
    CALL(sendmsg, MOVE, NOTHING),
    CALL(recvmsg, MOVE, NOTHING),
    CALL(sendto, ALL, NOTHING),
    CALL(recvfrom, MOVE, NOTHING),
    CALL(shutdown, MOVE, NOTHING),
    CALL(socket, SOURCE, IS(0, AF_INET), HAS(1, 0xf, SOCK_STREAM)),
    SELDOM(socket, SOURCE, IS(0, AF_INET6), HAS(1, 0xf, SOCK_STREAM)), /* the peer's network is IPv6 */
    CALL(bind, SOURCE, NOTHING),
    CALL(connect, SOURCE, NOTHING),
    CALL(setsockopt, SOURCE, IS(1, IPPROTO_IP), IS(2, IP_BIND_ADDRESS_NO_PORT)),
    SELDOM(setsockopt, SOURCE, IS(1, IPPROTO_TCP), IS(2, TCP_CONGESTION)), /* the host's choice is BBR */
    CALL(setsockopt, MOVE, IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY)),
    CALL(setsockopt, MOVE, IS(1, IPPROTO_TCP), IS(2, TCP_ULP)), /* would the kernel encrypt? */
    SELDOM(setsockopt, MOVE, IS(1, SOL_TLS), IS(2, TLS_TX)),    /* it would */
    SELDOM(setsockopt, MOVE, IS(1, SOL_TLS), IS(2, TLS_RX)),
    CALL(setsockopt, MOVE, IS(1, SOL_SOCKET), IS(2, SO_SNDTIMEO)),
    CALL(setsockopt, DESTINATION, IS(1, SOL_SOCKET), IS(2, SO_RCVLOWAT)),
    SELDOM(setsockopt, SOURCE, IS(1, SOL_SOCKET), IS(2, SO_RCVLOWAT)), /* an answer comes in pieces */
    CALL(getsockopt, MOVE, IS(1, SOL_SOCKET), IS(2, SO_PEERCRED)),
    CALL(getsockopt, SOURCE, IS(1, SOL_SOCKET), IS(2, SO_ERROR)),
    CALL(getsockopt, SOURCE, IS(1, IPPROTO_TCP), IS(2, TCP_CONGESTION)),
    CALL(getsockopt, SOURCE, IS(1, IPPROTO_TCP), IS(2, TCP_INFO)),
    CALL(ioctl, SOURCE, IS(1, SIOCOUTQ)),

    /* the guest's NICs */
    CALL(ioctl, MOVE, IS(1, TUNSETCARRIER)),
    CALL(ioctl, DESTINATION, IS(1, TUNGETVNETHDRSZ)),

    /* the guest's writes: seeing them, making writers wait */
    CALL(ioctl, TRACK, IS(1, UFFDIO_API)),
    CALL(ioctl, TRACK, IS(1, UFFDIO_REGISTER)),
    CALL(ioctl, TRACK, IS(1, UFFDIO_UNREGISTER)),
    CALL(ioctl, TRACK, IS(1, UFFDIO_WRITEPROTECT)),
    CALL(ioctl, SOURCE, IS(1, UFFDIO_WAKE)),
    CALL(ioctl, TRACK, IS(1, PAGEMAP_SCAN)),
};
/* clang-format on */

#undef ALL
#undef MOVE
#undef TRACK
#undef SOURCE
#undef SAMPLE
#undef DESTINATION
#undef CALL
#undef SELDOM
#undef REFUSE
#undef HAS
#undef IS
#undef NOTHING
