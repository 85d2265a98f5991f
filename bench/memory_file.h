/*
 * A file like a guest's RAM file: on a tmpfs of huge pages, without a name, gone with its last
 * descriptor. The tmpfs is mounted nowhere. Needs root.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Opens a file of `bytes`, all of it a hole. Returns a descriptor that the caller closes. */
int memory_file_open(uint64_t bytes, struct error *err);

/* Fills a file with data that no zero check and no compression takes short cuts with. */
int memory_file_fill(int fd, uint64_t bytes, struct error *err);
