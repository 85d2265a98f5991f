"""--dry-run tells every reason against a move, each with its remedy, and changes nothing; the move itself refuses the same.

The machines here boot nothing: their firmware finds no disk and waits, which is enough to be moved.
"""
import json
import os

import pytest

from guests import wait_for
from host_state import HostState
from lab import DROVER, Lab, configured

BLOCKED = 5
REFUSED_IN_THIS_STATE = 4


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture(scope="module")
def hosts(lab):
    return {host: HostState(lab, host) for host in lab.hosts}


@pytest.fixture
def create(lab):
    """create(name, option...): a machine on h1, gone after the test. It is not started."""
    created = []

    def make(name, *options, host="h1"):
        lab.run(host, DROVER, "vm", "create", name, "--memory", "64M", "--nic", "vm", *options)
        created.append((host, name))
        return name

    yield make
    for host, name in created:
        lab.run(host, DROVER, "vm", "stop", "--force", name, check=False)
        lab.run(host, DROVER, "vm", "rm", "--yes", name)


@pytest.fixture
def running(lab, create):
    """A machine that runs on h1, and could move to h2."""
    name = create("idle", "--disk", "8M")
    lab.run("h1", DROVER, "vm", "start", name)
    return name


def files_below(folder):
    return {os.path.join(path, name) for path, _, names in os.walk(folder) for name in names}


def everything(lab, hosts):
    """All that a move begins to make, on both hosts and on their datastores. A host tells that it lives by rewriting its
    own file, so contents are not compared."""
    folder = os.path.join(lab.root, "labs", lab.name)
    datastores = [os.path.join(folder, "shared")] + [os.path.join(folder, host, "datastores") for host in hosts]
    return ({name: host.remains() for name, host in hosts.items()},
            {path: files_below(path) for path in datastores},
            {host: [(vm["name"], vm["state"], vm["owner"]) for vm in lab.drover(host, "vm", "list")["vms"]]
             for host in hosts})


def dry_run(lab, name, to="h2"):
    """Its exit code and checks; the text for people must say the same."""
    done = lab.run("h1", DROVER, "vm", "migrate", name, "--to", to, "--dry-run", "--json", check=False)
    checks = json.loads(done.stdout)["checks"]
    text = lab.run("h1", DROVER, "vm", "migrate", name, "--to", to, "--dry-run", check=False)
    assert text.returncode == done.returncode
    levels = [line.split()[0] for line in text.stdout.splitlines() if line.startswith(("OK ", "WARN ", "BLOCK "))]
    assert levels == [check["level"].upper() for check in checks]
    return done.returncode, checks


def blocks_of(checks):
    return [check for check in checks if check["level"] == "block"]


def assert_blocked(lab, hosts, name, expected, move_status=BLOCKED):
    """The dry run blocks for just these (what, word of the message), the move refuses too, and neither leaves a trace."""
    before = everything(lab, hosts)
    status, checks = dry_run(lab, name)
    assert status == BLOCKED
    blocks = blocks_of(checks)
    assert [check["what"] for check in blocks] == [what for what, _ in expected], blocks
    for check, (_, word) in zip(blocks, expected):
        assert word in check["message"]
        assert len(check["remedy"]) > 10, check
    refused = lab.run("h1", DROVER, "vm", "migrate", name, "--to", "h2", check=False)
    assert refused.returncode == move_status, refused.stderr
    assert name in refused.stderr and "→" in refused.stderr
    if move_status == BLOCKED:
        assert all(check["message"] in " ".join(refused.stderr.split()) for check in blocks), refused.stderr
    assert everything(lab, hosts) == before


def test_a_good_destination_is_found_good_and_nothing_is_made(lab, hosts, running):
    before = everything(lab, hosts)
    tasks = len(lab.drover("h1", "task", "list")["tasks"])
    status, checks = dry_run(lab, running)
    assert status == 0
    assert blocks_of(checks) == []
    ok = {check["what"] for check in checks if check["level"] == "ok"}
    assert {"state", "machine", "qemu", "accelerator", "cpu", "memory", "datastore", "network", "name"} <= ok
    assert everything(lab, hosts) == before
    assert len(lab.drover("h1", "task", "list")["tasks"]) == tasks


def test_what_the_dry_run_found_good_moves(lab, hosts, running):
    lab.run("h1", DROVER, "vm", "migrate", running, "--to", "h2")
    assert lab.drover("h1", "vm", "show", running)["owner"] == "h2"
    lab.run("h2", DROVER, "vm", "migrate", running, "--to", "h1")


@pytest.mark.parametrize("to, status, word", [("h9", 3, "it knows: h2"), ("h1", 2, "name another host")])
def test_a_destination_that_is_none_is_an_error(lab, hosts, running, to, status, word):
    before = everything(lab, hosts)
    for options in (["--dry-run"], []):
        done = lab.run("h1", DROVER, "vm", "migrate", running, "--to", to, *options, check=False)
        assert done.returncode == status, done.stderr
        assert to in done.stderr and word in done.stderr
    assert everything(lab, hosts) == before


def test_a_destination_without_an_agent_is_an_error(lab, hosts, running):
    before = everything(lab, hosts)
    lab.agent("h2", "stop")
    for options in (["--dry-run"], []):
        done = lab.run("h1", DROVER, "vm", "migrate", running, "--to", "h2", *options, check=False)
        assert done.returncode == 7, done.stderr
        assert "h2" in done.stderr and "→" in done.stderr
    lab.agent("h2", "start")
    assert everything(lab, hosts) == before


def test_a_missing_port_group_blocks(lab, hosts, running):
    with configured(lab, "h2", port_groups=[{"name": "other", "bridge": "br-vm", "vlan": 10}]):
        assert_blocked(lab, hosts, running, [("network", "h2 has no port group vm")])


def test_another_vlan_warns(lab, hosts, running):
    with configured(lab, "h2", port_groups=[{"name": "vm", "bridge": "br-vm", "vlan": 20}]):
        status, checks = dry_run(lab, running)
    assert status == 0
    assert ["VLAN 10 here and VLAN 20 on h2" in check["message"] for check in checks
            if (check["level"], check["what"]) == ("warn", "network")] == [True]


@pytest.mark.parametrize("strict, lax", [("h1", "h2"), ("h2", "h1")])
def test_encryption_that_only_one_host_wants_blocks(lab, hosts, running, strict, lax):
    with configured(lab, strict, migration_encryption="required"), configured(lab, lax, migration_encryption="disabled"):
        assert_blocked(lab, hosts, running, [("encryption", "requires that moves are encrypted")])


def test_memory_that_travels_in_clear_warns(lab, hosts, running):
    with configured(lab, "h1", migration_encryption="opportunistic"), configured(lab, "h2", migration_encryption="disabled"):
        status, checks = dry_run(lab, running)
    assert status == 0
    assert [check["level"] for check in checks if check["what"] == "encryption"] == ["warn"]


def test_too_little_memory_blocks(lab, hosts, running):
    with configured(lab, "h2", memory_limit_mib=32):
        assert_blocked(lab, hosts, running, [("memory", "needs 64.0 MiB")])


def test_a_datastore_that_only_the_source_has_blocks(lab, hosts, create):
    name = create("at-home", "--datastore", "local")
    lab.run("h1", DROVER, "vm", "start", name)
    assert_blocked(lab, hosts, name, [("datastore", "local")])


def test_a_name_that_is_taken_blocks_and_all_reasons_come_at_once(lab, hosts, create):
    name = create("twin", "--datastore", "local")
    create("twin", "--datastore", "local", host="h2")
    lab.run("h1", DROVER, "vm", "start", name)
    with configured(lab, "h2", memory_limit_mib=32, port_groups=[]):
        assert_blocked(lab, hosts, name, [("memory", "needs 64.0 MiB"), ("datastore", "local"), ("network", "port group vm"),
                                          ("name", "another VM named twin")])


def test_a_machine_that_does_not_run_blocks(lab, hosts, create):
    assert_blocked(lab, hosts, create("off"), [("state", "off is stopped")], REFUSED_IN_THIS_STATE)


def test_a_cpu_model_that_is_unknown_there_blocks(lab, hosts, create):
    name = create("odd", "--cpu", "Nonesuch-v1")
    assert_blocked(lab, hosts, name, [("state", "stopped"), ("cpu", "Nonesuch-v1")], REFUSED_IN_THIS_STATE)


def test_a_device_of_the_host_blocks(lab, hosts, create, tmp_path):
    definition = tmp_path / "vm.json"
    definition.write_text(json.dumps({"drover_vm": 1, "devices": ["vfio:0000:01:00.0"]}))
    name = create("bound", "--file", str(definition))
    assert_blocked(lab, hosts, name, [("state", "stopped"), ("device", "vfio:0000:01:00.0")], REFUSED_IN_THIS_STATE)


def test_a_machine_that_moves_already_blocks(lab, hosts, create):
    name = create("busy", "--memory", "256M")
    lab.run("h1", DROVER, "vm", "start", name)
    begun = lab.run("h1", DROVER, "vm", "migrate", name, "--to", "h2", "--bandwidth", "256K", "--no-wait", "--json")
    task = json.loads(begun.stdout)["id"]
    wait_for("the move to be on its way", lambda: hosts["h2"].runs(lab.drover("h1", "vm", "show", name)["uuid"]))
    status, checks = dry_run(lab, name)
    assert status == BLOCKED
    assert "busy is being moved already" in [check["message"] for check in blocks_of(checks)]
    again = lab.run("h1", DROVER, "vm", "migrate", name, "--to", "h2", check=False)
    assert again.returncode == REFUSED_IN_THIS_STATE, again.stderr
    lab.run("h1", DROVER, "task", "cancel", task)
    wait_for("the move to be cancelled", lambda: lab.drover("h1", "task", "show", task)["state"] == "cancelled")
    assert hosts["h2"].remains() == []
