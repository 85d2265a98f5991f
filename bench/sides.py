"""The two sides of the comparison: a guest that Drover runs and moves, and the same guest under QEMU alone.

Both have the same interface: boot(), meet(), move(), halted(), end(); `where` is the host that the guest is on.
"""
import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field

from meters import GuestLine
from native_move import MoveSettings, run_native_move
from qmp import Monitor, Refused
from stage import BUILD, DROVER, GUEST, Failure

# Under TCG, QEMU 7.2's own migration breaks busy guests of two vCPUs (docs/benchmarks/README.md).
VCPUS = 1
BLACKOUT_TARGET_MS = 50
DISK_SIZE = "64M"
WITH_TAP = os.path.join(BUILD, "bench/drover-bench-with-tap")
# As the lab's hosts have it: the bridge and VLAN of their port group "vm".
VM_BRIDGE, VM_VLAN = "br-vm", 10
TAP_FD = 3
FIRST_PORT = 7900


@dataclass(frozen=True)
class Platform:
    """What Drover chose for its guest, and the other side takes over."""
    machine: str = "pc-q35-7.2"
    cpu: str = "qemu64"
    accelerator: str = "tcg"


@dataclass
class Move:
    """What a side knows of a move; the rest is measured from outside."""
    completed: bool
    total_s: float
    wall_s: float
    stopped_ms: float = None  # from the vCPUs' stop to their start, as the engine's own stamps say
    detail: dict = field(default_factory=dict)


class Side:
    def __init__(self, stage, group, address, name):
        self.stage, self.group, self.address, self.name = stage, group, address, name
        self.line = None
        self.where = None

    def other_host(self):
        return next(host for host in self.stage.hosts if host != self.where)

    @contextlib.contextmanager
    def halted(self):
        """So that it does not compete with the guest that is being measured."""
        pids = self.group.pids("qemu-system-x86_64")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def prepare(self, engine):
        """What has to be so before a move by that engine, and is not part of it."""

    def state(self):
        """What its hypervisor says of a guest that says nothing itself."""
        try:
            return "its kernel panicked" if self.guest_panicked() else f"on {self.where}, {self.hypervisor_state()}"
        except (Failure, Refused, OSError, ValueError) as error:
            return f"on {self.where}, and its hypervisor says nothing either: {error}"

    def guest_panicked(self):
        return "Kernel panic" in self.console_text()

    def meet(self):
        """Waits until the guest that boots answers."""
        self.line = GuestLine(self.stage.pids()["client"], self.address)
        self.line.wait_until_ready()


class DroverSide(Side):
    """Its agents are in `group`, and so is all that they start."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.in_clear = False  # how a lab's hosts begin

    def prepare(self, engine):
        """Agents read their configuration when they start; machines go on meanwhile."""
        if engine.in_clear == self.in_clear:
            return
        for host, pid in self.stage.pids().items():
            if host in self.stage.hosts:
                path = f"/proc/{pid}/root/etc/drover/droverd.json"
                with open(path) as file:
                    settings = json.load(file)
                settings["migration_encryption"] = "disabled" if engine.in_clear else "required"
                with open(path, "w") as file:
                    json.dump(settings, file)
                self.stage.lab("agent", host, "stop")
                self.stage.lab("agent", host, "start")
        self.in_clear = engine.in_clear

    def boot(self, machine, host):
        self.where = host
        self.stage.create_guest(self.name, host, memory=f"{machine.memory_mib}M", vcpus=VCPUS, disk=DISK_SIZE,
                                address=self.address, arguments=machine.guest_arguments())

    def platform(self):
        vm = self.stage.on_json(self.where, "vm", "show", self.name)
        return Platform(vm["config"]["machine"], vm["config"]["cpu"], vm["runtime"]["accelerator"])

    def hypervisor_state(self):
        vm = self.stage.on_json(self.where, "vm", "show", self.name)
        return f"{vm['state']}, {vm['problem']}"

    def console_text(self):
        with contextlib.suppress(OSError, Failure, KeyError):
            root = f"/proc/{self.stage.pids()[self.where]}/root"
            uuid = self.stage.on_json(self.where, "vm", "show", self.name)["uuid"]
            with open(f"{root}/run/drover/vms/{uuid}/qemu/serial.log", errors="replace") as file:
                return file.read()
        return ""

    def move(self, _engine, cap_s, _channels, _busy):
        source, target = self.where, self.other_host()
        command = self.stage.exec_command(source, DROVER, "vm", "migrate", self.name, "--to", target, "--blackout",
                                          str(BLACKOUT_TARGET_MS), "--timeout", str(cap_s), "--progress", "none")
        begun = time.monotonic()
        done = subprocess.run(command, text=True, capture_output=True, timeout=cap_s + 120)
        wall_s = time.monotonic() - begun
        report = self.stage.last_report(source, self.name)
        if done.returncode != 0:
            if wall_s < cap_s:
                raise Failure(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
            return Move(False, wall_s, wall_s, detail={"report": report})
        self.where = target
        return Move(True, report["total_ms"] / 1000, wall_s, report["guest_stopped_ms"], {"report": report})

    def end(self):
        """Wherever it is: after a failed move that is only known to its hosts."""
        for host in self.stage.hosts if self.where else ():
            vms = self.stage.on_json(host, "vm", "list")["vms"]
            if any(vm["name"] == self.name and vm["state"] == "running" for vm in vms):
                self.stage.on(host, "vm", "stop", self.name, "--force")
                self.stage.on(host, "vm", "rm", self.name, "--yes")
        self.where = None


class QemuSide(Side):
    """QEMU in its best configuration: anonymous RAM, its own migration straight from host to host."""

    def __init__(self, stage, group, address, name, folder):
        super().__init__(stage, group, address, name)
        self.folder = folder
        self.count = 0
        self.platform = Platform()
        self.machine = self.process = self.monitor = None

    def boot(self, machine, host):
        self.where, self.machine = host, machine
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{self.folder}/disk.qcow2", DISK_SIZE], check=True)
        self.process, self.monitor = self._launch(host)

    def _arguments(self, path):
        """As Drover's own command line (src/vmm/qemu/command_line.c), but for RAM, sockets and descriptors."""
        image = {"driver": "file", "node-name": "disk0-file", "filename": f"{self.folder}/disk.qcow2", "aio": "threads",
                 "cache": {"direct": False, "no-flush": False}, "discard": "unmap"}
        disk = {"driver": "qcow2", "node-name": "disk0", "file": "disk0-file", "discard": "unmap", "backing": None}
        return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-name", f"guest={self.name},debug-threads=on",
                "-machine", f"{self.platform.machine},suppress-vmdesc=on,sata=off,smbus=off",
                "-accel", self.platform.accelerator, "-cpu", f"{self.platform.cpu},enforce", "-smp", str(VCPUS), "-m", str(self.machine.memory_mib),
                "-rtc", "base=utc",
                "-chardev", f"socket,id=qmp,path={path},server=on,wait=off", "-mon", "chardev=qmp,mode=control",
                "-chardev", f"file,id=serial0,path={path}.serial", "-serial", "chardev:serial0",
                "-vnc", f"unix:{path}.vnc", "-device", "VGA,id=vga,addr=0x02",
                "-device", "qemu-xhci,id=usb,addr=0x04", "-device", "usb-tablet,id=tablet,bus=usb.0",
                "-blockdev", json.dumps(image), "-blockdev", json.dumps(disk),
                "-device", "virtio-blk-pci,id=disk0,drive=disk0,serial=disk0,addr=0x08.0,multifunction=on,bootindex=1",
                "-netdev", f"tap,id=net0,fd={TAP_FD},vhost=off",
                "-device", "virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:be:0c:02,romfile=,addr=0x10.0,"
                           "multifunction=on",
                "-kernel", f"{GUEST}/vmlinuz", "-initrd", f"{GUEST}/initramfs.gz",
                "-append", f"console=ttyS0 quiet drover.name={self.name} drover.ip={self.address}/24 "
                           f"{self.machine.guest_arguments()}"]

    def _launch(self, host, incoming=False):
        self.count += 1
        path = os.path.join(self.folder, f"qemu-{self.count}")
        command = [WITH_TAP, VM_BRIDGE, str(VM_VLAN), str(TAP_FD), *self._arguments(path)]
        if incoming:
            command += ["-incoming", "defer"]
        with open(f"{path}.log", "w") as log:
            process = subprocess.Popen(self.stage.exec_command(host, *command), stdin=subprocess.DEVNULL, stderr=log,
                                       preexec_fn=self.group.enter)
        return process, Monitor(path)

    def hypervisor_state(self):
        return self.monitor.execute("query-status")["status"]

    def console_text(self):
        """Of the newest process: a guest that was moved prints there."""
        with contextlib.suppress(OSError), open(f"{self.folder}/qemu-{self.count}.serial", errors="replace") as file:
            return file.read()
        return ""

    def move(self, engine, cap_s, channels, busy):
        target = self.other_host()
        begun = time.monotonic()
        process, monitor = self._launch(target, incoming=True)
        settings = MoveSettings(engine, channels, BLACKOUT_TARGET_MS, not busy, cap_s, f"10.78.0.{target[1:]}",
                                FIRST_PORT + self.count)
        native = run_native_move(self.monitor, monitor, settings)
        if native.completed:
            self._end(self.process, self.monitor)
            self.process, self.monitor, self.where = process, monitor, target
        else:
            self._end(process, monitor)
        return Move(native.completed, native.total_s, time.monotonic() - begun, native.stopped_ms, native.detail)

    @staticmethod
    def _end(process, monitor):
        with contextlib.suppress(Refused, ValueError, OSError):
            monitor.execute("quit")
        monitor.close()
        process.wait(timeout=20)

    def end(self):
        """Also what a failed move left of a destination."""
        for pid in self.group.pids("qemu-system-x86_64"):
            os.kill(pid, signal.SIGKILL)
        if self.process:
            self.monitor.close()
            self.process.wait(timeout=20)
            self.process = self.where = None
