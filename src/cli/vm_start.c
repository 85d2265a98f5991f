/*
 * drover vm start: waits until the guest runs. A take-over waits for another host to be dead first:
 * that is shown, and Ctrl-C gives it up.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/interrupt.h"
#include "cli/task.h"

const struct option_spec vm_start_options[] = {
    {"--take-over", NULL, "take it over from its owner as soon as that host is dead"},
    {"--fenced", NULL, "with --take-over: you know that its owner is switched off; do not wait"},
    {NULL},
};

struct watch {
    struct cli *cli;
    bool told;
    bool cancelled;
};

/* On a terminal one line that is drawn again and again, elsewhere one that stays. */
static void show(struct watch *watch, const json_t *progress)
{
    const struct terminal *notes = &watch->cli->notes;
    char host[80];
    text_clean(field_text(progress, "waits_for"), host, sizeof(host));
    if (!host[0] || watch->cli->json || (watch->told && !notes->interactive)) {
        return;
    }
    fprintf(notes->stream, "%swaiting until host %s is dead: silent for %.1f s of %.1f s%s",
            notes->interactive ? "\r\033[K" : "", host, field_real(progress, "silent_ms") / 1000,
            field_real(progress, "takeover_ms") / 1000, notes->interactive ? "" : "\n");
    fflush(notes->stream);
    watch->told = true;
}

static void clear(const struct watch *watch)
{
    const struct terminal *notes = &watch->cli->notes;
    if (watch->told && notes->interactive) {
        fputs("\r\033[K", notes->stream);
        fflush(notes->stream);
    }
}

static int watch_task(void *context, const json_t *task, struct error *err)
{
    struct watch *watch = context;
    if (!task) {
        return 0;
    }
    if (interrupt_take() && !watch->cancelled) {
        watch->cancelled = true;
        int result = task_cancel(watch->cli->api, task, err);
        if (result < 0) {
            return result;
        }
    }
    if (strcmp(field_text(task, "phase"), "take-over") == 0) {
        show(watch, json_object_get(task, "progress"));
    }
    return 0;
}

static int follow(struct cli *cli, const char *path, const json_t *request, json_t **ret_task,
                  struct error *err)
{
    CLEANUP_JSON json_t *first = NULL;
    sigset_t before;
    struct watch watch = {.cli = cli};
    int result = task_start(cli->api, path, request, &first, err);
    if (result == 0) {
        interrupt_hold(&before);
        result = task_follow(cli->api, first, watch_task, &watch, ret_task, err);
        interrupt_release(&before);
        clear(&watch);
    }
    return result;
}

static int take_over(struct cli *cli, const char *path, const char *name, struct error *err)
{
    CLEANUP_JSON json_t *last = NULL;
    CLEANUP_JSON json_t *request = json_pack("{s:b, s:b}", "take_over", true, "fenced",
                                             arguments_has(&cli->arguments, "--fenced"));
    int result = request ? follow(cli, path, request, &last, err)
                         : error_set_errno(err, ENOMEM, "cannot start %s", name);
    if (result == 0 && cli->json) {
        result = command_print_json(cli, last, err);
    }
    if (result == 0) {
        result = task_result(last, err);
    }
    if (result == 0 && !cli->json) {
        fprintf(cli->output.stream, "%s taken over and started\n", name);
    }
    return result;
}

int vm_start_command(struct cli *cli, struct error *err)
{
    const char *name;
    bool takes_over = arguments_has(&cli->arguments, "--take-over");
    if (command_name(cli, 0, "VM", &name, err) < 0) {
        return -err->code;
    }
    if (arguments_has(&cli->arguments, "--fenced") && !takes_over) {
        error_set(err, EINVAL, "--fenced goes with --take-over");
        return error_remedy(err, "drover vm start --help says what each does");
    }
    CLEANUP_FREE char *path = file_path("/v1/vms/%s/start", name);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot start %s", name);
    }
    return takes_over ? take_over(cli, path, name, err)
                      : task_run(cli, path, NULL, name, "started", err);
}
