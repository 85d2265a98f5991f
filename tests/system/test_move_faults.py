"""Every process of a move killed or halted and every link cut, in each of its phases.

Afterwards one copy runs, where the owner file says, with no wrong byte; nothing else is left on any host; the task tells
what happened; and the machine moves again.
"""
import os
import signal
import subprocess
import time

import pytest

from cluster import Guest, wait_for
from lab import DROVER
from traffic import TrafficClient

SLOW = 24 << 20  # bytes a second: some seconds of pre-copy
FAST = 64 << 20  # little more than a second: time enough to halt somebody
SLOWER = 8 << 20  # less than a guest dirties that writes without a pause
LATE_S = 6  # longer than a question to commit is good for
ELSEWHERE = {"h1": "h2", "h2": "h1", "h3": "h1"}
LOST_TRAFFIC = ("server_backwards", "wrong_udp", "wrong_tcp")


@pytest.fixture(scope="module")
def guest(lab, hosts):
    made = Guest(lab, hosts, "victim", "10.77.0.11").create("h1")
    made.start("h1")
    made.descriptors = {name: host.agent_descriptors() for name, host in hosts.items()}
    return made


@pytest.fixture
def traffic(lab, guest):
    """Someone who talks to the guest all the while, and would notice a second copy or an older one."""
    with TrafficClient(guest.address, 300, "--udp-rate", 200, wrapper=lab.wrapper("client")) as client:
        client.wait_until_started()
        yield client
        _, total = client.finish()
        assert {key: total[key] for key in LOST_TRAFFIC} == dict.fromkeys(LOST_TRAFFIC, 0)


def other_end(guest):
    return ELSEWHERE[guest.place()]


def begin(guest, **options):
    """A slow move that has sent some data: the task, the host it leaves, the host it goes to."""
    source, target = guest.place(), other_end(guest)
    move = guest.begin_move(target, **{"bandwidth_limit": SLOW, **options})
    move.wait_for_data()
    return move, guest.hosts[source], guest.hosts[target]


def assert_settled(guest, place):
    """One copy, on this host; no wrong byte; nothing else anywhere."""
    def untidy():
        return {name: left for name, host in guest.hosts.items() if host.init
                and (left := host.leftovers([guest] if name == place else []))}

    wait_for(lambda: f"hosts that are clean: {untidy()}", lambda: not untidy())
    assert guest.copies() == [place]
    assert guest.owner() == place
    wait_for(lambda: f"a VM that runs: {guest.show(place)}", lambda: guest.show(place)["state"] == "running")
    assert not guest.show(place)["problem"]
    verdict = guest.ask("verify")
    assert (verdict["memory"]["wrong_bytes"], verdict["disk"]["wrong_bytes"]) == (0, 0)
    assert (verdict["disk"]["foreign_witnesses"], verdict["disk"]["errors"]) == (0, 0)


def assert_moves_again(guest):
    source, target = guest.place(), other_end(guest)
    task = guest.begin_move(target).end()
    assert task["state"] == "succeeded", task
    assert (task["report"]["from"], task["report"]["to"], task["report"]["outcome"]) == (source, target, "moved")
    wait_for(lambda: f"{source} to be clean: {guest.hosts[source].footprint()}",
             lambda: not guest.hosts[source].leftovers())
    assert guest.copies() == [target]


def assert_stayed(guest, task, source, *words, state="failed"):
    """The move failed, says so in words that help, and the guest has not noticed."""
    assert task["state"] == state, task
    for word in (guest.name, *words):
        assert word in task["error"]["message"], task["error"]
    assert source.name in task["error"]["message"] + task["error"]["remedy"], task["error"]
    assert task["report"] is None or task["report"]["outcome"] == "stayed", task
    assert_settled(guest, source.name)
    assert_moves_again(guest)


def assert_moved(guest, task, target):
    assert task["state"] == "succeeded", task
    assert task["report"]["outcome"] == "moved"
    assert_settled(guest, target.name)
    assert_moves_again(guest)


# ---- pre-copy


def test_cancelled_in_precopy(guest, traffic):
    move, source, _ = begin(guest)
    move.cancel()
    assert_stayed(guest, move.end(), source, "cancelled", state="cancelled")


def test_interrupted_command(lab, guest, traffic):
    """Ctrl-C cancels, and the command says what became of the machine."""
    source, target = guest.place(), other_end(guest)
    command = lab.start(source, DROVER, "vm", "migrate", guest.name, "--to", target, "--bandwidth", str(SLOW),
                        "--progress", "plain", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                        start_new_session=True)
    said = []
    while not said or "pre-copy" not in said[-1]:
        said.append(command.stderr.readline())
        assert said[-1], f"it ended before pre-copy: {''.join(said)}"
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 6, errors
    assert "cancelled" in errors
    assert_settled(guest, source)
    assert_moves_again(guest)


@pytest.mark.parametrize("program", ["drover-mover", "qemu-system"])
def test_destination_process_killed(guest, traffic, program):
    move, source, target = begin(guest)
    target.kill_all(program)  # one of the move before may not have ended yet
    assert_stayed(guest, move.end(), source)


def test_source_mover_killed(guest, traffic):
    move, source, _ = begin(guest)
    source.kill("drover-mover")
    assert_stayed(guest, move.end(), source, "mover", "died")


def waiting_writers(mover):
    """How many threads wait in the kernel until this mover lets them go on."""
    waiting = 0
    for name in os.listdir(f"/proc/{mover}/fdinfo"):
        try:
            with open(f"/proc/{mover}/fdinfo/{name}") as file:
                waiting += sum(int(line.split()[1]) for line in file if line.startswith("total:"))  # a userfaultfd's
        except FileNotFoundError:
            pass  # closed meanwhile
    return waiting


def test_source_mover_killed_while_writers_wait(guest, traffic):
    """The mover holds the only descriptor by which they wait: its death lets them go on, by the kernel's hand."""
    guest.ask("memory rate max")
    try:
        move, source, _ = begin(guest, bandwidth_limit=SLOWER)
        mover = source.the_process("drover-mover")
        wait_for("a vCPU that is made to wait", lambda: waiting_writers(mover))
        source.kill("drover-mover")
        task = move.end()
    finally:
        guest.ask("memory rate 1M")
    assert_stayed(guest, task, source, "mover", "died")


def test_guest_that_writes_without_pause(guest, traffic):
    """It dirties more than the link carries, and moves all the same: its writers wait."""
    guest.ask("memory rate max")
    try:
        move, _, target = begin(guest, bandwidth_limit=SLOWER)
        task = move.end()
    finally:
        guest.ask("memory rate 1M")
    assert task["report"]["paced_ms"] > 0 and task["report"]["writers_waited_ms"] > 0, task
    assert_moved(guest, task, target)


def test_source_qemu_killed(guest):
    """The machine is lost, as it would have been without a move: stopped everywhere, owned by nobody."""
    move, source, target = begin(guest)
    source.kill("qemu-system")
    task = move.end()
    assert task["state"] == "failed", task
    wait_for(lambda: f"clean hosts: {source.footprint()} {target.footprint()}",
             lambda: not source.leftovers() and not target.leftovers())
    assert guest.copies() == [] and guest.owner() == ""
    assert guest.show(source.name)["state"] == "stopped"
    guest.start(target.name)
    assert_settled(guest, target.name)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_halted_mover(guest, traffic, side):
    """One that stands still for a while delays the move, and no more."""
    move, source, target = begin(guest)
    host = source if side == "source" else target
    mover = host.the_process("drover-mover")
    os.kill(mover, signal.SIGSTOP)
    time.sleep(2)  # a while; there is nothing to wait for
    os.kill(mover, signal.SIGCONT)
    assert_moved(guest, move.end(), target)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_killed_agent(lab, guest, traffic, side):
    """Movers do not need their agents, and the next agent finds the move."""
    move, source, target = begin(guest)
    host = source if side == "source" else target
    lab.agent(host.name, "kill")
    lab.agent(host.name, "start")
    if side == "source":
        tasks = source.get("/v1/tasks")["tasks"]
        move.id = next(task["id"] for task in tasks if task["kind"] == "migrate" and task["vm"] == guest.name)
    assert_moved(guest, move.end(), target)


def test_short_cut_of_the_migration_link(lab, guest, traffic):
    move, _, target = begin(guest)
    lab.link(target.name, "migration", "down")
    time.sleep(1)
    lab.link(target.name, "migration", "up")
    assert_moved(guest, move.end(), target)


def test_management_link_down(lab, guest, traffic):
    """The agents do not hear each other: the move itself needs only the movers."""
    move, _, target = begin(guest)
    lab.link(target.name, "management", "down")
    try:
        task = move.end()
    finally:
        lab.link(target.name, "management", "up")
    assert_moved(guest, task, target)


# ---- reserve and connect


def halt_shadow(target):
    """Stops the shadow's QEMU as soon as it is there, so that reserving does not come to an end."""
    pid = wait_for("the shadow", lambda: target.processes("qemu-system"))[0]
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_cancelled_while_reserving(guest, traffic):
    source, target = guest.hosts[guest.place()], guest.hosts[other_end(guest)]
    move = guest.begin_move(target.name)
    shadow = halt_shadow(target)
    move.wait_for_phase("reserve")
    move.cancel()
    os.kill(shadow, signal.SIGCONT)
    assert_stayed(guest, move.end(), source, "cancelled", state="cancelled")


def test_shadow_killed_while_reserving(guest, traffic):
    source, target = guest.hosts[guest.place()], guest.hosts[other_end(guest)]
    move = guest.begin_move(target.name)
    os.kill(halt_shadow(target), signal.SIGKILL)
    assert_stayed(guest, move.end(), source, f"host {target.name}")


@pytest.mark.parametrize("side", ["source", "destination"])
def test_agent_killed_while_reserving(lab, guest, traffic, side):
    source, target = guest.hosts[guest.place()], guest.hosts[other_end(guest)]
    move = guest.begin_move(target.name)
    shadow = halt_shadow(target)
    move.wait_for_phase("reserve")
    host = source if side == "source" else target
    lab.agent(host.name, "kill")
    try:
        os.kill(shadow, signal.SIGCONT)
    except ProcessLookupError:
        pass
    lab.agent(host.name, "start")
    if side == "destination":
        assert move.end()["state"] == "failed"
    assert_settled(guest, source.name)
    assert_moves_again(guest)


def test_migration_link_down_at_connect(lab, guest, traffic):
    source, target = guest.hosts[guest.place()], guest.hosts[other_end(guest)]
    lab.link(target.name, "migration", "down")
    try:
        move = guest.begin_move(target.name)
        move.wait_for_phase("connect")
        task = move.end()
    finally:
        lab.link(target.name, "migration", "up")
    assert_stayed(guest, task, source, "cannot reach the destination")


def test_cancelled_while_connecting(lab, guest, traffic):
    source, target = guest.hosts[guest.place()], guest.hosts[other_end(guest)]
    lab.link(target.name, "migration", "down")
    try:
        move = guest.begin_move(target.name)
        move.wait_for_phase("connect")
        move.cancel()
        task = move.end()
    finally:
        lab.link(target.name, "migration", "up")
    assert task["state"] == "cancelled", task
    assert_settled(guest, source.name)
    assert_moves_again(guest)


# ---- switchover


def hold_switchover(guest):
    """A move that stands in its switchover, the guest stopped: the shadow does not take the device state."""
    move, source, target = begin(guest, bandwidth_limit=FAST)
    shadow = target.the_process("qemu-system")
    os.kill(shadow, signal.SIGSTOP)
    move.wait_for_phase("switchover")
    return move, source, target


def test_shadow_hangs_in_switchover(guest, traffic):
    move, source, _ = hold_switchover(guest)
    assert_stayed(guest, move.end(), source)


def test_cancelled_in_switchover(guest, traffic):
    move, source, _ = hold_switchover(guest)
    move.cancel()
    assert_stayed(guest, move.end(), source, "cancelled", state="cancelled")


def test_link_lost_under_many_last_pages(lab, guest, traffic):
    """The guest stands still, so its time counts: it goes on long before a connection is given up elsewhere."""
    target = other_end(guest)
    guest.ask("memory rate max")
    lab.rate(guest.place(), "migration", "2M")  # its working set alone takes 20 s
    try:
        move, source, _ = begin(guest, bandwidth_limit=0, compress="off", pace="off", timeout_s=1, on_timeout="stop")
        move.wait_for_phase("switchover")
        lab.link(target, "migration", "down")
        task = move.end()
    finally:
        lab.link(target, "migration", "up")
        lab.rate(source.name, "migration", "none")
        guest.ask("memory rate 1M")
    assert_stayed(guest, task, source, "has neither sent nor taken anything for 5.")


@pytest.mark.parametrize("side,program", [("destination", "qemu-system"), ("destination", "drover-mover"),
                                          ("source", "drover-mover")])
def test_process_killed_in_switchover(guest, traffic, side, program):
    move, source, target = hold_switchover(guest)
    (source if side == "source" else target).kill(program)
    assert_stayed(guest, move.end(), source)


def test_source_qemu_killed_in_switchover(guest):
    move, source, target = hold_switchover(guest)
    source.kill("qemu-system")
    assert move.end()["state"] == "failed"
    wait_for(lambda: f"clean hosts: {source.footprint()} {target.footprint()}",
             lambda: not source.leftovers() and not target.leftovers())
    assert guest.copies() == [] and guest.owner() == ""
    guest.start(source.name)
    assert_settled(guest, source.name)


# ---- the commit: the source's mover has asked its agent, which does not answer


def is_stopped(guest):
    """Whether the guest answers nobody."""
    try:
        guest.ask(timeout=0.5)
    except OSError:
        return True
    return False


def hold_commit(guest):
    """A move that stands just before its commit, the guest stopped on both sides and whole on both."""
    move, source, target = begin(guest, bandwidth_limit=FAST)
    agent = source.the_process("droverd")
    os.kill(agent, signal.SIGSTOP)
    wait_for("the guest to stand still", lambda: is_stopped(guest))
    return move, source, target, agent


@pytest.mark.parametrize("side,program", [("destination", "drover-mover"), ("source", "drover-mover")])
def test_mover_killed_before_commit(guest, traffic, side, program):
    """The owner file decides: whoever is first to write it."""
    move, source, target, agent = hold_commit(guest)
    (source if side == "source" else target).kill(program)
    wait_for("the destination to give the VM back", lambda: not target.processes("qemu-system"))
    os.kill(agent, signal.SIGCONT)
    assert_stayed(guest, move.end(), source)


def test_agent_killed_before_commit(lab, guest, traffic):
    _, source, target, agent = hold_commit(guest)
    os.kill(agent, signal.SIGKILL)
    wait_for("its end", lambda: not source.processes("droverd"))
    lab.agent(source.name, "start")
    wait_for("one copy", lambda: len(guest.copies()) == 1)
    place = guest.owner()
    assert place in (source.name, target.name)  # the source's where the new agent came late
    assert_settled(guest, place)
    assert_moves_again(guest)


def test_agent_stopped_for_long_before_commit(guest, traffic):
    """By then the destination might be dead: the guest goes on where it certainly can."""
    move, source, _, agent = hold_commit(guest)
    time.sleep(LATE_S)
    os.kill(agent, signal.SIGCONT)
    assert_stayed(guest, move.end(), source, "could not be committed", "was ready, which may not hold any more")


# ---- silence: the longest limits, so both at once


def test_destination_silent(lab, hosts, guest, traffic):
    """One destination loses its migration link, another its power. Nothing says so: the source must find out."""
    if guest.place() != "h1":
        assert_moves_again(guest)
    second = Guest(lab, hosts, "second", "10.77.0.12").create("h1")
    second.start("h1")
    moves = [machine.begin_move(to, bandwidth_limit=SLOW) for machine, to in ((guest, "h2"), (second, "h3"))]
    for move in moves:
        move.wait_for_data()
    lab.link("h2", "migration", "down")
    hosts["h3"].power_off()
    try:
        tasks = [move.end() for move in moves]
    finally:
        lab.link("h2", "migration", "up")
        hosts["h3"].power_on()
    assert [task["state"] for task in tasks] == ["failed", "failed"], tasks
    for machine in (guest, second):
        assert machine.copies() == ["h1"] and machine.owner() == "h1"
        assert machine.ask("verify")["memory"]["wrong_bytes"] == 0
    assert second.begin_move("h2").end()["state"] == "succeeded"
    second.stop("h2")
    assert hosts["h1"].call("DELETE", f"/v1/vms/{second.name}")[0] in (200, 204)
    assert_settled(guest, "h1")
    assert_moves_again(guest)


def test_source_powered_off(guest):
    """The machine dies with its host. Nobody else may start it; the host itself may, when it is back."""
    move, source, target = begin(guest)
    source.power_off()
    wait_for(lambda: f"a clean destination: {target.footprint()}", lambda: not target.leftovers())
    assert guest.owner() == source.name
    status, answer = target.call("POST", f"/v1/vms/{guest.name}/start", {})
    task = answer.get("task")
    if task:
        wait_for("the refusal", lambda: target.get(f"/v1/tasks/{task['id']}")["state"] == "failed")
        answer = target.get(f"/v1/tasks/{task['id']}")
    assert f"host {source.name}" in answer["error"]["message"], answer
    source.power_on()
    assert not source.leftovers()
    guest.start(source.name)
    assert_settled(guest, source.name)
    assert_moves_again(guest)


def test_agents_hold_no_more_than_at_the_beginning(guest):
    """After all of the above: descriptors of the agents that lived through it."""
    for name, host in guest.hosts.items():
        wait_for(f"the descriptors of {name}", lambda: host.agent_descriptors() <= guest.descriptors[name] + 6)
