"""The test guests by themselves, without Drover: they boot, answer, find themselves right, and power off.

DROVER_GUEST_DIR names the folder that guest/build-guest and guest/build-debian filled (default build/guest).
"""
import json
import os
import re
import socket
import subprocess
import time

import pytest

from traffic import BUILD, TrafficClient

FOLDER = os.environ.get("DROVER_GUEST_DIR", os.path.join(BUILD, "guest"))
PATIENCE_S = 120


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return result


class Machine:
    """A guest under QEMU with user-mode networking; `ports` maps guest ports to ports on loopback."""

    def __init__(self, folder, initramfs, disk, megabytes, command_line, services):
        self.folder = folder
        self.ports = {(kind, port): free_port(socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
                      for kind, port in services}
        forwards = "".join(f",hostfwd={kind}:127.0.0.1:{host}-:{port}"
                           for (kind, port), host in self.ports.items())
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", str(megabytes),
             "-nodefaults", "-no-user-config", "-display", "none",
             "-kernel", f"{FOLDER}/vmlinuz", "-initrd", f"{FOLDER}/{initramfs}",
             "-append", f"console=ttyS0 quiet drover.ip=10.0.2.15/24 {command_line}",
             "-serial", f"file:{folder}/serial.log", "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
             "-drive", f"if=virtio,file={disk}", "-device", "virtio-rng-pci",
             "-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net"])

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()

    def console(self):
        try:
            with open(f"{self.folder}/serial.log", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def wait_for_line(self, text):
        def seen():
            assert self.process.poll() is None, f"the guest ended:\n{self.console()}"
            assert "drover-guest: failed" not in self.console(), self.console()
            return text in self.console()

        wait_for(f"'{text}' on the console", seen)

    def press_power_button(self):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(f"{self.folder}/qmp")
            for command in ("qmp_capabilities", "system_powerdown"):
                monitor.sendall(json.dumps({"execute": command}).encode())
                time.sleep(0.1)
            assert self.process.wait(timeout=PATIENCE_S) == 0


class Report:
    """A connection to the guest's report port."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).makefile("rw")

    def ask(self, line):
        self.stream.write(line + "\n")
        self.stream.flush()
        return json.loads(self.stream.readline())


@pytest.fixture(scope="module")
def small_guest(tmp_path_factory):
    if not os.path.exists(f"{FOLDER}/initramfs.gz"):
        pytest.skip(f"no guest in {FOLDER}: run guest/build-guest {FOLDER}")
    folder = tmp_path_factory.mktemp("small")
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, 32 << 20)
    command_line = ("drover.memory=64M drover.memory-rate=8M drover.memory-pattern=hot:16M "
                    "drover.disk=/dev/vda drover.disk-size=16M drover.name=shepherd")
    with Machine(folder, "initramfs.gz", f"{disk},format=raw", 256, command_line,
                 [("tcp", 7000), ("udp", 7001), ("tcp", 7002)]) as machine:
        machine.wait_for_line("drover-guest: ready")
        yield machine


@pytest.fixture
def report(small_guest):
    return Report(small_guest.ports["tcp", 7002])


def test_memory_and_disk_are_written_checked_and_right(report):
    before = report.ask("report")
    wait_for("writes", lambda: report.ask("report")["disk"]["syncs"] > before["disk"]["syncs"])
    after = report.ask("verify")
    assert after["boot_id"] == before["boot_id"]
    assert after["uptime_ms"] > before["uptime_ms"]
    assert after["memory"]["bytes"] == 64 << 20
    assert after["memory"]["pages_written"] > before["memory"]["pages_written"]
    assert after["memory"]["pages_verified"] - before["memory"]["pages_verified"] >= 64 * 256
    assert after["disk"]["bytes"] == 16 << 20
    assert after["disk"]["counter"] > before["disk"]["counter"]
    assert after["disk"]["blocks_verified"] - before["disk"]["blocks_verified"] >= 16 * 256
    for section, name in (("memory", "wrong_pages"), ("memory", "wrong_bytes"), ("disk", "wrong_blocks"),
                          ("disk", "wrong_bytes"), ("disk", "foreign_witnesses"), ("disk", "errors")):
        assert after[section][name] == 0, name


def test_the_rate_changes_on_the_fly(report):
    assert report.ask("memory rate 0")["memory"]["rate"] == 0
    still = report.ask("report")["memory"]["pages_written"]
    time.sleep(0.3)
    assert report.ask("report")["memory"]["pages_written"] == still
    assert report.ask("memory rate 8M")["memory"]["rate"] == 8 << 20
    wait_for("writes", lambda: report.ask("report")["memory"]["pages_written"] > still)


def test_the_clock_watcher_starts_afresh(report):
    wait_for("wake-ups", lambda: report.ask("report")["clock"]["longest_gap_ms"] > 0)
    before = report.ask("report")["uptime_ms"]
    report.ask("clock-reset")
    clock = wait_for("wake-ups", lambda: (lambda c: c["longest_gap_at_ms"] and c)(report.ask("report")["clock"]))
    assert clock["longest_gap_at_ms"] >= before
    assert len(clock["gaps"]) == min(clock["gaps_seen"], 64)


def test_a_senseless_line_gets_an_error(report):
    for line in ("nonsense", "memory rate fast", "memory rate -1", "x" * 3000):
        assert "error" in report.ask(line)
    assert "error" not in report.ask("report")


def test_lines_sent_at_once_are_all_answered(small_guest):
    lines = b"memory rate 8M\nclock-reset\nverify\nreport\nquit\n"
    with socket.create_connection(("127.0.0.1", small_guest.ports["tcp", 7002]), timeout=30) as stream:
        stream.sendall(lines)
        answers = stream.makefile().readlines()
    assert len(answers) == 4
    assert all("memory" in json.loads(answer) for answer in answers)


def test_garbage_does_no_harm(small_guest, report):
    with socket.create_connection(("127.0.0.1", small_guest.ports["tcp", 7000])) as stream:
        stream.sendall(os.urandom(200))
        assert stream.recv(1) == b""
    with socket.create_connection(("127.0.0.1", small_guest.ports["tcp", 7002])) as stream:
        stream.sendall(b"x" * 10000)
        try:
            assert stream.recv(1) == b""
        except ConnectionResetError:
            pass
    wait_for("the count", lambda: report.ask("report")["echo"]["malformed"] > 0)


def test_traffic_is_echoed_without_loss(small_guest):
    ports = ("--udp-port", small_guest.ports["udp", 7001], "--tcp-port", small_guest.ports["tcp", 7000])
    with TrafficClient("127.0.0.1", 60, *ports) as client:
        client.wait_until_started()
        client.mark("start")
        time.sleep(2)
        interval = client.mark("calm")
        _, total = client.finish()
    assert interval["sent_udp"] > 200
    for name in ("lost_udp", "duplicated_udp", "wrong_udp", "tcp_resets", "wrong_tcp", "server_backwards"):
        assert interval[name] == 0, name
    assert interval["received_tcp"] == interval["sent_tcp"] > 20
    assert total["tcp_resets"] == 0


def test_a_second_writer_on_the_disk_is_noticed(small_guest, report):
    with open(small_guest.folder / "disk.raw", "r+b") as disk:
        disk.write(b"\xff" * 4096)
    wait_for("the foreign witness", lambda: report.ask("report")["disk"]["foreign_witnesses"] > 0)


def test_the_power_button_ends_it_in_order(small_guest, report):
    counter = report.ask("report")["disk"]["counter"]
    small_guest.press_power_button()
    console = small_guest.console()
    assert "drover-guest: powering off" in console
    written = [int(n) for n in re.findall(r"disk blocks=\d+ written=(\d+)", console)]
    assert written[-1] >= counter


def ssh(machine, *command):
    return subprocess.run(
        ["ssh", "-i", f"{FOLDER}/id_ed25519", "-p", str(machine.ports["tcp", 22]), "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
         "-o", "ConnectTimeout=5", "root@127.0.0.1", *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def debian_guest(tmp_path_factory):
    if not os.path.exists(f"{FOLDER}/debian.img"):
        pytest.skip(f"no Debian guest in {FOLDER}: run guest/build-debian {FOLDER}")
    folder = tmp_path_factory.mktemp("debian")
    with Machine(folder, "debian-initramfs.gz", f"{FOLDER}/debian.img,format=raw,snapshot=on", 768,
                 "drover.memory=32M drover.memory-rate=1M drover.name=collie",
                 [("tcp", 22), ("tcp", 80), ("tcp", 7002)]) as machine:
        wait_for("SSH", lambda: ssh(machine, "true").returncode == 0)
        machine.wait_for_line("drover-guest: ready")
        yield machine


def test_debian_lets_us_in_by_ssh(debian_guest):
    assert ssh(debian_guest, "hostname").stdout.strip() == "collie"


def test_debian_serves_its_data_unharmed(debian_guest):
    with open(f"{FOLDER}/data.sha256") as file:
        wanted = file.read().split()[0]
    url = f"http://127.0.0.1:{debian_guest.ports['tcp', 80]}/data.bin"
    download = subprocess.run(f"curl -sSf {url} | sha256sum", shell=True, stdout=subprocess.PIPE, text=True)
    assert download.stdout.split()[0] == wanted
    assert ssh(debian_guest, "sha256sum -c data.sha256").stdout.strip() == "data.bin: OK"


def test_debian_runs_the_guest_programs_too(debian_guest):
    report = Report(debian_guest.ports["tcp", 7002])
    wait_for("the memory writer", lambda: report.ask("report")["memory"])
    assert report.ask("verify")["memory"]["wrong_pages"] == 0


def test_debian_heeds_the_power_button(debian_guest):
    debian_guest.press_power_button()
