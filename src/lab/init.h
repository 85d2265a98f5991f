/*
 * A node's init: process 1 of its namespaces. It mounts the node's folders, reaps what becomes
 * nobody's child, and keeps the host's agent: starts it when told, does not restart it. When it
 * dies, the kernel ends everything in the node.
 *
 * Its line (a socket, descriptor INIT_LINE_FD) is how `up` hears that it is ready, and how it hears
 * that the lab stands: a line that closes before that ends the node.
 *
 * Its socket takes one word a connection (INIT_START ...) and answers with one of JSON: {"state":
 * "running" | "stopped", "pid", "ended": how}, or an error in the API's form.
 */
#pragma once

#define INIT_LINE_FD 3
#define INIT_READY "ready"
#define INIT_RELEASE "stay"

#define INIT_AGENT_START "start"
#define INIT_AGENT_STOP "stop"
#define INIT_AGENT_KILL "kill"
#define INIT_AGENT_STATUS "status"

/* `drover lab init NODE SOCKET FOLDER AGENT`. */
int init_run(int argc, char **argv);
