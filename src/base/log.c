/* The log: see log.h. One write(2) a line, so that lines of several threads never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static const char *log_program = "drover";
static enum log_level log_lowest = LOG_LEVEL_INFO;

void log_start(const char *program, enum log_level lowest)
{
    log_program = program;
    log_lowest = lowest;
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (level < log_lowest) {
        return;
    }
    char line[2048];
    char now[32];
    clock_format_utc(clock_realtime_ns(), now);
    size_t used =
        (size_t)snprintf(line, sizeof(line), "%s %s %s: ", now, log_program, names[level]);
    va_list arguments;
    va_start(arguments, format);
    int text = vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
    va_end(arguments);
    used += text < 0 ? 0 : (size_t)text;
    used = used < sizeof(line) - 2 ? used : sizeof(line) - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        /* Nobody is left to tell. */
        return;
    }
}
