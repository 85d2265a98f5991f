"""What somebody on the migration network sees of a move: nothing of the guest's memory, unless encryption is disabled."""
import contextlib
import os
import socket
import threading

import pytest

from cluster import Guest
from lab import Lab, configured
from namespaces import in_network_of

MARKER = "a-secret-in-the-memory-of-a-guest"  # on its kernel's command line, which the kernel keeps several copies of
SLOW = 48 << 20  # bytes a second: the capture keeps up
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33


def listen_on(interface):
    """Every frame on an interface of this namespace, as a neighbour sees it."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
    wire.bind((interface, ETH_P_ALL))
    wire.settimeout(0.2)
    return wire


class Capture(threading.Thread):
    """Counts what passes an interface of a host until the end of `with`, and how often the marker is in it."""

    def __init__(self, host, interface):
        super().__init__()
        self.wire = in_network_of(host.init, lambda: listen_on(interface))
        self.over = threading.Event()
        self.bytes = self.hits = 0

    def run(self):
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                frame = self.wire.recv(1 << 17)
                self.bytes += len(frame)
                self.hits += MARKER.encode() in frame

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.join()
        self.wire.close()


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture(scope="module")
def guest(lab, hosts):
    made = Guest(lab, hosts, "web1", "10.77.0.11", more=f"drover.marker={MARKER}").create("h1")
    made.start("h1")
    return made


def move_overheard(guest, hosts, to, **options):
    """The report of a move, and what was heard of it. Nearly all of it was, or nothing would follow from that."""
    with Capture(hosts["h1"], "mig0") as capture:
        task = guest.begin_move(to, bandwidth_limit=SLOW, compress="off", **options).end()
    assert task["state"] == "succeeded", task
    report = task["report"]
    assert capture.bytes > report["bytes"] * 0.9
    return report, capture


def assert_protected(report, capture):
    assert report["encryption"] == "tls13"
    assert report["encryption_by"] in ("kernel", "openssl")
    assert report["cipher"].startswith("TLS_")
    assert capture.hits == 0


def test_a_move_shows_nothing_of_the_memory(guest, hosts):
    assert_protected(*move_overheard(guest, hosts, "h2"))
    assert guest.ask("verify")["memory"]["wrong_bytes"] == 0


def test_without_encryption_it_shows(lab, guest, hosts):
    """So the test above could have seen it. Only where both hosts were told so."""
    with configured(lab, "h1", migration_encryption="disabled"), configured(lab, "h2", migration_encryption="opportunistic"):
        report, capture = move_overheard(guest, hosts, "h1")
    assert (report["encryption"], report["encryption_by"], report["cipher"]) == ("none", None, None)
    assert capture.hits > 0
    assert guest.ask("verify")["memory"]["wrong_bytes"] == 0


def test_the_key_is_nowhere_to_be_read(lab, guest, hosts):
    """Neither in a log, nor on a command line, nor in an environment."""
    move = guest.begin_move("h2", bandwidth_limit=SLOW)
    move.wait_for_data()
    for host in hosts.values():
        mover = host.the_process("drover-mover")
        for what in ("cmdline", "environ"):
            with open(f"/proc/{mover}/{what}", "rb") as file:
                assert not any(is_key(word) for word in file.read().split(b"\0"))
    assert move.end()["state"] == "succeeded"
    for name in hosts:
        folder = os.path.join(lab.root, "labs", lab.name, name)
        for path, _, files in os.walk(folder):
            for file in (file for file in files if file.endswith(".log")):
                with open(os.path.join(path, file), "rb") as log:
                    assert not any(is_key(word) for word in log.read().split())


def is_key(word):
    digits = word.strip(b"\"',;:=")
    return len(digits) == 64 and all(digit in b"0123456789abcdef" for digit in digits)


def test_qemus_own_migration_shows_nothing_either(guest, hosts):
    """The last one: without KVM a guest may not survive it (docs/platform.md)."""
    assert_protected(*move_overheard(guest, hosts, "h1", engine="native"))
