"""One owner at a time: hosts that want the same machine at the same instant, and calls that come while it moves."""
import json
import threading

import pytest

from cluster import Guest, Task, wait_for
from lab import DROVER

SLOW = 16 << 20  # bytes a second: a move that lasts


@pytest.fixture(scope="module")
def guest(lab, hosts):
    return Guest(lab, hosts, "prize", "10.77.0.11").create("h1")


@pytest.fixture
def running(guest):
    if not guest.owner():
        guest.start("h1")
    return guest


def at_once(*calls):
    """Makes the calls from threads that wait for each other; their results in order."""
    results, barrier = [None] * len(calls), threading.Barrier(len(calls))

    def run(index, call):
        barrier.wait()
        results[index] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def outcome(host, status, answer):
    """How a request for a task ended, whenever it was refused: the error, or None."""
    if status != 202:
        return answer["error"]
    task = Task(host, answer["task"]).end()
    return None if task["state"] == "succeeded" else task["error"]


def start_on(host, guest):
    return lambda: outcome(host, *host.call("POST", f"/v1/vms/{guest.name}/start"))


def test_two_hosts_start_it_at_once(hosts, guest):
    """Exactly one wins, again and again; the other names the winner."""
    for _ in range(6):
        contenders = [hosts["h1"], hosts["h2"], hosts["h3"]]
        errors = at_once(*(start_on(host, guest) for host in contenders))
        winners = [host.name for host, error in zip(contenders, errors) if error is None]
        assert len(winners) == 1, errors
        assert guest.owner() == winners[0]
        assert guest.copies() == winners
        for error in filter(None, errors):
            assert guest.name in error["message"] and f"host {winners[0]}" in error["message"], error
            assert error["remedy"]
        for host in contenders:
            wait_for(f"{host.name} to be clean",
                     lambda: not host.leftovers([guest] if host.name == winners[0] else []))
        guest.stop(winners[0])


def test_two_starts_on_one_host(hosts, guest):
    errors = at_once(start_on(hosts["h1"], guest), start_on(hosts["h1"], guest))
    assert sorted(error is None for error in errors) == [False, True], errors
    assert guest.copies() == ["h1"]
    guest.stop("h1")


@pytest.mark.parametrize("action", ["start", "stop", "migrate"])
def test_another_host_owns_it(hosts, running, action):
    body = {"to": "h3"} if action == "migrate" else {}
    error = outcome(hosts["h2"], *hosts["h2"].call("POST", f"/v1/vms/{running.name}/{action}", body))
    assert error and running.name in error["message"] and "h1" in error["message"] + error["remedy"], error
    assert error["remedy"], error
    assert running.copies() == ["h1"] and running.owner() == "h1"


def test_another_host_may_not_remove_it(hosts, running):
    status, answer = hosts["h2"].call("DELETE", f"/v1/vms/{running.name}")
    assert status == 409 and "h1" in answer["error"]["message"] + answer["error"]["remedy"], answer
    assert running.show("h1")["state"] == "running"


def test_two_moves_at_once(hosts, running):
    source = hosts["h1"]
    path = f"/v1/vms/{running.name}/migrate"
    answers = at_once(*(lambda to=to: source.call("POST", path, {"to": to}) for to in ("h2", "h3")))
    assert sorted(status for status, _ in answers) == [202, 409], answers
    refusal = next(answer["error"] for status, answer in answers if status == 409)
    assert running.name in refusal["message"] and "migrating" in refusal["message"], refusal
    task = Task(source, next(answer["task"] for status, answer in answers if status == 202)).end()
    assert task["state"] == "succeeded", task
    assert running.copies() == [task["report"]["to"]]
    back = running.begin_move("h1").end()
    assert back["state"] == "succeeded", back


def test_nothing_else_while_it_moves(hosts, running):
    """Refused at both ends, naming what goes on; the move does not notice."""
    move = running.begin_move("h2", bandwidth_limit=SLOW)
    move.wait_for_data()
    for host in ("h1", "h2"):
        for method, path, body in (("POST", "/start", {}), ("POST", "/stop", {}), ("POST", "/stop", {"force": True}),
                                   ("POST", "/migrate", {"to": "h3"}), ("DELETE", "", None)):
            status, answer = hosts[host].call(method, f"/v1/vms/{running.name}{path}", body)
            assert status == 409, (host, method, path, answer)
            assert running.name in answer["error"]["message"], answer
            assert any(word in answer["error"]["message"] for word in ("migrating", "incoming")), answer
    assert [task["kind"] for task in hosts["h2"].get("/v1/tasks")["tasks"] if task["state"] == "running"] == []
    assert move.end()["state"] == "succeeded"
    assert running.copies() == ["h2"] and running.owner() == "h2"
    assert running.ask("verify")["memory"]["wrong_bytes"] == 0


def test_lease_settings_stay_while_a_datastore_is_used(hosts, running):
    task = Task(hosts["h3"], hosts["h3"].call("POST", "/v1/datastores/shared/lease", {"takeover_ms": 9000})[1]["task"])
    error = task.end()["error"]
    assert running.name in error["message"] and f"host {running.owner()}" in error["message"], error
    assert "stop it there" in error["remedy"], error
    assert hosts["h3"].call("POST", "/v1/datastores/shared/lease", {"takeover_ms": 4500})[0] == 400


def test_lease_settings_of_a_datastore_at_rest(hosts, lab):
    """The last test here: h1's agent wants to be started anew afterwards."""
    wanted = {"kind": "file", "heartbeat_ms": 500, "stop_after_ms": 4000, "takeover_ms": 9000}
    lab.run("h1", DROVER, "datastore", "set-lease", "local", "--kind", "file", "--takeover", "9000")
    with open(hosts["h1"].root("/datastores/local/drover-datastore.json")) as marker:
        assert json.load(marker)["lease"] == wanted
