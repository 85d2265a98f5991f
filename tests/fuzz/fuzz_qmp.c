/*
 * libFuzzer's entry: bytes as all that a QEMU says on its monitor, to the client as the agent and
 * the mover use it: a QEMU whose guest has broken out of it says what it likes.
 */
#include <unistd.h>

#include "harness.h"
#include "vmm/qemu/migration.h"
#include "vmm/qemu/qmp.h"

#define EVENTS_MOST 64

static void take_events(struct qmp *qmp)
{
    struct error err = ERROR_NONE;
    json_t *event;
    for (int i = 0; i < EVENTS_MOST; i++) {
        int result = qmp_next_event(qmp, 0, &event, &err);
        harness_check_refusal(result, &err);
        if (result <= 0) {
            return;
        }
        qemu_migration_news(event);
        if (json_object_get(event, "error")) {
            struct error words = ERROR_NONE;
            harness_check_refusal(qmp_reply_error(event, "cont", &words), &words);
        }
        json_decref(event);
    }
}

static int execute(struct qmp *qmp, const char *command)
{
    struct error err = ERROR_NONE;
    json_t *value = NULL;
    int result = qmp_execute(qmp, command, NULL, 0, &value, &err);
    harness_check_refusal(result, &err);
    json_decref(value);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct qmp qmp;
    struct error err = ERROR_NONE;
    int peer;
    int result = qmp_adopt(&qmp, harness_connect(bytes, length, &peer), &err);
    harness_check_refusal(result, &err);
    if (result == 0) {
        execute(&qmp, "query-status");
        take_events(&qmp);
        qmp_send_ahead(&qmp, "cont", NULL, &err);
        qmp_send(&qmp, "cont", NULL, &err);
        take_events(&qmp);
        execute(&qmp, "query-migrate");
        qmp_discard_events(&qmp, &err);
        qmp_done(&qmp);
    }
    close(peer);
    return 0;
}
