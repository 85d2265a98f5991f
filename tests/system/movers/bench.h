/*
 * A world for two movers on one machine, without an agent: namespaces of its own (gone with the
 * process), a tmpfs with huge pages for RAM files, a bridge, and a VM on either side.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/process.h"
#include "mover/control.h"
#include "mover/setup.h"
#include "net/tap.h"
#include "vmm/qemu/machine.h"

#define BENCH_QEMU_UID 65534
#define BENCH_MOVER_UID 65533
#define BENCH_MAC "52:54:00:12:34:56"
#define BENCH_GUEST_ADDRESS "10.9.0.2"
#define BENCH_HOST_ADDRESS "10.9.0.1"

struct bench_options {
    const char *kernel;
    const char *initramfs;
    const char *arguments; /* kernel's */
    uint64_t memory_bytes;
    bool vga;
    uint64_t disk_bytes; /* 0: no disk */
    enum mover_engine engine;
    uint64_t bandwidth_limit; /* bytes a second; 0: none */
    bool in_clear;            /* channels without encryption */
};

struct bench {
    struct bench_options options;
    char folder[64];
    int disk_fd[2]; /* two open file descriptions of one file; -1: no disk */
    unsigned vms_started;
};

/* What the agents of both sides give their movers. */
struct bench_secrets {
    uint8_t token[ENGINE_TOKEN_SIZE];
    uint8_t key[SECURE_KEY_SIZE];
};

/* A VM, as an agent holds it. */
struct bench_vm {
    char folder[96];
    char ram_path[128];
    int tap_fd;
    struct process_identity process;
};

/* Enters new namespaces. Everything below exits with a message when it cannot go on. */
void bench_enter(struct bench *bench, const struct bench_options *options);
void bench_leave(struct bench *bench);

struct bench_vm bench_start_vm(struct bench *bench, bool incoming);
void bench_end_vm(struct bench_vm *vm);

/* "running", "postmigrate"...; "gone" when QEMU does not answer. */
void bench_vm_status(const struct bench_vm *vm, char status[32]);

/* A monitor of the VM for a mover. */
int bench_vm_monitor(const struct bench_vm *vm, const char *socket);

/* Starts a mover for the VM. `peer_port` is the destination's, which listens on `listen_fd`. */
struct process_identity bench_start_mover(const struct bench *bench, const struct bench_vm *vm,
                                          enum mover_role role, int listen_fd, uint16_t peer_port,
                                          const struct bench_secrets *secrets,
                                          struct mover_control *control);

/* One line to the guest's report port, its answer as JSON (new reference). */
json_t *bench_ask_guest(const char *question);

void bench_fail(const char *what, const struct error *err) __attribute__((noreturn));
