/*
 * drover-mover: one process a move a side, the data path. Reads its setup, moves one VM, tells its
 * agent how it went, and ends. It parses what comes from the network: it opens nothing by itself,
 * and holds no privilege.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "mover/control_server.h"
#include "mover/report.h"
#include "mover/sample.h"
#include "mover/sandbox.h"
#include "mover/session.h"
#include "mover/setup.h"
#include "mover/taps.h"

/* What is true from here on: no exec gains anything, nobody of the same user looks into our memory
 * (the move's secret is there), no file has a name, no capability is left, a closed socket is an
 * error and no signal. */
static int confine(struct error *err)
{
    signal(SIGPIPE, SIG_IGN);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return error_set_errno(err, errno, "cannot confine this process");
    }
    return sandbox_leave_files(err);
}

static void log_outcome(const struct mover_setup *setup, enum engine_outcome outcome,
                        const struct error *err)
{
    if (outcome == ENGINE_OUTCOME_MOVED) {
        log_info("%s moved", setup->vm_name);
    } else {
        log_warning("%s %s: %s", setup->vm_name,
                    outcome == ENGINE_OUTCOME_STAYED ? "stayed" : "is stranded", err->message);
    }
}

static int run_move(struct mover_setup *setup, struct error *err)
{
    struct secure_context *context;
    struct control_server server;
    json_t *statistics = NULL;
    int result = session_take_key(setup, &context, err);
    if (result == 0) {
        result = control_server_start(&server, MOVER_CONTROL_FD, err);
    }
    if (result < 0) {
        return result; /* and the process ends, with the key */
    }
    bool is_source = setup->role == MOVER_ROLE_SOURCE;
    log_info("move %s of %s: %s, %s", setup->move_id, setup->vm_name, mover_role_name(setup->role),
             context ? "encrypted" : "in clear");
    enum engine_outcome outcome =
        is_source ? source_session_run(setup, context, &server, &statistics, err)
                  : destination_session_run(setup, context, &server, &statistics, err);
    secure_context_free(context);
    log_outcome(setup, outcome, err);
    control_server_result(&server, report_result(outcome, err, statistics));
    if (outcome == ENGINE_OUTCOME_MOVED && !is_source) {
        taps_announce_repeatedly(&(struct taps){setup->nics, setup->nic_count});
    }
    control_server_finish(&server);
    return 0;
}

static int run(struct error *err)
{
    struct mover_setup setup;
    int result = confine(err);
    if (result == 0) {
        result = mover_setup_read(MOVER_SETUP_FD, &setup, err);
        close(MOVER_SETUP_FD);
    }
    if (result == 0) {
        result = sandbox_filter_calls(setup.role, err);
    }
    if (result < 0) {
        return result;
    }
    return setup.role == MOVER_ROLE_SAMPLE ? sample_session_run(&setup, MOVER_CONTROL_FD, err)
                                           : run_move(&setup, err);
}

int main(void)
{
    struct error err = ERROR_NONE;
    log_start("drover-mover", LOG_LEVEL_INFO);
    if (run(&err) < 0) {
        log_error("%s", err.message);
        return 1;
    }
    return 0;
}
