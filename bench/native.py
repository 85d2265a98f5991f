"""make bench-native: total time of a move, Drover's beside QEMU's own multifd migration of the same guest.

Both ways in the same run, alternating, in the same lab on the same links. Before each move the memory it will need is
touched and given back, since a virtual machine's memory is slow at its first touch; the guest that is not being measured
is halted meanwhile. QEMU gets its best configuration: anonymous RAM, multifd, unlimited bandwidth, the same blackout
target.

    native.py [--runs 5] [--memory 2048] [--data 1536] [--channels 2]
"""
import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "demo"))
from stage import BUILD, GUEST, Failure, Stage  # noqa: E402

from qemu_native import NativeGuest  # noqa: E402

VM = "bench1"


class LabProcesses:
    """Starts programs inside the lab's hosts, for the native side."""

    def __init__(self, stage):
        self.stage = stage

    def popen(self, host, command, **options):
        return subprocess.Popen(self.stage.exec_command(host, *command), **options)


def touch_memory(mebibytes):
    """A virtual machine's memory is slow at its first touch, and again a moment after it was freed. Returns the process,
    which ends by itself."""
    return subprocess.Popen(
        ["/usr/bin/python3", "-c", "import mmap, sys\n"
         "m = mmap.mmap(-1, int(sys.argv[1]) << 20)\n"
         "m.madvise(mmap.MADV_HUGEPAGE)\n"
         "for i in range(0, len(m), 4096): m[i] = 1", str(mebibytes)])


@contextlib.contextmanager
def halted(pids):
    """The other guest does not compete for the cores."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def measure(stage, options, folder):
    data = f"drover.memory={options.data}M drover.memory-verify-rate=0"
    stage.create_guest(VM, "h1", memory=f"{options.memory}M", disk="64M", arguments=data)
    uuid = stage.on_json("h1", "vm", "show", VM)["uuid"]
    native = NativeGuest(LabProcesses(stage), folder, GUEST, options.memory, 2,
                         f"console=ttyS0 quiet {data}", options.channels)
    try:
        native.start("h1", "drover-guest: ready")
        stage.wait_for_guest()
        rows, where = [], ["h1", "h2"]
        for number in range(options.runs):
            source, target = where
            with halted([native.pid()]):
                touch_memory(2 * options.memory).wait()
                begun = time.monotonic()
                ours = stage.move(VM, source, target)
                wall = (time.monotonic() - begun) * 1000
            with halted(stage.copies(uuid)):
                theirs = native.move(target, f"10.78.0.{target[1:]}",
                                     lambda: touch_memory(2 * options.memory).wait())
            rows.append({"drover": ours, "drover_wall_ms": wall, "qemu": theirs})
            print(f"run {number + 1}: Drover {ours['total_ms']:.0f} ms (whole command {wall:.0f} ms), "
                  f"QEMU {theirs['total_ms']:.0f} ms, ratio {ours['total_ms'] / theirs['total_ms']:.2f}",
                  flush=True)
            where.reverse()
        return rows
    finally:
        native.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=int, default=2048)
    parser.add_argument("--data", type=int, default=1536)
    parser.add_argument("--channels", type=int, default=2)
    options = parser.parse_args()
    stage = Stage("bench", hosts=2)
    with tempfile.TemporaryDirectory(prefix="drover-bench-") as folder:
        try:
            stage.up()
            rows = measure(stage, options, folder)
        except Failure as error:
            sys.exit(f"bench: {error}")
        finally:
            stage.down()
    os.makedirs(f"{BUILD}/bench", exist_ok=True)
    with open(f"{BUILD}/bench/native.json", "w") as file:
        json.dump(rows, file, indent=1)
    ours = statistics.median(row["drover"]["total_ms"] for row in rows)
    theirs = statistics.median(row["qemu"]["total_ms"] for row in rows)
    ratios = sorted(row["drover"]["total_ms"] / row["qemu"]["total_ms"] for row in rows)
    print(f"median of {len(rows)}: Drover {ours:.0f} ms, QEMU multifd ({options.channels} channels) "
          f"{theirs:.0f} ms, ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
