/* Names of unfinished things: see temporary.h. */
#include "storage/temporary.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/process.h"
#include "base/random.h"

#define MARK ".new-"

void temporary_name(char name[TEMPORARY_NAME_SIZE], const char *base)
{
    struct process_identity self;
    struct utsname node;
    char random[9];
    process_self(&self);
    uname(&node);
    random_hex(random, 4);
    snprintf(name, TEMPORARY_NAME_SIZE, ".%s" MARK "%d-%llu-%s@%s", base, (int)self.pid,
             (unsigned long long)self.start_time, random, node.nodename);
}

static const char *last_mark(const char *name)
{
    const char *found = NULL;
    for (const char *at = name; (at = strstr(at, MARK)); at++) {
        found = at;
    }
    return found;
}

bool temporary_is_abandoned(const char *name)
{
    struct utsname node;
    const char *mark = name[0] == '.' ? last_mark(name) : NULL;
    int pid;
    unsigned long long start_time;
    int used = 0;
    if (!mark || sscanf(mark, MARK "%d-%llu-%*8[0-9a-f]@%n", &pid, &start_time, &used) != 2 ||
        used == 0) {
        return false;
    }
    uname(&node);
    struct process_identity maker = {.pid = pid, .start_time = start_time};
    return strcmp(mark + used, node.nodename) == 0 && !process_is_alive(&maker);
}
