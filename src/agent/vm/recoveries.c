/* What the agent put right by itself: see recoveries.h. */
#include "agent/vm/recoveries.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "storage/vm_config.h"

struct recovery {
    uint64_t at; /* CLOCK_REALTIME */
    enum recovery_kind kind;
    char vm[VM_NAME_SIZE];
    char text[512];
};

struct recoveries {
    pthread_mutex_t mutex;
    uint64_t count;                          /* noted so far */
    struct recovery latest[RECOVERIES_KEPT]; /* number N is at N % RECOVERIES_KEPT */
};

static const char *kind_name(enum recovery_kind kind)
{
    static const char *const names[] = {"adopted",  "finished", "undone",    "cleaned",
                                        "released", "ended",    "restarted", "failed"};
    return names[kind];
}

struct recoveries *recoveries_new(void)
{
    struct recoveries *recoveries = calloc(1, sizeof(*recoveries));
    if (recoveries) {
        pthread_mutex_init(&recoveries->mutex, NULL);
    }
    return recoveries;
}

void recoveries_free(struct recoveries *recoveries)
{
    if (recoveries) {
        pthread_mutex_destroy(&recoveries->mutex);
        free(recoveries);
    }
}

void recoveries_note(struct recoveries *recoveries, enum recovery_kind kind, const char *vm,
                     const char *format, ...)
{
    va_list arguments;
    struct recovery recovery = {.at = clock_realtime_ns(), .kind = kind};
    snprintf(recovery.vm, sizeof(recovery.vm), "%s", vm);
    va_start(arguments, format);
    vsnprintf(recovery.text, sizeof(recovery.text), format, arguments);
    va_end(arguments);
    log_write(kind == RECOVERY_FAILED ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "%s%s%s%s",
              vm[0] ? "VM " : "", vm, vm[0] ? ": " : "", recovery.text);
    pthread_mutex_lock(&recoveries->mutex);
    recoveries->latest[recoveries->count % RECOVERIES_KEPT] = recovery;
    recoveries->count++;
    pthread_mutex_unlock(&recoveries->mutex);
}

static json_t *recovery_to_json(const struct recovery *recovery)
{
    char at[32];
    clock_format_utc(recovery->at, at);
    return json_pack("{s:s, s:s, s:o, s:o}", "at", at, "kind", kind_name(recovery->kind), "vm",
                     recovery->vm[0] ? json_string(recovery->vm) : json_null(), "text",
                     json_string_of_any(recovery->text));
}

json_t *recoveries_to_json(struct recoveries *recoveries)
{
    json_t *list = json_array();
    pthread_mutex_lock(&recoveries->mutex);
    uint64_t oldest = recoveries->count > RECOVERIES_KEPT ? recoveries->count - RECOVERIES_KEPT : 0;
    for (uint64_t i = oldest; i < recoveries->count; i++) {
        json_array_append_new(list, recovery_to_json(&recoveries->latest[i % RECOVERIES_KEPT]));
    }
    pthread_mutex_unlock(&recoveries->mutex);
    return list;
}
