"""The lab itself: it stands, its networks are what they should be, and nothing is left of it."""
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import footprint
from lab import DROVER, GUARD, require_lab

PING = ("busybox", "ping", "-c", "1", "-W", "2")
NOBODY = 65534
POINTS = footprint.MOUNT_POINTS

# Sends an ARP request for the client's address with a VLAN tag, as a guest's frame leaves a host, and prints the tag
# of the answer, if one comes.
ASK_IN_VLAN = """
import socket, struct, sys
vlan, mac = int(sys.argv[1]), bytes.fromhex("525400000042")
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("vm0", 0))
wire.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
wire.settimeout(0.5)
arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, bytes([10, 77, 0, 9]), bytes(6), bytes([10, 77, 0, 1]))
wire.send(b"\\xff" * 6 + mac + struct.pack("!HHH", 0x8100, vlan, 0x806) + arp + bytes(18))
try:
    while True:
        frame, control, _, _ = wire.recvmsg(2048, 256)
        if frame[:6] == mac:
            status, _, _, _, _, tag, _ = struct.unpack("IIIHHHH", control[0][2])
            print(tag & 0xfff if status & 16 else 0)
            break
except socket.timeout:
    print("no answer")
"""

# One connection over the migration network: how many bytes came, in how many seconds.
RECEIVE = """
import socket, time
server = socket.create_server(("10.78.0.2", 9000))
print("listening", flush=True)
connection, _ = server.accept()
begun, received = time.monotonic(), 0
while block := connection.recv(1 << 20):
    received += len(block)
print(received, time.monotonic() - begun)
"""
SEND = """
import socket, sys
socket.create_connection(("10.78.0.2", 9000)).sendall(bytes(int(sys.argv[1])))
"""


def wait_until(condition, what):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture
def nothing_left():
    """Whatever the test does, it leaves no link and no mount."""
    require_lab(agents=False)
    before = footprint.links_and_mounts()
    made_before = {point for point in POINTS if os.path.exists(point)}
    yield
    assert footprint.links_and_mounts() == before
    if not os.path.isdir(footprint.CONTROL_ROOT):
        assert {point for point in POINTS if os.path.exists(point)} <= made_before


def namespaces_of(lab):
    return set().union(*(footprint.namespaces_of(pid) for pid in lab.pids().values()),
                       ) - footprint.namespaces_of("self")


# ---- it comes and goes


def test_down_leaves_nothing_twice(new_lab, nothing_left):
    lab = new_lab(hosts=2)
    for _ in range(2):
        lab.up()
        namespaces = namespaces_of(lab)
        assert len(namespaces) == 4 * len(footprint.NAMESPACES)
        sleeper = lab.start("h1", "sleep", "600")
        lab.down()
        sleeper.wait(10)
        assert footprint.processes_in(namespaces) == []
        assert footprint.files_of(lab) == []


def test_a_datastore_of_its_own_size(new_lab, nothing_left):
    """It can be filled without filling anything else, and a host sees the same one after its plug was pulled."""
    lab = new_lab(hosts=1, datastore_size="8M")
    lab.up()
    for _ in range(2):
        space = os.statvfs(f"/proc/{lab.pids()['h1']}/root/datastores/h1-shared")
        assert space.f_blocks * space.f_frsize == 8 << 20
        lab.power_off("h1")
        lab.power_on("h1")
    lab.down()
    assert footprint.files_of(lab) == []


def test_nothing_shows_outside(bare_lab):
    links, mounts = footprint.links_and_mounts()
    assert not [link for link in links if link.startswith(("h1-", "vm0", "mig0", "br-vm"))]
    assert not mounts & set(POINTS)


def test_second_up_says_that_it_is_up(bare_lab):
    pids = bare_lab.pids()
    done = bare_lab.up(check=False)
    assert done.returncode == 4
    assert "is up already" in done.stderr and "down --name" in done.stderr
    assert bare_lab.pids() == pids


def test_down_of_an_unknown_lab(new_lab):
    lab = new_lab()
    done = lab.down(check=False)
    assert done.returncode == 3
    assert f"there is no lab named {lab.name}" in done.stderr


def test_two_labs_side_by_side(bare_lab, new_lab):
    other = new_lab(hosts=2)
    other.up()
    bare_lab.run("h1", "sh", "-c", "echo one > /var/lib/drover/mark")
    assert other.run("h1", "test", "-e", "/var/lib/drover/mark", check=False).returncode == 1
    for each in (bare_lab, other):
        each.run("client", *PING, "10.79.0.1")
    assert not namespaces_of(bare_lab) & namespaces_of(other)
    other.down()
    bare_lab.run("client", *PING, "10.79.0.1")
    bare_lab.run("h1", "rm", "/var/lib/drover/mark")


def test_ups_of_one_name_at_once(new_lab, nothing_left):
    lab = new_lab(hosts=2)
    ups = [subprocess.Popen(lab.command("up", *lab.up_options()), env=lab.environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL) for _ in range(4)]
    assert sorted(up.wait(60) for up in ups) == [0, 4, 4, 4]
    lab.run("h1", *PING, "10.79.0.2")
    lab.down()


def test_down_after_inits_were_killed(new_lab, nothing_left):
    lab = new_lab(hosts=2)
    lab.up()
    namespaces = namespaces_of(lab)
    pids = lab.pids()
    os.kill(pids["switch"], signal.SIGKILL)
    os.kill(pids["h1"], signal.SIGKILL)
    wait_until(lambda: lab.status()["h1"]["state"] == "off", "h1's end")
    lab.down()
    assert footprint.processes_in(namespaces) == []
    assert footprint.files_of(lab) == []


def inits_of(lab):
    """Pids of inits whose command line names the lab."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                words = cmdline.read().split(b"\0")
        except OSError:
            continue
        if words[1:3] == [b"lab", b"init"] and f"/{lab.name}/".encode() in words[4]:
            found.append(int(pid))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_up(new_lab, nothing_left, how):
    """Wherever it is interrupted: no node lives on, and the name can be used or forgotten."""
    lab = new_lab(hosts=4)
    for step in range(12):
        up = subprocess.Popen(lab.command("up", *lab.up_options()), env=lab.environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        time.sleep(0.01 * step)
        up.send_signal(how)
        message = up.communicate(timeout=20)[1]
        if up.returncode == 0:  # it was faster
            lab.down()
            continue
        if up.returncode > 0:
            assert "interrupted" in message
            assert footprint.files_of(lab) == []
        if "is not up" in lab.run("h1", "true", check=False).stderr:
            wait_until(lambda: not inits_of(lab), "the nodes' end")
        if step % 2:
            lab.down(check=False)
            assert footprint.files_of(lab) == []
        elif lab.up(check=False).returncode == 0:
            lab.run("h4", *PING, "10.78.0.1")
            lab.down()
    lab.down(check=False)
    assert inits_of(lab) == []
    assert footprint.files_of(lab) == []


@pytest.mark.parametrize("made", ["labs", "labs/{name}"])
def test_down_after_up_was_killed_before_it_marked_its_folder(new_lab, nothing_left, made):
    lab = new_lab(hosts=1)
    os.makedirs(os.path.join(footprint.CONTROL_ROOT, lab.name))
    os.makedirs(os.path.join(lab.root, made.format(name=lab.name)))
    lab.down()
    assert footprint.files_of(lab) == []


@pytest.fixture
def up_with_agent(new_lab, tmp_path):
    """Starts a lab whose agents are a shell script of the test's, beside copies of `drover` and the guard."""
    lab = new_lab(hosts=2)

    def start(script):
        (tmp_path / "droverd").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "droverd").chmod(0o755)
        program = shutil.copy(DROVER, tmp_path / "drover")
        shutil.copy(GUARD, tmp_path / "drover-guard")
        command = [program, *lab.command("up", "--hosts", 2)[1:]]
        return lab, subprocess.Popen(command, env=lab.environment, stderr=subprocess.PIPE, text=True)

    return start


def test_up_fails_and_cleans_when_an_agent_does_not_start(up_with_agent, nothing_left):
    lab, up = up_with_agent("echo no luck today >&2; exit 3")
    message = up.communicate(timeout=20)[1]
    assert up.returncode == 1
    assert "the agent of h1 did not start: exited with status 3" in message and "no luck today" in message
    assert inits_of(lab) == [] and footprint.files_of(lab) == []


def test_up_interrupted_while_it_waits_for_agents(up_with_agent, nothing_left):
    lab, up = up_with_agent("exec sleep 600")
    wait_until(lambda: lab.call("status", check=False).returncode == 0, "the nodes")
    up.send_signal(signal.SIGINT)
    assert "interrupted" in up.communicate(timeout=20)[1]
    assert up.returncode == 6
    assert inits_of(lab) == [] and footprint.files_of(lab) == []


# ---- what is refused


def test_not_root():
    done = subprocess.run([DROVER, "lab", "up"], user=NOBODY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "takes root" in done.stderr and "sudo" in done.stderr


def test_foreign_folder_is_left_alone(new_lab):
    lab = new_lab()
    folder = os.path.join(lab.root, "labs", lab.name)
    os.makedirs(folder)
    precious = os.path.join(folder, "precious")
    with open(precious, "w") as file:
        file.write("mine")
    done = lab.up(check=False)
    assert done.returncode == 4 and "is not a lab's folder" in done.stderr
    lab.down(check=False)
    assert os.path.exists(precious)


@pytest.mark.parametrize("words, said", [
    (["nonsense"], "unknown command"),
    (["up", "--hosts", "0"], "--hosts takes a number"),
    (["up", "--migration-networks", "3"], "--migration-networks takes a number from 1 to 2"),
    (["up", "--hosts", "many"], "--hosts takes a number"),
    (["up", "--lease-kind", "hope"], "local, file or sanlock"),
    (["up", "--lease-times", "500"], "three numbers"),
    (["up", "--no-agents", "--name", "../x"], "cannot be the name of a lab"),
    (["up", "--name"], "wants a value"),
    (["up", "--colour"], "unknown option"),
    (["exec", "h1"], "too few words"),
    (["link", "h1", "wan", "down"], "no network named"),
    (["link", "h1", "vm", "sideways"], "\"up\" or \"down\""),
    (["rate", "h1", "migration", "fast"], "fast"),
])
def test_bad_words(words, said):
    require_lab(agents=False)
    done = subprocess.run([DROVER, "lab", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert said in done.stderr


# ---- in a node


def test_exec_passes_status_and_streams(bare_lab):
    assert bare_lab.run("h1", "sh", "-c", "exit 7", check=False).returncode == 7
    assert bare_lab.run("h1", "sh", "-c", "kill -9 $$", check=False).returncode == 128 + 9
    assert bare_lab.run("h1", "no-such-program", check=False).returncode == 127
    assert bare_lab.run("h1", "/etc/passwd", check=False).returncode == 126
    assert bare_lab.run("h1", "cat", input="through\n").stdout == "through\n"
    assert bare_lab.run("h1", "--", "echo", "--", "-n").stdout == "-- -n\n"
    assert bare_lab.run("h1", "sh", "-c", "echo --name").stdout == "--name\n"


def test_exec_with_a_wrong_name(bare_lab):
    done = bare_lab.run("h9", "true", check=False)
    assert done.returncode == 3
    assert "no host named h9" in done.stderr and "h1, h2" in done.stderr


def test_exec_ends_with_its_drover(bare_lab):
    process = bare_lab.start("h1", "sleep", "600")
    wait_until(lambda: "sleep 600" in bare_lab.run("h1", "ps", "ax").stdout, "the command")
    process.kill()
    process.wait()
    wait_until(lambda: "sleep 600" not in bare_lab.run("h1", "ps", "ax").stdout, "the command's end")


def test_node_is_a_machine_of_its_own(bare_lab):
    assert bare_lab.run("h2", "hostname").stdout == "h2\n"
    assert bare_lab.run("h1", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '").stdout.startswith("drover lab init h1")
    assert bare_lab.run("h1", "ls", "/sys/class/net").stdout.split() == ["lo", "mgmt0", "mig0", "vm0"]
    assert bare_lab.run("h1", "ip", "route", "show", "default").stdout == ""
    assert bare_lab.run("h1", "stat", "-c", "%a", "/etc/drover/token").stdout == "600\n"


def test_orphans_are_reaped(bare_lab):
    bare_lab.run("h1", "sh", "-c", "(sleep 0.1 &) ; true")
    wait_until(lambda: "sleep" not in bare_lab.run("h1", "ps", "ax").stdout, "the orphan to be reaped")


def test_shared_datastore_under_another_path_in_each_host(bare_lab):
    bare_lab.run("h1", "sh", "-c", "echo here > /datastores/h1-shared/mark; echo own > /datastores/local/mark")
    assert bare_lab.run("h2", "cat", "/datastores/h2-shared/mark").stdout == "here\n"
    assert bare_lab.run("h2", "ls", "/datastores/local").stdout == "drover-datastore.json\n"
    assert bare_lab.run("h2", "ls", "/datastores").stdout.split() == ["h2-shared", "local"]
    bare_lab.run("h1", "rm", "/datastores/h1-shared/mark", "/datastores/local/mark")


# ---- networks


def test_networks_connect(bare_lab):
    bare_lab.run("client", *PING, "10.79.0.2")
    bare_lab.run("h1", *PING, "10.79.0.254")
    bare_lab.run("h1", *PING, "10.78.0.2")
    bare_lab.run("h1", *PING, "-s", "8900", "10.78.0.2")
    bare_lab.run("h1", *PING, "127.0.0.1")
    assert bare_lab.run("client", *PING, "10.78.0.1", check=False).returncode != 0


def test_vm_network_is_a_trunk_and_the_client_in_vlan_10(bare_lab):
    for vlan, answer in ((10, "10"), (20, "no answer"), (30, "no answer")):
        assert bare_lab.run("h1", "/usr/bin/python3", "-c", ASK_IN_VLAN, str(vlan)).stdout.strip() == answer


def test_link_down_and_up(bare_lab):
    bare_lab.link("h1", "migration", "down")
    assert bare_lab.run("h1", *PING, "10.78.0.2", check=False).returncode != 0
    bare_lab.run("h1", *PING, "10.79.0.2")
    bare_lab.link("h1", "migration", "up")
    wait_until(lambda: bare_lab.run("h1", *PING, "10.78.0.2", check=False).returncode == 0, "the link")


def transfer_seconds(lab, megabytes):
    """How long bytes take from h1 to h2 over the migration network."""
    sink = lab.start("h2", "/usr/bin/python3", "-c", RECEIVE, stdout=subprocess.PIPE, text=True)
    assert sink.stdout.readline() == "listening\n"
    lab.run("h1", "/usr/bin/python3", "-c", SEND, str(megabytes << 20))
    received, seconds = sink.communicate(timeout=10)[0].split()
    assert int(received) == megabytes << 20
    return float(seconds)


def test_a_network_that_the_lab_has_not(bare_lab):
    done = bare_lab.call("rate", "h1", "migration2", "8M", check=False)
    assert done.returncode == 2 and "no network migration2" in done.stderr and "--migration-networks 2" in done.stderr


def test_a_second_migration_network_is_a_network_of_its_own(new_lab):
    lab = new_lab(hosts=2, migration_networks=2)
    lab.up()
    lab.link("h1", "migration", "down")
    lab.run("h1", *PING, "10.80.0.2")
    lab.link("h1", "migration", "up")
    lab.link("h1", "migration2", "down")
    assert lab.run("h1", *PING, "10.80.0.2", check=False).returncode != 0
    hosts = {name: node["addresses"] for name, node in lab.status().items()}
    assert (hosts["h2"]["migration"], hosts["h2"]["migration2"]) == ("10.78.0.2", "10.80.0.2")
    assert "migration2" not in hosts["client"]


def test_rate_is_limited_and_freed(bare_lab):
    bare_lab.rate("h1", "migration", "8M")
    limited = transfer_seconds(bare_lab, 8)
    bare_lab.rate("h1", "migration", "none")
    free = transfer_seconds(bare_lab, 8)
    assert free < limited / 2


# ---- power


def test_power_cycles_at_once(bare_lab):
    """The kernel clears up a dead node's links in its own time; the next start does not wait for it."""
    for _ in range(10):
        bare_lab.power_off("h2")
        bare_lab.power_on("h2")
    bare_lab.run("h2", "/usr/bin/busybox", "ping", "-c", "1", "-W", "5", "10.79.0.1")


def test_power_off_and_on(bare_lab):
    namespaces = footprint.namespaces_of(bare_lab.pids()["h2"])
    sleeper = bare_lab.start("h2", "sh", "-c", "trap '' TERM; sleep 600 & wait")
    bare_lab.run("h2", "touch", "/run/drover/volatile", "/var/lib/drover/lasting")
    bare_lab.power_off("h2")
    assert footprint.processes_in(namespaces) == []
    sleeper.wait(10)
    status = bare_lab.status()["h2"]
    assert (status["state"], status["pid"]) == ("off", None)
    assert "switched off" in bare_lab.run("h2", "true", check=False).stderr
    assert "already" in bare_lab.call("power-off", "h2", check=False).stderr
    bare_lab.power_on("h2")
    assert "already" in bare_lab.call("power-on", "h2", check=False).stderr
    assert bare_lab.run("h2", "ls", "/run/drover", "/var/lib/drover").stdout.count("lasting") == 1
    assert "volatile" not in bare_lab.run("h2", "ls", "/run/drover").stdout
    for address in ("10.78.0.2", "10.79.0.2"):
        bare_lab.run("h1", *PING, address)


# ---- agents


def test_agents_run_and_are_told_to(lab):
    assert {node["agent"] for name, node in lab.status().items() if name in lab.hosts} == {"running"}
    lab.agent("h1", "kill")
    assert lab.status()["h1"]["agent"] == "stopped"
    assert "signal 9" in lab.agent("h1", "status").stdout
    assert "does not run" in lab.agent("h1", "stop", check=False).stderr
    lab.agent("h1", "start")
    assert "runs already" in lab.agent("h1", "start", check=False).stderr
    lab.agent("h1", "stop")
    lab.agent("h1", "start")
    assert lab.status()["h1"]["agent"] == "running"


def test_client_calls_an_agent(lab):
    token = lab.run("client", "cat", "/etc/drover/token").stdout.strip()
    asked = lab.run("client", "curl", "-sf", "--cacert", "/etc/drover/tls/ca.crt", "-H", f"Authorization: Bearer {token}",
                    "https://10.79.0.2:7790/v1/host")
    assert '"h2"' in asked.stdout
    shown = lab.run("client", DROVER, "--connect", "https://10.79.0.2:7790", "host", "show", "--json")
    assert json.loads(shown.stdout)["name"] == "h2"
