/*
 * drover-bare-stream: how fast a link carries bytes when nothing else is done. The measure that the
 * bench prints beside a move's rate: what one TCP connection can do, used as well as a mover uses
 * its own.
 *
 *     drover-bare-stream receive 10.0.0.2 7777 1536M &
 *     drover-bare-stream send    10.0.0.2 7777 1536M
 *
 * The sender is sendfile(2) from a file like a guest's RAM file, the receiver reads into one buffer
 * and forgets, woken for a bufferful and not for every segment (that alone is worth a third). Each
 * prints {"bytes", "seconds", "cpu_seconds"}, from the connection to the receiver's word that all
 * is there; the sender fills its file before it connects.
 */
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"
#include "base/units.h"
#include "memory_file.h"

#define BUFFER_BYTES ((size_t)256 * 1024)
#define PATIENCE_NS (60 * NANOSECONDS_PER_SECOND)
#define RETRY_NS (20 * NANOSECONDS_PER_MILLISECOND)

struct stopwatch {
    uint64_t began_ns;
    double cpu_began;
};

struct target {
    const char *address;
    uint16_t port;
    uint64_t bytes;
};

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct stopwatch begin(void)
{
    return (struct stopwatch){.began_ns = clock_monotonic_ns(), .cpu_began = cpu_seconds()};
}

static void print(const struct stopwatch *stopwatch, uint64_t bytes)
{
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
           (unsigned long long)bytes, (double)(clock_monotonic_ns() - stopwatch->began_ns) / 1e9,
           cpu_seconds() - stopwatch->cpu_began);
}

/* The receiver may be started a moment later. */
static int connect_patiently(const struct target *target)
{
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    for (;;) {
        struct error error = ERROR_NONE;
        int fd = socket_connect_tcp(target->address, target->port, PATIENCE_NS, &error);
        if (fd >= 0) {
            return fd;
        }
        if (error.code != ECONNREFUSED || clock_monotonic_ns() > deadline) {
            errx(1, "%s", error.message);
        }
        clock_sleep_ns(RETRY_NS);
    }
}

static void send_all(const struct target *target)
{
    struct error error = ERROR_NONE;
    CLEANUP_CLOSE int file = memory_file_open(target->bytes, &error);
    if (file < 0 || memory_file_fill(file, target->bytes, &error) < 0) {
        errx(1, "%s", error.message);
    }
    CLEANUP_CLOSE int connection = connect_patiently(target);
    struct stopwatch stopwatch = begin();
    off_t offset = 0;
    while ((uint64_t)offset < target->bytes) {
        if (sendfile(connection, file, &offset, target->bytes - (uint64_t)offset) <= 0) {
            err(1, "cannot send to %s port %u", target->address, target->port);
        }
    }
    char word;
    if (recv(connection, &word, 1, 0) != 1) {
        errx(1, "%s port %u did not receive all", target->address, target->port);
    }
    print(&stopwatch, target->bytes);
}

/* Up to a bufferful, of which no more is waited for than is certain to come. */
static ssize_t receive_some(int connection, char *buffer, uint64_t left)
{
    size_t wanted = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
    int wakeup = (int)wanted;
    ssize_t length;
    while ((length = recv(connection, buffer, wanted, MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
        struct pollfd poller = {.fd = connection, .events = POLLIN};
        setsockopt(connection, SOL_SOCKET, SO_RCVLOWAT, &wakeup, sizeof(wakeup));
        poll(&poller, 1, -1);
    }
    return length;
}

static void receive_all(const struct target *target)
{
    struct error error = ERROR_NONE;
    CLEANUP_FREE char *buffer = malloc(BUFFER_BYTES);
    CLEANUP_CLOSE int listener = socket_listen_tcp(target->address, target->port, NULL, &error);
    CLEANUP_CLOSE int connection = listener < 0 ? -1 : socket_accept(listener, PATIENCE_NS, &error);
    if (!buffer || connection < 0) {
        errx(1, "%s", buffer ? error.message : "no memory");
    }
    struct stopwatch stopwatch = begin();
    for (uint64_t done = 0; done < target->bytes;) {
        ssize_t length = receive_some(connection, buffer, target->bytes - done);
        if (length <= 0) {
            errx(1, "the sender's connection ended after %llu bytes", (unsigned long long)done);
        }
        done += (uint64_t)length;
    }
    print(&stopwatch, target->bytes);
    if (send(connection, "", 1, MSG_NOSIGNAL) != 1) {
        err(1, "cannot answer the sender");
    }
}

int main(int argc, char **argv)
{
    struct error error = ERROR_NONE;
    char *end = NULL;
    unsigned long port = argc == 5 ? strtoul(argv[3], &end, 10) : 0;
    if (port == 0 || port > UINT16_MAX || *end) {
        errx(2, "usage: drover-bare-stream send|receive ADDRESS PORT BYTES");
    }
    struct target target = {.address = argv[2], .port = (uint16_t)port};
    if (units_parse_size(argv[4], &target.bytes, &error) < 0) {
        errx(2, "%s", error.message);
    }
    if (strcmp(argv[1], "send") == 0) {
        send_all(&target);
    } else if (strcmp(argv[1], "receive") == 0) {
        receive_all(&target);
    } else {
        errx(2, "\"%s\" is neither send nor receive", argv[1]);
    }
    return 0;
}
