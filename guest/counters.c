/* See counters.h. */
#include "counters.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct counters *counters_open(const char *path)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (descriptor < 0 || ftruncate(descriptor, sizeof(struct counters)) < 0)
        err(1, "%s", path);
    void *address =
        mmap(NULL, sizeof(struct counters), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED)
        err(1, "%s", path);
    close(descriptor);
    return address;
}

/* Its first 16 digits; the version digit of the UUID makes two halves of it. */
uint64_t counters_boot_identity(void)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    unsigned first, second, third;
    FILE *file = fopen(path, "re");

    if (!file || fscanf(file, "%8x-%4x-%4x", &first, &second, &third) != 3)
        err(1, "%s", path);
    fclose(file);
    return (uint64_t)first << 32 | second << 16 | third;
}
