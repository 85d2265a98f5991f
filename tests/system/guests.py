"""Test guests in a lab, handled as a user would handle them: through `drover`, the client's network and the console.

    guest = Guest(lab, "web1", "h1", writer="drover.memory=64M drover.memory-rate=4M")
    guest.start()
    guest.wait_until_up()
    task = guest.move("h2")
"""
import json
import os
import subprocess

import pytest

import host_state
from cluster import GUEST_FOLDER as FOLDER
from cluster import wait_for
from lab import DROVER
from traffic import TrafficClient

BOOT_PATIENCE_S = 180
MOVE_PATIENCE_S = 180

# One request to the guest's report port, one line back.
ASK = """import socket, sys
with socket.create_connection((sys.argv[1], 7002), timeout=float(sys.argv[3])) as stream:
    stream.sendall(sys.argv[2].encode() + b"\\n")
    print(stream.makefile().readline(), end="")
"""

# Report fields that are 0 as long as not a byte is wrong.
FAULTS = {"memory": ("wrong_pages", "wrong_bytes"),
          "disk": ("wrong_blocks", "wrong_bytes", "foreign_witnesses", "errors")}


def require_guest(file):
    if not os.path.exists(f"{FOLDER}/{file}"):
        pytest.skip(f"no guest in {FOLDER}: run guest/build-guest {FOLDER}")


class Guest:
    """One VM on the lab's shared datastore. `host` is where it was last told to be."""

    def __init__(self, lab, name, host, number=11, memory="384M", vcpus=2, disk="64M",
                 writer="drover.memory=96M drover.memory-rate=8M", initrd="initramfs.gz", options=()):
        require_guest(initrd)
        self.lab = lab
        self.name = name
        self.host = host
        self.address = f"10.77.0.{number}"
        arguments = f"console=ttyS0 quiet drover.name={name} drover.ip={self.address}/24 {writer}"
        if disk:
            options = ["--disk", disk, *options]
            arguments += " drover.disk=/dev/vda drover.disk-size=32M drover.disk-rate=512K"
        lab.run(host, DROVER, "vm", "create", name, "--memory", memory, "--vcpus", vcpus, "--nic", "vm",
                "--datastore", "shared", "--kernel", f"{FOLDER}/vmlinuz",
                "--initrd", f"{FOLDER}/{initrd}", "--append", arguments, *options)
        self.uuid = self.seen_from(host)["uuid"]

    # ---- through its host's agent

    def drover(self, *words, **options):
        """`drover vm VERB NAME ...` on the host that has it; fails the test when it fails."""
        verb, *rest = words
        return self.lab.run(self.host, DROVER, "vm", verb, self.name, *rest, **options)

    def start(self):
        self.lab.forget_neighbours()
        self.drover("start")
        return self

    def stop(self):
        """At once, as if the plug were pulled."""
        self.drover("stop", "--force")

    def remove(self):
        self.drover("rm", "--yes")

    def seen_from(self, host):
        return self.lab.drover(host, "vm", "show", self.name)

    def try_move(self, to, *options):
        """The process of a move that may fail."""
        return self.drover("migrate", "--to", to, "--json", "--progress", "none", *options, check=False,
                           timeout=MOVE_PATIENCE_S)

    def move(self, to, *options):
        """Moves it; returns the finished task."""
        done = self.try_move(to, *options)
        assert done.returncode == 0, f"{self.name} from {self.host} to {to}: {done.stderr}"
        self.host = to
        return json.loads(done.stdout)

    def begin_move(self, to, *options):
        """Starts a move and returns its task."""
        return json.loads(self.drover("migrate", "--to", to, "--no-wait", "--json", *options).stdout)

    # ---- what it says itself

    def ask(self, request="report", timeout=60):
        done = self.lab.run("client", "/usr/bin/python3", "-c", ASK, self.address, request, timeout,
                            timeout=timeout + 30)
        return json.loads(done.stdout)

    def answers(self):
        try:
            return self.ask(timeout=2)
        except (AssertionError, ValueError, subprocess.TimeoutExpired):
            return None

    def wait_until_up(self):
        wait_for(lambda: f"{self.name} to answer; its console ends with\n{self.console_tail()}", self.answers, BOOT_PATIENCE_S)
        return self

    def console_tail(self):
        return self.lab.run(self.host, "tail", "-n", "20", f"/run/drover/vms/{self.uuid}/qemu/serial.log", check=False).stdout

    def faults(self):
        """Every fault counter that is not 0, after the guest has checked its memory and disk whole."""
        wait_for("what writes its memory to begin", lambda: (self.answers() or {}).get("memory"), BOOT_PATIENCE_S)
        report = self.ask("verify", timeout=120)
        assert report["memory"]["pages_verified"] > 0
        return {f"{section} {name}": report[section][name] for section, names in FAULTS.items()
                if report[section] for name in names if report[section][name]}

    def traffic(self, seconds=600):
        """A traffic client that talks to it already; ends with `with`."""
        client = TrafficClient(self.address, seconds, wrapper=self.lab.wrapper("client"))
        client.wait_until_started()
        return client

    def type(self, line):
        """A line for the shell on its serial console."""
        self.drover("console", input=f"\n{line}\n")

    # ---- as the machine sees it

    def copies(self):
        return host_state.copies(self.uuid)
