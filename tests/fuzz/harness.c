/* What the fuzzers' harnesses share: see harness.h. */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"

#define ROOM (8 << 20) /* of a socket's buffers */

void harness_check_refusal(int result, const struct error *err)
{
    if (result < 0 && (!err->message[0] || err->code != -result)) {
        fprintf(stderr, "refused with %d and error %d \"%s\"\n", result, err->code, err->message);
        abort();
    }
}

static void require(bool holds)
{
    if (!holds) {
        perror("the harness itself failed");
        abort();
    }
}

int harness_connect(const uint8_t *bytes, size_t length, int *ret_peer)
{
    int ends[2];
    int room = ROOM;
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    ssize_t sent = send(ends[1], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    require(sent >= 0 || length == 0); /* more than fits is cut off, like a lost connection */
    shutdown(ends[1], SHUT_WR);
    *ret_peer = ends[1];
    return ends[0];
}

int harness_file(const uint8_t *bytes, size_t length)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    require(fd >= 0 && file_write_all(fd, bytes, length) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static char folder[64];

static void remove_folder(void)
{
    file_remove_tree(folder, NULL);
}

const char *harness_folder(void)
{
    if (!folder[0]) {
        strcpy(folder, "/dev/shm/drover-fuzz-XXXXXX");
        require(mkdtemp(folder) != NULL);
        atexit(remove_folder);
    }
    return folder;
}

void harness_write(const char *name, const uint8_t *bytes, size_t length)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", harness_folder(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && file_write_all(fd, bytes, length) == 0);
    close(fd);
}
