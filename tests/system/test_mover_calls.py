"""The list of system calls that movers may make (src/mover/sandbox_calls.h) against what they make, in real moves of every kind.

Every mover of these moves runs under strace. A call that is not in the list would have ended it; here it is named. What is in
the list and was never made is named too: it must go, or be marked as seldom, with its reason.
"""
import json
import os
import re
import shutil
import subprocess

import pytest

import lab as lab_module
import test_movers
from cluster import Guest, hosts_of
from lab import BUILD, Lab, require_lab

ROLES = ("source", "destination", "sample")
STRACE = "/usr/bin/strace"
PROGRAMS = ("src/cli/drover", "src/agent/droverd", "src/guard/drover-guard", "src/vmm/libdrover-preload.so")
# Each line begins with the role: movers of one VM share a log, and may overlap.
WRAPPER = f"""#!/usr/bin/sh
{STRACE} -f -qqq -e signal=none -e raw=all "$(/usr/bin/dirname "$0")/confined/drover-mover" "$@" 2>&1 | /usr/bin/sed -u "s/^/ROLE $1 /"
"""
NUMBER = "(?:0x[0-9a-f]+|0)"
CALL = re.compile(rf"^ROLE (\w+) (?:\[pid +\d+\] )?(\w+)\(({NUMBER}(?:, {NUMBER})*)?")
BEGUN, CONFINED = re.compile(r"^ROLE (\w+) execve\("), re.compile(r"^ROLE (\w+) seccomp\(0x1, .* = 0$")
SLOW = 8 << 20  # bytes a second: less than a guest that writes without a pause dirties


@pytest.fixture(scope="module")
def traced_build(tmp_path_factory):
    """The programs of the build, with a mover that is traced in place of the mover."""
    require_lab()
    if not os.path.exists(STRACE):
        pytest.skip("there is no strace")
    tree = tmp_path_factory.mktemp("traced")
    for folder in (tree, *tree.parents[:2]):
        os.chmod(folder, 0o755)
    for program in PROGRAMS:
        os.makedirs(tree / os.path.dirname(program), exist_ok=True)
        shutil.copy(os.path.join(BUILD, program), tree / program)
    os.makedirs(tree / "src/mover/confined")
    shutil.copy(f"{BUILD}/src/mover/drover-mover", tree / "src/mover/confined/drover-mover")
    (tree / "src/mover/drover-mover").write_text(WRAPPER)
    os.chmod(tree / "src/mover/drover-mover", 0o755)
    return tree


def move_in_lab(traced_build):
    """Moves as agents have them made: sampled, paced, packed, native, cancelled, over several connections."""
    before, lab_module.DROVER = lab_module.DROVER, str(traced_build / "src/cli/drover")
    try:
        with Lab(hosts=2) as lab:
            guest = Guest(lab, hosts_of(lab), "traced", "10.77.0.31", megabytes=128, working_set="32M").create("h1")
            guest.start("h1")
            assert guest.begin_move("h2", channels=3).end()["state"] == "succeeded"
            guest.ask("memory rate max")
            task = guest.begin_move("h1", bandwidth_limit=SLOW).end()
            assert task["state"] == "succeeded" and task["report"]["paced_ms"] > 0, task
            guest.ask("memory rate 1M")
            cancelled = guest.begin_move("h2", bandwidth_limit=SLOW)
            cancelled.wait_for_data()
            cancelled.cancel()
            assert cancelled.end()["state"] == "cancelled"
            assert guest.begin_move("h2", engine="native").end()["state"] == "succeeded"
            return "".join(read_log(lab, host) for host in lab.hosts)
    finally:
        lab_module.DROVER = before


def read_log(lab, host):
    with open(os.path.join(lab.root, "labs", lab.name, host, "state/logs/traced.mover.log"), errors="replace") as log:
        return log.read()


def move_in_clear(traced_build):
    """Without TLS, and when the move is called off in the middle of it."""
    faults = ("--fault", "cancel@switchover", "--fault", "kill-shadow@pre-copy")
    done = subprocess.run(test_movers.command("--in-clear", "--logs", "--moves", "3", *faults, disk=True),
                          env=test_movers.environment(DROVER_MOVER=str(traced_build / "src/mover/drover-mover")),
                          text=True, timeout=300, capture_output=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def calls_by_role(log):
    """Every call that a confined mover made: role, name, arguments."""
    confined = set()
    for line in log.splitlines():
        match = CALL.match(line)
        if BEGUN.match(line):
            confined.discard(match[1])
        elif CONFINED.match(line):
            confined.add(match[1])
        elif match and match[1] in confined:
            yield match[1], match[2], [int(word, 16) for word in (match[3] or "0").split(", ")]


def allows(rule, arguments):
    return all(at < len(arguments) and arguments[at] & mask == value for at, mask, value in rule["conditions"])


@pytest.fixture(scope="module")
def rules():
    listed = subprocess.run([f"{BUILD}/tests/system/movers/list-calls"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in listed.stdout.splitlines()]


@pytest.fixture(scope="module")
def made(traced_build):
    """Each distinct call, with arguments but for what differs from one time to the next."""
    return list(calls_by_role(move_in_lab(traced_build) + move_in_clear(traced_build)))


def describe(role, rule):
    return f"{role}: {rule['call']} {rule['conditions'] or ''}".strip()


def test_every_role_was_traced(made):
    assert {role for role, _, _ in made} == set(ROLES)


def test_nothing_is_made_that_is_not_listed(made, rules):
    missing = {(role, name, tuple(arguments[:3])) for role, name, arguments in made
               if not any(rule[role] and rule["call"] == name and allows(rule, arguments) for rule in rules)}
    assert not missing, sorted(missing)


def test_nothing_is_listed_that_is_not_made(made, rules):
    unused = {describe(role, rule) for role in ROLES for rule in rules if rule[role] and not rule["seldom"]
              and not any(rule["call"] == name and role == by and allows(rule, arguments) for by, name, arguments in made)}
    assert not unused, sorted(unused)
