"""What is measured from outside, alike for every engine: processor time, bytes on the wire, the guest's own report.

Processor time comes from a control group, which also counts processes that have ended meanwhile; it works with version 1
(cpuacct) and version 2 of cgroups.
"""
import contextlib
import ctypes
import json
import os
import socket
import threading
import time
from dataclasses import dataclass

CLONE_NEWNET = 0x40000000
REPORT_PORT = 7002
COUNTED_LINKS = ("mig0", "mgmt0")


def _cgroup_root():
    """(folder, file with the processor time, seconds a unit)"""
    with open("/proc/self/mounts") as mounts:
        fields = [line.split() for line in mounts]
    for _, folder, kind, options, *_ in fields:
        if kind == "cgroup" and "cpuacct" in options.split(","):
            return folder, "cpuacct.usage", 1e-9
    for _, folder, kind, *_ in fields:
        if kind == "cgroup2":
            return folder, "cpu.stat", 1e-6
    raise OSError("no control groups with processor time are mounted")


class ProcessorGroup:
    """The processes that are started `inside` it, and all that those start."""

    def __init__(self, name):
        root, self.file, self.unit = _cgroup_root()
        self.path = os.path.join(root, f"drover-bench-{os.getpid()}-{name}")
        os.makedirs(self.path, exist_ok=True)

    def enter(self):
        """In a child, before it becomes the program."""
        with open(os.path.join(self.path, "cgroup.procs"), "w") as file:
            file.write(str(os.getpid()))

    def seconds(self):
        with open(os.path.join(self.path, self.file)) as file:
            words = file.read().split()
        return int(words[1] if words[0] == "usage_usec" else words[0]) * self.unit

    def pids(self, program):
        """Those of its processes that run this program."""
        with open(os.path.join(self.path, "cgroup.procs")) as file:
            pids = [int(word) for word in file.read().split()]
        return [pid for pid in pids if _program(pid) == program]

    def remove(self, wait_s=5):
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            try:
                os.rmdir(self.path)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.05)


def _program(pid):
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return None


class VcpuClock:
    """Time that vCPU threads spend on the guest's own instructions (user mode), since it began: `with`. Looks often, since
    a source's process is gone when its move is over. TCG only: what a guest does under KVM is no user mode."""
    INTERVAL_S = 0.05

    def __init__(self, group):
        self.group = group
        self.seconds_of = {}  # by pid and thread
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look_often)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def seconds(self):
        self._look()
        with self.lock:
            return sum(self.seconds_of.values())

    def _look_often(self):
        while not self.ended.wait(self.INTERVAL_S):
            self._look()

    def _look(self):
        for pid in self.group.pids("qemu-system-x86_64"):
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    self._look_at(pid, thread)

    def _look_at(self, pid, thread):
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            name, fields = file.read().split("(", 1)[1].rsplit(")", 1)
        if name.startswith("CPU "):
            with self.lock:
                self.seconds_of[pid, thread] = int(fields.split()[11]) / os.sysconf("SC_CLK_TCK")


def machine_busy_seconds():
    """Of all cores: everything but idle and waiting for disks; what a hypervisor took away is not counted."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = (int(word) for word in file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def wire_bytes(node_pids):
    """What the interfaces between hosts have sent, over all hosts."""
    total = 0
    for pid in node_pids:
        with open(f"/proc/{pid}/net/dev") as file:
            for line in file:
                name, colon, counters = line.partition(":")
                if colon and name.strip() in COUNTED_LINKS:
                    total += int(counters.split()[8])
    return total


def connect_inside(pid, address, port, timeout):
    """A TCP connection made in another process's network namespace. Only a thread of its own goes there."""
    outcome = []

    def work():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{pid}/ns/net") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) < 0:
                    raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
            outcome.append(socket.create_connection((address, port), timeout=timeout))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


class GuestLine:
    """Asks a guest's report port, from the client's side of the network."""

    def __init__(self, client_pid, address):
        self.client_pid, self.address = client_pid, address

    def ask(self, request="report", timeout=10):
        with connect_inside(self.client_pid, self.address, REPORT_PORT, timeout) as line:
            line.sendall(request.encode() + b"\n")
            answer = json.loads(line.makefile().readline())
        if "error" in answer:
            raise OSError(f"the guest at {self.address} refused \"{request}\": {answer['error']}")
        return answer

    def wait_until_ready(self, wait_s=180):
        deadline = time.monotonic() + wait_s
        while True:
            try:
                answer = self.ask(timeout=2)
                if answer["memory"] and answer["clock"]:
                    return answer
            except (OSError, ValueError):
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest at {self.address} did not answer within {wait_s} s")
            time.sleep(0.3)


@dataclass(frozen=True)
class Sample:
    """Everything that counts up, at one moment."""
    at: float
    cpu_s: float
    busy_s: float
    vcpu_s: float
    wire_bytes: int
    pages_written: int
    wrong_pages: int


def sample(group, vcpus, node_pids, line):
    memory = line.ask()["memory"]
    return Sample(time.monotonic(), group.seconds(), machine_busy_seconds(), vcpus.seconds(), wire_bytes(node_pids),
                  memory["pages_written"], memory["wrong_pages"])
