"""Moves by QEMU's own migration, relayed: asked for, chosen, refused; cancelled and broken in the middle.

QEMU loses writes of a guest that runs without KVM (docs/platform.md). So what a guest finds in its memory *after* a move is
judged only where there is KVM; everywhere it is judged after moves that did not come about, for then it never left.
"""
import contextlib
import os
import re

import pytest

from cluster import Guest, Task, wait_for
from lab import DROVER, Lab
from traffic import TrafficClient

SLOW = 24 << 20  # bytes a second: some seconds of pre-copy
BLOCKED = 5


def has_kvm():
    with open("/proc/cpuinfo") as file:
        return os.path.exists("/dev/kvm") and re.search(r"^flags.* (vmx|svm)\b", file.read(), re.MULTILINE)


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture
def guest(lab, hosts, request):
    """Freshly booted: one that was moved without KVM may be broken."""
    made = Guest(lab, hosts, re.sub(r"\W+", "-", request.node.name)[:40].strip("-"), "10.77.0.11").create("h1")
    made.start("h1")
    yield made
    place = made.place()
    if place:
        made.stop(place)
    lab.run("h1", DROVER, "vm", "rm", "--yes", made.name)


@contextlib.contextmanager
def without_userfaultfd(lab, host):
    """A host whose kernel has no /dev/userfaultfd, as far as its agent and its QEMUs can see."""
    def restart():
        lab.agent(host, "stop")
        lab.agent(host, "start")

    lab.run(host, "mount", "--bind", "/dev/null", "/dev/userfaultfd")
    try:
        restart()
        yield
    finally:
        lab.run(host, "umount", "--lazy", "/dev/userfaultfd")  # a QEMU may still hold it
        restart()


def engine_checks(lab, host, guest, to, *options):
    """Exit status of a dry run, and what it found about the engine at the source."""
    status, verdict = guest.hosts[host].call("POST", f"/v1/vms/{guest.name}/migrate",
                                             {"to": to, "dry_run": True, **dict(options)})
    assert status == 200, verdict
    return verdict, [check for check in verdict["checks"] if check["what"] == "engine"]


def assert_stayed(guest, move, place, state):
    task = move.end()
    assert task["state"] == state, task
    other = "h2" if place == "h1" else "h1"
    wait_for(lambda: f"clean hosts: {guest.hosts[other].footprint()}",
             lambda: not guest.hosts[other].leftovers() and not guest.hosts[place].leftovers([guest]))
    assert guest.copies() == [place] and guest.owner() == place
    verdict = guest.ask("verify")
    assert verdict["memory"]["pages_verified"] > 0
    assert (verdict["memory"]["wrong_bytes"], verdict["disk"]["wrong_bytes"]) == (0, 0)
    return task


def begin_slow(guest):
    move = guest.begin_move("h2", engine="native", bandwidth_limit=SLOW)
    move.wait_for_data()
    return move


# ---- asked for

def test_there_and_back_as_asked(guest):
    for source, target in (("h1", "h2"), ("h2", "h1")):
        task = guest.begin_move(target, engine="native").end()
        assert task["state"] == "succeeded", task
        report = task["report"]
        assert (report["engine"], report["engine_reason"], report["outcome"]) == ("native", None, "moved")
        assert report["bytes"] > 32 << 20
        assert 0 < report["device_state_bytes"] < 8 << 20
        assert 0 < report["blackout_ms"] < report["total_ms"]
        assert guest.copies() == [target] and guest.owner() == target
        wait_for(f"{source} to be clean", lambda: not guest.hosts[source].leftovers())


def test_it_reads_as_pre_copy_while_it_is(guest):
    move = begin_slow(guest)
    task = move.wait_for("some way to go in pre-copy", lambda task: task["phase"] == "pre-copy" and task["progress"]
                         and task["progress"]["bytes_remaining"] > 0)
    assert 0 <= task["fraction"] < 1
    move.cancel()
    move.end()


def test_the_command_line_names_it(lab, guest):
    done = lab.run("h1", DROVER, "vm", "migrate", guest.name, "--to", "h2", "--engine", "native", "--progress", "none")
    assert re.search(r"engine +native +\(QEMU's own migration\)", done.stdout + done.stderr), done


@pytest.mark.skipif(not has_kvm(), reason="QEMU's own migration loses writes of a guest that runs without KVM")
def test_no_wrong_byte_and_no_reset(lab, guest):
    with TrafficClient(guest.address, 300, "--udp-rate", 200, wrapper=lab.wrapper("client")) as traffic:
        traffic.wait_until_started()
        for target in ("h2", "h1"):
            task = guest.begin_move(target, engine="native").end()
            assert (task["state"], task["report"]["engine"]) == ("succeeded", "native"), task
            verdict = guest.ask("verify")
            assert verdict["memory"]["pages_verified"] > 0
            assert (verdict["memory"]["wrong_bytes"], verdict["disk"]["wrong_bytes"]) == (0, 0)
        _, total = traffic.finish()
    assert (total["tcp_resets"], total["server_backwards"], total["wrong_udp"], total["wrong_tcp"]) == (0, 0, 0, 0)


# ---- in the middle

def test_cancelled(guest):
    move = begin_slow(guest)
    move.cancel()
    assert_stayed(guest, move, "h1", "cancelled")


@pytest.mark.parametrize("side, program", [("h1", "drover-mover"), ("h2", "drover-mover"), ("h2", "qemu-system")])
def test_killed(guest, side, program):
    move = begin_slow(guest)
    guest.hosts[side].kill(program)
    assert_stayed(guest, move, "h1", "failed")


def test_killed_agent(lab, guest):
    """The next agent finds the move, and knows what kind it is."""
    begin_slow(guest)
    lab.agent("h1", "kill")
    lab.agent("h1", "start")
    source = guest.hosts["h1"]
    found = next(task for task in source.get("/v1/tasks")["tasks"] if task["kind"] == "migrate" and task["vm"] == guest.name)
    task = Task(source, found).end()
    assert (task["state"], task["report"]["engine"]) == ("succeeded", "native"), task
    assert guest.copies() == ["h2"] and guest.owner() == "h2"


def test_the_time_limit_ends_it(guest):
    move = guest.begin_move("h2", engine="native", bandwidth_limit=4 << 20, timeout_s=3)
    task = assert_stayed(guest, move, "h1", "failed")
    assert re.search(r"dirties .*/s, the link carries .*/s", task["error"]["message"]), task["error"]


def test_the_time_limit_stops_the_guest(guest):
    task = guest.begin_move("h2", engine="native", bandwidth_limit=4 << 20, timeout_s=3, on_timeout="stop").end()
    assert (task["state"], task["report"]["outcome"]) == ("succeeded", "moved"), task
    assert task["report"]["blackout_ms"] > 50
    assert guest.copies() == ["h2"]


# ---- chosen, or not

def test_drovers_engine_is_chosen_where_it_can(lab, guest):
    verdict, checks = engine_checks(lab, "h1", guest, "h2")
    assert verdict["engine"] == "drover"
    assert [check["level"] for check in checks] == ["ok"]
    task = guest.begin_move("h2").end()
    assert (task["report"]["engine"], task["report"]["engine_reason"]) == ("drover", None)


def test_a_host_that_cannot_track(lab, guest):
    with without_userfaultfd(lab, "h1"):
        capabilities = lab.drover("h1", "host", "show")["capabilities"]
        assert capabilities["engine"] == "native" and "userfaultfd" in capabilities["engine_reason"]
        assert re.search("engine +native: .*userfaultfd", lab.run("h1", DROVER, "host", "show").stdout)
        assert_chosen_or_refused(lab, guest, "userfaultfd")


def test_a_machine_that_cannot_be_tracked(lab, guest):
    """Its QEMU was started while there was no userfaultfd to have."""
    with without_userfaultfd(lab, "h1"):
        guest.stop("h1")
        guest.start("h1")
    assert lab.drover("h1", "host", "show")["capabilities"]["engine"] == "drover"
    assert guest.show("h1")["runtime"]["engine"] == "native"
    assert_chosen_or_refused(lab, guest, "its QEMU has no userfaultfd")


def assert_chosen_or_refused(lab, guest, reason):
    """Chosen with KVM, refused without it; never Drover's, not even when that is demanded."""
    done = lab.run("h1", DROVER, "vm", "migrate", guest.name, "--to", "h2", "--engine", "drover", check=False)
    assert done.returncode != 0 and reason in done.stderr and "→" in done.stderr, done
    verdict, checks = engine_checks(lab, "h1", guest, "h2")
    finding = next(check for check in checks if reason in check["message"])
    if has_kvm():
        assert (verdict["engine"], finding["level"]) == ("native", "warn")
        task = guest.begin_move("h2").end()
        assert (task["report"]["engine"], reason in task["report"]["engine_reason"]) == ("native", True), task
    else:
        assert (verdict["engine"], finding["level"]) == (None, "block")
        assert "loses writes" in finding["message"] and finding["remedy"]
        assert guest.begin_move("h2").end()["state"] == "failed"
        verdict, checks = engine_checks(lab, "h1", guest, "h2", ("engine", "native"))
        assert verdict["engine"] == "native" and "loses writes" in checks[0]["message"]
        task = guest.begin_move("h2", engine="native").end()
        assert (task["report"]["engine"], task["report"]["engine_reason"]) == ("native", None), task
    assert guest.copies() == ["h2"] and guest.owner() == "h2"
