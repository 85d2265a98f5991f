/* droverd, the host agent: command line, start, main loop. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "agent/adopt.h"
#include "agent/agent.h"
#include "agent/config.h"
#include "agent/datastore_watch.h"
#include "agent/host_id.h"
#include "agent/peer.h"
#include "agent/routes/routes.h"
#include "agent/upkeep.h"
#include "agent/vm/console_log.h"
#include "agent/vm/record.h"
#include "agent/vm/vm_end.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "http/server.h"
#include "vmm/qemu/capabilities.h"

#define GROUP "drover" /* its members may use the UNIX socket */
#define PROBE_ATTEMPTS 3
#define WORKERS "32" /* requests handled at a time; some wait for tasks to change */

struct options {
    const char *config_path;
    bool check_only;
    bool verbose;
};

static void print_help(void)
{
    puts("usage: droverd [--config FILE] [--check] [--verbose]\n"
         "\n"
         "The host agent of Drover: runs VMs on this host, and moves them to and from others.\n"
         "\n"
         "  --config FILE   configuration (default: /etc/drover/droverd.json)\n"
         "  --check         check the configuration and end\n"
         "  --verbose       log more\n"
         "  --version       print the version and end\n"
         "  --help          print this and end");
}

/* 0, or the exit status + 1 for what ends here. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
        {"verbose", no_argument, NULL, 'v'},      {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    *options = (struct options){.config_path = "/etc/drover/droverd.json"};
    while ((option = getopt_long(argc, argv, "h", known, NULL)) >= 0) {
        switch (option) {
        case 'c':
            options->config_path = optarg;
            break;
        case 'k':
            options->check_only = true;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'V':
            puts("droverd " DROVER_VERSION);
            return EXIT_SUCCESS + 1;
        case 'h':
            print_help();
            return EXIT_SUCCESS + 1;
        default:
            return 2 + 1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "droverd: \"%s\" is not understood; see droverd --help\n", argv[optind]);
        return 2 + 1;
    }
    return 0;
}

/* ---- what a host needs before it serves ---- */

static int prepare_network(const struct agent_config *config, struct error *err)
{
    for (size_t i = 0; i < config->bridge_count; i++) {
        const struct config_bridge *bridge = &config->bridges[i];
        int result = bridge_ensure(bridge->name, bridge->uplink[0] ? bridge->uplink : NULL, err);
        if (result < 0) {
            return result;
        }
    }
    for (size_t i = 0; i < config->port_group_count; i++) {
        const struct port_group *group = &config->port_groups[i];
        for (size_t j = 0; j < config->bridge_count; j++) {
            const struct config_bridge *bridge = &config->bridges[j];
            if (strcmp(bridge->name, group->bridge) == 0 && bridge->uplink[0]) {
                int result = bridge_allow_vlan(bridge->uplink, group->vlan, err);
                if (result < 0) {
                    return result;
                }
            }
        }
    }
    return 0;
}

/* A host that has just booted may be too busy for QEMU to answer in time. */
static void probe_capabilities(struct agent *agent)
{
    struct error err = ERROR_NONE;
    int result = -ETIMEDOUT;
    agent->accelerator = qemu_accelerator_detect();
    for (int i = 0; i < PROBE_ATTEMPTS && result == -ETIMEDOUT; i++) {
        result = qemu_capabilities_probe(agent->accelerator, &agent->capabilities, &err);
    }
    if (result < 0) {
        log_error("this host cannot run VMs: %s", err.message);
        agent->capabilities = json_object();
    }
}

/* Beside this program in the build tree, or where it is installed. */
static void find_mover(struct agent *agent)
{
    static const char *const places[] = {"%.*s/drover-mover", "%.*s/../mover/drover-mover",
                                         "%.*s/../libexec/drover/drover-mover"};
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[length > 0 ? length : 0] = '\0';
    const char *slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
        char candidate[PATH_MAX];
        snprintf(candidate, sizeof(candidate), places[i], (int)(slash - program), program);
        if (realpath(candidate, agent->mover_program)) {
            return;
        }
    }
    strcpy(agent->mover_program, "/usr/lib/drover/drover-mover");
}

static int prepare_agent(struct agent *agent, const struct agent_config *config, struct error *err)
{
    agent->config = config;
    agent->inventory = inventory_new(config->host);
    agent->tasks = task_list_new();
    agent->moves = move_list_new();
    agent->samplings = sampling_list_new();
    agent->recoveries = recoveries_new();
    pthread_mutex_init(&agent->admission.mutex, NULL);
    if (!agent->inventory || !agent->tasks || !agent->moves || !agent->samplings ||
        !agent->recoveries) {
        return error_set_errno(err, ENOMEM, "cannot start");
    }
    int result = record_prepare(config, err);
    if (result == 0) {
        result = record_lock(config, err);
    }
    if (result == 0) {
        result = prepare_network(config, err);
    }
    if (result == 0) {
        result = peer_start(err);
    }
    if (result == 0) {
        result = trust_new(config->tls.folder, &agent->trust, err);
    }
    if (result == 0) {
        result = watch_start(vm_end_noticed, agent, &agent->watch, err);
    }
    if (result == 0) {
        result = host_id_load(config, agent->host_id, err);
    }
    if (result == 0) {
        result = restarts_new(agent, &agent->restarts, err);
    }
    if (result == 0) {
        find_mover(agent);
        datastores_init(agent);
        result = datastore_watch_start(agent, err);
    }
    if (result == 0) {
        probe_capabilities(agent);
        adopt_all(agent);
    }
    return result;
}

/* ---- the loop ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    log_info("ending on signal %d; VMs go on running", number);
    uv_stop(handle->loop);
}

static bool is_peer(void *context, const char *host)
{
    const struct agent *agent = context;
    return config_peer(agent->config, host) != NULL;
}

static int serve(struct agent *agent, struct error *err)
{
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_timer_t timer;
    struct http_server *server;
    const struct agent_config *config = agent->config;
    CLEANUP_FREE char *socket_path = file_path("%s/droverd.sock", config->run_folder);
    struct http_options options = {
        .socket_path = socket_path,
        .listen_address = config->listen_address[0] ? config->listen_address : NULL,
        .listen_port = config->listen_port,
        .group = GROUP,
        .token = config->token,
        .host = config->host,
        .trust = agent->trust,
        .routes = agent_routes,
        .route_count = agent_route_count,
        .context = agent,
        .is_peer = is_peer,
        .open_console = open_vm_console,
    };
    if (!socket_path || uv_loop_init(&loop) < 0) {
        return error_set_errno(err, ENOMEM, "cannot start the main loop");
    }
    int result = http_server_start(&loop, &options, &server, err);
    if (result == 0) {
        result = upkeep_start(agent, &agent->upkeep, err);
    }
    if (result == 0) {
        result = console_log_watch(&loop, &timer, agent, err);
    }
    if (result < 0) {
        return result;
    }
    uv_signal_init(&loop, &signals[0]);
    uv_signal_start(&signals[0], on_signal, SIGTERM);
    uv_signal_init(&loop, &signals[1]);
    uv_signal_start(&signals[1], on_signal, SIGINT);
    log_info("host %s serves %s", config->host, socket_path);
    uv_run(&loop, UV_RUN_DEFAULT);
    unlink(socket_path);
    return 0;
}

static int run(const struct options *options, struct error *err)
{
    static struct agent agent;
    struct agent_config *config;
    int result = config_load(options->config_path, &config, err);
    if (result < 0) {
        return result;
    }
    if (options->check_only) {
        printf("%s is valid: host %s\n", options->config_path, config->host);
        free(config);
        return 0;
    }
    if (geteuid() != 0) {
        error_set(err, EPERM, "droverd needs to run as root");
        return error_remedy(err, "it makes taps, mounts and users for VMs; QEMU and movers run "
                                 "without privileges");
    }
    result = prepare_agent(&agent, config, err);
    return result < 0 ? result : serve(&agent, err);
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = ERROR_NONE;
    int ends = read_options(argc, argv, &options);
    if (ends) {
        return ends - 1;
    }
    umask(0022);
    signal(SIGPIPE, SIG_IGN);
    setenv("UV_THREADPOOL_SIZE", WORKERS, 1);
    log_start("droverd", options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    if (run(&options, &err) < 0) {
        fprintf(stderr, "droverd: %s\n", err.message);
        if (err.remedy[0]) {
            fprintf(stderr, "  %s\n", err.remedy);
        }
        return error_exit_status(err.code);
    }
    fflush(stdout);
    _exit(EXIT_SUCCESS); /* threads of tasks may be at work: they end with the process, as after a
                            crash */
}
