"""Strangers at the ports: at those of movers that wait for their sources, of movers at work, and at an agent's.

They may not get in, nor keep the source out; they may cost no memory to speak of, and hurt no other move.
"""
import contextlib
import os
import subprocess
import time

import pytest

from cluster import Guest, wait_for

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile_peer.py")
PYTHON = "/usr/bin/python3"
SLOW = 3 << 20  # bytes a second: the other move lasts as long as these tests
MEMORY_MOST = 64 << 10  # KiB that a crowd may cost a mover
LOG_MOST = 64 << 10  # bytes that it may cost a log
LISTENING = "0A"


@pytest.fixture(scope="module")
def guests(lab, hosts):
    """One on h1, one on h3; both are to go to h2."""
    made = {host: Guest(lab, hosts, name, address, megabytes=192, working_set="64M").create(host)
            for host, name, address in (("h1", "moving", "10.77.0.41"), ("h3", "attacked", "10.77.0.43"))}
    for host, guest in made.items():
        guest.start(host)
    return made


@contextlib.contextmanager
def crowd(lab, node):
    """Hostile peers in a node, until the block ends: a function that sends them to these ports."""
    process = lab.start(node, PYTHON, "-B", PEER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                        text=True)

    def attack(targets):
        process.stdin.write(" ".join(targets) + "\n")
        process.stdin.flush()

    try:
        assert process.stdout.readline() == "ready\n"
        yield attack
    finally:
        process.kill()
        process.communicate()


def listening_sockets(host):
    """IPv4 addresses that somebody listens on, by the inode of the socket."""
    with open(f"/proc/{host.init}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return {row[9]: decode(row[1]) for row in rows if row[3] == LISTENING}


def decode(text):
    address, port = text.split(":")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) + f":{int(port, 16)}"


def ports_of(host, pid):
    """What a process listens on."""
    sockets = listening_sockets(host)
    links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    return [sockets[link[len("socket:["):-1]] for link in links if link[len("socket:["):-1] in sockets]


def own_memory(pid):
    """KiB, without the guest's, which is shared."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def log_size(lab, host, guest):
    return os.path.getsize(os.path.join(lab.root, "labs", lab.name, host, f"state/logs/{guest.name}.mover.log"))


def mover_of(host, guest):
    def find():
        for pid in host.processes("drover-mover"):
            with open(f"/proc/{pid}/cmdline") as line:
                if guest.name in line.read().split("\0"):
                    return pid
        return None

    return wait_for(f"the mover of {guest.name}", find)


def test_a_crowd_keeps_no_source_out_and_hurts_no_other_move(lab, hosts, guests):
    """It comes before the source, whose link is down at first, and stays; it also bothers a mover at work."""
    moving, attacked = guests["h1"], guests["h3"]
    other = moving.begin_move("h2", bandwidth_limit=SLOW)
    other.wait_for_data()
    at_work = mover_of(hosts["h2"], moving)
    lab.link("h3", "migration", "down")
    try:
        with crowd(lab, "h1") as attack:
            move = attacked.begin_move("h2")
            waiting = mover_of(hosts["h2"], attacked)
            movers = (at_work, waiting)
            before = {pid: (own_memory(pid), descriptors(pid)) for pid in movers}
            targets = ports_of(hosts["h2"], waiting) + ports_of(hosts["h2"], at_work)
            assert len(targets) >= 2
            attack(targets)
            time.sleep(1)  # they have their way for a while
            assert (other.now()["state"], move.now()["state"]) == ("running", "running"), (other.now(), move.now())
            for pid in movers:
                assert own_memory(pid) - before[pid][0] < MEMORY_MOST
                assert descriptors(pid) - before[pid][1] < 64
            lab.link("h3", "migration", "up")
            task = move.end()
            assert task["state"] == "succeeded", task
            assert other.now()["state"] == "running"
            assert own_memory(at_work) - before[at_work][0] < MEMORY_MOST
    finally:
        lab.link("h3", "migration", "up")
    assert other.end()["state"] == "succeeded"
    for guest in (moving, attacked):
        assert log_size(lab, "h2", guest) < LOG_MOST
        verdict = guest.ask("verify")
        assert (verdict["memory"]["wrong_bytes"], verdict["disk"]["wrong_bytes"]) == (0, 0)


def test_a_move_whose_source_never_comes_ends_whoever_else_comes(lab, hosts, guests):
    """In its time: the source gives up, its agent tells the destination's, and the crowd cannot keep that mover busy."""
    attacked = guests["h3"]
    if attacked.place() == "h2":
        assert attacked.begin_move("h3").end()["state"] == "succeeded"
    lab.link("h3", "migration", "down")
    try:
        with crowd(lab, "h1") as attack:
            move = attacked.begin_move("h2")
            waiting = mover_of(hosts["h2"], attacked)
            attack(ports_of(hosts["h2"], waiting))
            task = move.end()
            assert task["state"] == "failed" and "cannot reach" in task["error"]["message"], task
            wait_for("the end of the mover", lambda: waiting not in hosts["h2"].processes("drover-mover"))
    finally:
        lab.link("h3", "migration", "up")
    assert attacked.copies() == ["h3"]
    assert attacked.ask()["memory"]


def test_a_crowd_at_the_agents_port_locks_nobody_out(lab, hosts):
    """Who is on the host has its socket, other agents have their port, and the agent's memory stays what it is."""
    agent = hosts["h2"].the_process("droverd")
    before = own_memory(agent)
    target, = ports_of(hosts["h2"], agent)  # its management address, and no other
    assert not target.startswith("0.0.0.0")
    with crowd(lab, "h1") as attack:
        attack([target] * 12)  # more connections than the agent takes
        time.sleep(3)
        assert hosts["h2"].call("GET", "/v1/host", timeout=20)[0] == 200
        assert own_memory(agent) - before < 2 * MEMORY_MOST
    assert wait_for("the crowd to be forgotten", lambda: descriptors(agent) < 64)
    assert hosts["h2"].call("GET", "/v1/host")[0] == 200
