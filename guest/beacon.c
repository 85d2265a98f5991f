/*
 * Says on the network, every few milliseconds, that this copy of the guest runs: a broadcast with
 * the boot's identity, a counter and the clock. The counter is in guest memory, so a second copy
 * made of the same memory says the same numbers again: whoever sees from which host each broadcast
 * comes knows of two copies, whichever of them survives.
 *
 *   beacon interface=eth0 interval-ms=5
 */
#include "counters.h"
#include "options.h"
#include "pace.h"

#include <endian.h>
#include <err.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BEACON_UDP_PORT = 7003 };

#define MILLISECOND_NS 1000000ull

/* What is sent: big-endian. */
struct beacon {
    char magic[8];
    uint64_t boot;
    uint64_t counter; /* from 1; each is said once */
    uint64_t guest_ns;
};

static int open_socket(const char *interface)
{
    int one = 1;
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (descriptor < 0 || setsockopt(descriptor, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) < 0 ||
        setsockopt(descriptor, SOL_SOCKET, SO_BINDTODEVICE, interface, strlen(interface)) < 0)
        err(1, "%s", interface);
    return descriptor;
}

/* What cannot be sent is left out: the next one comes soon. */
static void say(int descriptor, uint64_t boot, uint64_t counter)
{
    struct sockaddr_in everybody = {
        .sin_family = AF_INET,
        .sin_port = htons(BEACON_UDP_PORT),
        .sin_addr.s_addr = htonl(INADDR_BROADCAST),
    };
    struct beacon beacon = {
        .magic = "DRVBEAT1",
        .boot = htobe64(boot),
        .counter = htobe64(counter),
        .guest_ns = htobe64(pace_now()),
    };

    sendto(descriptor, &beacon, sizeof(beacon), 0, (struct sockaddr *)&everybody,
           sizeof(everybody));
}

int main(int argc, char **argv)
{
    (void)argc;
    uint64_t interval_ms = option_bytes(argv, "interval-ms", "5");
    uint64_t boot = counters_boot_identity();
    int descriptor = open_socket(option_text(argv, "interface", "eth0"));

    pace_run_first();
    for (uint64_t counter = 1;; counter++) {
        say(descriptor, boot, counter);
        pace_sleep(interval_ms * MILLISECOND_NS);
    }
}
