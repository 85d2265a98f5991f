/* The same work on the parts of something large, several of them at once. */
#pragma once

#define PARALLEL_THREADS_MOST 16u

/* How many threads this machine has processors for: 1 to `most`. */
unsigned parallel_threads(unsigned most);

/*
 * Calls work(context, part) once for each part from 0 to parts - 1, in any order, in the calling
 * thread and in up to threads - 1 further ones (at most PARALLEL_THREADS_MOST), each of which takes
 * the next part when it is done with one. Returns when all parts are done; what the parts wrote is
 * the caller's to read then. Threads that cannot be had are done without.
 */
void parallel_run(unsigned threads, unsigned parts, void (*work)(void *context, unsigned part),
                  void *context);
