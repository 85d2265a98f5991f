"""The guard in a lab: what may be killed without harm to a machine, and that a machine that must end has ended before it
runs elsewhere: with all of Drover's processes dead, without its datastore, and on a host that was frozen and comes back.

Takes about 100 s on two free cores: a take-over waits for the end of the other copy. Times are those of CLOCK_BOOTTIME, in seconds.
"""
import json
import os
import select
import signal
import threading
import time

import pytest

from cluster import Guest, wait_for
from lab import Lab

HEARTBEAT_S, STOP_AFTER_S, TAKEOVER_S = 0.5, 4, 6
TIMES = ("--lease-times", "500,4000,6000")
OTHER = {"h1": "h2", "h2": "h1"}
CGROUPS = "/sys/fs/cgroup"


def boottime():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Copy:
    """One QEMU of the guest: when it started, and when it ended."""

    def __init__(self, guest, place):
        self.pid, = [pid for pid in guest.hosts[place].processes("qemu-system") if guest.is_mine(pid)]
        self.pidfd = os.pidfd_open(self.pid)
        with open(f"/proc/{self.pid}/stat") as stat:
            self.started = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        self.ended = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        select.select([self.pidfd], [], [])
        self.ended = boottime()
        os.close(self.pidfd)


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2, lease=TIMES) as made:
        yield made


@pytest.fixture(scope="module")
def guest(lab, hosts):
    made = Guest(lab, hosts, "guarded", "10.77.0.11", megabytes=128, working_set="16M").create("h1")
    made.start("h1")
    return made


@pytest.fixture(scope="module")
def page(lab):
    """Path of the deadline page of the shared datastore, on every host."""
    with open(os.path.join(lab.root, "labs", lab.name, "shared/drover-datastore.json")) as marker:
        return f"/run/drover/guard/{json.load(marker)['uuid']}.deadline"


@pytest.fixture
def deadline(hosts, page):
    def read(place):
        with open(hosts[place].root(page), "rb") as file:
            return int.from_bytes(file.read(16)[8:], "little") / 1e9
    return read


def assert_unharmed(guest, place):
    wait_for("the guest", guest.is_up)
    assert guest.copies() == [place] and guest.owner() == place
    report = guest.ask("verify")
    for section, name in (("memory", "wrong_bytes"), ("disk", "wrong_bytes"), ("disk", "foreign_witnesses")):
        assert report[section][name] == 0, report


# ---- what does not concern machines


def test_killed_and_started_again(lab, guest, deadline):
    """The guard, the agent, both: no machine ends, and the next agent finds it."""
    place = guest.place()
    copy = Copy(guest, place)
    for victims in (("guard",), ("agent",), ("guard", "agent")):
        before = deadline(place)
        for victim in victims:
            getattr(lab, victim)(place, "kill")
        wait_for("the deadline to move on", lambda: deadline(place) > before + HEARTBEAT_S)
        if "agent" in victims:
            lab.agent(place, "start")
    wait_for("the deadline of before to pass", lambda: boottime() > before + STOP_AFTER_S)
    assert copy.ended is None
    assert guest.show(place)["state"] == "running"
    assert_unharmed(guest, place)


# ---- what ends them


def test_a_guard_that_is_stopped_for_good(lab, guest, deadline):
    """The machine ends at its deadline, not before; it starts again with the guard."""
    place = guest.place()
    copy = Copy(guest, place)
    lab.guard(place, "stop")
    last = deadline(place)
    wait_for("the machine's end", lambda: copy.ended)
    assert copy.ended >= last
    assert deadline(place) == last
    assert guest.copies() == []
    lab.guard(place, "start")
    wait_for("the machine to start again", lambda: guest.copies() == [place])


class Dead:
    """The host lives, but nothing of Drover on it."""

    def __init__(self, lab, host):
        self.lab, self.host = lab, host

    def begin(self):
        self.lab.guard(self.host.name, "stop")
        self.lab.agent(self.host.name, "kill")

    def end(self):
        self.lab.guard(self.host.name, "start")
        self.lab.agent(self.host.name, "start")


class Away(Dead):
    """Its datastore is gone: another file system lies upon it."""

    def begin(self):
        self.lab.run(self.host.name, "mount", "-t", "tmpfs", "none", f"/datastores/{self.host.name}-shared")

    def end(self):
        self.lab.run(self.host.name, "umount", f"/datastores/{self.host.name}-shared")


class Stopped(Dead):
    """All its processes are stopped."""

    def signal(self, number):
        for pid in self.host.processes(""):
            os.kill(pid, number)

    def begin(self):
        self.signal(signal.SIGSTOP)

    def end(self):
        self.signal(signal.SIGCONT)


class Frozen(Dead):
    """All its processes are frozen, as by a host's own suspend: they do not even die before they are thawed."""

    def __init__(self, lab, host):
        super().__init__(lab, host)
        self.freezer = f"{CGROUPS}/freezer/{lab.name}"
        try:
            os.makedirs(self.freezer)
        except OSError:
            pytest.skip("no freezer of cgroups, version 1")

    def become(self, state):
        with open(f"{self.freezer}/freezer.state", "w") as file:
            file.write(state)

    def begin(self):
        for pid in self.host.processes(""):
            with open(f"{self.freezer}/cgroup.procs", "w") as members:
                members.write(str(pid))
        self.become("FROZEN")

    def end(self):
        self.become("THAWED")
        with open(f"{self.freezer}/cgroup.procs") as members:
            for pid in members.read().split():
                try:
                    with open(f"{CGROUPS}/freezer/cgroup.procs", "w") as root:
                        root.write(pid)
                except OSError:  # it has ended
                    pass
        wait_for("the frozen ones to go", lambda: not open(f"{self.freezer}/cgroup.procs").read())
        os.rmdir(self.freezer)


@pytest.mark.parametrize("kind", [Dead, Away, Stopped])
def test_taken_over(lab, hosts, guest, kind):
    """The copy that was has ended before another one starts; and afterwards all is as it should be."""
    source = guest.place()
    target = OTHER[source]
    fault = kind(lab, hosts[source])
    old = Copy(guest, source)
    begun = boottime()
    fault.begin()
    try:
        task = guest.act(target, "start", {"take_over": True}).end()
        assert task["state"] == "succeeded", task
        new = Copy(guest, target)
    finally:
        fault.end()
    assert old.ended < new.started
    print(f"{kind.__name__}: ended after {old.ended - begun:.2f} s, started elsewhere after {new.started - begun:.2f} s")
    wait_for(f"{source} to know", lambda: guest.show(source)["state"] == "elsewhere")
    wait_for(f"{source} to be clean", lambda: not hosts[source].leftovers())
    assert_unharmed(guest, target)


def user_ticks(pid):
    """For how long a process ran in user mode, where guests run under TCG; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[11])
    except OSError:
        return None


def test_frozen_and_thawed(lab, hosts, guest):
    """A copy that was frozen beyond its deadline does not run again, however late it is thawed. (Elsewhere it could not
    have been started meanwhile: here its image is locked until it is gone, for all hosts of the lab are one machine.)"""
    place = guest.place()
    fault = Frozen(lab, hosts[place])
    copy = Copy(guest, place)
    fault.begin()
    try:
        ran = user_ticks(copy.pid)
        time.sleep(TAKEOVER_S)
        assert copy.ended is None and user_ticks(copy.pid) == ran
    finally:
        fault.end()
    seen = set()
    wait_for("its end", lambda: seen.add(user_ticks(copy.pid)) or copy.ended)
    assert seen <= {ran, None}
    wait_for("the machine to start again", lambda: guest.copies() == [place])
