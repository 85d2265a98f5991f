"""From a report to plots and to the generated part of docs/benchmarks/README.md."""
import json
import os

import plot
from rows import ENGINES
from summary import FIGURES, TABLE_FIGURES, block_heading, blocks, broken_guests, comparisons, outcome_text
from targets import verdicts

BEGIN = "<!-- from here on: make bench-docs -->"
END = "<!-- make bench-docs: end -->"
# File name, figure, title of the axis, logarithmic.
PLOTS = (
    ("total-time", "total_s", "seconds", True),
    ("blackout", "blackout_ms", "milliseconds", True),
    ("client-gap", "client_gap_ms", "milliseconds", True),
    ("wire-bytes", "wire_bytes", "megabytes", True),
    ("cpu-time", "cpu_s", "seconds of processor time", True),
    ("work-lost", "guest_work_lost_pct", "percent of an undisturbed guest's work in the time of the move", False),
)
PLOT_TITLES = {
    "total-time": "Total time of a move", "blackout": "Blackout: how long the guest's clock stood still",
    "client-gap": "Largest gap in a client's 1,000 datagrams a second", "wire-bytes": "Bytes on the wire between the hosts",
    "cpu-time": "Processor time of both sides, without the guest's own", "work-lost": "Guest work lost",
}


def _bar(row, figure):
    median = row[figure.key]
    if median is None:
        return plot.Bar(row["engine"])
    least, most = row["spread"][figure.key]
    return plot.Bar(row["engine"], median / figure.scale, least / figure.scale, most / figure.scale)


def _groups(rows, figure):
    """Only rows in which somebody has this figure; without it, only who did not complete."""
    return [("/".join(name), [_bar(row, figure) for row in block if row[figure.key] is not None or not row["completed"]])
            for name, block in blocks(rows).items() if any(row[figure.key] is not None for row in block)]


def write_plots(report, folder):
    """Returns the names of the files."""
    figures = {figure.key: figure for figure in FIGURES}
    names = []
    for name, key, unit, logarithmic in PLOTS:
        groups = _groups(report["rows"], figures[key])
        if not groups:
            continue
        with open(os.path.join(folder, f"{name}.svg"), "w") as file:
            file.write(plot.bars_svg(PLOT_TITLES[name], plot.Axis(unit, logarithmic), groups))
        names.append(name)
    return names


def _cell(row, figure):
    if row[figure.key] is None:
        return "-"
    least, most = row["spread"][figure.key]
    return f"{figure.text(row[figure.key])} ({figure.text(least)} to {figure.text(most)})"


def _block_lines(rows):
    heading, notes = block_heading(rows)
    lines = [f"**{heading}** ({notes})", "",
             "| engine | " + " | ".join(f"{figure.title}, {figure.unit}" for figure in TABLE_FIGURES) + " |",
             "| --- |" + " --- |" * len(TABLE_FIGURES)]
    for row in rows:
        if any(run["completed"] for run in row["runs"]):
            cells = [_cell(row, figure) for figure in TABLE_FIGURES]
        else:
            cells = [outcome_text(row)] + [""] * (len(TABLE_FIGURES) - 1)
        lines.append(f"| {ENGINES[row['engine']].title} | " + " | ".join(cells) + " |")
    lines += [f"| *{title}* | " + " | ".join(cells) + " |" for title, cells in comparisons(rows)]
    return [*lines, ""]


def _verdict_lines(rows):
    lines = ["| row | what | measured | aim | reached |", "| --- | --- | --- | --- | --- |"]
    for verdict in verdicts(rows):
        sign = "at least" if verdict.at_least else "at most"
        lines.append(f"| {verdict.row} | {verdict.what} | {verdict.value:.2f} | {sign} {verdict.aim:.2f} | "
                     f"{'yes' if verdict.reached else '**no**'} |")
    return lines + [""]


def section(report, plots):
    """The generated part, as lines."""
    machine = report["machine"]
    runs = max((len(row["runs"]) for row in report["rows"]), default=0)
    lines = [f"Command: `{report['command']}`, {report['date']}. Machine: {machine['cores']} cores ({machine['processor']}), "
             f"{machine['memory_gib']:.0f} GiB, Linux {machine['kernel']}, QEMU {machine['qemu']}, guests under "
             f"{machine['accelerator'].upper()}. Medians of up to {runs} runs, in brackets the smallest and the largest; "
             f"multifd with {report['multifd_channels']} channels.", ""]
    lines += [f"![{PLOT_TITLES[name]}]({name}.svg)" for name in plots]
    lines += ["", "### Aims", "", *_verdict_lines(report["rows"]), "### Figures", ""]
    for block in blocks(report["rows"]).values():
        lines += _block_lines(block)
    broken = broken_guests(report)
    return lines + (["### Broken guests", "", *[f"- {line}" for line in broken], ""] if broken else [])


def replaced(text, lines):
    """The document with its generated part replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no lines {BEGIN} and {END}")
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after


def write(report_path, folder):
    """From the report to docs/benchmarks/: plots beside the document, and its generated part."""
    with open(report_path) as file:
        report = json.load(file)
    path = os.path.join(folder, "README.md")
    with open(path) as file:
        text = file.read()
    text = replaced(text, section(report, write_plots(report, folder)))
    with open(path, "w") as file:
        file.write(text)
    print(f"{path} and its plots are those of {report_path}")
