/*
 * `drover lab up`.
 *
 * Each step is written down before it is made (registry.h), and no node outlives this program until
 * all of them stand (node.h). So whatever interrupts it, and wherever: either it cleans up itself,
 * or the next `up` or `down` of that name does.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/socket.h"
#include "lab/agent.h"
#include "lab/command.h"
#include "lab/folder.h"
#include "lab/node.h"
#include "lab/wiring.h"

struct construction {
    struct lab *lab;
    const struct lab_lease *lease; /* of the shared datastore */
    struct lab_programs programs;  /* empty: no agents */
    int interruption;              /* readable once the user has pressed Ctrl-C */
    int lines[LAB_NODES_MOST];     /* to the nodes' inits */
};

/* ---- what it takes ---- */

static int require_file(const char *path, int mode, const char *why, const char *remedy,
                        struct error *err)
{
    if (access(path, mode) == 0) {
        return 0;
    }
    error_set_errno(err, errno, "%s, which %s, cannot be used", path, why);
    return error_remedy(err, "%s", remedy);
}

static int require_qemu(struct error *err)
{
    static const char *const paths[] = {"/usr/bin/qemu-system-x86_64",
                                        "/usr/local/bin/qemu-system-x86_64"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (access(paths[i], X_OK) == 0) {
            return 0;
        }
    }
    error_set(err, ENOENT, "qemu-system-x86_64, which runs the hosts' VMs, is not installed");
    return error_remedy(err, "install the package qemu-system-x86, or use --no-agents");
}

static int check_requirements(bool agents, struct error *err)
{
    static const char *const namespaces[] = {"/proc/self/ns/net", "/proc/self/ns/mnt",
                                             "/proc/self/ns/pid", "/proc/self/ns/uts"};
    int result = require_file("/dev/net/tun", R_OK | W_OK, "makes the VMs' network cards",
                              "load the kernel's tun module (\"modprobe tun\")", err);
    for (size_t i = 0; result == 0 && i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
        result = require_file(namespaces[i], F_OK, "the nodes are made of",
                              "a lab needs a kernel with namespaces, and /proc mounted", err);
    }
    return result < 0 || !agents ? result : require_qemu(err);
}

/* ---- interruption ---- */

static int watch_interruption(struct error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? error_set_errno(err, errno, "cannot watch for signals") : fd;
}

static int check_interruption(const struct construction *construction, struct error *err)
{
    return socket_wait_readable(construction->interruption, 0) > 0
               ? error_set(err, ECANCELED, "interrupted")
               : 0;
}

/* ---- building ---- */

static int start_node(struct construction *construction, size_t index, struct error *err)
{
    struct lab *lab = construction->lab;
    struct lab_node *node = &lab->nodes[index];
    const struct lab_programs *programs =
        node->kind == LAB_NODE_HOST ? &construction->programs : NULL;
    int result = check_interruption(construction, err);
    if (result < 0) {
        return result;
    }
    int line = node_start(lab, node, programs, err);
    if (line < 0) {
        return line;
    }
    construction->lines[index] = line;
    result = registry_save(lab, err);
    if (result < 0) {
        return result;
    }
    return node->kind == LAB_NODE_SWITCH ? wiring_prepare_switch(lab, err)
                                         : wiring_connect(lab, node, err);
}

/* The lab stands: written down first, so that `down` knows the nodes that live on. */
static int release_nodes(struct construction *construction, struct error *err)
{
    struct lab *lab = construction->lab;
    lab->state = LAB_UP;
    int result = registry_save(lab, err);
    for (size_t i = 0; result == 0 && i < lab->node_count; i++) {
        int line = construction->lines[i];
        construction->lines[i] = -1;
        result = node_release(&lab->nodes[i], line, err);
    }
    return result;
}

static int start_agents(const struct construction *construction, struct error *err)
{
    const struct lab *lab = construction->lab;
    int result = 0;
    for (size_t i = 0; result == 0 && i < lab->node_count; i++) {
        if (lab->nodes[i].kind == LAB_NODE_HOST) {
            result = agent_start(lab, &lab->nodes[i], err);
        }
    }
    for (size_t i = 0; result == 0 && i < lab->node_count; i++) {
        if (lab->nodes[i].kind == LAB_NODE_HOST) {
            result = agent_wait_until_ready(lab, &lab->nodes[i], construction->interruption, err);
        }
    }
    return result;
}

static int build(struct construction *construction, struct error *err)
{
    struct lab *lab = construction->lab;
    int result = registry_save(lab, err);
    if (result == 0) {
        result = folder_make(lab, construction->lease, err);
    }
    for (size_t i = 0; result == 0 && i < lab->node_count; i++) {
        result = start_node(construction, i, err);
    }
    if (result == 0) {
        result = check_interruption(construction, err);
    }
    if (result == 0) {
        result = release_nodes(construction, err);
    }
    return result < 0 || !lab->agents ? result : start_agents(construction, err);
}

static int build_or_clean(struct construction *construction, struct error *err)
{
    struct error ignored = ERROR_NONE;
    for (size_t i = 0; i < LAB_NODES_MOST; i++) {
        construction->lines[i] = -1;
    }
    int result = build(construction, err);
    for (size_t i = 0; i < LAB_NODES_MOST; i++) {
        close_fd(&construction->lines[i]);
    }
    if (result < 0 && lab_tear_down(construction->lab, &ignored) < 0) {
        fprintf(stderr, "drover: cleaning up failed too: %s\n", ignored.message);
    }
    return result < 0 ? error_wrap(err, "lab %s", construction->lab->name) : 0;
}

/* ---- the command ---- */

/* Locks the name; what an interrupted `up` left under it is cleaned away first. */
static int claim(const struct lab_arguments *arguments, struct lab *lab, struct error *err)
{
    int result = registry_open(arguments->lab_name, true, lab, err);
    if (result < 0) {
        return result;
    }
    if (lab->state == LAB_UP) {
        error_set(err, EEXIST, "the lab %s is up already", lab->name);
        return error_remedy(err,
                            "use it, end it with \"drover lab down --name %s\", or give "
                            "another one a name of its own with --name",
                            lab->name);
    }
    if (lab->node_count == 0) {
        return folder_choose(lab->name, lab->folder, err);
    }
    result = lab_tear_down(lab, err);
    registry_close(lab);
    return result < 0 ? result : registry_open(arguments->lab_name, true, lab, err);
}

static void plan(struct lab *lab, const struct lab_arguments *arguments)
{
    lab->agents = arguments->agents;
    lab->migration_networks = arguments->migration_networks;
    lab->datastore_bytes = arguments->datastore_bytes;
    lab->node_count = arguments->hosts + 2;
    for (size_t i = 0; i < lab->node_count; i++) {
        lab_node_plan(i, lab->migration_networks, &lab->nodes[i]);
    }
}

int lab_up(const struct lab_arguments *arguments, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    struct construction construction = {.lab = &lab, .lease = &arguments->lease};
    int result = check_requirements(arguments->agents, err);
    if (result == 0 && arguments->agents) {
        result = agent_find_programs(&construction.programs, err);
    }
    if (result < 0 || (result = claim(arguments, &lab, err)) < 0) {
        return result;
    }
    CLEANUP_CLOSE int interruption = watch_interruption(err);
    if (interruption < 0) {
        return interruption;
    }
    construction.interruption = interruption;
    plan(&lab, arguments);
    result = build_or_clean(&construction, err);
    if (result < 0) {
        return result;
    }
    printf("lab %s is up: a switch, a client and %u host%s%s\n", lab.name, arguments->hosts,
           arguments->hosts == 1 ? "" : "s", lab.agents ? "" : ", without agents");
    return 0;
}
