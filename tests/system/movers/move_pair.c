/*
 * Moves a real guest between two QEMUs by two drover-movers, and plays their agents:
 *
 *   move-pair --kernel FILE --initramfs FILE [--append TEXT] [--memory MIB] [--disk MIB] [--no-vga]
 *             [--native] [--bandwidth BYTES] [--in-clear] [--moves N]
 *             [--fault ACTION@MOMENT]... [--logs]
 *
 * ACTION: cancel, kill-source-mover, kill-destination-mover, kill-shadow, stranger
 * MOMENT: connect (stranger only), pre-copy, switchover, commit
 *
 * Prints a line of JSON a move: both movers' results ("dead" for a killed one) and both VMs' states
 * afterwards, what a failed move left to the agent done; and at last what the guest found wrong.
 * The first fault happens in the first move, and so on. Needs DROVER_MOVER and DROVER_PRELOAD in
 * the environment, and root.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/socket.h"
#include "bench.h"
#include "vmm/qemu/migration.h"

#define EVENT_SLICE_NS (2 * NANOSECONDS_PER_MILLISECOND)
#define LOG_MOST ((size_t)16 << 20)
#define FAULTS_MOST 32
#define MOVE_TIMEOUT_NS (90 * NANOSECONDS_PER_SECOND)

enum { SOURCE, DESTINATION, SIDES };

struct fault {
    char action[32]; /* empty: none */
    char moment[16];
};

struct side {
    struct bench_vm vm;
    struct process_identity mover;
    struct mover_control control;
    json_t *result; /* owned; NULL while it has none */
};

struct move {
    struct side sides[SIDES];
    struct fault fault;
    uint16_t port;
    bool committed;
};

static void be_a_stranger(uint16_t port)
{
    static const char garbage[] = "GET / HTTP/1.1\r\nHost: scanner\r\n\r\n";
    for (int i = 0; i < 3; i++) {
        int fd = socket_connect_tcp("127.0.0.1", port, NANOSECONDS_PER_SECOND, NULL);
        if (fd < 0 || write(fd, garbage, i * 10) != i * 10) {
            bench_fail("the stranger cannot connect", NULL);
        } /* stays open: the process's end closes it */
    }
}

static void strike(struct move *move, const char *moment)
{
    struct fault *fault = &move->fault;
    if (!*fault->action || strcmp(fault->moment, moment) != 0) {
        return;
    }
    if (strcmp(fault->action, "cancel") == 0) {
        mover_control_cancel(&move->sides[SOURCE].control, NULL);
    } else if (strcmp(fault->action, "kill-source-mover") == 0) {
        process_kill(&move->sides[SOURCE].mover, NULL);
    } else if (strcmp(fault->action, "kill-destination-mover") == 0) {
        process_kill(&move->sides[DESTINATION].mover, NULL);
    } else if (strcmp(fault->action, "kill-shadow") == 0) {
        process_kill(&move->sides[DESTINATION].vm.process, NULL);
    } else if (strcmp(fault->action, "stranger") == 0) {
        be_a_stranger(move->port);
    } else {
        bench_fail("an unknown fault", NULL);
    }
    *fault->action = '\0';
}

/* The datastore's part: whoever asks first decides. */
static void answer(struct move *move, struct side *side, const char *question)
{
    bool is_commit = strcmp(question, "commit") == 0;
    strike(move, "commit");
    move->committed = move->committed || is_commit;
    mover_control_answer(&side->control, move->committed ? "destination" : "source", NULL);
}

static void hear(struct move *move, struct side *side)
{
    CLEANUP_JSON json_t *event = NULL;
    int result = mover_control_next(&side->control, EVENT_SLICE_NS, &event, NULL);
    if (result < 0) {
        side->result = json_pack("{s:s}", "outcome", "dead");
        return;
    }
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (result == 0 || !kind) {
        return;
    }
    if (strcmp(kind, "progress") == 0) {
        strike(move, json_string_value(json_object_get(event, "phase")));
    } else if (strcmp(kind, "question") == 0) {
        answer(move, side, json_string_value(json_object_get(event, "question")));
    } else {
        side->result = json_incref(event);
        mover_control_end(&side->control, NULL);
    }
}

/* Questions are answered fast: whoever has something to say is heard first. */
static void conduct(struct move *move)
{
    uint64_t deadline = clock_monotonic_ns() + MOVE_TIMEOUT_NS;
    while (!move->sides[SOURCE].result || !move->sides[DESTINATION].result) {
        for (int i = 0; i < SIDES; i++) {
            if (!move->sides[i].result) {
                hear(move, &move->sides[i]);
            }
        }
        if (clock_monotonic_ns() > deadline) {
            bench_fail("the movers come to no end", NULL);
        }
    }
}

static bool is_dead(const struct side *side)
{
    return strcmp(json_string_value(json_object_get(side->result, "outcome")), "dead") == 0;
}

/* What an agent does for a mover that died: the owner's VM runs. */
static void repair(struct move *move)
{
    struct error err = ERROR_NONE;
    struct side *owner = &move->sides[move->committed ? DESTINATION : SOURCE];
    struct qmp qmp;
    if (!is_dead(owner)) {
        return;
    }
    if (qmp_adopt(&qmp, bench_vm_monitor(&owner->vm, "qmp.sock"), &err) < 0 ||
        tap_set_carrier(owner->vm.tap_fd, true, &err) < 0 ||
        (move->committed ? qemu_run(&qmp, &err) : qemu_outgoing_undo(&qmp, &err)) < 0) {
        bench_fail("the owner's guest does not run", &err);
    }
    qmp_done(&qmp);
}

static void print_move(const struct move *move)
{
    char status[SIDES][32];
    bench_vm_status(&move->sides[SOURCE].vm, status[SOURCE]);
    bench_vm_status(&move->sides[DESTINATION].vm, status[DESTINATION]);
    CLEANUP_JSON json_t *line =
        json_pack("{s:b, s:O, s:O, s:s, s:s}", "committed", move->committed, "source",
                  move->sides[SOURCE].result, "destination", move->sides[DESTINATION].result,
                  "source_status", status[SOURCE], "destination_status", status[DESTINATION]);
    json_dumpf(line, stdout, JSON_COMPACT);
    puts("");
    fflush(stdout);
}

static void start_movers(struct move *move, const struct bench *bench)
{
    struct error err = ERROR_NONE;
    struct bench_secrets secrets;
    random_bytes(&secrets, sizeof(secrets));
    CLEANUP_CLOSE int listener = socket_listen_tcp("127.0.0.1", 0, &move->port, &err);
    if (listener < 0) {
        bench_fail("cannot listen", &err);
    }
    struct side *destination = &move->sides[DESTINATION];
    struct side *source = &move->sides[SOURCE];
    destination->mover = bench_start_mover(bench, &destination->vm, MOVER_ROLE_DESTINATION,
                                           listener, 0, &secrets, &destination->control);
    strike(move, "connect");
    source->mover = bench_start_mover(bench, &source->vm, MOVER_ROLE_SOURCE, -1, move->port,
                                      &secrets, &source->control);
}

/* Both sides' logs, QEMU's and the mover's, on standard error. */
static void print_logs(const struct move *move)
{
    static const char *const names[] = {"qemu.log", "mover.log"};
    for (int i = 0; i < SIDES * 2; i++) {
        CLEANUP_BUFFER struct buffer text = {0};
        CLEANUP_FREE char *path = file_path("%s/%s", move->sides[i / 2].vm.folder, names[i % 2]);
        if (file_read(path, LOG_MOST, &text, NULL) == 0 && text.length > 0) {
            fprintf(stderr, "%s:\n%s", path, (const char *)text.data);
        }
    }
}

/* Moves the VM once; whoever does not own it afterwards is ended, and the owner's VM returned. */
static struct bench_vm move_once(struct bench *bench, struct bench_vm vm, const struct fault *fault,
                                 bool logs)
{
    struct move move = {.fault = *fault};
    move.sides[SOURCE].vm = vm;
    move.sides[DESTINATION].vm = bench_start_vm(bench, true);
    start_movers(&move, bench);
    conduct(&move);
    repair(&move);
    print_move(&move);
    if (logs) {
        print_logs(&move);
    }
    int owner = move.committed ? DESTINATION : SOURCE;
    bench_end_vm(&move.sides[!owner].vm);
    for (int i = 0; i < SIDES; i++) {
        if (process_wait(&move.sides[i].mover, 10 * NANOSECONDS_PER_SECOND, NULL) == 0) {
            bench_fail("a mover does not end", NULL);
        }
        mover_control_done(&move.sides[i].control);
        json_decref(move.sides[i].result);
    }
    return move.sides[owner].vm;
}

/* What is to be done. */
struct plan {
    unsigned moves;
    struct fault faults[FAULTS_MOST + 1]; /* of each move; zeroed: none */
    unsigned fault_count;
    bool logs;
};

static void parse_fault(const char *text, struct plan *plan)
{
    struct fault *fault = &plan->faults[plan->fault_count];
    if (plan->fault_count++ == FAULTS_MOST ||
        sscanf(text, "%31[^@]@%15s", fault->action, fault->moment) != 2) {
        bench_fail("--fault wants ACTION@MOMENT, at most 32 times", NULL);
    }
}

static void parse_options(int argc, char **argv, struct bench_options *options, struct plan *plan)
{
    static const struct option table[] = {{"kernel", required_argument, NULL, 'k'},
                                          {"initramfs", required_argument, NULL, 'i'},
                                          {"append", required_argument, NULL, 'a'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {"disk", required_argument, NULL, 'd'},
                                          {"no-vga", no_argument, NULL, 'v'},
                                          {"moves", required_argument, NULL, 'n'},
                                          {"fault", required_argument, NULL, 'f'},
                                          {"logs", no_argument, NULL, 'l'},
                                          {"native", no_argument, NULL, 'q'},
                                          {"bandwidth", required_argument, NULL, 'b'},
                                          {"in-clear", no_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case 'k':
            options->kernel = optarg;
            break;
        case 'i':
            options->initramfs = optarg;
            break;
        case 'a':
            options->arguments = optarg;
            break;
        case 'm':
            options->memory_bytes = strtoull(optarg, NULL, 10) << 20;
            break;
        case 'd':
            options->disk_bytes = strtoull(optarg, NULL, 10) << 20;
            break;
        case 'v':
            options->vga = false;
            break;
        case 'n':
            plan->moves = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            parse_fault(optarg, plan);
            break;
        case 'q':
            options->engine = MOVER_ENGINE_NATIVE;
            break;
        case 'b':
            options->bandwidth_limit = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            options->in_clear = true;
            break;
        case 'l':
            plan->logs = true;
            break;
        default:
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct bench_options options = {.arguments = "console=ttyS0 quiet drover.ip=10.9.0.2/24",
                                    .memory_bytes = (uint64_t)256 << 20,
                                    .vga = true};
    struct plan plan = {.moves = 1};
    parse_options(argc, argv, &options, &plan);
    if (!options.kernel || !options.initramfs || !getenv("DROVER_MOVER")) {
        bench_fail("--kernel, --initramfs and DROVER_MOVER are needed", NULL);
    }
    struct bench bench;
    bench_enter(&bench, &options);
    struct bench_vm vm = bench_start_vm(&bench, false);
    json_decref(bench_ask_guest("report"));
    for (unsigned i = 0; i < plan.moves; i++) {
        unsigned fault = i < plan.fault_count ? i : plan.fault_count; /* the one behind: none */
        vm = move_once(&bench, vm, &plan.faults[fault], plan.logs);
    }
    CLEANUP_JSON json_t *verdict = bench_ask_guest("verify");
    json_dumpf(verdict, stdout, JSON_COMPACT);
    puts("");
    bench_end_vm(&vm);
    bench_leave(&bench);
    return 0;
}
