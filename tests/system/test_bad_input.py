"""Bad input beyond the agents' own ports: strangers at the movers' doors, images that lead elsewhere, hosts without room.

Afterwards: a clear error, nothing half made, and whatever went on goes on. (test_agent_bad_input.py is about the REST API.)
"""
import base64
import contextlib
import json
import os
import socket
import struct
import subprocess

import pytest

from cluster import RUN_FOLDER, Guest, UnixConnection, connect_in_namespace, wait_for
from lab import DROVER

SLOW = 24 << 20
HELLO, PAGES, ABORT = 1, 3, 12  # frame types of docs/protocol/migration.md


def frame(kind, body=b"", flags=0, length=None):
    return struct.pack("<HHI", kind, flags, len(body) if length is None else length) + body


def hello(token=b"\0" * 32):
    versions = struct.pack("<4sHH32s", b"DVR1", 1, 1, b"stranger")
    return frame(HELLO, versions + token + b"x" * 36 + struct.pack("<HHIQ", 0, 1, 4096, 192 << 20))


STRANGERS = {
    "silence": b"",
    "one byte": b"\x01",
    "garbage": bytes(range(256)) * 64,
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a HELLO": hello()[:40],
    "HELLO without the secret": hello(),
    "PAGES first": frame(PAGES, b"\0" * 64),
    "unknown type": frame(999),
    "flags": frame(HELLO, flags=7),
    "oversized": frame(HELLO, length=0xffffffff) + b"x" * 65536,
    "ABORT": frame(ABORT, b"\x01\x00bye"),
}


@pytest.fixture(scope="module")
def guest(lab, hosts):
    made = Guest(lab, hosts, "target", "10.77.0.11").create("h1")
    made.start("h1")
    return made


@pytest.fixture(autouse=True)
def same_agents(hosts):
    """The same agents serve before and after each test, with no descriptor more."""
    before = {name: (host.the_process("droverd"), host.agent_descriptors()) for name, host in hosts.items()}
    yield
    for name, (pid, descriptors) in before.items():
        assert hosts[name].the_process("droverd") == pid
        wait_for(f"the descriptors of {name}", lambda: hosts[name].agent_descriptors() <= descriptors + 1)


def move_home(guest):
    if guest.place() != "h1":
        assert guest.begin_move("h1").end()["state"] == "succeeded"


def assert_nothing_made(host, name):
    assert name not in [vm["name"] for vm in host.get("/v1/vms")["vms"]]
    for datastore in host.get("/v1/host")["datastores"]:
        wait_for(f"{datastore['path']} to be clean",
                 lambda: not [entry for entry in os.listdir(host.root(datastore["path"])) if name in entry])


def assert_clear(error, *words):
    text = error["message"] + " " + error["remedy"]
    for word in words:
        assert word in text, error
    assert error["remedy"], error


# ---- the migration port


def listening_ports(host, address):
    """TCP ports that something on the host listens on at this address."""
    wanted = socket.inet_aton(address)[::-1].hex().upper()
    with open(f"/proc/{host.init}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[1].split(":")[0] == wanted]


@contextlib.contextmanager
def waiting_destination(lab, guest, to):
    """A move whose source cannot reach its destination yet: the task, and where the destination listens."""
    lab.link("h1", "migration", "down")
    try:
        move = guest.begin_move(to.name)
        move.wait_for_phase("connect")
        address = to.get("/v1/host")["migration_address"]
        port = wait_for("the migration port", lambda: listening_ports(to, address))[0]
        yield move, (address, port)
    finally:
        lab.link("h1", "migration", "up")


def test_strangers_at_the_migration_port(lab, hosts, guest):
    """They come before the source does, say all kinds of things, and stay: the source is heard all the same."""
    move_home(guest)
    strangers = []
    with waiting_destination(lab, guest, hosts["h2"]) as (move, place):
        for words in STRANGERS.values():
            strangers.append(connect_in_namespace(hosts["h3"].init, place))
            with contextlib.suppress(OSError):
                strangers[-1].sendall(words)
    task = move.end()
    for stranger in strangers:
        stranger.close()
    assert task["state"] == "succeeded", task
    assert guest.copies() == ["h2"]
    assert guest.ask("verify")["memory"]["wrong_bytes"] == 0


def test_strangers_during_precopy(hosts, guest):
    """A crowd at the door does not disturb who is in."""
    move_home(guest)
    move = guest.begin_move("h2", bandwidth_limit=SLOW)
    move.wait_for_data()
    address = hosts["h2"].get("/v1/host")["migration_address"]
    for port in listening_ports(hosts["h2"], address):
        for _ in range(40):
            with contextlib.suppress(OSError), connect_in_namespace(hosts["h3"].init, (address, port)) as stranger:
                stranger.sendall(STRANGERS["garbage"])
    assert move.end()["state"] == "succeeded"
    assert guest.ask("verify")["memory"]["wrong_bytes"] == 0


# ---- what belongs to one machine is closed to the users of the others


def connect_as(host, uid, path):
    """Tries to connect to a UNIX socket of the host as a user: the name of what went wrong, or nothing."""
    script = ("import os, socket, sys\n"
              f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
              "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
              "except OSError as error: print(type(error).__name__)\n")
    return host.lab.run(host.name, "/usr/bin/python3", "-c", script, path).stdout.strip()


def test_sockets_and_memory_are_closed_to_other_users(hosts, guest):
    move_home(guest)
    move = guest.begin_move("h2", bandwidth_limit=SLOW)
    move.wait_for_data()
    folder = f"{RUN_FOLDER}/vms/{guest.uuid}"
    stranger, own = 2100777, guest.show("h1")["runtime"]["uid"]
    for host in (hosts["h1"], hosts["h2"]):
        assert connect_as(host, own, f"{folder}/mover.sock") == "PermissionError"
        for name in ("mover.sock", "qemu/qmp.sock", "qemu/mover.qmp.sock", "qemu/serial.sock", "qemu/vnc.sock"):
            assert connect_as(host, stranger, f"{folder}/{name}") == "PermissionError", name
        mode = os.stat(host.root(f"{RUN_FOLDER}/ram/{guest.uuid}")).st_mode
        assert mode & 0o077 == 0
        assert connect_as(host, stranger, f"{RUN_FOLDER}/droverd.sock") == "PermissionError"
    assert move.end()["state"] == "succeeded"


def test_garbage_on_the_movers_control_sockets(hosts, guest):
    """Even root's nonsense ends no move."""
    move_home(guest)
    move = guest.begin_move("h2", bandwidth_limit=SLOW)
    move.wait_for_data()
    nonsense = [b"", b"\n\n\n", b"{", b"[1]\n", b'{"command": "dance"}\n', b'{"command": "answer", "owner": "me"}\n',
                b'{"command": "end"}\n', b'{"command": "answer", "owner": "source"}\n', b"x" * 200000]
    for host in (hosts["h1"], hosts["h2"]):
        for words in nonsense:
            with socket.socket(socket.AF_UNIX) as link, contextlib.suppress(OSError):
                link.connect(host.root(f"{RUN_FOLDER}/vms/{guest.uuid}/mover.sock"))
                link.sendall(words)
    assert move.end()["state"] == "succeeded"
    assert guest.copies() == ["h2"]


# ---- the console


def open_console(host, name):
    """A WebSocket to the console: the socket, after the handshake."""
    link = UnixConnection(host.root(f"{RUN_FOLDER}/droverd.sock"), 10)
    key = base64.b64encode(os.urandom(16)).decode()
    link.request("GET", f"/v1/vms/{name}/console", headers={
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"})
    head = b""
    while b"\r\n\r\n" not in head and (piece := link.sock.recv(1)):
        head += piece
    return link.sock, int(head.split()[1])


@pytest.mark.parametrize("words", [
    pytest.param(b"\xff" * 4096, id="garbage"), pytest.param(b"\x82\xff" + b"\xff" * 8, id="endless"),
    pytest.param(b"\x82\x05hello", id="unmasked"), pytest.param(b"\x88\x80\0\0\0\0", id="close"),
    pytest.param(b"\x82\xfe\xff\xff" + b"\0" * 16, id="truncated")])
def test_nonsense_on_the_console(hosts, guest, words):
    move_home(guest)
    link, status = open_console(hosts["h1"], guest.name)
    assert status == 101
    link.sendall(words)
    link.close()
    wait_for("the console to be free again", lambda: try_console(hosts["h1"], guest.name))


def try_console(host, name):
    link, status = open_console(host, name)
    link.close()
    return status == 101


def test_a_guest_writes_on_its_console_without_end(lab, hosts, guest):
    """What it wrote is kept in the file system that the agent's journals are in: only the end of it."""
    move_home(guest)
    log = hosts["h1"].root(f"{RUN_FOLDER}/vms/{guest.uuid}/qemu/serial.log")
    with open(log, "ab") as file:
        file.write(b"x" * (3 << 20))  # faster than a guest would
    wait_for("the log to be cut", lambda: 0 < os.path.getsize(log) < 1 << 20)
    cut = os.path.getsize(log)
    lab.run("h1", DROVER, "vm", "console", guest.name, input="\necho still here\n")
    wait_for("more of the guest's words", lambda: os.path.getsize(log) > cut)


def test_console_of_what_does_not_run(hosts):
    link, status = open_console(hosts["h1"], "nobody")
    link.close()
    assert status == 404


# ---- images


def make_image(path, *options):
    subprocess.run(["qemu-img", "create", "-q", *options, path, "8M"], check=True)


def create(host, name, **disk):
    return host.call("POST", "/v1/vms", {"datastore": "shared", "config": {"name": name}, "disks": [disk]})


@pytest.fixture
def images(tmp_path):
    (tmp_path / "secret.raw").write_bytes(b"\0" * (8 << 20))
    make_image(tmp_path / "backed.qcow2", "-f", "qcow2", "-b", str(tmp_path / "secret.raw"), "-F", "raw")
    make_image(tmp_path / "external.qcow2", "-f", "qcow2", "-o", f"data_file={tmp_path}/data.raw")
    os.symlink("/etc/shadow", tmp_path / "link.raw")
    (tmp_path / "broken.qcow2").write_bytes(b"QFI\xfb" + os.urandom(4096))
    os.mkfifo(tmp_path / "pipe.raw")
    return tmp_path


@pytest.mark.parametrize("image", ["backed.qcow2", "external.qcow2", "broken.qcow2", "pipe.raw", "missing.raw"])
def test_an_image_that_leads_elsewhere_is_not_imported(hosts, images, image):
    status, answer = create(hosts["h1"], "bad-image", **{"import": str(images / image)})
    assert 400 <= status < 500, answer
    assert image in answer["error"]["message"], answer
    assert_nothing_made(hosts["h1"], "bad-image")


@pytest.mark.parametrize("file", ["backed.qcow2", "external.qcow2", "link.raw"])
def test_an_image_put_in_the_place_of_a_disk_is_not_opened(lab, hosts, images, file):
    """Whoever can write to the datastore cannot have QEMU, or the agent, open what lies outside of it."""
    name = "swapped"
    status, vm = create(hosts["h1"], name, size_bytes=8 << 20)
    assert status == 201, vm
    disk = os.path.join(lab.root, "labs", lab.name, "shared", name, vm["config"]["disks"][0]["file"])
    os.unlink(disk)
    os.rename(images / file, disk)
    before = hosts["h1"].footprint()
    status, answer = hosts["h1"].call("POST", f"/v1/vms/{name}/start")
    assert status == 202, answer
    path = f"/v1/tasks/{answer['task']['id']}"
    task = wait_for("the refusal", lambda: (now := hosts["h1"].get(path))["state"] != "running" and now)
    assert task["state"] == "failed"
    assert os.path.basename(disk) in task["error"]["message"], task["error"]
    assert hosts["h1"].footprint() == before
    assert hosts["h1"].call("DELETE", f"/v1/vms/{name}")[0] in (200, 204)
    assert_nothing_made(hosts["h1"], name)
    assert os.path.exists("/etc/shadow")


# ---- no room


@contextlib.contextmanager
def mounted(host, *arguments, path):
    host.lab.run(host.name, "mount", *arguments, path)
    try:
        yield
    finally:
        host.lab.run(host.name, "umount", "-l", path)


def test_destination_without_memory(lab, hosts, guest):
    """Its tmpfs is too small for the machine: refused before anything is made, or given up with the guest untouched."""
    move_home(guest)
    ram, target = f"{RUN_FOLDER}/ram", hosts["h3"]
    lab.run(target.name, "mount", "-o", "remount,size=32M", ram)
    try:
        status, answer = hosts["h1"].call("POST", f"/v1/vms/{guest.name}/migrate", {"to": "h3", "dry_run": True})
        task = guest.begin_move("h3").end()
    finally:
        lab.run(target.name, "mount", "-o", "remount,size=90%", ram)
    assert status == 200 and answer["verdict"] == "block", answer
    assert any(check["level"] == "block" and "memory" in check["what"] and check["remedy"]
               for check in answer["checks"]), answer
    assert task["state"] == "failed", task
    assert_clear(task["error"], guest.name, "h3", "memory")
    wait_for("a clean destination", lambda: not target.leftovers())
    assert guest.copies() == ["h1"] and guest.owner() == "h1"
    assert guest.ask("verify")["memory"]["wrong_bytes"] == 0
    assert guest.begin_move("h3").end()["state"] == "succeeded"


def test_destination_runs_full_in_the_middle(lab, hosts, guest):
    move_home(guest)
    ram, target = f"{RUN_FOLDER}/ram", hosts["h2"]
    lab.run(target.name, "mount", "-o", "remount,size=40M", ram)  # memory is taken ahead: full before all is there
    try:
        task = guest.begin_move("h2", bandwidth_limit=SLOW).end()
    finally:
        lab.run(target.name, "mount", "-o", "remount,size=90%", ram)
    assert task["state"] == "failed", task
    assert_clear(task["error"], guest.name, "h2", "memory")
    wait_for("a clean destination", lambda: not target.leftovers())
    assert guest.copies() == ["h1"] and guest.owner() == "h1"
    assert guest.ask("verify")["memory"]["wrong_bytes"] == 0
    assert guest.begin_move("h2").end()["state"] == "succeeded"


def test_full_datastore(lab, hosts, guest):
    """A VM that does not fit leaves nothing behind, wherever the room ended."""
    host, path = hosts["h3"], "/datastores/local"
    marker = os.path.join(host.root(path), "drover-datastore.json")
    with open(marker) as file:
        identity = file.read()
    with mounted(host, "-t", "tmpfs", "-o", "size=4M", "tmpfs", path=path):
        with open(marker, "w") as file:
            file.write(identity)
        image = os.path.join(lab.root, "import.raw")
        with open(image, "wb") as file:
            file.write(os.urandom(8 << 20))
        status, answer = host.call("POST", "/v1/vms", {"datastore": "local", "config": {"name": "big"},
                                                       "disks": [{"import": image}]})
        assert status == 507, answer
        assert_clear(answer["error"], "big", "local", "free")
        assert_nothing_made(host, "big")


# ---- the command line


@pytest.mark.parametrize("words, status, expected", [
    (["vm", "dance"], 2, "dance"), (["dance"], 2, "dance"), (["vm", "show", "nobody"], 3, "nobody"),
    (["vm", "start", "nobody"], 3, "nobody"), (["vm", "migrate", "target", "--to", "mars"], 3, "mars"),
    (["vm", "migrate", "nobody", "--to", "h2"], 3, "nobody"), (["vm", "migrate", "target"], 2, "--to"),
    (["vm", "migrate", "target", "--to", "h1"], None, "h1"),
    (["vm", "migrate", "target", "--to", "h2", "--fast"], 2, "--fast"),
    (["vm", "migrate", "target", "--to", "h2", "--bandwidth", "lots"], 2, "lots"),
    (["vm", "show", "../../etc/passwd"], 2, "passwd"), (["vm", "create", "../x"], 2, "../x"),
    (["vm", "create", "x", "--import", "/dev/null"], None, "/dev/null"),
])
def test_wrong_words_on_the_command_line(lab, hosts, guest, words, status, expected):
    move_home(guest)
    done = lab.run("h1", DROVER, *words, check=False)
    assert done.returncode != 0 if status is None else done.returncode == status, done.stderr
    assert expected in done.stderr and not done.stdout, done.stderr
    assert guest.show("h1")["state"] == "running"
    assert_nothing_made(hosts["h1"], "x")


def test_memory_of_an_agent_under_a_flood(hosts):
    """Hundreds of requests that are refused cost nothing that stays."""
    host = hosts["h1"]
    body = json.dumps({"config": {"name": "x" * 1000}, "disks": [{"size_bytes": 1}] * 500, "padding": "y" * 200000})

    def flood():
        for _ in range(40):
            assert host.call("POST", "/v1/vms", body)[0] == 400
        with open(f"/proc/{host.the_process('droverd')}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    flood()
    after_one = flood()
    for _ in range(2):
        last = flood()
    assert last < after_one + 4096, f"{after_one} KiB grew to {last} KiB"
