"""The recorder notices two copies: in stories told to it, and when two really run."""
import json
import os
import signal
import socket
import subprocess

import pytest

from breakpoints import Breakpoint
from cluster import RUN_FOLDER, Guest, hosts_of, wait_for
from lab import Lab
from recorder import Ledger, Recorder

FIRST_BOOT, SECOND_BOOT = 0xA, 0xB


@pytest.mark.parametrize("name,story,doubles", [
    ("moved", [(FIRST_BOOT, 1, "h1"), (FIRST_BOOT, 2, "h1"), (FIRST_BOOT, 3, "h2"), (FIRST_BOOT, 9, "h1")], 0),
    ("overtaken", [(FIRST_BOOT, 1, "h1"), (FIRST_BOOT, 3, "h2"), (FIRST_BOOT, 2, "h1"), (FIRST_BOOT, 4, "h2")], 0),
    ("started anew", [(FIRST_BOOT, 7, "h1"), (SECOND_BOOT, 1, "h2")], 0),
    ("two at once", [(FIRST_BOOT, 1, "h1"), (FIRST_BOOT, 2, "h1"), (FIRST_BOOT, 2, "h2")], 1),
    ("resumed after it had run elsewhere", [(FIRST_BOOT, 1, "h1"), (FIRST_BOOT, 2, "h2"), (FIRST_BOOT, 2, "h1")], 1),
    ("two on one host", [(FIRST_BOOT, 1, "h1"), (FIRST_BOOT, 1, "h1")], 1),
    ("started anew while the old one runs", [(FIRST_BOOT, 7, "h1"), (SECOND_BOOT, 1, "h2"), (FIRST_BOOT, 8, "h1")], 1),
    ("far back", [(FIRST_BOOT, 1, "h1"), (FIRST_BOOT, 100_000, "h1"), (FIRST_BOOT, 50, "h2")], 1),
], ids=lambda value: value if isinstance(value, str) else "")
def test_stories(name, story, doubles):
    ledger = Ledger()
    for boot, number, host in story:
        ledger.note("10.77.0.11", boot, number, host)
    assert len(ledger.doubles) == doubles, (name, ledger.doubles)


@pytest.fixture
def two_hosts():
    with Lab(hosts=2) as made:
        yield made


def monitor(path, *commands):
    """Gives QEMU these commands."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(path)
        replies = link.makefile("r")
        replies.readline()
        for command in ("qmp_capabilities", *commands):
            link.sendall(json.dumps({"execute": command}).encode() + b"\n")
            while "return" not in (answer := json.loads(replies.readline())):
                assert "error" not in answer, answer


def let_the_source_run_too(source, guest):
    """What no part of Drover ever does: the source's QEMU goes on after the destination's was started."""
    source.kill_all("drover-mover")
    monitor(source.root(f"{RUN_FOLDER}/vms/{guest.uuid}/qemu/qmp.sock"), "cont")
    tap = source.footprint()["taps"][0]
    subprocess.run(["nsenter", "-t", str(source.init), "-n", "ip", "link", "set", tap, "carrier", "on"], check=True)


def is_alone(recorder, host):
    """Whether a hundred broadcasts come from there, none of them said before."""
    recorder.take_doubles()
    heard = recorder.heard(host)
    wait_for("the one that is left", lambda: recorder.heard(host) > heard + 100)
    return recorder.take_doubles() == []


def test_two_copies_that_really_run_are_heard(two_hosts):
    """The control: without a disk, whose lock would keep the second copy from running."""
    lab, hosts = two_hosts, hosts_of(two_hosts)
    guest = Guest(lab, hosts, "twin", "10.77.0.11", megabytes=160, working_set="16M", more="drover.beacon=4", disk=False)
    guest.create("h1").start("h1")
    source, target = hosts["h1"], hosts["h2"]
    with Recorder(lab) as recorder:
        move = guest.begin_move("h2", bandwidth_limit=16 << 20)
        move.wait_for_data()
        agent = source.the_process("droverd")
        with Breakpoint(target.the_process("drover-mover"), "wire_running_encode") as running:
            running.wait()
            wait_for("the destination to be heard", lambda: recorder.heard("h2"))
            assert recorder.take_doubles() == []
            os.kill(agent, signal.SIGSTOP)
            let_the_source_run_too(source, guest)
            wait_for("two copies to be noticed", recorder.take_doubles)
            source.kill_all("qemu-system")
        os.kill(agent, signal.SIGCONT)
        assert move.end()["report"]["outcome"] == "moved"
        wait_for("what the other said to be passed", lambda: is_alone(recorder, "h2"))
