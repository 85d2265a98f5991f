/*
 * drover vm migrate: moves a VM, and shows it while it lasts.
 *
 * The move is the agent's: this command asks for it, watches, and prints what was reported. Ctrl-C
 * asks the agent to cancel and goes on watching, for the VM's place is only known when the task
 * has ended; a second one leaves the move to the agent.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/interrupt.h"
#include "cli/migration.h"
#include "cli/progress.h"
#include "cli/task.h"

enum watch_kind { WATCH_LIVE, WATCH_PLAIN, WATCH_JSON, WATCH_NONE };

struct watch {
    struct cli *cli;
    enum watch_kind kind;
    struct progress progress;
    json_t *task; /* as last seen, owned: its id is what cancelling needs */
    unsigned interrupts;
    bool away_reported;
};

static int choose_kind(const struct cli *cli, enum watch_kind *ret_kind, struct error *err)
{
    static const char *const names[] = {"live", "plain", "json", "none", NULL};
    int kind = cli->json ? WATCH_NONE : WATCH_LIVE;
    int result = arguments_choice(&cli->arguments, "--progress", names, &kind, err);
    if (result == 0) {
        bool can_draw = cli->notes.interactive;
        *ret_kind = kind == WATCH_LIVE && !can_draw ? WATCH_PLAIN : (enum watch_kind)kind;
    }
    return result;
}

/* Said before it happens: nobody chose the length of that blackout. */
static void warn_of_stop(const struct cli *cli, const char *name, const json_t *request)
{
    if (strcmp(field_text(request, "on_timeout"), "stop") == 0 && !cli->json) {
        fprintf(cli->notes.stream,
                "at the time limit, after %llu s, %s is moved with a longer blackout\n",
                (unsigned long long)field_number(request, "timeout_s"), name);
    }
}

static int dry_run(struct cli *cli, const char *path, const char *name, const json_t *request,
                   struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    int result = api_call(cli->api, "POST", path, request, API_SECONDS, &answer, err);
    if (result < 0) {
        return result;
    }
    int blocked = migration_is_blocked(answer, err);
    if (blocked < 0) {
        return blocked;
    }
    if (!cli->json) {
        migration_print_checks(&cli->output, answer, name, field_text(request, "to"));
    } else if (command_print_json(cli, answer, err) < 0) {
        return -err->code;
    }
    return blocked ? error_exit_status(ENOTSUP) : 0;
}

static void show(struct watch *watch, const json_t *task)
{
    const struct terminal *terminal = &watch->cli->notes;
    char line[PROGRESS_LINE_SIZE];
    if (watch->kind == WATCH_LIVE) {
        progress_draw(&watch->progress, terminal, task);
    } else if (watch->kind == WATCH_JSON) {
        json_dumpf(task, terminal->stream, JSON_COMPACT | JSON_REAL_PRECISION(15));
        fputc('\n', terminal->stream);
    } else if (watch->kind == WATCH_PLAIN &&
               progress_format_plain(&watch->progress, task, clock_monotonic_ns(), line)) {
        fprintf(terminal->stream, "%s\n", line);
    }
}

/* A line that stays, above the live ones. */
static void note(struct watch *watch, const char *text)
{
    if (watch->kind == WATCH_LIVE || watch->kind == WATCH_PLAIN) {
        char clean[1024];
        text_clean(text, clean, sizeof(clean));
        progress_clear(&watch->progress, &watch->cli->notes);
        fprintf(watch->cli->notes.stream, "%s\n", clean);
    }
}

static int interrupted(struct watch *watch, struct error *err)
{
    watch->interrupts++;
    if (watch->interrupts > 1) {
        progress_clear(&watch->progress, &watch->cli->notes);
        error_set(err, EINTR, "left before the move had ended: it is the agent's now");
        return error_remedy(err, "drover task show %s tells how it ends",
                            field_text(watch->task, "id"));
    }
    note(watch, "cancelling; Ctrl-C again leaves the move to the agent");
    struct error refused = ERROR_NONE;
    if (task_cancel(watch->cli->api, watch->task, &refused) < 0) {
        char text[sizeof(refused.message) + 32];
        snprintf(text, sizeof(text), "cannot cancel: %s", refused.message);
        note(watch, text);
    }
    return 0;
}

static int watch_task(void *context, const json_t *task, struct error *err)
{
    struct watch *watch = context;
    if (interrupt_take()) {
        int result = interrupted(watch, err);
        if (result < 0) {
            return result;
        }
    }
    if (task) {
        json_decref(watch->task);
        watch->task = json_incref((json_t *)task);
        show(watch, task);
    } else if (!watch->away_reported) {
        note(watch, "the agent does not answer; the move goes on without it, waiting for it");
    }
    watch->away_reported = !task;
    return 0;
}

static int follow(struct cli *cli, const json_t *task, enum watch_kind kind, struct error *err)
{
    CLEANUP_JSON json_t *last = NULL;
    sigset_t before;
    struct watch watch = {.cli = cli, .kind = kind, .task = json_incref((json_t *)task)};
    interrupt_hold(&before);
    int result = task_follow(cli->api, task, watch_task, &watch, &last, err);
    interrupt_release(&before);
    progress_clear(&watch.progress, &cli->notes);
    json_decref(watch.task);
    if (result < 0) {
        return result;
    }
    result = cli->json ? command_print_json(cli, last, err)
                       : migration_print_report(&cli->output, last, err);
    fflush(cli->output.stream); /* the report first, then what went wrong */
    return result < 0 ? result : task_result(last, err);
}

static int start(struct cli *cli, const char *path, const char *name, const json_t *request,
                 enum watch_kind kind, struct error *err)
{
    CLEANUP_JSON json_t *task = NULL;
    warn_of_stop(cli, name, request);
    int result = task_start(cli->api, path, request, &task, err);
    if (result < 0) {
        return result;
    }
    if (!arguments_has(&cli->arguments, "--no-wait")) {
        return follow(cli, task, kind, err);
    }
    if (cli->json) {
        return command_print_json(cli, task, err);
    }
    const char *id = field_text(task, "id");
    fprintf(cli->output.stream, "task %s moves %s to %s; drover task show %s tells how it goes\n",
            id, name, field_text(request, "to"), id);
    return 0;
}

int vm_migrate_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *request = NULL;
    const char *name;
    enum watch_kind kind = WATCH_NONE;
    if (command_name(cli, 0, "VM", &name, err) < 0 || choose_kind(cli, &kind, err) < 0 ||
        migration_request(&cli->arguments, &request, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/vms/%s/migrate", name);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot ask for the move");
    }
    if (arguments_has(&cli->arguments, "--dry-run")) {
        return dry_run(cli, path, name, request, err);
    }
    return start(cli, path, name, request, kind, err);
}
