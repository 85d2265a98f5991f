"""What Drover aims at beside the best of QEMU's modes, and whether a report reaches it. No I/O."""
from dataclasses import dataclass

from summary import FIGURES, blocks, compared, ratio

_WRITERS = {"total_s": 2 / 3, "cpu_s": 1 / 2, "wire_bytes": 2 / 3, "blackout_ms": 1 / 2}

# At most so much of the best of QEMU's modes.
RATIOS = {
    "data/loopback": {"total_s": 1 / 5, "cpu_s": 1 / 4, "wire_bytes": 1.0, "blackout_ms": 1 / 2},
    "empty/loopback": {"total_s": 1 / 10, "cpu_s": 1 / 5, "wire_bytes": 1.0, "blackout_ms": 1 / 2},
    "text/1g": {"total_s": 1 / 2, "wire_bytes": 1 / 2, "blackout_ms": 1 / 2},
    "write10/1g": _WRITERS, "write50/1g": _WRITERS, "write90/1g": _WRITERS,
}
BLACKOUT_TARGET_MS = 50
BARE_STREAM_SHARE = 2 / 3
DATA_BLACKOUT_MS = 10
EMPTY_TOTAL_S = 0.3
AUTO_CONVERGE_SHARE = 1 / 2


@dataclass(frozen=True)
class Verdict:
    row: str
    what: str
    value: float
    aim: float
    at_least: bool = False

    @property
    def reached(self):
        return self.value >= self.aim if self.at_least else self.value <= self.aim


def _of(rows, engine):
    return next((row for row in rows if row["engine"] == engine and row["completed"]), None)


def _ratio_verdicts(name, rows):
    titles = {figure.key: figure.title for figure in FIGURES}
    for key, aim in RATIOS.get(name, {}).items():
        value = ratio(rows, key)
        if value is not None:
            yield Verdict(name, f"{titles[key]}, of QEMU's best", value, aim)


def _absolute_verdicts(name, rows):
    ours = _of(rows, compared(rows))
    if not ours:
        return
    if name == "data/loopback":
        rate = ours["wire_bytes"] / ours["total_s"]
        yield Verdict(name, "rate, of a bare TCP stream's", rate / ours["bare_stream_bytes_per_s"], BARE_STREAM_SHARE,
                      at_least=True)
        if ours["blackout_ms"] is not None:
            yield Verdict(name, "blackout in ms", ours["blackout_ms"], DATA_BLACKOUT_MS)
    if name == "empty/loopback":
        yield Verdict(name, "total time in s", ours["total_s"], EMPTY_TOTAL_S)


def _convergence_verdicts(name, rows):
    if name.split("/")[0] not in ("write150", "hot"):
        return
    ours, throttled = _of(rows, compared(rows)), _of(rows, "auto-converge")
    completed = [row["completed"] for row in rows if row["engine"] == compared(rows)]
    if completed:
        yield Verdict(name, "completes", float(completed[0]), 1, at_least=True)
    if ours and ours["blackout_ms"] is not None:
        yield Verdict(name, "blackout in ms", ours["blackout_ms"], BLACKOUT_TARGET_MS)
    for key, what in (("guest_work_lost_s", "work lost"), ("vcpu_lost_s", "vCPU time lost")):
        if ours and throttled and throttled[key] and throttled[key] > 0:
            yield Verdict(name, f"{what}, of auto-converge's", ours[key] / throttled[key], AUTO_CONVERGE_SHARE)


def verdicts(rows):
    """All that can be said of this report, in its order."""
    found = []
    for (guest, link), block in blocks(rows).items():
        name = f"{guest}/{link}"
        for judge in (_ratio_verdicts, _absolute_verdicts, _convergence_verdicts):
            found += judge(name, block)
    return found
