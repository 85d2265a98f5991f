/*
 * Memory for a machine that is to come: its RAM file's pages are taken from the kernel, and zeroed,
 * while its QEMU is being started and its source is still reading. What arrives then finds its
 * place, and costs no page fault.
 *
 * Only where the source has memory: in ranges of 2 MiB. Where there is no room it ends quietly; who
 * receives the pages reports that.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

struct populate;

#define POPULATE_UNIT ((uint64_t)2 << 20)
#define POPULATE_RANGES_MOST 4096u /* of one machine: beyond it gaps are closed */

/* Source: where the RAM file has data, as [[first unit, units], ...]. New reference; NULL when it
 * cannot be read: then nothing is populated. */
json_t *populate_describe(int memory_fd, uint64_t memory_size);

/* Destination: checks the description. NULL stands for none: *ret_populate is NULL then. */
int populate_new(const json_t *description, uint64_t memory_size, struct populate **ret_populate,
                 struct error *err);

/* Begins, with the RAM file (borrowed for the call); `argument` is a struct populate, or NULL. For
 * struct launch_shadow. */
void populate_begin(void *argument, int memory_fd);

/* Ends it, whatever is left, within some ten milliseconds. NULL is fine. */
void populate_free(struct populate *populate);
