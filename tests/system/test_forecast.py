"""The forecast of a move: as true as the guest itself says, harmless, and shown beside the facts afterwards."""
import contextlib
import re
import signal
import threading

import pytest

from cluster import Guest, wait_for
from lab import DROVER, Lab

PAGE = 4096
WIDEST = 80  # columns of a terminal


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture(scope="module")
def guest(lab, hosts):
    """It writes 16 MiB a second, page after page, so that none is written twice within a second."""
    made = Guest(lab, hosts, "writer", "10.77.0.11", working_set="64M", more="drover.memory-rate=16M").create("h1")
    made.start("h1")
    return made


@pytest.fixture(autouse=True)
def nothing_is_left(hosts, guest):
    before = {name: host.agent_descriptors() for name, host in hosts.items()}
    pids = {name: host.the_process("droverd") for name, host in hosts.items()}
    yield
    for name, host in hosts.items():
        here = [guest] if guest.place() == name else []
        wait_for(lambda: f"{name} to be clean, not {host.leftovers(here)}", lambda: not host.leftovers(here))
        if host.the_process("droverd") == pids[name]:
            wait_for(f"descriptors of {name}'s agent", lambda: host.agent_descriptors() <= before[name] + 1)
    assert not is_tracked(hosts[guest.place()])
    report = guest.ask("verify")
    assert report["memory"]["wrong_bytes"] == 0 and report["disk"]["wrong_bytes"] == 0


def is_tracked(host):
    """Whether some of the machine's memory is registered for write protection by a userfaultfd."""
    with open(f"/proc/{host.the_process('qemu-system')}/smaps") as file:
        return any(" uw" in line for line in file if line.startswith("VmFlags:"))


def other(place):
    return {"h1": "h2", "h2": "h1"}[place]


def dry_run(guest):
    place = guest.place()
    status, answer = guest.hosts[place].call("POST", f"/v1/vms/{guest.name}/migrate",
                                             {"to": other(place), "dry_run": True})
    assert status == 200, answer
    return answer


@contextlib.contextmanager
def dry_run_meanwhile(guest):
    """A dry run whose sampler runs when the block is entered; its answer is in the list at the end of it."""
    answers = []

    def ask():
        with contextlib.suppress(OSError):  # an agent that was killed
            answers.append(dry_run(guest))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for("the guest to be watched", lambda: is_tracked(guest.hosts[guest.place()]))
    yield answers
    thread.join()


def test_the_dirty_rate_is_what_the_guest_says(guest):
    before = guest.ask()
    forecast = dry_run(guest)["forecast"]
    after = guest.ask()
    pages = after["memory"]["pages_written"] - before["memory"]["pages_written"]
    rate = pages * PAGE / (after["uptime_ms"] - before["uptime_ms"]) * 1000
    assert rate / 2 < forecast["dirty_rate"] < rate * 2
    assert forecast["problem"] is None


def test_the_forecast_is_complete_and_makes_sense(guest):
    forecast = dry_run(guest)["forecast"]
    assert 64 << 20 < forecast["memory_data"] <= forecast["memory_populated"] <= forecast["memory_bytes"] == 192 << 20
    assert forecast["bytes"] > 1 << 20 and forecast["rounds"] >= 2
    assert forecast["duration_ms"] > forecast["blackout_ms"] > 0
    assert forecast["link_rate"] > 0 and forecast["link_rate_source"] in ("measured", "interface", "assumed")
    assert forecast["limited_by"] in ("link", "bandwidth limit", "writers", "device state")
    curve = [(point["within_ms"], point["bytes"]) for point in forecast["working_set"]]
    assert curve == sorted(curve) and curve[-1][1] > 0 and forecast["sampled_ms"] == curve[-1][0]


def test_it_is_shown_within_a_terminal(lab, guest):
    place = guest.place()
    shown = lab.run(place, DROVER, "vm", "migrate", guest.name, "--to", other(place), "--dry-run").stdout
    for words in ("Forecast, from watching writer for", "guest dirties", "link carries", "rounds", "total time",
                  "blackout", "bytes to send", "limited by"):
        assert words in shown, shown
    assert max(map(len, shown.splitlines())) <= WIDEST


def test_what_cannot_be_kept_is_warned_of(guest):
    place = guest.place()
    status, answer = guest.hosts[place].call("POST", f"/v1/vms/{guest.name}/migrate", {
        "to": other(place), "dry_run": True, "pace": "off", "blackout_ms": 30, "bandwidth_limit": 2 << 20,
        "timeout_s": 5})
    assert status == 200 and answer["verdict"] == "warn", answer
    warnings = [check["message"] for check in answer["checks"] if check["what"] == "forecast"]
    assert len(warnings) == 2 and "the target is 30 ms" in warnings[0] and "within 5.0 s" in warnings[1]
    assert answer["forecast"]["limited_by"] == "writers"


def test_a_sampler_that_is_killed_is_said_to_be(guest):
    host = guest.hosts[guest.place()]
    with dry_run_meanwhile(guest) as answers:
        host.kill("drover-mover")
    assert re.search(r"the mover .* died", answers[0]["forecast"]["problem"])
    assert answers[0]["verdict"] == "ok"


def test_two_at_once_do_not_disturb_each_other(guest):
    with dry_run_meanwhile(guest) as answers:
        assert "another forecast" in dry_run(guest)["forecast"]["problem"]
    assert answers[0]["forecast"]["problem"] is None


def test_a_move_ends_the_dry_run(guest):
    with dry_run_meanwhile(guest) as answers:
        assert guest.begin_move(other(guest.place())).end()["state"] == "succeeded"
    assert "a move of the VM began" in answers[0]["forecast"]["problem"]


def test_a_machine_on_the_move_is_not_sampled(guest):
    move = guest.begin_move(other(guest.place()), bandwidth_limit=16 << 20)
    move.wait_for_data()
    answer = dry_run(guest)
    assert answer["verdict"] == "block" and answer["forecast"] is None
    assert move.end()["state"] == "succeeded"


def test_an_agent_that_dies_leaves_nothing(lab, guest):
    place = guest.place()
    host = guest.hosts[place]
    with dry_run_meanwhile(guest) as answers:
        host.signal("droverd", signal.SIGKILL)
        wait_for("the sampler to end", lambda: not host.processes("drover-mover"))
        assert not is_tracked(host)
    assert answers == []
    lab.agent(place, "start")
    wait_for("the machine to be found again", lambda: guest.show(place)["state"] == "running")
    answer = dry_run(guest)
    assert answer["forecast"] and answer["forecast"]["problem"] is None, answer


def test_the_report_has_forecast_and_fact(lab, guest):
    there, back = other(guest.place()), guest.place()
    for place in (there, back, there):
        report = guest.begin_move(place).end()["report"]
    forecast = report["forecast"]
    assert forecast["problem"] is None
    assert forecast["link_rate_source"] == "measured"
    assert report["bytes"] / 2 < forecast["bytes"] < report["bytes"] * 2
    assert forecast["rounds"] >= 2 and forecast["blackout_ms"] > 0 and forecast["duration_ms"] > 0
    shown = lab.run(there, DROVER, "vm", "migrate", guest.name, "--to", back).stdout
    assert re.search(r"FORECAST +FACT\n +rounds .*\n +total time .*\n +blackout .*\n +sent in all", shown), shown
