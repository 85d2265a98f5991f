"""Agents are killed at any time: machines run on, moves come to an end, and the next agent finds both."""
import pytest

from breakpoints import Breakpoint
from guests import Guest, wait_for
from host_state import MOVER, QEMU, HostState
from lab import Lab

SLOW = ("--bandwidth", "32M")  # so that there is a middle of the move


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture(scope="module")
def hosts(lab):
    return {host: HostState(lab, host) for host in lab.hosts}


@pytest.fixture(scope="module")
def guest(lab):
    return Guest(lab, "steady", "h1", memory="256M", writer="drover.memory=64M drover.memory-rate=4M") \
        .start().wait_until_up()


@pytest.fixture
def traffic(guest):
    with guest.traffic() as client:
        yield client


@pytest.fixture
def places(guest, hosts):
    """Where it is, and where it is to go."""
    target, = set(hosts) - {guest.host}
    return guest.host, target


def listed(lab, guest):
    """(state, owner) as each host's agent has it."""
    return {host: next((row["state"], row["owner"]) for row in lab.drover(host, "vm", "list")["vms"]
                       if row["uuid"] == guest.uuid) for host in lab.hosts}


def truth(lab, owner):
    return {host: ("running" if host == owner else "elsewhere", owner) for host in lab.hosts}


def owner_after(lab, hosts, guest):
    """Waits until nothing is on its way any more; the host that the machine runs on."""
    def settled():
        if any(host.processes(MOVER) for host in hosts.values()) or len(guest.copies()) != 1:
            return None
        running = [name for name, host in hosts.items() if host.runs(guest.uuid)]
        return running[0] if listed(lab, guest) == truth(lab, running[0]) else None

    guest.host = wait_for("the move to come to its end", settled, 120)
    return guest.host


def assert_tidy(hosts, guest):
    """Its own belongings at the one host, nothing at the other."""
    for name, host in hosts.items():
        if name != guest.host:
            assert host.remains() == []
    owner = hosts[guest.host]
    assert len(owner.processes(QEMU)) == 1
    assert len(owner.taps()) == 1
    assert owner.folder("ram") == owner.folder("vms") == {guest.uuid}


def assert_unharmed(guest, traffic):
    wait_for("the guest to answer", guest.answers)
    assert guest.faults() == {}
    _, total = traffic.finish()
    assert total["received_tcp"] > 0
    for field in ("tcp_resets", "wrong_tcp", "wrong_udp", "server_backwards"):
        assert total[field] == 0, field


def begin_slow_move(guest, hosts, target):
    """Returns once both movers are at work."""
    source = guest.host
    task = guest.begin_move(target, *SLOW)["id"]
    wait_for("pre-copy", lambda: guest.lab.drover(source, "task", "show", task)["phase"] == "pre-copy")
    wait_for("both movers", lambda: hosts[source].processes(MOVER) and hosts[target].processes(MOVER))


def test_a_machine_runs_on_without_its_agent_and_is_found_again(lab, hosts, guest, traffic):
    before = guest.copies()
    agent = hosts[guest.host].agent_pid()
    traffic.mark("before")
    lab.agent(guest.host, "kill")
    assert guest.answers()
    lab.agent(guest.host, "start")
    assert hosts[guest.host].agent_pid() not in (agent, None)
    seen = traffic.mark("without its agent")
    assert guest.copies() == before
    assert owner_after(lab, hosts, guest) == "h1"
    assert guest.seen_from("h1")["runtime"]["pid"] > 0
    assert seen["received_tcp"] > 0 and seen["lost_udp"] < seen["sent_udp"] / 10
    assert_tidy(hosts, guest)
    assert_unharmed(guest, traffic)


def test_a_machine_that_was_found_again_moves(lab, hosts, guest, traffic, places):
    source, target = places
    lab.agent(source, "kill")
    lab.agent(source, "start")
    task = guest.move(target)
    assert task["report"]["outcome"] == "moved"
    assert owner_after(lab, hosts, guest) == target
    assert_tidy(hosts, guest)
    assert_unharmed(guest, traffic)


@pytest.mark.parametrize("victims", [("source",), ("destination",), ("source", "destination")], ids="-and-".join)
def test_a_move_comes_to_its_end_when_agents_are_killed(lab, hosts, guest, traffic, places, victims):
    source, target = places
    begin_slow_move(guest, hosts, target)
    killed = [{"source": source, "destination": target}[victim] for victim in victims]
    for host in killed:
        lab.agent(host, "kill")
    assert len(guest.answers()) > 0
    for host in killed:
        lab.agent(host, "start")
    assert owner_after(lab, hosts, guest) in places
    assert_tidy(hosts, guest)
    assert_unharmed(guest, traffic)


def test_a_switchover_waits_for_the_agent_that_must_commit_it(lab, hosts, guest, traffic, places):
    source, target = places
    with Breakpoint(hosts[source].agent_pid(), "move_owner_commit") as commit:
        guest.begin_move(target)
        commit.wait()
        lab.agent(source, "kill")
    assert guest.answers() is None
    lab.agent(source, "start")
    assert owner_after(lab, hosts, guest) in places  # the source's where the new agent came late
    assert_tidy(hosts, guest)
    assert_unharmed(guest, traffic)


def test_agents_killed_while_the_shadow_is_made(lab, hosts, guest, traffic, places):
    source, target = places
    with Breakpoint(hosts[target].agent_pid(), "mover_start") as shadow:
        guest.begin_move(target)
        shadow.wait()
        lab.agent(target, "kill")
    lab.agent(target, "start")
    assert owner_after(lab, hosts, guest) in places
    assert_tidy(hosts, guest)
    assert_unharmed(guest, traffic)
