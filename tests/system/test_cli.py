"""The command line against an agent that says what it is told to: see fake_agent.py."""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from fake_agent import (CHECKS, FORECAST, FakeAgent, Raw, error, migration_script, migration_task)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DROVER = os.path.join(os.environ.get("DROVER_BUILD", os.path.join(ROOT, "build")),
                      "src/cli/drover")
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm"}


@pytest.fixture
def agent(tmp_path):
    running = FakeAgent(str(tmp_path / "agent.sock")).start()
    yield running
    running.stop()


def drover(agent, *arguments, **more):
    environment = {**ENVIRONMENT, "DROVER_CONNECT": f"unix:{agent.path}"} if agent else ENVIRONMENT
    environment = {**environment, **more.pop("environment", {})}
    return subprocess.run([DROVER, *arguments], env=environment, capture_output=True, text=True,
                          timeout=15, **more)


class Terminal:
    """drover on a terminal of 80 columns."""

    def __init__(self, agent, *arguments, environment=None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [DROVER, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**ENVIRONMENT, "DROVER_CONNECT": f"unix:{agent.path}", **(environment or {})},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.output = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character

    def read_until(self, text, seconds=10):
        deadline = time.monotonic() + seconds
        while text not in self.output:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} did not come: {self.output!r}"
            self.output += self.decoder.decode(os.read(self.master, 65536))
        return self.output

    def type(self, keys):
        os.write(self.master, keys)

    def finish(self, seconds=10):
        status = self.process.wait(seconds)
        while select.select([self.master], [], [], 0.05)[0]:
            self.output += self.decoder.decode(os.read(self.master, 65536))
        assert termios.tcgetattr(self.slave) == self.before, "the terminal keeps another mode"
        os.close(self.master)
        os.close(self.slave)
        return status


# Usage

def test_help_on_every_level():
    assert "vm migrate NAME --to HOST" in drover(None, "--help").stdout
    assert "vm create NAME" in drover(None, "vm", "--help").stdout
    assert "task list" not in drover(None, "vm", "--help").stdout
    assert "--blackout MS" in drover(None, "vm", "migrate", "--help").stdout
    assert "--blackout MS" in drover(None, "help", "vm", "migrate").stdout


def test_help_fits_a_terminal():
    listed = drover(None, "--help").stdout
    commands = re.findall(r"^  ([a-z][a-z -]*[a-z])(?: [A-Z[].*)?  ", listed, re.MULTILINE)
    assert {"vm migrate", "ca rollover", "lab", "version"} <= set(commands)
    for command in ["", *{command.split()[0] for command in commands}, *commands]:
        lines = drover(None, *command.split(), "--help").stdout.splitlines()
        assert lines and all(len(line) <= 80 for line in lines), command


def test_lab_is_a_command_like_others():
    assert "drover lab up" in drover(None, "lab", "--help").stdout
    assert "drover lab up" in drover(None, "help", "lab").stdout
    assert drover(None, "lab", "upp").returncode == 2


GROUPS = {"vm": ["create", "start", "stop", "list", "show", "console", "migrate", "rm"],
          "host": ["show"], "datastore": ["show", "set-lease"], "task": ["list", "show", "cancel"],
          "ca": ["init", "token", "join", "list", "renew", "revoke", "rollover"]}


@pytest.mark.parametrize("group, command", [(g, c) for g in GROUPS for c in GROUPS[g]])
def test_manual_and_completion_know_every_option(group, command):
    """What --help names is in the manual and in the completion."""
    help_text = drover(None, group, command, "--help").stdout
    pages = "".join(open(f"{ROOT}/docs/man/{page}").read()
                    for page in ("drover.1", "drover-vm.1", "drover-ca.1")).replace("Fl Fl ", "--")
    options = re.findall(r"^  (--[a-z-]+)", help_text, re.M)
    completed = complete("drover", group, command, "--")
    assert len(options) >= 4
    assert [option for option in options if option not in pages] == []
    assert sorted(completed) == sorted(options)


def complete(*words, agent=None):
    """What bash would offer for the last word."""
    script = (f"source {ROOT}/packaging/completion/drover.bash; COMP_WORDS=({' '.join(words)} ); "
              f"COMP_CWORD={len(words) - 1}; _drover; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    environment = {**ENVIRONMENT, "PATH": f"{os.path.dirname(DROVER)}:{ENVIRONMENT['PATH']}"}
    if agent:
        environment["DROVER_CONNECT"] = f"unix:{agent.path}"
    return subprocess.run(["bash", "--norc", "-c", script], env=environment, capture_output=True,
                          text=True, timeout=15, check=True).stdout.split()


def test_completion_of_words(agent):
    agent.routes[("GET", "/v1/vms")] = (200, {"vms": [{"name": "web1"}, {"name": "db"}]})
    agent.routes[("GET", "/v1/host")] = (200, {"name": "h1", "peers": [
        {"name": "h2", "address": "10.79.0.2", "port": 7790},
        {"name": "h3", "address": "10.79.0.3", "port": 7790}]})
    assert complete("drover", "vm", "mi") == ["migrate"]
    assert complete("drover", "vm", "migrate", "w", agent=agent) == ["web1"]
    assert complete("drover", "vm", "migrate", "web1", "--to", "h", agent=agent) == ["h2", "h3"]
    assert complete("drover", "--json", "task", "sh") == ["show"]


@pytest.mark.parametrize("page", ["drover.1", "drover-vm.1", "drover-ca.1", "drover-lab.1", "droverd.json.5",
                                  "droverd.8", "drover-guard.8"])
def test_manual_pages_are_well_formed(page):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    lint = subprocess.run(["mandoc", "-T", "lint", f"{ROOT}/docs/man/{page}"], text=True,
                          capture_output=True).stdout
    assert [line for line in lint.splitlines() if "manual not found" not in line] == []


@pytest.mark.parametrize("arguments, message, remedy", [
    (["vm", "lst"], 'there is no command "vm lst"', 'did you mean "drover vm list"?'),
    (["vm", "stop", "a", "--forse"], 'there is no option "--forse" here', "did you mean --force?"),
    (["vm", "start"], "drover vm start needs more: NAME", "drover vm start --help shows how"),
    (["vm", "start", "../x"], '"../x" cannot be the name of a VM', None),
    (["vm", "list", "x"], 'drover vm list does not know what to do with "x"', None),
    (["vm", "migrate", "a"], "drover vm migrate needs a destination", None),
    (["vm", "migrate", "a", "--to", "b", "--blackout", "no"], None, None),
    (["vm", "create", "a", "--disk", "2Q"], '--disk: "2Q" is not a size', None),
    (["vm", "create", "a", "--disk", "2G,colour=red"], '--disk does not know "colour=red"', None),
    (["--connect", "ftp://x", "vm", "list"], '"ftp://x" is no address of an agent', None),
    (["--connect", "https://a:1/path", "vm", "list"], None, None),
    (["--connect", "http://a:1", "vm", "list"], "agents do not talk without TLS, as http://a:1 would", "write https://a:1"),
    (["vm", "rm", "a"], "nobody is there to ask whether a may be removed", "add --yes"),
])
def test_bad_usage(arguments, message, remedy):
    done = drover(None, *arguments, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("drover: ") and message in (None, lines[0][len("drover: "):])
    assert remedy is None or lines[1] == f"  → {remedy}"


def test_remedies_in_a_plain_locale_are_ascii():
    done = drover(None, "vm", "lst", environment={"LC_ALL": "C"})
    assert done.stderr.splitlines()[1].startswith("  -> ")
    assert done.stderr.isascii()


# Errors of the agent and of the way to it

@pytest.mark.parametrize("status, code, exit_status", [
    (400, 22, 2), (404, 2, 3), (409, 16, 4), (409, 17, 4), (409, 95, 5), (409, 125, 6),
    (503, 113, 7), (504, 110, 8), (507, 28, 1), (500, 5, 1), (409, None, 4), (404, None, 3)])
def test_errors_become_exit_codes(agent, status, code, exit_status):
    agent.routes[("GET", "/v1/vms/web1")] = (status, error("it is so", "do this", code))
    done = drover(agent, "vm", "show", "web1")
    assert done.returncode == exit_status
    assert done.stderr == "drover: it is so\n  → do this\n"


def test_no_agent():
    done = drover(None, "--connect", "unix:/nonexistent/agent.sock", "vm", "list")
    assert done.returncode == 7
    assert "no agent answers at unix:/nonexistent/agent.sock" in done.stderr
    assert "start it" in done.stderr


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"


@pytest.mark.parametrize("answer, exit_status, message", [
    (Raw(b""), 7, "ended the connection"),
    (Raw(HEAD), 7, "ended the connection"),
    (Raw(HEAD + b'{"vms": ['), 7, "ended the connection"),
    (Raw(HEAD + b'{"vms": [' + b" " * 41), 1, "sends what nobody can read"),
    (Raw(HEAD + b"\xff" * 50), 1, "sends what nobody can read"),
    (Raw(HEAD + b"[" * 50), 1, "sends what nobody can read"),
    (Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), 1, "is no agent"),
    (Raw(b"HTTP/1.1 500 x\r\nContent-Length: 3\r\n\r\n<p>"), 1, "HTTP status 500"),
    ((200, []), 1, "something else than an object"),
    ((200, {"vms": 5}), 1, '"vms" must be a list'),
    (Raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (17 << 20)), 1, "more than any answer has"),
])
def test_broken_answers(agent, answer, exit_status, message):
    agent.routes[("GET", "/v1/vms")] = answer
    done = drover(agent, "vm", "list")
    assert message in done.stderr
    assert done.returncode == exit_status
    assert done.stdout == ""


def test_an_agents_text_cannot_drive_the_terminal(agent):
    agent.routes[("GET", "/v1/vms/a")] = (404, error("gone\033[2J\u009b1m", "\r\nx", 2))
    done = drover(agent, "vm", "show", "a")
    assert done.stderr == "drover: gone?[2J?1m\n  → ??x\n"


def test_a_token_is_sent_and_a_bad_one_refused(agent, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    drover(agent, "host", "show", "--token-file", str(token))
    assert agent.requests[-1][3]["Authorization"] == "Bearer s3cret"
    token.write_text("two words\n")
    done = drover(agent, "host", "show", environment={"DROVER_TOKEN_FILE": str(token)})
    assert done.returncode == 2 and "holds no token" in done.stderr


# Virtual machines

def test_list_is_a_table(agent):
    agent.routes[("GET", "/v1/vms")] = (200, {"vms": [
        {"name": "web1", "state": "running", "owner": "h1", "vcpus": 2, "memory_bytes": 2 << 30,
         "datastore": "shared", "problem": None},
        {"name": "a-much-longer-name", "state": "stopped", "owner": "", "vcpus": 16,
         "memory_bytes": 512 << 20, "datastore": "shared", "problem": None}]})
    assert drover(agent, "vm", "list").stdout.splitlines() == [
        "NAME                STATE    OWNER  VCPUS   MEMORY  DATASTORE",
        "web1                running  h1         2  2.0 GiB  shared",
        "a-much-longer-name  stopped            16  512 MiB  shared"]
    assert len(json.loads(drover(agent, "vm", "list", "--json").stdout)["vms"]) == 2


def test_create_sends_the_whole_definition(agent, tmp_path):
    agent.routes[("POST", "/v1/vms")] = (201, {"name": "web1"})
    done = drover(agent, "vm", "create", "web1", "--memory", "512M", "--vcpus=2", "--disk", "2G",
                  "--import", "image.raw,format=raw", "--nic", "vm,mac=52:54:00:00:00:01",
                  "--nic", "vm", "--no-vga", "--kernel", "/boot/vmlinuz", "--append", "a=b c",
                  "--accelerator", "tcg", "--datastore", "shared", cwd=tmp_path)
    assert done.stdout == "web1 created\n"
    assert agent.requests[-1][2] == {
        "datastore": "shared", "kernel": "/boot/vmlinuz",
        "disks": [{"size_bytes": 2 << 30}, {"import": str(tmp_path / "image.raw")}],
        "config": {"name": "web1", "memory_mib": 512, "vcpus": 2, "vga": False,
                   "accelerator": "tcg", "disks": [{}, {"format": "raw"}],
                   "nics": [{"port_group": "vm", "mac": "52:54:00:00:00:01"}, {"port_group": "vm"}],
                   "boot": {"kernel": "kernel", "arguments": "a=b c"}}}


def test_create_puts_options_over_a_file(agent, tmp_path):
    agent.routes[("POST", "/v1/vms")] = (201, {"name": "web1"})
    (tmp_path / "vm.json").write_text(json.dumps(
        {"drover_vm": 1, "memory_mib": 256, "vcpus": 4, "disks": [{"name": "d", "format": "raw"}]}))
    file = ["--file", str(tmp_path / "vm.json")]
    done = drover(agent, "vm", "create", "web1", *file)
    assert done.returncode == 2 and "the definition has 1 disks, but only 0" in done.stderr
    assert drover(agent, "vm", "create", "web1", *file, "--vcpus", "1", "--disk", "1G").returncode == 0
    assert agent.requests[-1][2]["config"] == {
        "drover_vm": 1, "name": "web1", "memory_mib": 256, "vcpus": 1,
        "disks": [{"name": "d", "format": "raw"}]}
    (tmp_path / "vm.json").write_text("{")
    done = drover(agent, "vm", "create", "web1", *file)
    assert done.returncode == 2 and "is not valid JSON" in done.stderr


def test_create_refuses_what_it_cannot_send(agent):
    done = drover(agent, "vm", "create", "web1", "--cpu", b"\xff")
    assert done.returncode == 2 and "--cpu is not valid UTF-8" in done.stderr
    assert agent.requests == []


def test_stop_waits_for_its_task(agent):
    task = {"id": "t2", "kind": "stop", "vm": "web1", "state": "running", "revision": 1}
    agent.serve_task("/v1/vms/web1/stop", [task, {**task, "revision": 2},
                                           {**task, "revision": 3, "state": "succeeded"}])
    done = drover(agent, "vm", "stop", "web1", "--force", "--timeout", "5")
    assert (done.returncode, done.stdout) == (0, "web1 stopped\n")
    posted = [request for request in agent.requests if request[0] == "POST"]
    assert posted[0][2] == {"force": True, "timeout_s": 5}


def test_lease_settings_are_sent_and_followed(agent):
    task = {"id": "t2", "kind": "set-lease", "vm": "nfs1", "state": "running", "revision": 1}
    agent.serve_task("/v1/datastores/nfs1/lease", [task, {**task, "revision": 2, "state": "succeeded"}])
    done = drover(agent, "datastore", "set-lease", "nfs1", "--kind", "file", "--takeover", "9000")
    assert (done.returncode, done.stdout) == (0, "nfs1 has new lease settings\n")
    assert "drover-guard" in done.stderr
    posted = [request for request in agent.requests if request[0] == "POST"]
    assert posted[0][2] == {"kind": "file", "takeover_ms": 9000}


def test_a_datastore_is_shown_with_its_leases(agent):
    lease = {"kind": "file", "heartbeat_ms": 500, "stop_after_ms": 4000, "takeover_ms": 7000}
    agent.routes[("GET", "/v1/host")] = (200, {"name": "h1", "datastores": [
        {"name": "local", "path": "/srv/local", "lease": {"kind": "local"}},
        {"name": "nfs1", "path": "/srv/nfs1", "lease": lease, "total_bytes": 1 << 40}]})
    shown = drover(agent, "datastore", "show", "nfs1").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in shown if line.startswith(("leases", "size"))] == \
        [["size", "1.0 TiB"], ["leases", "file"]]
    assert "heartbeat" not in drover(agent, "datastore", "show", "local").stdout
    missing = drover(agent, "datastore", "show", "nfs2")
    assert missing.returncode == 3 and "host h1 has no datastore nfs2" in missing.stderr


def test_a_task_that_fails_is_an_error(agent):
    failed = {"id": "t3", "kind": "start", "vm": "web1", "state": "failed", "revision": 2,
              "error": error("QEMU did not start", "read its log", 12)["error"]}
    agent.serve_task("/v1/vms/web1/start", [{**failed, "state": "running", "revision": 1}, failed])
    done = drover(agent, "vm", "start", "web1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "drover: QEMU did not start\n  → read its log\n"


def test_remove_asks_on_a_terminal(agent):
    agent.routes[("DELETE", "/v1/vms/web1")] = (200, {})
    terminal = Terminal(agent, "vm", "rm", "web1")
    terminal.read_until("[y/N] ")
    terminal.type(b"n\n")
    assert terminal.finish() == 6
    assert agent.requests == []
    assert drover(agent, "vm", "rm", "web1", "--yes").returncode == 0


# Migration

def dry_run(agent, *arguments, **more):
    return drover(agent, "vm", "migrate", "web1", "--to", "h2", "--dry-run", *arguments, **more)


def test_dry_run_that_blocks(agent):
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (200, CHECKS)
    done = dry_run(agent)
    assert done.returncode == 5
    assert "OK     machine type: h2 runs pc-q35-7.2\n" in done.stdout
    assert "WARN   memory: " in done.stdout
    assert 'BLOCK  port group: h2 has no port group "vm"\n       → add it' in done.stdout
    assert done.stdout.endswith("web1 cannot move to h2: 2 checks block it, 1 warning\n")
    assert "\033" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert agent.requests[-1][2]["dry_run"] is True
    assert json.loads(dry_run(agent, "--json").stdout) == CHECKS
    assert dry_run(agent, "--json").returncode == 5


def test_dry_run_that_passes(agent):
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (
        200, {"verdict": "warn", "checks": CHECKS["checks"][:2]})
    done = dry_run(agent)
    assert done.returncode == 0
    assert done.stdout.endswith("web1 can move to h2: nothing blocks it, 1 warning\n")


def dry_run_with(agent, **figures):
    """What is printed of a dry run with this forecast, without the checks."""
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (
        200, {"verdict": "ok", "checks": CHECKS["checks"][:1], "forecast": {**FORECAST, **figures}})
    lines = dry_run(agent).stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    return lines[2:-2]


def test_dry_run_shows_the_forecast(agent):
    assert dry_run_with(agent) == [
        "Forecast, from watching web1 for 2.0 s:",
        "  memory in use          1.5 GiB  of 2.0 GiB, without zeroes; compresses to 62%",
        "  guest dirties       12.3 MiB/s  1.2 MiB of it written all the time",
        "  link carries         411 MiB/s  measured in the last moves to h2",
        "  rounds                       3",
        "  total time               4.0 s",
        "  blackout               11.9 ms",
        "  bytes to send          1.6 GiB",
        "  limited by           link"]


def test_dry_run_says_what_the_guest_would_lose_and_what_is_not_known(agent):
    text = "\n".join(dry_run_with(agent, paced=True, paced_ms=2100, writing_lost_pct=41.5, keeps_blackout=False,
                                  duration_ms=None, link_rate_source="assumed", limited_by="writers"))
    for words in ("writers slowed for       2.1 s  the guest loses about 42% of its writing", "longer than its target",
                  "it would not come to an end", "assumed: no move to h2 was measured"):
        assert words in text, text


def test_dry_run_without_a_forecast_says_why(agent):
    assert dry_run_with(agent, problem="the mover died") == ["No forecast: the mover died"]


def test_dry_run_with_what_is_not_understood_blocks(agent):
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (
        200, {"verdict": "ok", "checks": [{"level": "fatal", "what": "x", "message": "y"}]})
    assert dry_run(agent).returncode == 5
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (200, {"verdict": "ok"})
    assert dry_run(agent).returncode == 1


@pytest.mark.parametrize("environment, coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_only_where_it_is_wanted(agent, environment, coloured):
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (200, CHECKS)
    terminal = Terminal(agent, "vm", "migrate", "web1", "--to", "h2", "--dry-run",
                        environment=environment)
    terminal.read_until("cannot move")
    assert terminal.finish() == 5
    assert ("\033[31mBLOCK" in terminal.output) == coloured


def test_progress_on_a_terminal_never_goes_back(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    terminal = Terminal(agent, "vm", "migrate", "web1", "--to", "h2")
    terminal.read_until("total time")
    assert terminal.finish() == 0
    frames = re.findall(r"\r([^\r\n]*?)\s+(\d+)%([^\r\n]*)\033\[K\r\n([^\r\n]*)\033\[K\033\[A\r",
                        terminal.output)
    assert len(frames) > 30
    bars = [frame[0].count("█") for frame in frames]
    percents = [int(frame[1]) for frame in frames]
    assert bars == sorted(bars) and percents == sorted(percents)
    assert percents[-1] == 100
    assert any("round 2, 411 MiB/s, dirty 12.3 MiB/s" in frame[3] for frame in frames)
    assert terminal.output.index("\033[J") < terminal.output.index("moved from h1 to h2")


def test_progress_without_a_terminal_is_plain(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2")
    assert done.returncode == 0
    phases = [line.split(":")[0] for line in done.stderr.splitlines()]
    assert list(dict.fromkeys(phases)) == ["check", "reserve", "connect", "pre-copy", "switchover",
                                           "finish"]
    assert "\033" not in done.stderr + done.stdout


def test_report_is_honest_and_aligned(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    report = drover(agent, "vm", "migrate", "web1", "--to", "h2").stdout
    assert "web1 moved from h1 to h2, stopped for 11.2 ms" in report
    assert "blackout               11.2 ms  (predicted: 9.8 ms)" in report
    rows = [line.split() for line in report.splitlines() if re.match(r" +\d+  ", line)]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert all(len(line) <= 80 for line in report.splitlines())


def report_with(agent, **figures):
    """What is printed of a move with these figures."""
    last = migration_script()[-1]
    agent.serve_task("/v1/vms/web1/migrate", [{**last, "report": {**last["report"], **figures}}])
    lines = drover(agent, "vm", "migrate", "web1", "--to", "h2").stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    return lines


def test_report_tells_what_the_engine_did(agent):
    lines = report_with(
        agent, engine="drover", bytes=(1 << 30) + 210_000, device_state_bytes=210_000, content_bytes=2 << 30, channels=4,
        compressed={"lz4_bytes": 1536 << 20, "zstd_bytes": 0, "delta_bytes": 20 << 20}, deferred_bytes=32 << 20,
        paced_ms=2100, writers_waited_ms=340)
    assert lines[-9:] == [
        "  memory content         2.0 GiB  (50 % saved by compression)",
        "    as lz4               1.5 GiB",
        "    as differences      20.0 MiB",
        "  sent in all            1.0 GiB  (205 KiB of it device state)",
        "  kept for the end      32.0 MiB  (written all the time, so sent once)",
        "  writers paced for        2.1 s  (writers waited 340 ms, all vCPUs together)",
        "  connections                  4",
        "  engine                  drover",
        "  total time               4.2 s"]


def test_report_keeps_silent_about_what_did_not_happen(agent):
    text = "\n".join(report_with(
        agent, channels=1, content_bytes=1 << 30, compressed={"lz4_bytes": 0, "zstd_bytes": 0, "delta_bytes": 0},
        deferred_bytes=0, paced_ms=0, writers_waited_ms=0))
    for word in ("content", "compression", "kept", "paced", "waited", "connections"):
        assert word not in text


def test_report_shows_the_forecast_beside_the_facts(agent):
    assert report_with(agent, forecast=FORECAST)[-6:] == [
        "",
        "               FORECAST     FACT",
        "  rounds              3        3",
        "  total time      4.0 s    4.2 s",
        "  blackout      11.9 ms  11.2 ms",
        "  sent in all   1.6 GiB  1.6 GiB"]
    assert "FORECAST" not in "\n".join(report_with(agent, forecast={"problem": "the mover died"}))


def test_json_is_the_final_task_and_nothing_else(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2", "--json")
    assert json.loads(done.stdout)["state"] == "succeeded"
    assert done.stderr == ""
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2", "--json", "--progress", "json")
    revisions = [json.loads(line)["revision"] for line in done.stderr.splitlines()]
    assert revisions == sorted(revisions) and len(revisions) > 30


def test_no_wait_prints_the_task(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2", "--no-wait")
    assert done.returncode == 0 and done.stdout.startswith("task t1 moves web1 to h2")


def test_limits_are_sent(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script()[-1:])
    drover(agent, "vm", "migrate", "web1", "--to", "h2", "--blackout", "20", "--timeout", "30",
           "--bandwidth", "100M")
    assert agent.requests[0][2] == {"to": "h2", "dry_run": False, "blackout_ms": 20,
                                    "timeout_s": 30, "bandwidth_limit": 100 << 20}


def test_options_are_sent_when_they_are_given(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script()[-1:])
    drover(agent, "vm", "migrate", "web1", "--to", "h2", "--pace", "off", "--timeout", "30", "--on-timeout", "abort",
           "--compress", "off", "--channels", "4", "--engine", "drover")
    sent = agent.requests[0][2]
    assert {key: sent[key] for key in ("pace", "on_timeout", "compress", "channels", "engine")} == {
        "pace": "off", "on_timeout": "abort", "compress": "off", "channels": 4, "engine": "drover"}


@pytest.mark.parametrize("options, words", [
    (["--pace", "slow"], "on or off"), (["--compress", "zip"], "auto or off"), (["--channels", "65"], "--channels"),
    (["--channels", "many"], "--channels"), (["--engine", "qemu"], "auto, drover or native"),
    (["--timeout", "9", "--on-timeout", "explode"], "abort or stop"), (["--on-timeout", "stop"], "--timeout SECONDS"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_wrong_options_of_a_move_are_refused_before_anything_is_asked(agent, options, words):
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2", *options)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert agent.requests == []


def test_a_longer_blackout_is_said_beforehand(agent):
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    stop = ["--timeout", "90", "--on-timeout", "stop"]
    said = drover(agent, "vm", "migrate", "web1", "--to", "h2", *stop).stderr.splitlines()
    assert said[0] == "at the time limit, after 90 s, web1 is moved with a longer blackout"
    agent.serve_task("/v1/vms/web1/migrate", migration_script())
    assert drover(agent, "vm", "migrate", "web1", "--to", "h2", *stop, "--json").stderr == ""


def test_a_failed_move_says_where_the_vm_is(agent):
    report = {"from": "h1", "to": "h2", "outcome": "stayed", "total_ms": 900, "bytes": 1000,
              "blackout_ms": 0, "blackout_parts": {"last_pass_ms": 0}}
    failed = migration_task(2, state="failed", report=report,
                            error=error("h2 refuses", "ask h2", 113)["error"])
    agent.serve_task("/v1/vms/web1/migrate", [migration_task(1), failed])
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2")
    assert done.returncode == 7
    assert "web1 stayed on h1: the move to h2 ended after 900 ms" in done.stdout
    assert re.search("^  blackout +none$", done.stdout, re.M) and "last pass" not in done.stdout
    assert done.stderr.endswith("drover: h2 refuses\n  → ask h2\n")


def test_an_agent_that_goes_away_is_waited_for(agent):
    script = migration_script()
    agent.serve_task("/v1/vms/web1/migrate", script[:3] + [Raw(b"")] * 2 + script[-1:])
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2")
    assert done.returncode == 0
    assert done.stderr.count("the agent does not answer; the move goes on without it") == 1


def test_an_agent_that_forgot_the_task(agent):
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (202, {"task": migration_task(1)})
    agent.routes[("GET", "/v1/tasks")] = (200, {"tasks": [
        {**migration_task(1), "id": "t7", "vm": "db"}, {**migration_task(1), "kind": "stop"}]})
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2")
    assert done.returncode == 3
    assert "does not know task t1 any more" in done.stderr


def test_a_move_is_followed_under_its_new_id_after_a_restart(agent):
    last = {**migration_script()[-1], "id": "t9"}
    agent.routes[("POST", "/v1/vms/web1/migrate")] = (202, {"task": migration_task(8)})
    agent.routes[("GET", "/v1/tasks")] = (200, {"tasks": [{**migration_task(2), "id": "t9"}]})
    agent.routes[("GET", "/v1/tasks/t9")] = (200, last)
    done = drover(agent, "vm", "migrate", "web1", "--to", "h2", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["id"] == "t9"


def test_a_task_that_is_none(agent):
    for broken in ({}, {"task": {"id": "../x", "state": "running", "revision": 1}},
                   {"task": {"id": "t1", "state": "dancing", "revision": 1}}):
        agent.routes[("POST", "/v1/vms/web1/migrate")] = (202, broken)
        done = drover(agent, "vm", "migrate", "web1", "--to", "h2")
        assert done.returncode == 1 and "answer is not understood" in done.stderr


def endless_migration(agent):
    """Runs until it is cancelled."""
    state = {"cancelled": False, "revision": 1}

    def ask(_body):
        time.sleep(0.05)
        state["revision"] += 1
        if state["cancelled"] == "done":
            return 200, migration_task(state["revision"], state="cancelled")
        return 200, migration_task(state["revision"], fraction=0.5)

    def cancel(_body):
        state["cancelled"] = state.get("obeys", True) and "done"
        return 202, {}

    agent.routes[("POST", "/v1/vms/web1/migrate")] = (202, {"task": migration_task(1)})
    agent.routes[("GET", "/v1/tasks/t1")] = ask
    agent.routes[("POST", "/v1/tasks/t1/cancel")] = cancel
    return state


def test_ctrl_c_cancels_and_waits(agent):
    endless_migration(agent)
    terminal = Terminal(agent, "vm", "migrate", "web1", "--to", "h2")
    terminal.read_until(" 50%")
    terminal.type(b"\x03")
    assert terminal.finish() == 6
    assert "cancelling; Ctrl-C again leaves the move to the agent" in terminal.output


def test_ctrl_c_twice_leaves_the_move_to_the_agent(agent):
    endless_migration(agent)["obeys"] = False
    terminal = Terminal(agent, "vm", "migrate", "web1", "--to", "h2")
    terminal.read_until(" 50%")
    terminal.type(b"\x03")
    terminal.read_until("cancelling")
    terminal.type(b"\x03")
    assert terminal.finish() == 1
    assert "it is the agent's now" in terminal.output
    assert "drover task show t1" in terminal.output


def test_ctrl_c_works_while_the_agent_hangs(agent):
    state = endless_migration(agent)
    state["obeys"] = False
    agent.routes[("GET", "/v1/tasks/t1")] = lambda _body: time.sleep(4)
    terminal = Terminal(agent, "vm", "migrate", "web1", "--to", "h2")
    terminal.read_until("  0%")
    terminal.type(b"\x03")
    terminal.read_until("cancelling")
    terminal.type(b"\x03")
    assert terminal.finish() == 1
    assert "it is the agent's now" in terminal.output


# Tasks and host

TASK_ID = "0c6d5fa1-3f8a-4c0e-9f0a-1e2d3c4b5a69"


@pytest.fixture
def agent_with_tasks(agent):
    last = {**migration_script()[-1], "id": TASK_ID}
    other = {**last, "id": "0d" + TASK_ID[2:]}
    agent.routes[("GET", "/v1/tasks")] = (200, {"tasks": [last, other]})
    agent.routes[("GET", f"/v1/tasks/{TASK_ID}")] = (200, last)
    agent.routes[("POST", f"/v1/tasks/{TASK_ID}/cancel")] = (409, error("it has ended", "", 16))
    return agent


def test_tasks_are_listed(agent_with_tasks):
    listed = drover(agent_with_tasks, "task", "list").stdout
    assert re.search(r"^0c6d5fa1 +migrate +web1 +succeeded +finish +100% +2026-11-21 08:00:00$",
                     listed, re.M)
    assert all(len(line) <= 80 for line in listed.splitlines())


@pytest.mark.parametrize("task", [TASK_ID, "0c6d5fa1", "0c"])
def test_a_task_is_known_by_the_start_of_its_id(agent_with_tasks, task):
    assert "moved from h1 to h2" in drover(agent_with_tasks, "task", "show", task).stdout
    assert drover(agent_with_tasks, "task", "cancel", task).returncode == 4


def test_a_task_that_is_unknown_or_not_one(agent_with_tasks):
    assert drover(agent_with_tasks, "task", "show", "f").returncode == 3
    done = drover(agent_with_tasks, "task", "show", "0")
    assert done.returncode == 2 and "more than one task" in done.stderr


def test_host_is_shown(agent):
    agent.routes[("GET", "/v1/host")] = (200, {
        "name": "h1", "version": "0.1.0", "cpus": 2, "migration_addresses": ["10.78.0.1", "10.80.0.1"],
        "capabilities": {"qemu_version": "7.2.22", "accelerator": "tcg", "engine": "native",
                         "engine_reason": "the kernel is too old"},
        "memory": {"total_bytes": 4 << 30, "available_bytes": 1 << 30},
        "datastores": [{"name": "shared", "path": "/d", "total_bytes": 2048, "free_bytes": 1024}],
        "port_groups": [{"name": "vm", "bridge": "br-vm", "vlan": 10}],
        "peers": [{"name": "h2", "address": "10.79.0.2", "port": 7790}]})
    shown = drover(agent, "host", "show").stdout
    for line in ("memory              1.0 GiB free of 4.0 GiB",
                 "engine              native: the kernel is too old",
                 "port groups         vm: bridge br-vm, VLAN 10",
                 "migration address   10.78.0.1",
                 "                    10.80.0.1",
                 "peers               h2: 10.79.0.2, port 7790"):
        assert line in shown.splitlines()


# Console

def test_console_in_a_pipe(agent):
    done = drover(agent, "vm", "console", "web1", input="root\n" * 100)
    assert (done.returncode, done.stdout) == (0, "login: " + "ROOT\n" * 100)


def test_console_on_a_terminal_is_raw_and_left_with_its_key(agent):
    terminal = Terminal(agent, "vm", "console", "web1")
    terminal.read_until("login: ")
    terminal.type(b"abc\x03")
    terminal.read_until("ABC\x03")
    terminal.type(b"\x1d")
    assert terminal.finish() == 0
    assert "left the console of web1" in terminal.output


def test_console_ended_by_a_signal_restores_the_terminal(agent):
    terminal = Terminal(agent, "vm", "console", "web1")
    terminal.read_until("login: ")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish() == -signal.SIGTERM


def test_console_that_the_agent_loses_restores_the_terminal(agent):
    def lose(handler):
        handler.send_frame(b"login: ")
        time.sleep(0.2)
    agent.console = lose
    terminal = Terminal(agent, "vm", "console", "web1")
    terminal.read_until("login: ")
    assert terminal.finish() == 7


def test_console_with_garbage(agent):
    agent.console = lambda handler: handler.wfile.write(b"\xff" * 64)
    done = drover(agent, "vm", "console", "web1", input="")
    assert done.returncode == 1 and "no WebSocket server may send" in done.stderr


def test_console_that_is_refused(agent):
    agent.console = None
    agent.routes[("GET", "/v1/vms/web1/console")] = (409, error("web1 is stopped", "start it", 16))
    done = drover(agent, "vm", "console", "web1", input="")
    assert done.returncode == 4
    assert done.stderr == "drover: web1 is stopped\n  → start it\n"
