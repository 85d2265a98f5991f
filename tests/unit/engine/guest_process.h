/*
 * A process that maps a RAM file, as QEMU does, and does to it what guests, balloons and the kernel
 * do. The file is on a tmpfs mounted in a mount namespace of our own.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

enum deed {
    WRITE,  /* one byte of every step-th page */
    READ,   /* likewise */
    PUNCH,  /* fallocate(2) */
    REMOVE, /* MADV_REMOVE */
    UNMAP,  /* MADV_DONTNEED */
    LIVE,   /* writes and gives back pages at random, until killed; answers first */
    HAMMER, /* sets a thread, number `value`, writing all over these pages; answers at once */
    REST,   /* ends all such threads */
};

#define GUEST_HAMMERS_MOST 4

struct order {
    enum deed deed;
    uint64_t first, count, step; /* pages; step 0 is 1 */
    uint8_t value;
};

struct guest_process {
    char folder[64]; /* where the tmpfs is */
    uint64_t memory_size;
    int memory_fd;
    int userfaultfd;             /* the process's own */
    int pacing;                  /* another of its own, of which only we hold a descriptor */
    volatile uint64_t *hammered; /* how many writes each hammer has done */
    int pagemap;
    int orders;
    pid_t pid;
    uint64_t address; /* of the memory in the process */
};

/* Why no such process can be tracked here; NULL when it can. Moves us into a mount namespace. */
const char *guest_process_missing(void);

/* Mounts a tmpfs with those options and starts the process. Fails the test when it cannot. */
void guest_process_start(struct guest_process *process, uint64_t memory_size, const char *options);
void guest_process_end(struct guest_process *process);

/* Has something done, and waits until it is. */
void guest_process_order(struct guest_process *process, struct order order);

/* A new file of the memory's size in the folder. */
int guest_process_file(const struct guest_process *process, const char *name);
