"""Two drover-movers and a real guest between two QEMUs, the agents played by move-pair: every way a move can go.

What must hold after each: exactly one copy runs, the owner's, and the guest finds no wrong byte.
"""
import json
import os
import subprocess

import pytest

from traffic import BUILD

GUEST = os.environ.get("DROVER_GUEST_DIR", os.path.join(BUILD, "guest"))
PROGRAM = os.path.join(BUILD, "tests/system/movers/move-pair")
ARGUMENTS = ("console=ttyS0 quiet drover.ip=10.9.0.2/24 drover.memory=64M drover.memory-rate=8M "
             "drover.memory-pattern=hot:16M")


def command(*options, disk=False):
    """move-pair with a guest; the test is skipped where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and a tmpfs want root")
    if not os.path.exists(f"{GUEST}/initramfs.gz"):
        pytest.skip(f"no guest in {GUEST}: run guest/build-guest {GUEST}")
    arguments = ARGUMENTS + (" drover.disk=/dev/vda drover.disk-size=16M" if disk else "")
    return [PROGRAM, "--kernel", f"{GUEST}/vmlinuz", "--initramfs", f"{GUEST}/initramfs.gz", "--append", arguments,
            *(("--disk", "32") if disk else ()), *options]


def environment(**more):
    return {**os.environ, "DROVER_MOVER": f"{BUILD}/src/mover/drover-mover",
            "DROVER_PRELOAD": f"{BUILD}/src/vmm/libdrover-preload.so", **more}


def run_moves(*options, disk=False):
    """Returns the moves, as move-pair prints them, and what the guest says at last."""
    done = subprocess.run(command(*options, disk=disk), env=environment(), text=True, timeout=300, capture_output=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    *moves, verdict = [json.loads(line) for line in done.stdout.splitlines()]
    return moves, verdict


def assert_guest_is_right(verdict):
    assert verdict["memory"]["pages_written"] > 0 and verdict["memory"]["pages_verified"] > 0
    assert verdict["memory"]["wrong_bytes"] == 0
    if verdict["disk"]:
        assert verdict["disk"]["blocks_verified"] > 0
        assert verdict["disk"]["wrong_bytes"] == 0 and verdict["disk"]["errors"] == 0


def assert_one_copy_runs(move):
    owner, other = ("destination", "source") if move["committed"] else ("source", "destination")
    assert move[f"{owner}_status"] == "running"
    assert move[f"{other}_status"] != "running"


def outcomes(move):
    return move["source"]["outcome"], move["destination"]["outcome"]


def test_a_guest_with_memory_and_disk_under_writes_moves_again_and_again():
    moves, verdict = run_moves("--moves", "5", disk=True)
    for move in moves:
        assert outcomes(move) == ("moved", "moved")
        assert_one_copy_runs(move)
        statistics = move["source"]["statistics"]
        assert statistics["round_count"] >= 2
        assert 0 < statistics["blackout_ns"] < statistics["total_ns"]
        assert sum(statistics["blackout"].values()) == pytest.approx(statistics["blackout_ns"], rel=0.02)
        assert move["destination"]["statistics"]["bytes_received"] == statistics["bytes_sent"]
    assert len(moves) == 5
    assert_guest_is_right(verdict)


def test_a_guest_without_display_moves():
    moves, verdict = run_moves("--no-vga")
    assert outcomes(moves[0]) == ("moved", "moved")
    assert_guest_is_right(verdict)


BEFORE_COMMIT = {
    "cancel@pre-copy": ("stayed", "stayed"),
    "cancel@switchover": ("stayed", "stayed"),
    "kill-source-mover@pre-copy": ("dead", "stayed"),
    "kill-source-mover@switchover": ("dead", "stayed"),
    "kill-destination-mover@pre-copy": ("stayed", "dead"),
    "kill-destination-mover@switchover": ("stayed", "dead"),
    "kill-shadow@pre-copy": ("stayed", "stayed"),
    "kill-shadow@switchover": ("stayed", "stayed"),
}
AFTER_COMMIT = {
    "cancel@commit": ("moved", "moved"),
    "kill-source-mover@commit": ("dead", "moved"),
    "kill-destination-mover@commit": ("moved", "dead"),
    "stranger@connect": ("moved", "moved"),
}
FAULTS = BEFORE_COMMIT | AFTER_COMMIT


@pytest.fixture(scope="module")
def faulty_moves():
    """One guest, each fault in a move of its own, and a good move in the end: nothing was left behind."""
    options = [word for fault in FAULTS for word in ("--fault", fault)]
    (*moves, good), verdict = run_moves("--moves", str(len(FAULTS) + 1), *options, disk=True)
    assert outcomes(good) == ("moved", "moved")
    assert_one_copy_runs(good)
    assert_guest_is_right(verdict)
    return dict(zip(FAULTS, moves))


@pytest.mark.parametrize("fault", BEFORE_COMMIT)
def test_before_the_commit_any_failure_leaves_the_guest_at_the_source(faulty_moves, fault):
    move = faulty_moves[fault]
    assert not move["committed"]
    assert outcomes(move) == FAULTS[fault]
    assert_one_copy_runs(move)


@pytest.mark.parametrize("fault", AFTER_COMMIT)
def test_after_the_commit_the_guest_runs_at_the_destination(faulty_moves, fault):
    move = faulty_moves[fault]
    assert move["committed"]
    assert outcomes(move) == FAULTS[fault]
    assert_one_copy_runs(move)


def test_a_native_move_that_fails_before_the_commit_leaves_the_guest_at_the_source():
    """QEMU's own migration, relayed. The guest never leaves, so it must find nothing wrong."""
    options = [word for fault in BEFORE_COMMIT for word in ("--fault", fault)]
    moves, verdict = run_moves("--native", "--bandwidth", str(64 << 20), "--moves", str(len(BEFORE_COMMIT)), *options, disk=True)
    for fault, move in zip(BEFORE_COMMIT, moves):
        assert not move["committed"], fault
        assert outcomes(move) == BEFORE_COMMIT[fault], fault
        assert_one_copy_runs(move)
    assert_guest_is_right(verdict)
