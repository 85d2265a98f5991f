/*
 * The log: lines on standard error, "2026-11-21T08:00:00.123Z droverd info: text". Whoever runs the
 * program (systemd, the lab) keeps them. Never log secrets. Safe from any thread.
 */
#pragma once

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

struct error;

/* Called once, from main(): `program` must outlive the log. */
void log_start(const char *program, enum log_level lowest);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
