"""The traffic client against a guest that misbehaves on demand: what it reports is what was done to it."""
import collections
import contextlib
import socket
import struct
import threading
import time

import pytest

from traffic import TrafficClient

RECORD = struct.Struct(">QQQQQ24s")


class FakeGuest:
    """Answers echo records on loopback. Tests replace `answer`, which maps a request to replies."""

    def __init__(self):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sessions = []
        self.sequence = 0
        self.answer = lambda reply: [reply]
        self.clock_offset_ns = 0
        for target in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    def ports(self):
        return ("--udp-port", self.udp.getsockname()[1],
                "--tcp-port", self.listener.getsockname()[1])

    def reply(self, request, sequence):
        magic, client_sequence, client_ns, _, _, pattern = RECORD.unpack(request)
        guest_ns = time.monotonic_ns() + self.clock_offset_ns
        return RECORD.pack(magic, client_sequence, client_ns, sequence, guest_ns, pattern)

    def serve_udp(self):
        while True:
            try:
                request, sender = self.udp.recvfrom(2048)
                self.sequence += 1
                for reply in self.answer(self.reply(request, self.sequence)):
                    self.udp.sendto(reply, sender)
            except OSError:
                return

    def serve_tcp(self):
        while True:
            try:
                session, _ = self.listener.accept()
            except OSError:
                return
            self.sessions.append(session)
            threading.Thread(target=self.serve_session, args=(session,), daemon=True).start()

    def serve_session(self, session):
        sequence = 0
        try:
            while request := session.recv(RECORD.size, socket.MSG_WAITALL):
                sequence += 1
                session.sendall(self.reply(request, sequence))
        except OSError:
            pass

    def reset_sessions(self):
        for session in self.sessions:
            session.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):  # the client may have left
                session.shutdown(socket.SHUT_RD)
            session.close()
        self.sessions.clear()

    def close(self):
        self.udp.close()
        self.listener.close()
        self.reset_sessions()


@pytest.fixture
def guest():
    fake = FakeGuest()
    yield fake
    fake.close()


@pytest.fixture
def client(guest):
    with TrafficClient("127.0.0.1", 30, *guest.ports(), "--udp-rate", 500) as traffic:
        traffic.wait_until_started()
        traffic.mark("start")
        yield traffic


def every(number, change):
    """Applies `change` to each reply whose turn it is, and counts how often."""
    counted = collections.Counter()

    def answer(reply):
        counted["seen"] += 1
        if counted["seen"] % number:
            return [reply]
        counted["changed"] += 1
        return change(reply)

    return answer, counted


def test_an_undisturbed_stream_has_nothing_to_report(client):
    time.sleep(0.5)
    interval = client.mark("calm")
    assert interval["sent_udp"] > 50
    assert interval["received_udp"] == interval["sent_udp"]
    for name in ("lost_udp", "reordered_udp", "duplicated_udp", "wrong_udp", "late_udp", "tcp_resets",
                 "wrong_tcp", "server_backwards"):
        assert interval[name] == 0, name
    assert interval["received_tcp"] == interval["sent_tcp"] > 10


@pytest.mark.parametrize("name, change", [
    ("lost_udp", lambda reply: []),
    ("duplicated_udp", lambda reply: [reply, reply]),
    ("wrong_udp", lambda reply: [reply, reply[:-1] + b"\xff"])])
def test_each_bad_answer_is_counted(guest, client, name, change):
    guest.answer, counted = every(10, change)
    time.sleep(0.3)
    guest.answer = lambda reply: [reply]
    _, total = client.finish()
    assert counted["changed"] > 0
    assert total[name] == counted["changed"]


def test_a_reordered_answer_is_counted_and_not_lost(guest, client):
    held = []

    def answer(reply):
        if not held:
            held.append(reply)
            return []
        return [reply, held.pop()]

    guest.answer = answer
    time.sleep(0.3)
    guest.answer = lambda reply: [reply, *(held.pop() for _ in held[:])]
    time.sleep(0.05)
    interval = client.mark("swapped")
    assert interval["reordered_udp"] > 10
    assert interval["lost_udp"] == 0
    assert interval["server_backwards"] == 0


def test_an_answer_that_is_late_but_comes_is_no_loss(guest, client):
    held = []
    guest.answer = lambda reply: held.append(reply) or []
    time.sleep(0.1)

    def release(reply):
        replies, held[:] = [*held, reply], []
        return replies

    threading.Timer(0.1, lambda: setattr(guest, "answer", release)).start()
    interval = client.mark("held back")
    assert interval["lost_udp"] == 0
    assert interval["max_udp_gap_ms"] >= 90


def test_an_answer_after_its_report_is_late_and_no_loss_in_the_total(guest, client):
    held = []
    guest.answer = lambda reply: held.append(reply) or []
    time.sleep(0.1)
    interval = client.mark("silent")
    assert interval["lost_udp"] > 0
    guest.answer = lambda reply: [*(held.pop(0) for _ in held[:]), reply]
    time.sleep(0.2)
    assert client.mark("released")["late_udp"] == interval["lost_udp"]
    _, total = client.finish()
    assert total["lost_udp"] == 0


def test_silence_is_measured_while_it_lasts(guest, client):
    guest.answer = lambda reply: []
    time.sleep(0.4)
    assert client.mark("silent")["max_udp_gap_ms"] >= 350


def test_a_server_that_counts_again_shows(guest, client):
    guest.sequence -= 20
    time.sleep(0.1)
    assert client.mark("rolled back")["server_backwards"] == 1


def test_a_reset_is_counted_and_the_session_replaced(guest, client):
    guest.reset_sessions()
    time.sleep(0.4)
    assert client.mark("reset")["tcp_resets"] == 1
    time.sleep(0.2)
    interval = client.mark("after")
    assert interval["tcp_resets"] == 0
    assert interval["received_tcp"] > 0


def test_a_clock_that_lost_time_shows(guest, client):
    time.sleep(0.3)
    guest.clock_offset_ns = -15_000_000
    time.sleep(0.3)
    assert -17 < client.mark("stopped")["guest_clock_shift_ms"] < -13


def test_totals_are_the_sum_of_the_intervals(client):
    time.sleep(0.1)
    first = client.mark("one")
    time.sleep(0.1)
    last, total = client.finish()
    assert last["name"] == "end"
    assert total["sent_udp"] >= first["sent_udp"] + last["sent_udp"]
    assert total["lost_udp"] == 0
    assert total["end_ms"] == last["end_ms"]


@pytest.mark.parametrize("arguments", [("--seconds", "0"), ("--seconds", "3601"), ("--seconds", "x"),
                                       ("--udp-rate", "0")])
def test_senseless_numbers_are_refused(arguments):
    with TrafficClient("127.0.0.1", 1, *arguments) as traffic:
        assert traffic.process.wait(timeout=5) == 2
