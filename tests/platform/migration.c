/* See migration.h. */
#include "migration.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

void migration_begin(struct qemu *source, int fd)
{
    qemu_capability(source, "x-ignore-shared", true);
    qemu_capability(source, "events", true);
    qemu_capability(source, "pause-before-switchover", true);
    qmp_give(&source->qmp, "stream", fd);
    qmp_do(&source->qmp, "migrate", json_pack("{s:s}", "uri", "fd:stream"));
    qmp_expect(&source->qmp, "STOP", NULL);
    qmp_expect(&source->qmp, "MIGRATION", "pre-switchover");
}

void migration_continue(struct qemu *source)
{
    qmp_do(&source->qmp, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"));
}

void migration_receive(struct qemu *destination, int fd)
{
    qemu_capability(destination, "x-ignore-shared", true);
    qemu_capability(destination, "events", true);
    qmp_give(&destination->qmp, "stream", fd);
    qmp_do(&destination->qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:stream"));
}

void migration_copy_ram(struct qemu *source, struct qemu *destination)
{
    off_t at = 0, end;

    while ((at = lseek(source->ram, at, SEEK_DATA)) >= 0) {
        end = lseek(source->ram, at, SEEK_HOLE);
        platform_must(lseek(destination->ram, at, SEEK_SET) == at, "lseek");
        while (at < end)
            platform_must(sendfile(destination->ram, source->ram, &at, (size_t)(end - at)) > 0,
                          "sendfile");
    }
}

/* Sends the device state, and closes our ends of the stream. */
static void hand_over(struct qemu *source, struct qemu *destination, int source_end,
                      int destination_end)
{
    migration_continue(source);
    qmp_expect(&source->qmp, "MIGRATION", "completed");
    qmp_expect(&destination->qmp, "MIGRATION", "completed");
    close(source_end);
    close(destination_end);
}

void migration_switch_over(struct qemu *source, struct qemu *destination, int source_end,
                           int destination_end)
{
    hand_over(source, destination, source_end, destination_end);
    qmp_do(&destination->qmp, "cont", NULL);
    qmp_expect(&destination->qmp, "RESUME", NULL);
}

void migration_transfer(struct qemu *source, struct qemu *destination)
{
    int stream[2];

    platform_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0, "socketpair");
    migration_receive(destination, stream[1]);
    migration_begin(source, stream[0]);
    migration_copy_ram(source, destination);
    hand_over(source, destination, stream[0], stream[1]);
}
