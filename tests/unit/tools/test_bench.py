#!/usr/bin/python3 -B
"""The pure parts of the bench: plan, medians and ratios, aims, plots, document. Speaks TAP."""
import os
import sys
import xml.etree.ElementTree as ElementTree

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../bench")
sys.path.insert(0, BENCH)

import document  # noqa: E402
import plot  # noqa: E402
import rows as plan  # noqa: E402
import summary  # noqa: E402
import targets  # noqa: E402
from tap import run_tests  # noqa: E402


def run(total_s=1.0, completed=True, **others):
    figures = {figure.key: None for figure in summary.FIGURES}
    figures.update(completed=completed, total_s=total_s, blackout_ms=20.0, client_gap_ms=40.0, wire_bytes=2e9, cpu_s=1.0,
                   undisturbed_bytes_per_s=0.0, wrong_pages=0, detail={})
    figures.update(others)
    return figures


def rows_of(name, **runs):
    """Rows of one guest and link: engine (with _ for -) = its runs."""
    row = plan.parse_row(name)
    return [{**summary.row_of(row, engine.replace("_", "-"), list(of), [3e9, 2e9, 1e9]), "failed_runs": 0}
            for engine, of in runs.items()]


def report_of(rows):
    machine = {"cores": 2, "processor": "a <fast> one", "memory_gib": 23.5, "kernel": "6.18", "qemu": "7.2.22",
               "accelerator": "tcg"}
    return {"machine": machine, "command": "make bench", "date": "2026-11-21", "multifd_channels": 2, "rows": rows}


def fails(call, *arguments):
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)
    return None


def every_row_of_the_plan_is_one():
    for text in plan.FULL_ROWS + plan.QUICK_ROWS:
        assert plan.parse_row(text).name == text
    for guest in plan.GUESTS.values():
        assert guest.machine in plan.MACHINES


def a_wrong_row_or_engine_is_refused_with_what_there_is():
    assert "loopback" in fails(plan.parse_row, "data/2g")
    assert "hot" in fails(plan.parse_row, "nothing/1g")
    assert "GUEST/LINK" in fails(plan.parse_row, "data")
    assert "postcopy" in fails(plan.parse_engines, "drover,vmotion")


def rows_that_share_a_machine_stand_together():
    ordered = plan.parse_rows("write10/1g,hot/1g,data/1g,write50/10g,data/loopback")
    assert [row.name for row in ordered] == ["data/1g", "data/loopback", "write10/1g", "write50/10g", "hot/1g"]


def engines_are_those_that_apply():
    wanted = list(plan.ENGINES)
    assert "auto-converge" not in plan.engines_of(plan.parse_row("write50/1g"), wanted)
    assert "auto-converge" in plan.engines_of(plan.parse_row("write90/1g"), wanted)
    assert "auto-converge" in plan.engines_of(plan.parse_row("hot/10g"), wanted)
    assert "multifd-zstd" in plan.engines_of(plan.parse_row("text/1g"), wanted)
    assert plan.engines_of(plan.parse_row("data/loopback"), ["multifd-zstd", "drover"]) == ["drover"]


def each_run_begins_with_another_engine():
    names = ["a", "b", "c"]
    starts = [plan.rotated(names, run_number)[0] for run_number in range(4)]
    assert starts == ["a", "b", "c", "a"]
    assert all(sorted(plan.rotated(names, run_number)) == names for run_number in range(4))
    assert plan.rotated([], 3) == []


def fewer_runs_fit_in_fewer_minutes():
    everything = plan.parse_rows("full"), list(plan.ENGINES)
    whole = plan.plan_estimate_s(*everything, 5, 30, True)
    assert plan.runs_that_fit(*everything, 5, 30, True, whole / 60 + 1) == 5
    fewer = plan.runs_that_fit(*everything, 5, 30, True, whole / 120)
    assert 1 <= fewer < 5 and plan.plan_estimate_s(*everything, fewer, 30, True) <= max(
        whole / 2, plan.plan_estimate_s(*everything, 1, 30, True))
    assert plan.runs_that_fit(*everything, 5, 30, True, 0.1) == 1


def the_quick_bench_is_planned_for_less_than_five_minutes():
    seconds = plan.plan_estimate_s(plan.parse_rows("quick"), list(plan.ENGINES), plan.QUICK_RUNS, plan.QUICK_CAP_S, False)
    assert seconds < 300, seconds


def a_row_is_the_median_of_the_runs_that_completed():
    row, = rows_of("data/loopback", drover=[run(3.0), run(1.0), run(2.0), run(9.0, completed=False)])
    assert row["total_s"] == 2.0 and row["spread"]["total_s"] == [1.0, 3.0]
    assert row["completed"] is False and row["bare_stream_bytes_per_s"] == 2e9
    assert row["stopped_ms"] is None and "stopped_ms" not in row["spread"]
    for key in ("guest", "link", "engine", "total_s", "blackout_ms", "client_gap_ms", "wire_bytes", "cpu_s",
                "guest_work_lost_pct", "completed"):
        assert key in row


def only_modes_that_complete_count_as_the_best():
    rows = rows_of("data/loopback", drover=[run(1.0)], precopy=[run(4.0)], multifd=[run(2.0)],
                   postcopy=[run(0.1), run(0.1, completed=False)])
    assert summary.best_of_qemu(rows, "total_s") == 2.0
    assert summary.ratio(rows, "total_s") == 0.5
    assert summary.ratio(rows_of("data/1g", drover=[run(1.0)]), "total_s") is None
    assert summary.ratio(rows_of("data/1g", precopy=[run(1.0)]), "total_s") is None
    unfinished = rows_of("data/1g", drover=[run(completed=False)], precopy=[run(1.0)])
    assert summary.ratio(unfinished, "total_s") is None


def encryption_is_compared_with_drover_in_clear_and_never_counts_as_qemus():
    rows = rows_of("data/loopback", drover=[run(3.0)], drover_plain=[run(2.0)], precopy=[run(6.0)])
    assert summary.best_of_qemu(rows, "total_s") == 6.0
    assert summary.cost_of_encryption(rows, "total_s") == 1.5
    assert [title for title, _ in summary.comparisons(rows)] == ["clear : best of QEMU", "encrypted : in clear"]
    assert abs(summary.ratio(rows, "total_s") - 2 / 6) < 1e-9
    alone = rows_of("data/loopback", drover=[run(3.0)], drover_plain=[run(2.0)])
    assert [title for title, _ in summary.comparisons(alone)] == ["encrypted : in clear"]


def an_engine_that_never_completes_is_not_tried_for_ever():
    assert not summary.is_hopeless([])
    assert summary.is_hopeless([run(completed=False)] * plan.INCOMPLETE_RUNS_MOST)
    assert not summary.is_hopeless([run(completed=False), run()])


def the_table_fits_the_terminal():
    lost = run(1234.56, blackout_ms=12345.6, client_gap_ms=98765.0, wire_bytes=123456e6, cpu_s=1234.5,
               guest_work_lost_pct=100.0, vcpu_lost_s=1234.56, undisturbed_bytes_per_s=177e6)
    rows = rows_of("write150/1g", drover=[lost], precopy=[run(completed=False)], auto_converge=[lost])
    text = summary.table(rows)
    assert all(len(line) <= 80 for line in text.splitlines()), text
    assert "did not complete" in text and "bare TCP 2000 MB/s, guest writes 177 MB/s" in text


def broken_guests_are_named():
    rows = rows_of("hot/1g", drover=[run()], precopy=[run(wrong_pages=2), run(wrong_pages=1)], multifd=[run()])
    rows[2]["failed_runs"] = 2
    report = {**report_of(rows), "remarks": ["bench-qemu did not answer; it was booted again"]}
    assert summary.broken_guests(report) == ["bench-qemu did not answer; it was booted again",
                                             "hot/1g, QEMU pre-copy: 3 pages of the guest's memory were wrong",
                                             "hot/1g, QEMU multifd: 2 runs failed and were repeated"]
    assert summary.broken_guests(report_of(rows[:1])) == []
    lines = document.section(report_of(rows), [])
    assert "- hot/1g, QEMU multifd: 2 runs failed and were repeated" in lines


def aims_are_judged_by_ratio_and_by_figure():
    rows = rows_of("data/loopback", drover=[run(1.0, blackout_ms=9.0)], precopy=[run(5.0)])
    found = {verdict.what: verdict for verdict in targets.verdicts(rows)}
    assert found["total time, of QEMU's best"].reached
    assert found["CPU, of QEMU's best"].value == 1.0 and not found["CPU, of QEMU's best"].reached
    assert found["rate, of a bare TCP stream's"].value == 1.0 and found["rate, of a bare TCP stream's"].reached
    assert found["blackout in ms"].reached


def convergence_is_judged_beside_auto_converge():
    rows = rows_of("hot/1g", drover=[run(guest_work_lost_s=1.0, vcpu_lost_s=0.5)],
                   auto_converge=[run(guest_work_lost_s=4.0, vcpu_lost_s=1.0)])
    found = {verdict.what: verdict for verdict in targets.verdicts(rows)}
    assert found["completes"].reached and found["work lost, of auto-converge's"].value == 0.25
    assert found["vCPU time lost, of auto-converge's"].value == 0.5
    rows = rows_of("hot/1g", drover=[run(completed=False)], auto_converge=[run(guest_work_lost_s=4.0)])
    assert [(verdict.what, verdict.reached) for verdict in targets.verdicts(rows)] == [("completes", False)]


def numbers_on_plots_have_three_digits():
    assert [plot.number_text(value) for value in (0, 0.0123, 1.234, 45.67, 1234.5)] == ["0", "0.0123", "1.23", "45.7", "1234"]


def a_plot_is_an_image_with_a_bar_for_each_that_completed():
    bars = [plot.Bar("drover", 0.5, 0.4, 0.7), plot.Bar("precopy", 4.0, 4.0, 4.0), plot.Bar("multifd")]
    root = ElementTree.fromstring(plot.bars_svg("A <title> & more", plot.Axis("seconds"), [("data/loopback", bars)]))
    shapes = [element.tag.split("}")[1] for element in root]
    assert shapes.count("rect") == 1 + 3 + 2  # background, legend, bars
    text = " ".join(element.text for element in root if element.text)
    assert "did not complete" in text and "seconds, logarithmic" in text and "data/loopback" in text


def a_scale_holds_its_values():
    for logarithmic in (True, False):
        scale = plot.Scale([0.0, 0.03, 2.0, 70.0], logarithmic)
        places = [scale.x(value) for value in (0.0, 0.03, 2.0, 70.0)]
        assert places == sorted(places) and places[0] >= plot.LEFT and places[-1] <= plot.WIDTH - plot.RIGHT
        assert len(scale.ticks()) >= 3 and all(scale.low <= tick <= scale.high * 1.001 for tick in scale.ticks())


def the_document_keeps_what_people_wrote():
    rows = rows_of("data/loopback", drover=[run(0.5)], precopy=[run(5.0)], multifd=[run(completed=False)])
    lines = document.section(report_of(rows), ["total-time"])
    text = document.replaced(f"by hand\n{document.BEGIN}\nold\n{document.END}\nby hand too\n", lines)
    assert text.startswith("by hand\n") and text.endswith("by hand too\n") and "\nold\n" not in text
    assert "![Total time of a move](total-time.svg)" in text and "`make bench`" in text
    assert "| Drover | 0.50 (0.50 to 0.50)" in text and "did not complete" in text
    assert fails(document.replaced, "no marks", lines)


TESTS = (every_row_of_the_plan_is_one, a_wrong_row_or_engine_is_refused_with_what_there_is,
         rows_that_share_a_machine_stand_together, engines_are_those_that_apply, each_run_begins_with_another_engine,
         fewer_runs_fit_in_fewer_minutes, the_quick_bench_is_planned_for_less_than_five_minutes,
         a_row_is_the_median_of_the_runs_that_completed, only_modes_that_complete_count_as_the_best,
         encryption_is_compared_with_drover_in_clear_and_never_counts_as_qemus,
         an_engine_that_never_completes_is_not_tried_for_ever, the_table_fits_the_terminal, broken_guests_are_named,
         aims_are_judged_by_ratio_and_by_figure, convergence_is_judged_beside_auto_converge,
         numbers_on_plots_have_three_digits, a_plot_is_an_image_with_a_bar_for_each_that_completed,
         a_scale_holds_its_values, the_document_keeps_what_people_wrote)


if __name__ == "__main__":
    sys.exit(run_tests(TESTS))
