"""Real machines move between the lab's hosts, under load; nobody notices, and nothing is left where they were."""
import json
import re
import time

import pytest

from guests import MOVE_PATIENCE_S, Guest, wait_for
from host_state import HostState

MIB = 1 << 20
FIRST_LAP = ["h1", "h2", "h3", "h1"]
SECOND_LAP = ["h1", "h2", "h1", "h3", "h1"]  # there and back
BLACKOUT_PARTS = {"last_pass_ms", "save_state_ms", "load_state_ms", "commit_ms", "run_ms"}
PLAIN = ("--compress", "off")  # so that what is sent can be counted
ROUNDING_MS = 0.01
FRAMES = 1.01  # what goes over the wire beside the rounds' own bytes, as a factor


@pytest.fixture(scope="module")
def hosts(lab):
    return {host: HostState(lab, host) for host in lab.hosts}


def states(lab, guest):
    """The machine's (state, owner) as each host lists it."""
    listed = {}
    for host in lab.hosts:
        rows = lab.drover(host, "vm", "list")["vms"]
        listed[host] = [(row["state"], row["owner"]) for row in rows if row["uuid"] == guest.uuid]
    return listed


def truth(lab, owner):
    return {host: [("running" if host == owner else "elsewhere", owner)] for host in lab.hosts}


def assert_runs_only_at(lab, hosts, guest, owner):
    assert len(guest.copies()) == 1
    assert hosts[owner].runs(guest.uuid)
    assert states(lab, guest) == truth(lab, owner)


def watch_move(lab, hosts, guest, traffic, to, *options):
    """One move, and all that can be seen of it."""
    source = guest.host
    traffic.mark("before")
    task = guest.move(to, *options)
    remains = hosts[source].remains()
    copies = guest.copies()
    wait_for("datagrams after the move", lambda: guest.answers())
    return {"from": source, "to": to, "options": options, "task": task, "remains": remains, "copies": copies,
            "runs_there": hosts[to].runs(guest.uuid), "states": states(lab, guest),
            "traffic": traffic.mark("move")}


def descriptors_at_rest(hosts):
    """The fewest of many looks: a connection that is just there for a call does not count."""
    fewest = {}
    for _ in range(20):
        for name, host in hosts.items():
            fewest[name] = min(fewest.get(name, host.agent_descriptors()), host.agent_descriptors(), key=len)
        time.sleep(0.05)
    return fewest


@pytest.fixture(scope="module")
def web1(lab):
    """2 vCPUs, VGA, disk, NIC; writes and checks its memory and its disk all the time."""
    return Guest(lab, "web1", "h1").start().wait_until_up()


@pytest.fixture(scope="module")
def journey(lab, hosts, web1):
    """Two laps under traffic: what was seen of each move, and in all."""
    boot = web1.ask()["boot_id"]
    with web1.traffic() as traffic:
        moves = [watch_move(lab, hosts, web1, traffic, to) for to in FIRST_LAP[1:]]
        descriptors = descriptors_at_rest(hosts)
        moves += [watch_move(lab, hosts, web1, traffic, to, *PLAIN) for to in SECOND_LAP[1:]]
        faults = web1.faults()
        _, total = traffic.finish()
    return {"moves": moves, "total": total, "faults": faults, "descriptors": descriptors,
            "same_boot": web1.ask()["boot_id"] == boot}


# ---- where it is

def test_exactly_one_copy_runs_and_where_it_was_sent(journey):
    for move in journey["moves"]:
        assert len(move["copies"]) == 1, move["to"]
        assert move["runs_there"], move["to"]


def test_every_host_tells_the_truth(lab, journey):
    for move in journey["moves"]:
        assert move["states"] == truth(lab, move["to"])


def test_nothing_is_left_at_the_source(journey):
    for move in journey["moves"]:
        assert move["remains"] == [], move["from"]


def test_agents_keep_no_descriptor_of_a_move(hosts, journey):
    """What an agent did beside the moves may take a moment longer than they."""
    for name, before in journey["descriptors"].items():
        host = hosts[name]
        wait_for(lambda: f"{name}'s agent to have no more than {before}: {host.agent_descriptors()}",
                 lambda: len(host.agent_descriptors()) <= len(before))


# ---- what users notice

def test_no_connection_breaks_and_no_answer_is_wrong(journey):
    total = journey["total"]
    assert total["received_tcp"] > 0 and total["received_udp"] > 0
    for field in ("tcp_resets", "wrong_tcp", "wrong_udp", "server_backwards"):
        assert total[field] == 0, field


def test_the_guest_answers_all_the_way(journey):
    for move in journey["moves"]:
        seen = move["traffic"]
        assert seen["received_tcp"] > 0
        assert seen["lost_udp"] < seen["sent_udp"] / 2


def test_not_a_byte_is_wrong(journey):
    assert journey["same_boot"]
    assert journey["faults"] == {}


# ---- what the task says of it

def reports(journey):
    return [(move, move["task"]["report"]) for move in journey["moves"]]


def test_the_task_tells_who_moved_where(journey):
    for move in journey["moves"]:
        task = move["task"]
        assert (task["kind"], task["vm"], task["state"], task["error"]) == ("migrate", "web1", "succeeded", None)
        assert task["ended_at"] is not None and task["fraction"] == 1
        report = task["report"]
        assert (report["from"], report["to"]) == (move["from"], move["to"])
        assert (report["engine"], report["outcome"]) == ("drover", "moved")


def test_the_blackout_is_the_sum_of_its_parts(journey):
    for _, report in reports(journey):
        parts = report["blackout_parts"]
        assert set(parts) == BLACKOUT_PARTS
        assert all(part >= 0 for part in parts.values())
        assert abs(sum(parts.values()) - report["blackout_ms"]) <= len(parts) * ROUNDING_MS
        assert 0 < report["blackout_ms"] < report["total_ms"]


def test_the_blackout_was_predicted_within_the_target(journey):
    for _, report in reports(journey):
        assert 0 < report["predicted_blackout_ms"] <= 50


def test_what_the_guest_saw_is_no_more_than_the_blackout(journey):
    """The blackout on the source's clock also has the way of the word that the guest runs."""
    for _, report in reports(journey):
        assert 0 < report["guest_stopped_ms"] <= report["blackout_ms"] + 1


def test_the_rounds_account_for_the_bytes(journey):
    for move, report in reports(journey):
        rounds = report["rounds"]
        assert [entry["number"] for entry in rounds] == list(range(1, len(rounds) + 1))
        sent = sum(entry["bytes_sent"] for entry in rounds) + report["device_state_bytes"]
        assert sent <= report["bytes"] <= sent * FRAMES
        assert sum(entry["duration_ms"] for entry in rounds) <= report["total_ms"]
        for entry in rounds:
            data = entry["bytes_to_send"] - entry["pages_zero"] * 4096
            assert entry["bytes_sent"] <= data * FRAMES + 4096
            assert data <= entry["bytes_sent"] or move["options"] != PLAIN


def test_a_round_sends_what_the_one_before_left(journey):
    for _, report in reports(journey):
        for earlier, later in zip(report["rounds"], report["rounds"][1:]):
            assert later["bytes_to_send"] >= earlier["bytes_dirtied"]


# ---- other machines, other loads

@pytest.fixture
def add_guest(lab, hosts):
    """add_guest(name, host, ...): a guest that is up, and gone after the test."""
    guests = []

    def add(*arguments, **options):
        guests.append(Guest(lab, *arguments, **options).start())
        return guests[-1]

    yield add
    for guest in guests:
        guest.stop()
        guest.remove()


def finished(lab, host, task):
    found = lab.drover(host, "task", "show", task["id"])
    return found if found["state"] != "running" else None


def test_two_machines_move_at_once_in_opposite_directions(lab, hosts, add_guest):
    there = add_guest("there", "h1", number=21, memory="256M", writer="drover.memory=64M drover.memory-rate=4M")
    back = add_guest("back", "h2", number=22, memory="256M", writer="drover.memory=64M drover.memory-rate=4M")
    there.wait_until_up()
    back.wait_until_up()
    begun = [(there, "h2", there.begin_move("h2")), (back, "h1", back.begin_move("h1"))]
    for guest, to, task in begun:
        done = wait_for(f"{guest.name} to move", lambda: finished(lab, guest.host, task), MOVE_PATIENCE_S)
        assert done["state"] == "succeeded", done["error"]
        guest.host = to
    for guest, to, _ in begun:
        assert_runs_only_at(lab, hosts, guest, to)
        assert guest.faults() == {}
    assert len(hosts["h2"].taps()) == 1


@pytest.mark.parametrize("written, fill", [(8, "random"), (384, "random"), (128, "zero")])
def test_holes_and_zeroes_are_not_sent(lab, hosts, add_guest, written, fill):
    """Of 1 GiB, what the guest wrote travels and little else. Filled with "zero" every other page is."""
    guest = add_guest("sparse", "h2", number=23, memory="1G", disk=None,
                      writer=f"drover.memory={written}M drover.memory-fill={fill}").wait_until_up()
    wait_for("its memory to be filled", lambda: guest.ask()["memory"], MOVE_PATIENCE_S)
    report = guest.move("h3")["report"]
    data = written * MIB // (2 if fill == "zero" else 1)
    system = 192 * MIB
    assert (data if fill == "random" else 0) <= report["bytes"] <= data + system
    assert guest.faults() == {}


@pytest.fixture(scope="module")
def hasty(lab):
    """Writes the same 96 MiB as fast as it can."""
    guest = Guest(lab, "hasty", "h3", number=24, memory="256M",
                  writer="drover.memory=96M drover.memory-pattern=hot:96M drover.memory-rate=max")
    guest.start().wait_until_up()
    wait_for("its writer to begin", lambda: guest.ask()["memory"], MOVE_PATIENCE_S)
    yield guest
    guest.stop()
    guest.remove()


def test_a_move_that_cannot_converge_leaves_the_machine_untouched(lab, hosts, hasty):
    boot = hasty.ask()["boot_id"]
    with hasty.traffic() as traffic:
        done = hasty.try_move("h2", "--bandwidth", "32M", "--timeout", "10", "--pace", "off", "--compress", "off")
        _, total = traffic.finish()
    assert done.returncode == 8, done.stderr
    assert re.search(r"dirties [\d.]+ [KMG]iB/s", done.stderr), done.stderr
    assert re.search(r"the link carries [\d.]+ [KMG]iB/s", done.stderr), done.stderr
    assert "--blackout" in done.stderr
    report = json.loads(done.stdout)["report"]
    assert (report["outcome"], report["blackout_ms"], report["guest_stopped_ms"]) == ("stayed", 0, None)
    assert total["tcp_resets"] == 0 and total["server_backwards"] == 0
    assert_runs_only_at(lab, hosts, hasty, "h3")
    assert hosts["h2"].remains() == []
    assert hasty.ask()["boot_id"] == boot
    assert hasty.faults() == {}


def test_a_hasty_machine_moves_or_stays_and_the_report_says_which(lab, hosts, hasty):
    """Which of the two depends on this machine; that it is told truly does not."""
    done = hasty.try_move("h2", "--timeout", "10")
    task = json.loads(done.stdout)
    moved = task["report"]["outcome"] == "moved"
    assert done.returncode == (0 if moved else 8), done.stderr
    assert task["state"] == ("succeeded" if moved else "failed")
    if moved:
        hasty.host = "h2"
        assert task["report"]["predicted_blackout_ms"] <= 50
    else:
        assert re.search(r"dirties .*/s, the link carries .*/s", done.stderr), done.stderr
    assert_runs_only_at(lab, hosts, hasty, hasty.host)
    assert hasty.faults() == {}


# ---- the end

def test_a_machine_that_moved_powers_off_from_within(lab, hosts, web1, journey):
    host = web1.host
    web1.type("poweroff")
    wait_for("the guest to power off", lambda: not web1.copies())
    wait_for("the agent to notice", lambda: web1.seen_from(host)["state"] == "stopped")
    assert not any(web1.uuid in line for line in hosts[host].remains())
    assert {state for rows in states(lab, web1).values() for state, _ in rows} == {"stopped"}
    web1.remove()
