/* Bounded console logs: see console_log.h. */
#include "agent/vm/console_log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/vm/inventory.h"
#include "agent/vm/record.h"
#include "base/cleanup.h"
#include "base/log.h"

#define INTERVAL_MS 1000

/* What is written between the two calls is lost: it is a guest that writes without end. */
static int keep_end(int fd, off_t size)
{
    CLEANUP_FREE char *end = malloc(CONSOLE_LOG_BYTES_KEPT);
    if (!end) {
        return -ENOMEM;
    }
    ssize_t length = pread(fd, end, CONSOLE_LOG_BYTES_KEPT, size - (off_t)CONSOLE_LOG_BYTES_KEPT);
    if (length < 0 || ftruncate(fd, 0) < 0 || write(fd, end, (size_t)length) < 0) {
        return -errno;
    }
    return 0;
}

int console_log_cut(const char *path, struct error *err)
{
    struct stat status;
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        status.st_size <= (off_t)CONSOLE_LOG_BYTES_MOST) {
        return 0;
    }
    int result = keep_end(fd, status.st_size);
    return result < 0 ? error_set_errno(err, result, "cannot cut %s", path) : 0;
}

static void cut_log_of(const struct agent *agent, const struct vm *vm)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = record_path(agent->config, vm->config.uuid, "qemu/serial.log");
    if (path && console_log_cut(path, &err) < 0) {
        log_warning("VM %s: %s", vm->config.name, err.message);
    }
}

static void cut_all(uv_timer_t *timer)
{
    const struct agent *agent = timer->data;
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count = 0;
    if (inventory_all(agent->inventory, &vms, &count, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (vms[i].has_runtime) {
            cut_log_of(agent, &vms[i]);
        }
    }
}

int console_log_watch(uv_loop_t *loop, uv_timer_t *timer, struct agent *agent, struct error *err)
{
    int result = uv_timer_init(loop, timer);
    timer->data = agent;
    if (result == 0) {
        result = uv_timer_start(timer, cut_all, INTERVAL_MS, INTERVAL_MS);
    }
    return result < 0 ? error_set(err, -result, "cannot look after the VMs' console logs: %s",
                                  uv_strerror(result))
                      : 0;
}
