/* The watchdog device: see watchdog.h. */
#include "guard/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/watchdog.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define MAGIC_CLOSE "V"
#define PET "\0"

int watchdog_open(struct watchdog *watchdog, const char *path, struct error *err)
{
    watchdog->fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (watchdog->fd < 0) {
        error_set_errno(err, errno, "cannot open the watchdog device %s", path);
        return error_remedy(err, "load its driver, end who else uses it, or leave out --watchdog");
    }
    return 0;
}

void watchdog_limit(struct watchdog *watchdog, uint64_t margin_ns)
{
    uint64_t seconds = margin_ns / NANOSECONDS_PER_SECOND;
    seconds = seconds > 0 ? seconds : 1;
    if (watchdog->fd < 0 || margin_ns == 0 || seconds == watchdog->timeout_s) {
        return;
    }
    int timeout = seconds < INT32_MAX ? (int)seconds : INT32_MAX;
    watchdog->timeout_s = seconds;
    if (ioctl(watchdog->fd, WDIOC_SETTIMEOUT, &timeout) < 0) {
        log_warning("the watchdog keeps its own time limit: it does not take one of %d s (%s)",
                    timeout, strerror(errno));
    } else if ((uint64_t)timeout > seconds) {
        log_warning("the watchdog's time limit is %d s: others may take this host's machines over "
                    "%" PRIu64 " s after their deadline",
                    timeout, seconds);
    }
}

void watchdog_pet(const struct watchdog *watchdog)
{
    if (watchdog->fd >= 0 && write(watchdog->fd, PET, 1) < 0 && errno != EAGAIN) {
        log_error("cannot tell the watchdog that all is well: %s", strerror(errno));
    }
}

void watchdog_close(struct watchdog *watchdog)
{
    if (watchdog->fd >= 0 && write(watchdog->fd, MAGIC_CLOSE, 1) < 0) {
        log_error("cannot stop the watchdog: %s", strerror(errno));
    }
    close_fd(&watchdog->fd);
}
