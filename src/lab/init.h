/*
 * A node's init: process 1 of its namespaces. It mounts the node's folders, reaps what becomes
 * nobody's child, and keeps the host's services, agent and guard: starts them when told, and the
 * guard again whenever it ends without having been stopped. When it dies, the kernel ends
 * everything in the node.
 *
 * Its line (a socket, descriptor INIT_LINE_FD) is how `up` hears that it is ready, and how it hears
 * that the lab stands: a line that closes before that ends the node.
 *
 * Its socket takes one request a connection, "SERVICE ACTION" (INIT_GUARD " " INIT_START), and
 * answers with one of JSON: {"state": "running" | "stopped", "pid", "ended": how}, or an error in
 * the API's form.
 */
#pragma once

#define INIT_LINE_FD 3
#define INIT_READY "ready"
#define INIT_RELEASE "stay"

#define INIT_AGENT "agent"
#define INIT_GUARD "guard"
#define INIT_SANLOCK "sanlock" /* its daemon, where the shared datastore wants one */

#define INIT_START "start"
#define INIT_STOP "stop"
#define INIT_KILL "kill"
#define INIT_STATUS "status"

/* `drover lab init NODE SOCKET FOLDER AGENT GUARD`. */
int init_run(int argc, char **argv);
