"""What is on a lab host, seen from outside its namespaces: processes, taps, memory files, run folders, descriptors.

An agent's word is not taken for it: a test compares the two.
"""
import os

import footprint

QEMU = "qemu-system-x86"  # as far as the kernel keeps a process's name
MOVER = "drover-mover"
AGENT = "droverd"
TAP_PREFIX = "dv"


def command_name(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:  # it has ended
        return ""


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def copies(uuid):
    """Pids of all processes that run this machine, on whatever host."""
    return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc"))
            if command_name(pid) == QEMU and uuid in command_line(pid)]


class HostState:
    """One host of a lab. Made anew after the host was switched off and on."""

    def __init__(self, lab, host):
        self.name = host
        self.init = lab.pids()[host]
        self.namespace = os.readlink(f"/proc/{self.init}/ns/pid")

    def processes(self, name):
        """Pids, as the machine counts them, of this host's processes of that name."""
        return [pid for pid in footprint.processes_in({self.namespace}, kinds=("pid",))
                if command_name(pid) == name]

    def runs(self, uuid):
        return any(uuid in command_line(pid) for pid in self.processes(QEMU))

    def taps(self):
        with open(f"/proc/{self.init}/net/dev") as file:
            names = [line.split(":")[0].strip() for line in file if ":" in line]
        return [name for name in names if name.startswith(TAP_PREFIX)]

    def folder(self, name):
        return set(os.listdir(f"/proc/{self.init}/root/run/drover/{name}"))

    def remains(self):
        """All that belongs to machines, as one list: empty on a host that has none."""
        return ([f"{name} {pid}" for name in (QEMU, MOVER) for pid in self.processes(name)]
                + [f"tap {name}" for name in self.taps()]
                + [f"memory file {name}" for name in self.folder("ram")]
                + [f"run folder {name}" for name in self.folder("vms")])

    def agent_pid(self):
        """None while no agent runs."""
        pids = self.processes(AGENT)
        assert len(pids) <= 1, f"{self.name} has agents {pids}"
        return pids[0] if pids else None

    def agent_descriptors(self):
        folder = f"/proc/{self.agent_pid()}/fd"
        return sorted(os.readlink(f"{folder}/{number}") for number in os.listdir(folder)
                      if os.path.islink(f"{folder}/{number}"))
