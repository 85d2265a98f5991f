"""A lab with one guest under load, for the demo and the soak: what they share, and nothing else.

Everything goes through the `drover` command line, as a user would. The guest proves its own memory and disk; the
traffic client proves the network; leftovers are told from what the machine had before.
"""
import json
import os
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("DROVER_BUILD", os.path.join(ROOT, "build"))
DROVER = os.path.join(BUILD, "src/cli/drover")
GUEST = os.path.join(BUILD, "guest")

sys.path.insert(0, os.path.join(ROOT, "tests/system"))
from traffic import TrafficClient  # noqa: E402

GUEST_ADDRESS = "10.77.0.11"

# Sent from the client's side of the network: one request to the guest's report port, one line back.
ASK = """import socket, sys
with socket.create_connection((sys.argv[1], 7002), timeout=float(sys.argv[3])) as s:
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.makefile().readline(), end="")
"""


def let_signals_interrupt():
    """A terminal that is closed, or a polite kill, ends things as Ctrl-C does: the lab goes too. Not where that was to be ignored (nohup)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


class Failure(Exception):
    """Something that must not happen did."""


def run(command, check=True, timeout=300, **options):
    done = subprocess.run(command, text=True, capture_output=True, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise Failure(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Stage:
    def __init__(self, name, hosts=3):
        self.name = name
        self.hosts = [f"h{number + 1}" for number in range(hosts)]

    def lab(self, verb, *arguments, **options):
        return run([DROVER, "lab", verb, "--name", self.name, *arguments], **options)

    def exec_command(self, host, *command):
        return [DROVER, "lab", "exec", "--name", self.name, host, *command]

    def on(self, host, *command, **options):
        """Runs a drover command on a host."""
        return run(self.exec_command(host, DROVER, *command), **options)

    def pids(self):
        """Pid of each node's first process, by the node's name."""
        nodes = json.loads(self.lab("status", "--json").stdout)["nodes"]
        return {node["name"]: node["pid"] for node in nodes}

    def on_json(self, host, *command):
        return json.loads(self.on(host, *command, "--json").stdout)

    def up(self, *arguments, **options):
        self.lab("up", "--hosts", str(len(self.hosts)), *arguments, **options)

    def down(self):
        self.lab("down", check=False)

    def create_guest(self, vm, host, memory="512M", vcpus=2, disk="256M", address=GUEST_ADDRESS,
                     arguments="drover.memory=192M drover.memory-rate=8M "
                               "drover.disk=/dev/vda drover.disk-rate=512K"):
        self.on(host, "vm", "create", vm, "--memory", memory, "--vcpus", str(vcpus), "--disk", disk,
                "--nic", "vm", "--datastore", "shared", "--kernel", f"{GUEST}/vmlinuz",
                "--initrd", f"{GUEST}/initramfs.gz", "--append",
                f"console=ttyS0 quiet drover.name={vm} drover.ip={address}/24 {arguments}")
        self.on(host, "vm", "start", vm)

    def ask(self, request="report", timeout=20):
        """One request to the guest's report port, from the client."""
        done = run(self.exec_command("client", "/usr/bin/python3", "-c", ASK, GUEST_ADDRESS, request,
                                     str(timeout)), timeout=timeout + 30)
        return json.loads(done.stdout)

    def wait_for_guest(self, limit=180):
        deadline = time.monotonic() + limit
        while True:
            try:
                return self.ask(timeout=2)
            except (Failure, ValueError, subprocess.TimeoutExpired):
                if time.monotonic() > deadline:
                    raise Failure(f"the guest did not answer within {limit} s") from None
                time.sleep(0.3)

    def traffic(self, seconds, address=GUEST_ADDRESS):
        client = TrafficClient(address, seconds, wrapper=self.exec_command("client"))
        client.wait_until_started()
        return client

    def move(self, vm, source, target, *options, show=False):
        """Moves a VM; with `show` the command's own progress and report go to the terminal."""
        command = ["vm", "migrate", vm, "--to", target, *options]
        if show:
            done = subprocess.run(self.exec_command(source, DROVER, *command), timeout=300)
            if done.returncode != 0:
                raise Failure(f"the move {source} -> {target} failed: exit {done.returncode}")
        else:
            self.on(source, *command)
        return self.last_report(source, vm)

    def last_report(self, host, vm):
        tasks = self.on_json(host, "task", "list")["tasks"]
        return next(task for task in tasks if task["kind"] == "migrate" and task["vm"] == vm)["report"]

    def copies(self, uuid):
        """Pids of all processes that run this machine, wherever they are."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    arguments = file.read().split(b"\0")
            except OSError:
                continue
            if arguments[0].endswith(b"qemu-system-x86_64") and uuid.encode() in arguments:
                found.append(int(pid))
        return found


def leftovers():
    """What a lab could leave behind: compare before and after. Other builds' labs are not ours to judge."""
    def processes():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                program = os.readlink(f"/proc/{pid}/exe")
            except OSError:
                continue
            if program.startswith(BUILD):
                yield f"process {pid} {program}"

    with open("/proc/self/mountinfo") as file:
        mounts = {f"mount {line.split()[4]}" for line in file if "/run/drover-lab/" not in line}
    links = {f"link {name}" for name in os.listdir("/sys/class/net")}
    return set(processes()) | mounts | links


def left_by(name):
    """Folders that a lab of this name left."""
    return {f"folder {folder}/{name}" for folder in ("/run/drover-lab", "/var/lib/drover-lab")
            if os.path.exists(f"{folder}/{name}")}
