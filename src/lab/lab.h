/*
 * The lab: a small data centre made of namespaces on one machine. Hosts h1 ... hN, a client and a
 * switch are each a set of namespaces (network, mount, process, host name) under a tiny init; links
 * between them are veth pairs. Nothing of it has a name outside but two folders, so that nothing is
 * left when its processes are gone.
 *
 *     client ── VLAN 10 ──┐
 *     h1 ─ vm0 ─ trunk ── br-vm        VM network          (hosts' taps; client 10.77.0.1)
 *        ─ mig0 ───────── br-mig       migration network   10.78.0.N
 *        ─ mig1 ───────── br-mig2      a second one, 10.80.0.N, in labs that have it
 *        ─ mgmt0 ──────── br-mgmt      management network  10.79.0.N (client 10.79.0.254)
 */
#pragma once

/* `drover lab COMMAND ...`: argv[0] is "lab". Tells the user what failed; returns the exit status.
 */
int lab_command(int argc, char **argv);
