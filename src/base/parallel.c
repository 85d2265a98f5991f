/* Several parts at once: see parallel.h. */
#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

unsigned parallel_threads(unsigned most)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 1 ? 1 : processors < (long)most ? (unsigned)processors : most;
}

struct crew {
    void (*work)(void *context, unsigned part);
    void *context;
    unsigned parts;
    atomic_uint next;
};

static void *take_parts(void *argument)
{
    struct crew *crew = argument;
    unsigned part;
    while ((part = atomic_fetch_add(&crew->next, 1)) < crew->parts) {
        crew->work(crew->context, part);
    }
    return NULL;
}

void parallel_run(unsigned threads, unsigned parts, void (*work)(void *context, unsigned part),
                  void *context)
{
    struct crew crew = {.work = work, .context = context, .parts = parts};
    pthread_t helpers[PARALLEL_THREADS_MOST];
    unsigned most = threads < PARALLEL_THREADS_MOST ? threads : PARALLEL_THREADS_MOST, count = 0;
    while (count + 1 < most && count + 1 < parts &&
           pthread_create(&helpers[count], NULL, take_parts, &crew) == 0) {
        count++;
    }
    take_parts(&crew);
    while (count > 0) {
        pthread_join(helpers[--count], NULL);
    }
}
