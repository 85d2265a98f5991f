"""Moves over one connection and over several, packed on a slow link, and with a network that breaks under them."""
import subprocess

import pytest

from guests import MOVE_PATIENCE_S, Guest, wait_for
from lab import DROVER, Lab

MIB = 1 << 20
WRITTEN = 64  # MiB of text, rewritten slowly


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2, migration_networks=2) as made:
        yield made


@pytest.fixture(scope="module")
def guest(lab):
    made = Guest(lab, "web1", "h1", writer=f"drover.memory={WRITTEN}M drover.memory-rate=4M drover.memory-fill=text")
    made.start().wait_until_up()
    wait_for("its memory to be filled", lambda: made.ask()["memory"])
    return made


def other_end(guest):
    return "h2" if guest.host == "h1" else "h1"


def move_under_traffic(guest, *options):
    """Its report; no byte is wrong, in memory, on disk or on the network."""
    with guest.traffic() as traffic:
        report = guest.move(other_end(guest), *options)["report"]
        assert guest.faults() == {}
        _, total = traffic.finish()
    for field in ("tcp_resets", "wrong_tcp", "wrong_udp", "server_backwards"):
        assert total[field] == 0, field
    return report


def test_several_connections(guest):
    report = move_under_traffic(guest, "--channels", "4")
    assert 2 <= report["channels"] <= 4
    assert report["content_bytes"] > WRITTEN * MIB


def test_one_connection(guest):
    report = move_under_traffic(guest, "--channels", "1")
    assert report["channels"] == 1


def test_a_slow_link_carries_less_than_there_is(lab, guest):
    """Packing pays there, although guest and traffic keep the processors busy."""
    for host in lab.hosts:
        for network in ("migration", "migration2"):
            lab.rate(host, network, "10M")
    try:
        report = move_under_traffic(guest, "--compress", "auto")
    finally:
        for host in lab.hosts:
            for network in ("migration", "migration2"):
                lab.rate(host, network, "none")
    assert sum(report["compressed"].values()) > 0
    assert report["bytes"] < report["content_bytes"] * 3 / 4


def test_a_network_that_breaks_ends_the_move_and_nothing_else(lab, guest):
    source = guest.host
    command = lab.start(source, DROVER, "vm", "migrate", guest.name, "--to", other_end(guest), "--bandwidth", "12M",
                        "--compress", "off", "--progress", "plain", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for("pre-copy", lambda: "pre-copy" in command.stderr.readline())
    lab.link(source, "migration2", "down")
    try:
        _, said = command.communicate(timeout=MOVE_PATIENCE_S)
    finally:
        lab.link(source, "migration2", "up")
    assert command.returncode != 0
    assert "connection" in said and "of the move" in said, said
    assert guest.seen_from(source)["state"] == "running"
    wait_for("one copy", lambda: len(guest.copies()) == 1)
    assert guest.faults() == {}
    move_under_traffic(guest)
