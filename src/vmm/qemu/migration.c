/* QEMU's migration, over QMP: see migration.h. */
#include "vmm/qemu/migration.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define STREAM_NAME "drover-state" /* of the descriptor, inside QEMU */
#define UNDO_TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)
#define NEWS_TIMEOUT_NS (30 * NANOSECONDS_PER_SECOND)
#define RETRY_NS (1 * NANOSECONDS_PER_MILLISECOND)
#define BANDWIDTH ((json_int_t)1 << 40) /* no limit of QEMU's: Drover's channel has its own */

/* Steals `arguments`. */
static int execute(struct qmp *qmp, const char *command, json_t *arguments, json_t **ret_value,
                   struct error *err)
{
    CLEANUP_JSON json_t *owned = arguments;
    return qmp_execute(qmp, command, owned, QMP_TIMEOUT_NS, ret_value, err);
}

struct capability {
    const char *name;
    bool state;
};

static int set_capabilities(struct qmp *qmp, const struct capability *capabilities, size_t count,
                            struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_pack("{s:s, s:b}", "capability", capabilities[i].name,
                                              "state", capabilities[i].state));
    }
    return execute(qmp, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list), NULL,
                   err);
}

/* Whether QEMU is in the run state `wanted`. */
static int is_status(struct qmp *qmp, const char *command, const char *const *wanted,
                     struct error *err)
{
    CLEANUP_JSON json_t *value = NULL;
    int result = execute(qmp, command, NULL, &value, err);
    const char *status = json_string_value(json_object_get(value, "status"));
    if (result < 0) {
        return result;
    }
    for (; *wanted; wanted++) {
        if (status && strcmp(status, *wanted) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_running(struct qmp *qmp, struct error *err)
{
    static const char *const running[] = {"running", NULL};
    return is_status(qmp, "query-status", running, err);
}

/* Each one by name, on or off: an earlier move may have left it otherwise. */
static int set_outgoing(struct qmp *qmp, const struct qemu_outgoing *outgoing, struct error *err)
{
    const struct capability capabilities[] = {{"x-ignore-shared", !outgoing->memory},
                                              {"auto-converge", outgoing->throttle},
                                              {"pause-before-switchover", true},
                                              {"events", true}};
    int result =
        set_capabilities(qmp, capabilities, sizeof(capabilities) / sizeof(*capabilities), err);
    if (result < 0) {
        return result;
    }
    json_int_t bandwidth = outgoing->bandwidth ? (json_int_t)outgoing->bandwidth : BANDWIDTH;
    return execute(qmp, "migrate-set-parameters",
                   json_pack("{s:I, s:I}", "max-bandwidth", bandwidth, "downtime-limit",
                             (json_int_t)outgoing->leftover_ms),
                   NULL, err);
}

int qemu_outgoing_prepare(struct qmp *qmp, const struct qemu_outgoing *outgoing, struct error *err)
{
    int result = is_running(qmp, err);
    if (result == 0) {
        error_set(err, EBUSY, "the guest is paused: only a running VM is moved");
        return error_remedy(err, "let it run, or stop it and start it over there");
    }
    return result < 0 ? result : set_outgoing(qmp, outgoing, err);
}

static int pass_stream(struct qmp *qmp, int fd, struct error *err)
{
    CLEANUP_JSON json_t *arguments = json_pack("{s:s}", "fdname", STREAM_NAME);
    return qmp_execute_with_fd(qmp, "getfd", arguments, fd, QMP_TIMEOUT_NS, NULL, err);
}

int qemu_outgoing_begin(struct qmp *qmp, int writer, struct error *err)
{
    int result = qmp_discard_events(qmp, err);
    if (result == 0) {
        result = pass_stream(qmp, writer, err);
    }
    if (result == 0) {
        result = execute(qmp, "migrate", json_pack("{s:s}", "uri", "fd:" STREAM_NAME), NULL, err);
    }
    return result;
}

int qemu_outgoing_hurry(struct qmp *qmp, uint64_t leftover_ms, struct error *err)
{
    CLEANUP_JSON json_t *arguments = json_pack("{s:I}", "downtime-limit", (json_int_t)leftover_ms);
    return qmp_send(qmp, "migrate-set-parameters", arguments, err);
}

int qemu_outgoing_ask(struct qmp *qmp, struct error *err)
{
    return qmp_send(qmp, "query-migrate", NULL, err);
}

static uint64_t figure(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

/* What query-migrate returns; false when it has nothing of memory. */
static bool read_transfer(const json_t *value, struct qemu_transfer *ret_transfer)
{
    const json_t *ram = json_object_get(value, "ram");
    if (!json_is_object(ram)) {
        return false;
    }
    double rate = json_number_value(json_object_get(ram, "mbps")) * 1e6 / 8;
    *ret_transfer = (struct qemu_transfer){
        .total = figure(ram, "total"),
        .remaining = figure(ram, "remaining"),
        .sent = figure(ram, "transferred"),
        .rounds = figure(ram, "dirty-sync-count"),
        .rate = rate > 0 ? (uint64_t)rate : 0,
        .dirty_rate = figure(ram, "dirty-pages-rate") * figure(ram, "page-size"),
        .pages_sent = figure(ram, "normal"),
        .pages_zero = figure(ram, "duplicate"),
    };
    return true;
}

bool qemu_outgoing_told(const json_t *event, struct qemu_transfer *ret_transfer)
{
    const json_t *value = json_object_get(event, "return");
    read_transfer(value, ret_transfer);
    return value != NULL || json_object_get(event, "error");
}

int qemu_outgoing_transfer(struct qmp *qmp, struct qemu_transfer *ret_transfer, struct error *err)
{
    CLEANUP_JSON json_t *value = NULL;
    int result = execute(qmp, "query-migrate", NULL, &value, err);
    if (result == 0 && !read_transfer(value, ret_transfer)) {
        return error_set(err, ENODATA, "QEMU tells nothing of its migration");
    }
    return result;
}

int qemu_outgoing_prepare_continue(struct qmp *qmp, struct error *err)
{
    CLEANUP_JSON json_t *arguments = json_pack("{s:s}", "state", "pre-switchover");
    return qmp_send_ahead(qmp, "migrate-continue", arguments, err);
}

int qemu_outgoing_continue(struct qmp *qmp, struct error *err)
{
    CLEANUP_JSON json_t *arguments = json_pack("{s:s}", "state", "pre-switchover");
    return qmp_send(qmp, "migrate-continue", arguments, err);
}

/* Runs `attempt` until it gives 1 or a lost monitor; -ETIMEDOUT in the end. */
static int repeat(struct qmp *qmp, int (*attempt)(struct qmp *qmp, struct error *err),
                  struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + UNDO_TIMEOUT_NS;
    int result;
    while ((result = attempt(qmp, err)) == 0 && clock_monotonic_ns() < deadline) {
        clock_sleep_ns(RETRY_NS);
    }
    return result == 0 ? -ETIMEDOUT : result;
}

/* QEMU (7.2 at least) has a race: a cancel that comes when it is about to pause
 * is not noticed by the pause, which then waits for a `continue` for ever. One in the state
 * "cancelling" ends that wait, and does nothing to a migration that is on its way to its end. */
static int nudge(struct qmp *qmp, struct error *err)
{
    static const char *const cancelling[] = {"cancelling", NULL};
    int result = is_status(qmp, "query-migrate", cancelling, err);
    if (result > 0) {
        result =
            execute(qmp, "migrate-continue", json_pack("{s:s}", "state", "cancelling"), NULL, NULL);
        return result == -EIO ? 0 : result; /* it has just ended */
    }
    return result;
}

static int migration_has_ended(struct qmp *qmp, struct error *err)
{
    static const char *const busy[] = {"setup",  "active",     "pre-switchover",
                                       "device", "cancelling", NULL};
    int result = is_status(qmp, "query-migrate", busy, err);
    if (result > 0) {
        result = nudge(qmp, err);
        return result < 0 ? result : 0;
    }
    return result < 0 ? result : 1;
}

/* QEMU refuses `cont` for a moment after its migration ended, and while the other side still holds
 * an image's lock. */
static int run_if_possible(struct qmp *qmp, struct error *err)
{
    int result = is_running(qmp, err);
    if (result == 0) {
        result = execute(qmp, "cont", NULL, NULL, err);
        result = result == -EIO ? 0 : result;
        return result < 0 ? result : is_running(qmp, NULL);
    }
    return result;
}

int qemu_outgoing_undo(struct qmp *qmp, struct error *err)
{
    int result = execute(qmp, "migrate_cancel", NULL, NULL, err);
    if (result < 0) {
        return result;
    }
    result = repeat(qmp, migration_has_ended, err);
    if (result == -ETIMEDOUT) {
        return error_set(err, ETIMEDOUT, "QEMU does not end its migration");
    }
    if (result < 0) {
        return result;
    }
    struct error refusal = ERROR_NONE;
    result = repeat(qmp, run_if_possible, &refusal);
    if (result < 0) {
        return error_set(err, -result, "the guest does not run again: %s",
                         refusal.code ? refusal.message : "QEMU gives no reason");
    }
    return 0;
}

int qemu_incoming_begin(struct qmp *qmp, int reader, bool memory, struct error *err)
{
    /* Without late activation QEMU would take the disks when the state is loaded: too early, the
     * source may still take the guest back. */
    const struct capability capabilities[] = {
        {"x-ignore-shared", !memory}, {"late-block-activate", true}, {"events", true}};
    int result =
        set_capabilities(qmp, capabilities, sizeof(capabilities) / sizeof(*capabilities), err);
    if (result == 0) {
        result = pass_stream(qmp, reader, err);
    }
    if (result == 0) {
        result = execute(qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:" STREAM_NAME),
                         NULL, err);
    }
    return result;
}

enum qemu_migration_news qemu_migration_news(const json_t *event)
{
    static const struct {
        const char *status;
        enum qemu_migration_news news;
    } table[] = {{"pre-switchover", QEMU_NEWS_PAUSED},
                 {"completed", QEMU_NEWS_COMPLETED},
                 {"failed", QEMU_NEWS_FAILED},
                 {"cancelling", QEMU_NEWS_FAILED},
                 {"cancelled", QEMU_NEWS_FAILED}};
    const char *name = json_string_value(json_object_get(event, "event"));
    const char *status =
        json_string_value(json_object_get(json_object_get(event, "data"), "status"));
    if (!name) {
        return json_object_get(event, "error") ? QEMU_NEWS_FAILED : QEMU_NEWS_OTHER;
    }
    if (strcmp(name, "STOP") == 0) {
        return QEMU_NEWS_STOPPED;
    }
    if (strcmp(name, "RESUME") == 0) {
        return QEMU_NEWS_RESUMED;
    }
    if (strcmp(name, "MIGRATION") != 0 || !status) {
        return QEMU_NEWS_OTHER;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(status, table[i].status) == 0) {
            return table[i].news;
        }
    }
    return QEMU_NEWS_OTHER;
}

int qemu_migration_failure(struct qmp *qmp, const char *what, struct error *err)
{
    CLEANUP_JSON json_t *value = NULL;
    const char *reason = NULL;
    if (execute(qmp, "query-migrate", NULL, &value, NULL) == 0) {
        reason = json_string_value(json_object_get(value, "error-desc"));
    }
    return error_set(err, EIO, "%s: %s", what, reason ? reason : "QEMU's log says why");
}

/* Waits until QEMU has that news: 1, or 0 after timeout_ns; `what` it cannot do otherwise. */
static int await_news(struct qmp *qmp, enum qemu_migration_news wanted, const char *what,
                      uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    for (;;) {
        CLEANUP_JSON json_t *event = NULL;
        uint64_t now = clock_monotonic_ns();
        int result = qmp_next_event(qmp, deadline > now ? deadline - now : 0, &event, err);
        if (result <= 0) {
            return result < 0 ? error_wrap(err, "QEMU cannot %s", what) : 0;
        }
        enum qemu_migration_news news = qemu_migration_news(event);
        if (news == wanted) {
            return 1;
        }
        if (json_object_get(event, "error")) {
            return qmp_reply_error(event, what, err);
        }
        if (news == QEMU_NEWS_FAILED) {
            char sentence[64];
            snprintf(sentence, sizeof(sentence), "QEMU cannot %s", what);
            return qemu_migration_failure(qmp, sentence, err);
        }
    }
}

int qemu_incoming_await(struct qmp *qmp, uint64_t timeout_ns, struct error *err)
{
    return await_news(qmp, QEMU_NEWS_COMPLETED, "load the device state", timeout_ns, err);
}

int qemu_run_prepare(struct qmp *qmp, struct error *err)
{
    return qmp_send_ahead(qmp, "cont", NULL, err);
}

int qemu_run_begin(struct qmp *qmp, struct error *err)
{
    return qmp_send(qmp, "cont", NULL, err);
}

int qemu_run_await(struct qmp *qmp, struct error *err)
{
    int result = await_news(qmp, QEMU_NEWS_RESUMED, "run the guest", NEWS_TIMEOUT_NS, err);
    if (result == 0) {
        return error_set(err, ETIMEDOUT, "QEMU takes too long to run the guest");
    }
    return result < 0 ? result : 0;
}

int qemu_run(struct qmp *qmp, struct error *err)
{
    int result = is_running(qmp, err);
    if (result != 0) { /* QEMU says nothing of a `cont` that changes nothing */
        return result < 0 ? result : 0;
    }
    result = qemu_run_begin(qmp, err);
    return result < 0 ? result : qemu_run_await(qmp, err);
}
