"""make bench: Drover beside every mode of QEMU's own migration, same guest, same links, same run, alternating.

    bench.py [--quick] [--rows targets | data/loopback,hot/1g] [--engines drover,drover-plain] [--runs 5] [--minutes 25] [--append]
    bench.py --list
    bench.py --write-docs        docs/benchmarks/ from the report of the last run

Writes build/bench/report.json and plots, and prints a table. docs/benchmarks/README.md says what is compared and how.
"""
import argparse
import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "demo")]
from stage import BUILD, Failure, Stage, left_by, let_signals_interrupt  # noqa: E402

import document  # noqa: E402
import rows as plan  # noqa: E402
import summary  # noqa: E402
from measure import bare_stream, measure, set_link, set_writer  # noqa: E402
from meters import ProcessorGroup  # noqa: E402
from native_move import MigrationFailed  # noqa: E402
from sides import DroverSide, QemuSide  # noqa: E402
from warm_memory import WarmMemory  # noqa: E402

REPORT = os.path.join(BUILD, "bench/report.json")
FAILURES_MOST = 12
# A machine that is halted while the other side is measured must not end: the longest times there are.
LEASE_TIMES = "1000,3600000,7200000"
DROVER_ADDRESS, QEMU_ADDRESS = "10.77.0.11", "10.77.0.12"


def say(text):
    print(text, flush=True)


class Bench:
    """The lab, both sides and what has been measured so far."""

    def __init__(self, options):
        self.options = options
        self.stage = Stage(f"bench-{os.getpid()}", hosts=2)
        self.folder = tempfile.mkdtemp(prefix="drover-bench-")
        self.groups = [ProcessorGroup("drover"), ProcessorGroup("qemu")]
        self.drover = DroverSide(self.stage, self.groups[0], DROVER_ADDRESS, "bench-drover")
        self.qemu = QemuSide(self.stage, self.groups[1], QEMU_ADDRESS, "bench-qemu", self.folder)
        self.memory = WarmMemory()
        self.machine = None
        self.measured = []
        self.failures = collections.Counter()  # by row and engine; a move that only takes too long is none
        self.remarks = []
        self.node_pids = []

    def __enter__(self):
        try:
            self.stage.up("--lease-times", LEASE_TIMES, preexec_fn=self.groups[0].enter)
            pids = self.stage.pids()
            self.node_pids = [pids[host] for host in self.stage.hosts]
            self._use_reno()
            self.memory.hold(max(plan.memory_needed_mib(row) for row in self.options.rows))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _use_reno(self):
        """For all engines alike: BBR would pace QEMU's streams far below what such near links carry."""
        for pid in self.node_pids:
            subprocess.run(["nsenter", "-t", str(pid), "-n", "sysctl", "-qw",
                            "net.ipv4.tcp_congestion_control=reno"], check=True)

    def __exit__(self, *exception):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # what is cleaned up, is cleaned up whole
        self.memory.drop()
        with contextlib.suppress(OSError):  # without a drover there is no lab either
            self.stage.down()
        for group in self.groups:
            group.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def side_of(self, engine):
        return self.drover if plan.ENGINES[engine].is_drover else self.qemu

    def other_side(self, side):
        return self.qemu if side is self.drover else self.drover

    def _boot(self, row):
        """The row's machine, on the sides that are wanted; once for all rows that share it."""
        name = plan.GUESTS[row.guest].machine
        if name == self.machine:
            return
        machine = plan.MACHINES[name]
        for side in (self.drover, self.qemu):
            side.end()
        say(f"booting the guest \"{name}\"")
        kinds = {plan.ENGINES[engine].is_drover for engine in self.options.engines}
        if True in kinds:
            self.drover.boot(machine, "h1")
            self.qemu.platform = self.drover.platform()
        if False in kinds:
            self.qemu.boot(machine, "h1")
        for side in (self.drover, self.qemu):
            if side.where:
                side.meet()
        self.machine = name

    def _run(self, row, engine):
        side = self.side_of(engine)
        side.prepare(plan.ENGINES[engine])
        with self.other_side(side).halted():
            return measure(side, self.node_pids, row, engine, self.options, self.memory)

    def _run_or_start_anew(self, row, engine):
        """A guest that a move broke is booted again, and the run repeated once; None when that fails too."""
        for _ in range(2):
            try:
                return self._run(row, engine)
            except (Failure, MigrationFailed, OSError) as error:
                self.failures[row, engine] += 1
                reason = "the guest's kernel panicked" if self.side_of(engine).guest_panicked() else error
                say(f"{row.name} {engine}: failed: {reason}")
                if self.failures.total() > FAILURES_MOST:
                    raise
                self.machine = None
                self._prepare(row)
        return None

    def _choose_channels(self, row, engine):
        """One move with each number of channels; none of them counts."""
        times = {}
        for channels in plan.MULTIFD_CHANNELS:
            self.options.channels = channels
            times[channels] = self._run(row, engine)["total_s"]
        self.options.channels = min(times, key=times.get)
        tried = ", ".join(f"{channels}: {seconds:.2f} s" for channels, seconds in times.items())
        say(f"multifd channels tried ({tried}): {self.options.channels} from now on")

    def _set_writers(self, row, rate):
        for side in (self.drover, self.qemu):
            if side.where:
                with self.other_side(side).halted():
                    try:
                        set_writer(side.line, plan.GUESTS[row.guest], rate)
                    except OSError as error:
                        raise Failure(f"{side.name} did not answer before {row.name} ({error}): {side.state()}") from error

    def _prepare_or_start_anew(self, row):
        """What was measured before may have broken a guest: it is booted again, once."""
        try:
            return self._prepare(row)
        except Failure as failure:
            say(str(failure))
            self.remarks.append(f"{failure}; it was booted again")
            self.machine = None
            return self._prepare(row)

    def _prepare(self, row):
        """Returns the rate of the link."""
        self._boot(row)
        set_link(self.stage, row.link)
        guest = plan.GUESTS[row.guest]
        with self.drover.halted(), self.qemu.halted():
            rate = bare_stream(self.stage, row.link, self.memory)
        if guest.link_share or guest.unpaced:
            self._set_writers(row, rate)
        return rate

    def measure_row(self, row):
        rates = [self._prepare_or_start_anew(row)]
        engines = plan.engines_of(row, self.options.engines)
        multifd = next((engine for engine in engines if plan.ENGINES[engine].multifd), None)
        if self.options.channels is None and multifd:
            self._choose_channels(row, multifd)
        runs = {engine: [] for engine in engines}
        for number in range(self.options.runs):
            for engine in plan.rotated(engines, number):
                if summary.is_hopeless(runs[engine]):
                    continue
                figures = self._run_or_start_anew(row, engine)
                if figures:
                    runs[engine].append(figures)
                    say(summary.run_line(row, engine, number, figures))
            if number + 1 < self.options.runs:
                with self.drover.halted(), self.qemu.halted():
                    rates.append(bare_stream(self.stage, row.link, self.memory))
        self.measured += [{**summary.row_of(row, engine, runs[engine], rates), "failed_runs": self.failures[row, engine]}
                          for engine in engines]

    def report(self):
        return {"machine": summary.machine_description(self.qemu.platform.accelerator), "command": self.options.command,
                "date": time.strftime("%Y-%m-%d"), "multifd_channels": self.options.channels,
                "cap_s": self.options.cap, "rows": self.measured, "remarks": self.remarks}


def parse_arguments():
    parser = argparse.ArgumentParser(description="Drover beside QEMU's own migration.")
    parser.add_argument("--quick", action="store_true", help="the rows for every day, in less than 5 minutes")
    parser.add_argument("--rows", type=plan.parse_rows, help="GUEST/LINK,..., or one of full, targets, quick")
    parser.add_argument("--engines", type=plan.parse_engines, default=list(plan.ENGINES))
    parser.add_argument("--runs", type=int, help="of each engine in each row (5; quick: 2)")
    parser.add_argument("--minutes", type=float, help="fewer runs where this is not enough for all")
    parser.add_argument("--cap", type=int, help="seconds after which a move is given up (30; quick: 12)")
    parser.add_argument("--channels", type=int, help="of multifd (found out; quick: 2)")
    parser.add_argument("--append", action="store_true", help="keep the last report's other rows")
    parser.add_argument("--list", action="store_true", help="rows and engines, and how long they take")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks/ from the last report")
    options = parser.parse_args()
    options.rows = options.rows or plan.parse_rows("quick" if options.quick else "full")
    options.runs = options.runs or (plan.QUICK_RUNS if options.quick else plan.FULL_RUNS)
    options.cap = options.cap or (plan.QUICK_CAP_S if options.quick else plan.FULL_CAP_S)
    if options.quick:
        options.channels = options.channels or plan.QUICK_CHANNELS
    options.command = "make bench-quick" if options.quick else "make bench"
    given = [word for word in sys.argv[1:] if word != "--quick"]
    if given:
        options.command += f' BENCH="{" ".join(given)}"'
    return options


def list_plan():
    for text in plan.FULL_ROWS:
        row = plan.parse_row(text)
        say(f"{text:<15} {plan.GUESTS[row.guest].description}; {plan.LINK_TITLES[row.link]}")
    say(f"any of the guests {', '.join(plan.GUESTS)} goes with any of the links {', '.join(plan.LINKS)}")
    say(f"engines: {', '.join(plan.ENGINES)}")


def announce(options):
    search = options.channels is None
    if options.minutes:
        options.runs = plan.runs_that_fit(options.rows, options.engines, options.runs, options.cap, search,
                                          options.minutes)
    estimate = plan.plan_estimate_s(options.rows, options.engines, options.runs, options.cap, search)
    say(f"{len(options.rows)} rows, {options.runs} runs of each engine: about {estimate / 60:.0f} minutes")


def earlier_report(options):
    """The report whose rows are kept, or None. Looked at before anything is measured: what both stand on must be the same."""
    if not options.append or not os.path.exists(REPORT):
        return None
    with open(REPORT) as file:
        earlier = json.load(file)
    options.channels = options.channels or earlier["multifd_channels"]
    now = {"machine": summary.machine_description(earlier["machine"]["accelerator"]), "cap_s": options.cap,
           "multifd_channels": options.channels}
    for key, value in now.items():
        if earlier[key] != value:
            raise Failure(f"{REPORT} is of another {key}: {earlier[key]}, now {value}; without --append it is replaced")
    return earlier


def with_earlier_rows(report, earlier):
    """Rows that were measured now replace those of that name."""
    new = {(row["guest"], row["link"]) for row in report["rows"]}
    kept = [row for row in earlier["rows"] if (row["guest"], row["link"]) not in new]
    return {**report, "rows": kept + report["rows"], "remarks": earlier.get("remarks", []) + report["remarks"],
            "command": f"{earlier['command']}, then {report['command']}"}


def write_report(report):
    os.makedirs(os.path.dirname(REPORT), exist_ok=True)
    with open(REPORT, "w") as file:
        json.dump(report, file, indent=1)
    document.write_plots(report, os.path.dirname(REPORT))
    say("")
    say("\n".join([summary.table(report["rows"]), *summary.broken_guests(report)]))
    say(f"\nFigures: {REPORT}; plots beside it")


def run_bench(options):
    earlier = earlier_report(options)
    announce(options)
    with Bench(options) as bench:
        try:
            for row in options.rows:
                bench.measure_row(row)
        finally:
            if bench.measured:
                report = bench.report()
                write_report(with_earlier_rows(report, earlier) if earlier else report)


def main():
    options = parse_arguments()
    if options.list:
        return list_plan()
    if options.write_docs:
        return document.write(REPORT, os.path.join(ROOT, "docs/benchmarks"))
    let_signals_interrupt()
    begun = time.monotonic()
    try:
        run_bench(options)
    except (Failure, MigrationFailed, OSError, subprocess.SubprocessError) as error:
        return f"bench: {error}"
    except KeyboardInterrupt:
        return "bench: interrupted; the lab is down again"
    left = left_by(f"bench-{os.getpid()}")
    say(f"{(time.monotonic() - begun) / 60:.1f} minutes")
    return f"bench: left behind: {', '.join(left)}" if left else 0


if __name__ == "__main__":
    sys.exit(main())
