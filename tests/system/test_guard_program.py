"""drover-guard by itself: one to a run folder, hard to disturb, and no machine outlives a datastore that hangs.

A machine is a process that sleeps, recorded as the agent records its own.
"""
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import pytest

from lab import GUARD

UUID = "5d9c1f0a-0000-4000-8000-00000000d5d5"
TIMES = {"heartbeat_ms": 100, "stop_after_ms": 1000, "takeover_ms": 3000}
PATIENCE_S = 20
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
FREEZER = "/sys/fs/cgroup/freezer"


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return result


def start_time(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


def boottime_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Host:
    """A run folder with one datastore, and the guards and machines that the test starts."""

    def __init__(self, root):
        self.root = root
        self.run = os.path.join(root, "run")
        self.datastore = os.path.join(root, "shared")
        self.children = []
        os.makedirs(os.path.join(self.run, "guard"))
        os.makedirs(self.datastore)

    def mark(self):
        self.write(os.path.join(self.datastore, "drover-datastore.json"),
                   {"drover_datastore": 1, "uuid": UUID, "lease": TIMES})
        return self

    @staticmethod
    def write(path, value):
        with open(path + ".new", "w") as file:
            json.dump(value, file)
        os.rename(path + ".new", path)

    def instruct(self):
        self.write(os.path.join(self.run, "guard/datastores.json"),
                   {"host": "h1", "host_id": "id", "datastores": [{"name": "shared", "path": self.datastore, "uuid": UUID}]})

    def guard(self, *options):
        log = open(os.path.join(self.root, "log"), "ab")
        child = subprocess.Popen([GUARD, "--run-folder", self.run, *options], stdout=log, stderr=log)
        log.close()
        self.children.append(child)
        return child

    def log(self):
        with open(os.path.join(self.root, "log")) as log:
            return log.read()

    def deadline(self):
        """In CLOCK_BOOTTIME; 0 while there is none."""
        try:
            with open(os.path.join(self.run, f"guard/{UUID}.deadline"), "rb") as page:
                return int.from_bytes(page.read(16)[8:], "little")
        except FileNotFoundError:
            return 0

    def wait_until_guarded(self):
        wait_for("a deadline ahead", lambda: self.deadline() > boottime_ns())
        return self

    def machine(self):
        child = subprocess.Popen(["sleep", "600"])
        self.children.append(child)
        folder = os.path.join(self.run, "vms/5d9c1f0a-0000-4000-8000-000000000001")
        os.makedirs(folder, exist_ok=True)
        self.write(os.path.join(folder, "state.json"),
                   {"vm": {"name": "sleeper"}, "datastore": {"uuid": UUID},
                    "process": {"pid": child.pid, "start_time": start_time(child.pid)}})
        return child

    def clean(self):
        for child in self.children:
            child.kill()
            child.wait()


@pytest.fixture
def host(request):
    root = tempfile.mkdtemp(prefix="drover-guard-")
    made = Host(root)
    yield made
    made.clean()
    shutil.rmtree(root, ignore_errors=True)


def test_it_follows_instructions_that_come_later(host):
    host.mark().guard()
    time.sleep(0.2)
    assert host.deadline() == 0
    host.instruct()
    host.wait_until_guarded()


def test_a_second_one_is_refused(host):
    host.mark().instruct()
    host.guard()
    host.wait_until_guarded()
    second = host.guard()
    assert second.wait(PATIENCE_S) != 0
    assert "another drover-guard runs" in host.log()


def test_it_is_hard_to_disturb(host):
    """What the system does not permit is named in the log instead."""
    host.mark().instruct()
    guard = host.guard()
    host.wait_until_guarded()
    with open(f"/proc/{guard.pid}/status") as status, open(f"/proc/{guard.pid}/oom_score_adj") as oom:
        locked = int(status.read().partition("VmLck:")[2].split()[0])
        never = oom.read().strip() == "-1000"
    assert locked > 0 or "cannot lock memory" in host.log()
    assert never or "cannot be excepted from the OOM killer" in host.log()
    threads = [int(thread) for thread in os.listdir(f"/proc/{guard.pid}/task")]
    assert len(threads) == 2
    assert all(os.sched_getscheduler(thread) == os.SCHED_FIFO for thread in threads) \
        or "cannot take real-time priority" in host.log()


def test_killed_and_started_again_it_ends_no_machine(host):
    host.mark().instruct()
    guard = host.guard()
    host.wait_until_guarded()
    machine = host.machine()
    for _ in range(3):
        guard.kill()
        guard.wait()
        before = host.deadline()
        guard = host.guard()
        wait_for("the deadline to move on", lambda: host.deadline() > before)
    time.sleep(2 * TIMES["stop_after_ms"] / 1000)
    assert machine.poll() is None


def test_asked_to_end_it_says_that_machines_run(host):
    host.mark().instruct()
    guard = host.guard()
    host.wait_until_guarded()
    host.machine()
    guard.terminate()
    assert guard.wait(PATIENCE_S) == 0
    assert "1 machine runs here: without a guard each ends when its deadline comes" in host.log()


@pytest.fixture
def small_disk(host):
    """The datastore as a file system of its own; it can be frozen."""
    image = os.path.join(host.root, "image")
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    if shutil.which("mkfs.ext4") is None or subprocess.run(["mkfs.ext4", "-q", image]).returncode != 0:
        pytest.skip("no mkfs.ext4")
    if subprocess.run(["mount", "-o", "loop", image, host.datastore], capture_output=True).returncode != 0:
        pytest.skip("a file system in a file cannot be mounted here")
    folder = os.open(host.datastore, os.O_RDONLY)
    yield folder
    try:
        fcntl.ioctl(folder, FITHAW, 0)
    except OSError:  # it is not frozen
        pass
    os.close(folder)
    host.clean()
    subprocess.run(["umount", host.datastore], check=True)


def test_a_datastore_that_hangs(host, small_disk):
    """The thread that renews hangs with it; its machine ends all the same, and the guard comes back with it."""
    host.mark().instruct()
    guard = host.guard()
    host.wait_until_guarded()
    machine = host.machine()
    fcntl.ioctl(small_disk, FIFREEZE, 0)
    machine.wait(PATIENCE_S)
    assert boottime_ns() >= host.deadline()
    assert "machine sleeper" in host.log()
    missed = host.deadline()
    fcntl.ioctl(small_disk, FITHAW, 0)
    wait_for("the deadline to move on", lambda: host.deadline() > missed)
    assert guard.poll() is None


# ---- the watchdog, played by a pipe with a name


@pytest.fixture
def device(host):
    path = os.path.join(host.root, "watchdog")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def told(reader, seconds):
    """All that the device is told in so many seconds."""
    text, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            text += os.read(reader, 4096)
            time.sleep(0.01)  # without a writer the pipe is always readable
    return text


def test_the_watchdog_is_petted_and_stopped(host, device):
    path, reader = device
    host.mark().instruct()
    guard = host.guard("--watchdog", path)
    host.wait_until_guarded()
    pets = told(reader, 2)
    assert set(pets) == {0} and len(pets) >= 2
    guard.terminate()
    guard.wait(PATIENCE_S)
    assert told(reader, 0.2).endswith(b"V")


def test_a_killed_guard_leaves_the_watchdog_running(host, device):
    path, reader = device
    host.mark().instruct()
    guard = host.guard("--watchdog", path)
    host.wait_until_guarded()
    guard.kill()
    guard.wait()
    assert b"V" not in told(reader, 0.2)


@pytest.fixture
def freezer():
    """A group whose processes stand still, and do not even die."""
    group = f"{FREEZER}/drover-guard-{os.getpid()}"
    try:
        os.mkdir(group)
    except OSError:
        pytest.skip("no freezer of cgroups, version 1")
    assert os.path.exists(f"{group}/freezer.state")
    yield group
    with open(f"{group}/freezer.state", "w") as state:
        state.write("THAWED")
    wait_for("the group to be empty", lambda: not open(f"{group}/cgroup.procs").read())
    os.rmdir(group)


def test_the_watchdog_is_not_petted_while_a_machine_outlives_its_deadline(host, device, freezer):
    path, reader = device
    host.mark().instruct()
    host.guard("--watchdog", path)
    host.wait_until_guarded()
    machine = host.machine()
    with open(f"{freezer}/cgroup.procs", "w") as members:
        members.write(str(machine.pid))
    with open(f"{freezer}/freezer.state", "w") as state:
        state.write("FROZEN")
    os.rename(host.datastore, host.datastore + ".away")
    wait_for("the deadline", lambda: host.deadline() <= boottime_ns())
    told(reader, 0.3)
    assert told(reader, 1.5) == b""
    os.rename(host.datastore + ".away", host.datastore)  # the deadline may not move on either
    missed = host.deadline()
    assert told(reader, 1) == b"" and host.deadline() == missed
    with open(f"{freezer}/freezer.state", "w") as state:
        state.write("THAWED")
    machine.wait(PATIENCE_S)
    wait_for("the deadline to move on", lambda: host.deadline() > missed)
    assert told(reader, 1)
