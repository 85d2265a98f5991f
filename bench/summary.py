"""From runs to rows: medians with their spread, ratios to the best of QEMU's modes, the table on the terminal. No measuring."""
import os
import platform
import statistics
import subprocess
from dataclasses import dataclass

from rows import ENGINES, GUESTS, INCOMPLETE_RUNS_MOST, LINK_TITLES

GIB = 2**30
MEGABYTE = 1e6


@dataclass(frozen=True)
class Figure:
    key: str
    title: str
    unit: str
    scale: float = 1.0
    digits: int = 1

    def text(self, value):
        return "-" if value is None else f"{value / self.scale:.{self.digits}f}"


# The first seven make the table; all of them go into the report.
FIGURES = (
    Figure("total_s", "total time", "s", digits=2),
    Figure("blackout_ms", "blackout", "ms"),
    Figure("client_gap_ms", "client gap", "ms", digits=0),
    Figure("wire_bytes", "on the wire", "MB", MEGABYTE, 0),
    Figure("cpu_s", "CPU", "s", digits=2),
    Figure("guest_work_lost_pct", "work lost", "%"),
    Figure("vcpu_lost_s", "vCPU time lost", "s", digits=2),
    Figure("guest_work_lost_s", "work lost", "s", digits=2),
    Figure("wall_s", "whole command", "s", digits=2),
    Figure("stopped_ms", "vCPUs stopped", "ms"),
    Figure("guest_gap_ms", "guest gap", "ms"),
    Figure("machine_busy_s", "machine busy", "s", digits=2),
)
TABLE_FIGURES = FIGURES[:7]
NAME_WIDTH = 20
COLUMN_WIDTHS = (9, 9, 8, 9, 8, 9, 8)


def is_hopeless(runs):
    """Did not complete so often that further runs would only take time."""
    return len(runs) >= INCOMPLETE_RUNS_MOST and not any(run["completed"] for run in runs)


def _values(runs, key):
    return [run[key] for run in runs if run["completed"] and run[key] is not None]


def row_of(row, engine, runs, link_rates):
    """One row of the report: medians of the runs that completed, their spread, and the runs themselves."""
    result = {"guest": row.guest, "link": row.link, "engine": engine}
    spread = {}
    for figure in FIGURES:
        values = _values(runs, figure.key)
        result[figure.key] = statistics.median(values) if values else None
        if values:
            spread[figure.key] = [min(values), max(values)]
    written = [run["undisturbed_bytes_per_s"] for run in runs]
    result.update(wrong_pages=sum(run["wrong_pages"] for run in runs), completed=bool(runs) and all(run["completed"] for run in runs), spread=spread,
                  bare_stream_bytes_per_s=statistics.median(link_rates),
                  guest_writes_bytes_per_s=statistics.median(written) if written else None, runs=runs)
    return result


def best_of_qemu(rows, key):
    """The smallest of QEMU's medians, only of modes that completed every run; None when none did."""
    values = [row[key] for row in rows if not ENGINES[row["engine"]].is_drover and row["completed"] and row[key] is not None]
    return min(values, default=None)


def _of_engine(rows, engine, key):
    """Its median; None when it did not complete every run."""
    return next((row[key] for row in rows if row["engine"] == engine and row["completed"]), None)


def _ratio(ours, theirs):
    return ours / theirs if ours is not None and theirs is not None and theirs > 0 else None


def compared(rows):
    """Like is compared with like: QEMU's modes go in clear, so does Drover where it was measured so."""
    return "drover-plain" if any(row["engine"] == "drover-plain" for row in rows) else "drover"


def ratio(rows, key):
    """Drover's median to the best of QEMU's; None where one of them is missing or is nothing."""
    return _ratio(_of_engine(rows, compared(rows), key), best_of_qemu(rows, key))


def cost_of_encryption(rows, key):
    """Drover's median to its own in clear; None where one of them is missing or is nothing."""
    return _ratio(_of_engine(rows, "drover", key), _of_engine(rows, "drover-plain", key))


def comparisons(rows):
    """(title, cells): Drover's ratios, figure by figure, of the comparisons that can be made."""
    found = []
    for title, compare in (("clear : best of QEMU", ratio), ("encrypted : in clear", cost_of_encryption)):
        ratios = [compare(rows, figure.key) for figure in TABLE_FIGURES]
        if any(value is not None for value in ratios):
            found.append((title, ["-" if value is None else f"{value:.2f}" for value in ratios]))
    return found


def blocks(rows):
    """Rows of one guest on one link, together, in the order of the report."""
    found = {}
    for row in rows:
        found.setdefault((row["guest"], row["link"]), []).append(row)
    return found


def _line(name, cells):
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMN_WIDTHS))


def block_heading(rows):
    first = rows[0]
    heading = f"{first['guest']}/{first['link']}: {GUESTS[first['guest']].description}; {LINK_TITLES[first['link']]}"
    notes = [f"bare TCP {first['bare_stream_bytes_per_s'] / MEGABYTE:.0f} MB/s"]
    written = first["guest_writes_bytes_per_s"]
    if written:
        notes.append(f"guest writes {written / MEGABYTE:.0f} MB/s")
    return heading, ", ".join(notes)


def outcome_text(row):
    """For a row without figures."""
    return "did not complete" if row["runs"] else "broke its guest"


def _engine_line(row):
    if not any(run["completed"] for run in row["runs"]):
        return f"{ENGINES[row['engine']].title:<{NAME_WIDTH}}{outcome_text(row):>20}"
    title = ENGINES[row["engine"]].title + ("" if row["completed"] else " (!)")
    return _line(title, [figure.text(row[figure.key]) for figure in TABLE_FIGURES])


def table(rows):
    """Fits 80 columns. Medians; below each block Drover's ratio to the best of QEMU's modes, and to itself in clear,
    figure by figure."""
    lines = []
    for block in blocks(rows).values():
        lines += [*block_heading(block),
                  _line("", [figure.title.split()[-1] for figure in TABLE_FIGURES]),
                  _line("", [figure.unit for figure in TABLE_FIGURES])]
        lines += [_engine_line(row) for row in block]
        lines += [*(_line(title, cells) for title, cells in comparisons(block)), ""]
    return "\n".join(lines[:-1])


def broken_guests(report):
    """Lines on what engines did to their guests; empty when nothing."""
    lines = list(report.get("remarks", []))
    for row in report["rows"]:
        name = f"{row['guest']}/{row['link']}, {ENGINES[row['engine']].title}"
        if row["wrong_pages"]:
            lines.append(f"{name}: {row['wrong_pages']} pages of the guest's memory were wrong")
        if row["failed_runs"]:
            lines.append(f"{name}: {row['failed_runs']} runs failed and were repeated")
    return lines


def run_line(row, engine, number, figures):
    if not figures["completed"]:
        return f"{row.name} {number + 1}. {engine}: not completed after {figures['total_s']:.0f} s"
    words = [f"{figure.title} {figure.text(figures[figure.key])} {figure.unit}" for figure in TABLE_FIGURES
             if figures[figure.key] is not None]
    return f"{row.name} {number + 1}. {engine}: {', '.join(words)}"


def machine_description(accelerator):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    version = subprocess.run(["qemu-system-x86_64", "--version"], text=True, capture_output=True, check=True).stdout
    return {"cores": os.cpu_count(), "processor": model,
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
            "kernel": platform.release(), "accelerator": accelerator,
            "qemu": version.split("version ")[1].split()[0]}
