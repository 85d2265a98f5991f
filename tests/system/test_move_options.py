"""What is asked of a move reaches the mover and comes back in the report; several migration networks are all used."""
import json

import pytest

from guests import Guest, wait_for
from lab import DROVER, Lab

NETWORKS = {"migration": "mig0", "migration2": "mig1"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2, migration_networks=2) as made:
        yield made


@pytest.fixture(scope="module")
def guest(lab):
    """64 MiB of random data, rewritten slowly."""
    web1 = Guest(lab, "web1", "h1", disk=None, writer="drover.memory=64M drover.memory-rate=1M").start().wait_until_up()
    wait_for("its memory to be filled", lambda: web1.ask()["memory"])
    return web1


def move_on(guest, *options):
    """Moves it to the other host; its report. Not a byte is wrong afterwards."""
    task = guest.move("h2" if guest.host == "h1" else "h1", *options)
    assert guest.faults() == {}
    return task["report"]


def carried(lab, host):
    """Bytes that a host has sent over each migration network."""
    return {name: int(lab.run(host, "cat", f"/sys/class/net/{link}/statistics/tx_bytes").stdout)
            for name, link in NETWORKS.items()}


# ---- options

def test_every_option_reaches_the_mover(guest):
    report = move_on(guest, "--blackout", "70", "--pace", "off", "--timeout", "300", "--on-timeout", "stop",
                     "--compress", "off", "--channels", "2", "--engine", "drover", "--bandwidth", "200M")
    assert report["options"] == {"blackout_ms": 70, "pace": "off", "timeout_s": 300, "on_timeout": "stop", "compress": "off",
                                 "channels": 2, "bandwidth_limit": 200 * MIB}
    assert report["engine"] == "drover"


def test_defaults_are_told_too(guest):
    assert move_on(guest)["options"] == {"blackout_ms": 50, "pace": "on", "timeout_s": 0, "on_timeout": "abort",
                                         "compress": "auto", "channels": 0, "bandwidth_limit": 0}


def test_without_compression_content_is_sent_as_it_is(guest):
    report = move_on(guest, "--compress", "off")
    assert sum(report["compressed"].values()) == 0
    assert 64 * MIB < report["content_bytes"] <= report["bytes"]


def test_pacing_that_is_off_never_makes_anybody_wait(guest):
    report = move_on(guest, "--pace", "off")
    assert (report["paced_ms"], report["writers_waited_ms"]) == (0, 0)


def test_a_longer_blackout_is_said_beforehand(lab, guest):
    to = "h2" if guest.host == "h1" else "h1"
    done = lab.run(guest.host, DROVER, "vm", "migrate", guest.name, "--to", to, "--timeout", "60", "--on-timeout", "stop",
                   "--dry-run", "--json")
    said = [check for check in json.loads(done.stdout)["checks"] if check["what"] == "time limit"]
    assert [(check["level"], check["message"]) for check in said] == [
        ("warn", "at the time limit, after 60 s, web1 is moved with a longer blackout")]


# ---- networks

def test_every_network_carries_its_part(lab, guest):
    source = guest.host
    for host in lab.hosts:
        for network in NETWORKS:
            lab.rate(host, network, "30M")
    before = carried(lab, source)
    report = move_on(guest, "--compress", "off")
    after = carried(lab, source)
    for host in lab.hosts:
        for network in NETWORKS:
            lab.rate(host, network, "none")
    assert report["channels"] >= 2
    for network in NETWORKS:
        assert after[network] - before[network] > report["bytes"] / 5, (before, after)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_is_down_keeps_nobody_from_moving(lab, guest, network):
    source = guest.host
    lab.link(source, network, "down")
    before = carried(lab, source)
    move_on(guest)
    after = carried(lab, source)
    lab.link(source, network, "up")
    (other,) = set(NETWORKS) - {network}
    assert after[other] - before[other] > 10 * (after[network] - before[network])
