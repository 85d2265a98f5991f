"""Whatever is sent to an agent: a clear answer or a closed connection, nothing half made, and the agent serves on."""
import json
import os
import random
import subprocess
import time

import pytest

from cluster import wait_for
from lab import Lab

RAW_REQUEST = ["/usr/bin/python3", "-B", os.path.join(os.path.dirname(os.path.abspath(__file__)), "raw_request.py")]
UNIX = "unix:/run/drover/droverd.sock"
MIB = 1 << 20


@pytest.fixture(scope="module")
def lab():
    with Lab(hosts=2) as made:
        yield made


@pytest.fixture(autouse=True)
def serves_on_and_leaks_nothing(lab):
    """Around each test: the same process serves, with no descriptor, VM or task more than before."""
    descriptors, *before = condition(lab)
    yield
    for _ in range(20):  # its own upkeep opens a file now and then, perhaps just when we looked
        descriptors_now, *now = condition(lab)
        if now == before and descriptors_now <= descriptors:
            return
        time.sleep(0.1)
    assert now == before and descriptors_now <= descriptors


def condition(lab):
    (pid,) = lab.run("h1", "pidof", "droverd").stdout.split()
    descriptors = len(lab.run("h1", "ls", f"/proc/{pid}/fd").stdout.split())
    _, vms = call(lab, "GET", "/v1/vms")
    folders = lab.run("h1", "ls", "-A", "/datastores/h1-shared").stdout.split()
    return descriptors, pid, vms, sorted(folders)


def send(lab, request, target=UNIX, *options):
    """Raw bytes in, raw bytes out."""
    return lab.run("h1", *RAW_REQUEST, target, *options, input=request, text=False).stdout


def tls(lab):
    with open(os.path.join(lab.root, "labs", lab.name, "h1", "etc", "droverd.json")) as file:
        listen = json.load(file)["listen"]
    return f"tls:{listen['address']}:{listen['port']}"


def parse(reply):
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def call(lab, method, path, body=b"", headers=""):
    """A well-formed request: status and the answer's JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return parse(send(lab, head.encode() + body))


def assert_refused(answer, status, *words):
    """An error in the API's shape, that names what it is about."""
    assert answer[0] == status, answer
    error = answer[1]["error"]
    assert error["code"] > 0
    for word in words:
        assert word in error["message"] + error["remedy"], error


# ---- what does not exist

@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/vms/nobody"), ("DELETE", "/v1/vms/nobody"), ("POST", "/v1/vms/nobody/start"),
    ("POST", "/v1/vms/nobody/stop"), ("GET", "/v1/tasks/nothing"), ("POST", "/v1/tasks/nothing/cancel"),
    ("GET", "/v1/incoming/nothing"), ("DELETE", "/v1/incoming/nothing"), ("GET", "/v2/host"), ("GET", "/"),
    ("GET", "/v1/vms/%2e%2e%2f%2e%2e"),
])
def test_unknown_things_are_404(lab, method, path):
    assert_refused(call(lab, method, path), 404)


def test_unknown_vm_is_named(lab):
    assert_refused(call(lab, "GET", "/v1/vms/nobody"), 404, "nobody", "h1")


def test_unknown_host_is_named_with_those_that_are_known(lab):
    answer = call(lab, "POST", "/v1/vms/nobody/migrate", {"to": "h9"})
    assert_refused(answer, 404, "h9", "h2")


@pytest.mark.parametrize("method, path", [
    ("DELETE", "/v1/host"), ("GET", "/v1/vms/x/start"), ("PUT", "/v1/vms"), ("OPTIONS", "/v1/vms"),
])
def test_other_methods_are_405(lab, method, path):
    assert_refused(call(lab, method, path), 405)


# ---- bodies

@pytest.mark.parametrize("body", [
    b"{", b"[]", b"7", b"\"text\"", b"{\"a\": 1, \"a\": 2}", b"\xff\xfe", b"{}{}", b"[" * 100000,
    b"{\"config\": " * 5000,
], ids=lambda body: repr(body[:20]))
def test_malformed_json_is_400(lab, body):
    assert_refused(call(lab, "POST", "/v1/vms", body), 400, "body")


@pytest.mark.parametrize("body, word", [
    ({}, "config"),
    ({"config": []}, "config"),
    ({"config": {}}, "name"),
    ({"config": {"name": 7}}, "name"),
    ({"config": {"name": "x", "colour": "red"}}, "colour"),
    ({"config": {"name": "x"}, "colour": "red"}, "colour"),
    ({"config": {"name": "x", "drover_vm": 2}}, "version 2"),
    ({"config": {"name": "x", "vcpus": 0}}, "vcpus"),
    ({"config": {"name": "x", "memory_mib": -1}}, "memory_mib"),
    ({"config": {"name": "x"}, "disks": [{}]}, "disk"),
    ({"config": {"name": "x"}, "disks": [{"size_bytes": MIB, "import": "/x"}]}, "disk"),
    ({"config": {"name": "x", "disks": [{}]}}, "disks"),
    ({"config": {"name": "x"}, "datastore": "nowhere"}, "nowhere"),
])
def test_a_bad_definition_is_refused_by_name(lab, body, word):
    status, answer = call(lab, "POST", "/v1/vms", body)
    assert status in (400, 404, 409), answer
    assert word in answer["error"]["message"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".hidden", ""])
def test_names_that_lead_out_of_the_datastore_are_refused(lab, path):
    assert_refused(call(lab, "POST", "/v1/vms", {"config": {"name": path}}), 400, "name")
    disk = {"name": "disk0", "file": path, "format": "raw"}
    assert_refused(call(lab, "POST", "/v1/vms", {"config": {"name": "x", "disks": [disk]},
                                                  "disks": [{"size_bytes": MIB}]}), 400)


def test_an_image_that_is_not_there_leaves_nothing(lab):
    body = {"config": {"name": "x"}, "disks": [{"import": "/nonexistent.qcow2"}]}
    status, answer = call(lab, "POST", "/v1/vms", body)
    assert status >= 400 and "/nonexistent.qcow2" in answer["error"]["message"]


@pytest.mark.parametrize("body, word", [
    ({"force": "yes"}, "force"), ({"timeout_s": 0}, "timeout_s"), ({"fast": True}, "fast"),
])
def test_options_of_a_stop_are_checked(lab, body, word):
    assert_refused(call(lab, "POST", "/v1/vms/nobody/stop", body), 400, word)


@pytest.mark.parametrize("body, word", [
    ({}, "to"), ({"to": 7}, "to"), ({"to": "h2", "blackout_ms": 0}, "blackout_ms"), ({"to": "h2", "x": 1}, "x"),
    ({"to": "h2", "pace": True}, "pace"), ({"to": "h2", "pace": "slow"}, "on"), ({"to": "h2", "compress": "zip"}, "compress"),
    ({"to": "h2", "channels": 65}, "channels"), ({"to": "h2", "engine": "qemu"}, "native"),
    ({"to": "h2", "on_timeout": "stop"}, "timeout_s"), ({"to": "h2", "timeout_s": 9, "on_timeout": "run"}, "on_timeout"),
])
def test_options_of_a_move_are_checked(lab, body, word):
    assert_refused(call(lab, "POST", "/v1/vms/nobody/migrate", body), 400, word)


@pytest.mark.parametrize("query", ["after=x", "wait_ms=-1", "wait_ms=999999999", "after=99999999999999999999"])
def test_a_bad_query_is_400(lab, query):
    assert_refused(call(lab, "GET", f"/v1/tasks/nothing?{query}"), 400)


@pytest.mark.parametrize("body", [
    {}, {"vm": {}}, {"vm": 7}, {"vm": {"drover_vm": 1}, "datastore_uuid": 7},
])
@pytest.mark.parametrize("path", ["/v1/incoming", "/v1/incoming/check"])
def test_a_bad_offer_of_a_move_is_refused(lab, path, body):
    assert_refused(call(lab, "POST", path, body), 400)


# ---- folders that someone put on the datastore

@pytest.fixture
def planted(lab):
    """Writes NAME/vm.json on the shared datastore; gone afterwards."""
    names = []

    def plant(name, text):
        names.append(name)
        folder = f"/datastores/h1-shared/{name}"
        lab.run("h1", "mkdir", folder)
        lab.run("h1", "tee", f"{folder}/vm.json", input=text)

    yield plant
    for name in names:
        lab.run("h1", "rm", "-r", f"/datastores/h1-shared/{name}")


def test_a_vm_file_from_a_newer_version_is_shown_and_left_alone(lab, planted):
    planted("newer", json.dumps({"drover_vm": 2, "name": "newer"}))
    for method, path in (("GET", "/v1/vms/newer"), ("POST", "/v1/vms/newer/start"), ("DELETE", "/v1/vms/newer")):
        assert_refused(call(lab, method, path), 409, "newer/vm.json", "version 2", "upgrade")
    _, answer = call(lab, "GET", "/v1/vms")
    (vm,) = [vm for vm in answer["vms"] if vm["name"] == "newer"]
    assert vm["state"] == "failed" and vm["problem"]


def test_a_broken_vm_file_does_not_hide_the_others(lab, planted):
    planted("broken", "{")
    status, answer = call(lab, "GET", "/v1/vms")
    assert status == 200 and "broken" in [vm["name"] for vm in answer["vms"]]


def test_a_disk_that_is_a_link_out_of_the_datastore_is_not_opened(lab):
    body = {"config": {"name": "linked"}, "disks": [{"size_bytes": MIB}]}
    status, answer = call(lab, "POST", "/v1/vms", body)
    assert status == 201, answer
    disk = f"/datastores/h1-shared/linked/{answer['config']['disks'][0]['file']}"
    lab.run("h1", "ln", "-sf", "/etc/passwd", disk)
    _, answer = call(lab, "POST", "/v1/vms/linked/start")
    task = answer["task"]["id"]
    ends = wait_for("the task's end", lambda: (seen := call(lab, "GET", f"/v1/tasks/{task}")[1])["ended_at"] and seen)
    assert ends["state"] == "failed", ends
    assert call(lab, "GET", "/v1/vms/linked")[1]["state"] == "stopped"
    assert call(lab, "DELETE", "/v1/vms/linked")[0] == 200


# ---- bytes that are no request

def test_too_large_a_body_is_413(lab):
    assert_refused(call(lab, "POST", "/v1/vms", b"x" * (MIB + 1)), 413)


def test_a_length_that_lies_is_refused_before_the_body(lab):
    head = b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert_refused(parse(send(lab, head)), 413)


@pytest.mark.parametrize("length", [b"-1", b"abc", b"1e3", b"18446744073709551616"])
def test_a_length_that_is_no_number_is_refused(lab, length):
    reply = send(lab, b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n{}")
    assert not reply or parse(reply)[0] in (400, 413)


def test_a_body_in_chunks_is_refused(lab):
    head = b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert_refused(parse(send(lab, head)), 400, "Content-Length")


@pytest.mark.parametrize("half", [
    b"", b"G", b"GET /v1/host", b"GET /v1/host HTTP/1.1\r\nHost: x\r\n",
    b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"config\"",
])
def test_half_a_request_makes_nothing(lab, half):
    assert b" 20" not in send(lab, half, UNIX, "--half-close")[:13]


def test_too_long_a_line_is_refused(lab):
    reply = send(lab, b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " not in reply


def test_too_many_headers_are_refused(lab):
    reply = send(lab, b"GET /v1/host HTTP/1.1\r\n" + b"X-A: b\r\n" * 100000 + b"\r\n")
    assert b" 500 " not in reply


def test_garbage_on_both_ports(lab):
    source = random.Random(7)
    for target in (UNIX, tls(lab), tls(lab).replace("tls:", "tcp:")):
        for length in (1, 17, 1000, 100000):
            send(lab, source.randbytes(length), target, "--half-close")


def test_a_slow_client_holds_up_nobody(lab):
    slow = [lab.start("h1", *RAW_REQUEST, UNIX, "--patience", 5, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            for _ in range(20)]
    for process in slow:
        process.stdin.write(b"GET /v1/ho")
        process.stdin.close()
    assert call(lab, "GET", "/v1/host")[0] == 200
    for process in slow:
        process.wait(timeout=60)


# ---- the token

@pytest.mark.parametrize("header", [
    b"", b"Authorization: Bearer\r\n", b"Authorization: Bearer wrong\r\n", b"Authorization: Basic eDp5\r\n",
    b"Authorization: Bearer " + b"a" * 3000 + b"\r\n",
], ids=lambda header: repr(header[:30]))
def test_over_tcp_nothing_goes_without_certificate_or_token(lab, header):
    for path in (b"/v1/host", b"/v1/nothing"):
        reply = send(lab, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n", tls(lab))
        assert parse(reply)[0] == 401


def test_a_console_over_tcp_wants_one_of_them_too(lab):
    request = (b"GET /v1/vms/nobody/console HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert parse(send(lab, request, tls(lab)))[0] == 401
    assert_refused(parse(send(lab, request)), 404, "nobody")
