/*
 * drover-bench-with-tap: runs a command that inherits a tap in a port group, made as Drover makes a
 * guest's. So that a guest that Drover does not run has the same network card as one that it runs.
 *
 *     drover-bench-with-tap br-vm 10 3 qemu-system-x86_64 -netdev tap,id=net0,fd=3 ...
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/bridge.h"
#include "net/tap.h"

#define VLAN_MOST 4094

static int open_tap(const struct port_group *group, struct error *err)
{
    char name[TAP_NAME_SIZE];
    int fd = tap_open(name, err);
    if (fd < 0) {
        return fd;
    }
    int result = bridge_attach(group, name, err);
    if (result == 0) {
        result = tap_set_carrier(fd, true, err);
    }
    return result < 0 ? result : fd;
}

int main(int argc, char **argv)
{
    struct error error = ERROR_NONE;
    struct port_group group = {.name = "bench"};
    int vlan = argc > 4 ? atoi(argv[2]) : 0;
    int number = argc > 4 ? atoi(argv[3]) : 0;
    if (vlan < 1 || vlan > VLAN_MOST || number <= STDERR_FILENO) {
        errx(2, "usage: drover-bench-with-tap BRIDGE VLAN FD COMMAND ...");
    }
    group.vlan = (uint16_t)vlan;
    snprintf(group.bridge, sizeof(group.bridge), "%s", argv[1]);
    int tap = open_tap(&group, &error);
    if (tap < 0) {
        errx(1, "%s", error.message);
    }
    /* The tap's own descriptor closes itself: it may be the number itself, so copy it away first.
     */
    int copy = dup(tap);
    if (copy < 0 || dup2(copy, number) < 0) {
        err(1, "cannot pass the tap as descriptor %d", number);
    }
    if (copy != number) {
        close(copy);
    }
    execvp(argv[4], argv + 4);
    err(1, "cannot run %s", argv[4]);
}
