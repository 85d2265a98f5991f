/* Threads inside of QEMU: see preload_thread.h. */
#include "vmm/qemu/preload_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#define STACK_SIZE ((size_t)64 << 10)

int preload_start_thread(void *(*function)(void *argument), void *argument)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread, &attributes, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return result;
}
