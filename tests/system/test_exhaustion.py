"""Resources run out: descriptors of the agent and the movers, memory of the destination, the file system of the journals.

Each time something is refused or undone, in words that say what ran out; no guest notices, and nothing is left behind.
"""
import contextlib
import os
import subprocess
import threading

import pytest

from cluster import Guest, Task, wait_for
from lab import Lab

SLOW = 16 << 20  # bytes a second: a move that lasts
RUN = "/run/drover"
RAM = "/run/drover/ram"


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture(scope="module")
def guest(lab, hosts):
    made = Guest(lab, hosts, "steady", "10.77.0.11", megabytes=128, working_set="48M").create("h1")
    made.start("h1")
    return made


@pytest.fixture(scope="module")
def other(lab, hosts):
    return Guest(lab, hosts, "other", "10.77.0.12", megabytes=128, working_set="16M").create("h1")


def user_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("Uid:")).split()[1])


def limit_descriptors(pid, limit):
    """Sets a process's limit, as its own user: where root lacks CAP_SYS_RESOURCE that is who may."""
    with contextlib.suppress(FileNotFoundError):  # it has ended
        user = user_of(pid)
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={limit}:"], user=user, group=user, extra_groups=[],
                       stderr=subprocess.DEVNULL, check=False)


def soft_limit(pid):
    with open(f"/proc/{pid}/limits") as file:
        return int(next(line for line in file if line.startswith("Max open files")).split()[3])


@contextlib.contextmanager
def few_descriptors(pid, spare):
    """A process that may open no more than `spare` descriptors beyond those it has."""
    before = soft_limit(pid)
    highest = max(int(number) for number in os.listdir(f"/proc/{pid}/fd"))
    limit_descriptors(pid, highest + 1 + spare)
    assert soft_limit(pid) == highest + 1 + spare
    try:
        yield
    finally:
        limit_descriptors(pid, before)


@contextlib.contextmanager
def full(host, path, spare=0):
    """A tmpfs of a host that takes about `spare` more bytes, and no more. It may be growing just now."""
    def resize(size, **options):
        return host.lab.run(host.name, "mount", "-o", f"remount,size={size}", path, **options).returncode == 0

    def used():
        status = os.statvfs(host.root(path))
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    status = os.statvfs(host.root(path))
    wait_for("it to be small", lambda: resize(used() + spare, check=False), 10)
    try:
        yield
    finally:
        resize(status.f_blocks * status.f_frsize)


def try_start(guest, host):
    status, answer = guest.hosts[host].call("POST", f"/v1/vms/{guest.name}/start", {})
    return Task(guest.hosts[host], answer["task"]).end() if status == 202 else {"state": "refused", **answer}


def settle_start(guest, host):
    """A start whose answer got lost has its end, too, and may well have had descriptors again: the VM is stopped after it.
    Who looked for the VM without descriptors may say a moment later that it cannot be read."""
    def state():
        return guest.hosts[host].call("GET", f"/v1/vms/{guest.name}")[1].get("state")

    wait_for(lambda: f"an end of its start: {state()}", lambda: state() in ("stopped", "running"))
    if state() == "running":
        guest.stop(host)


def assert_unharmed(guest, place):
    """It runs where it was, with not a byte wrong, and nothing of it is anywhere else."""
    def untidy():
        return {name: left for name, host in guest.hosts.items()
                if (left := host.leftovers([guest] if name == place else []))}

    wait_for(lambda: f"clean hosts: {untidy()}", lambda: not untidy())
    assert guest.copies() == [place] and guest.owner() == place
    wait_for("it to be shown as running", lambda: guest.show(place)["state"] == "running")
    verdict = guest.ask("verify")
    assert (verdict["memory"]["wrong_bytes"], verdict["disk"]["wrong_bytes"]) == (0, 0)


# ---- descriptors


@pytest.mark.parametrize("spare", [2, 6, 12])
def test_an_agent_without_descriptors_starts_nothing_and_ends_nothing(hosts, guest, other, spare):
    with few_descriptors(hosts["h1"].the_process("droverd"), spare):
        with contextlib.suppress(OSError):  # it may not even take the connection
            task = try_start(other, "h1")
            assert task["state"] != "succeeded" and task["error"]["message"], task
        assert guest.copies() == ["h1"] and guest.is_up()
    wait_for("the agent to be itself again", lambda: guest.show("h1")["state"] == "running")
    settle_start(other, "h1")
    assert_unharmed(guest, "h1")
    started = try_start(other, "h1")
    assert started["state"] == "succeeded", started
    other.stop("h1")


@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_agent_runs_out_of_descriptors_during_a_move(hosts, guest, side):
    source, target = guest.place(), {"h1": "h2", "h2": "h1"}[guest.place()]
    move = guest.begin_move(target, bandwidth_limit=SLOW)
    move.wait_for_data()
    with few_descriptors(hosts[source if side == "source" else target].the_process("droverd"), 0):
        with contextlib.suppress(AssertionError):  # who is out of descriptors may not get to its end
            wait_for("one copy", lambda: len(guest.copies()) == 1, 15)
    end = move.end()
    place = target if end["state"] == "succeeded" else source
    why = "" if end["state"] == "succeeded" else end["error"]["message"]
    assert not why or "open files" in why or "which may not hold any more" in why, end
    wait_for("the guest", guest.is_up)
    assert_unharmed(guest, place)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_mover_runs_out_of_descriptors(hosts, guest, side):
    source, target = guest.place(), {"h1": "h2", "h2": "h1"}[guest.place()]
    move = guest.begin_move(target, bandwidth_limit=SLOW)
    move.wait_for_data()
    with few_descriptors(hosts[source if side == "source" else target].the_process("drover-mover"), 0):
        end = move.end()
    assert end["state"] == "succeeded" or end["error"]["message"], end
    assert_unharmed(guest, target if end["state"] == "succeeded" else source)


# ---- memory


def test_two_machines_and_memory_for_one(lab, hosts, guest, other):
    """Asked for at once: what was promised to the one is not promised to the other."""
    second = Guest(lab, hosts, "second", "10.77.0.13", megabytes=128, working_set="16M").create("h1")
    host = {"h1": "h2", "h2": "h1"}[guest.place()]
    results, machines = {}, (other, second)

    def begin(machine):
        results[machine.name] = try_start(machine, host)

    with full(hosts[host], RAM, spare=200 << 20):
        threads = [threading.Thread(target=begin, args=(machine,)) for machine in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(task["state"] for task in results.values()) == ["failed", "succeeded"], results
    refusal = next(task["error"] for task in results.values() if task["state"] == "failed")
    assert "memory" in refusal["message"] and refusal["remedy"], refusal
    for machine in machines:
        if machine.copies():
            machine.stop(host)
    assert hosts["h1"].call("DELETE", f"/v1/vms/{second.name}")[0] == 200


def test_no_memory_for_it_at_the_destination(hosts, guest):
    source, target = guest.place(), {"h1": "h2", "h2": "h1"}[guest.place()]
    with full(hosts[target], RAM, spare=64 << 20):
        end = guest.begin_move(target).end()
    assert end["state"] == "failed" and "MiB" in end["error"]["message"], end
    assert_unharmed(guest, source)


def test_memory_of_the_destination_runs_out_during_the_move(hosts, guest):
    source, target = guest.place(), {"h1": "h2", "h2": "h1"}[guest.place()]
    move = guest.begin_move(target, bandwidth_limit=SLOW)
    move.wait_for_data()
    with full(hosts[target], RAM):
        end = move.end()
    assert_unharmed(guest, source if end["state"] == "failed" else target)
    if end["state"] == "failed":  # or its pages had been taken ahead of the move
        assert "memory" in end["error"]["message"] or "space" in end["error"]["message"], end


# ---- the file system of the journals


def test_no_room_for_the_record_of_a_machine(hosts, guest, other):
    host = guest.place()
    with full(hosts[host], RUN):
        task = try_start(other, host)
    assert task["state"] == "failed" and "No space left" in task["error"]["message"], task
    assert_unharmed(guest, host)
    assert try_start(other, host)["state"] == "succeeded"
    other.stop(host)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_no_room_for_the_journal_of_a_move(hosts, guest, side):
    source, target = guest.place(), {"h1": "h2", "h2": "h1"}[guest.place()]
    with full(hosts[source if side == "source" else target], RUN):
        end = guest.begin_move(target).end()
    assert end["state"] == "failed" and "No space left" in end["error"]["message"], end
    assert_unharmed(guest, source)


def test_no_room_to_write_down_the_commit(hosts, guest):
    """The last moment before the machine is given away: it is not, and the guest goes on where it was."""
    source, target = guest.place(), {"h1": "h2", "h2": "h1"}[guest.place()]
    move = guest.begin_move(target, bandwidth_limit=SLOW)
    move.wait_for_data()
    with full(hosts[source], RUN):
        end = move.end()
    assert end["state"] == "failed" and "could not be committed" in end["error"]["message"], end
    assert "No space left" in end["error"]["message"], end
    assert_unharmed(guest, source)
    assert guest.begin_move(target).end()["state"] == "succeeded"
    assert_unharmed(guest, target)
