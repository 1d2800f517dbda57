"""The numbers of a report, against numpy and the statistics module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Connection

from backend import labels, report, store, words
from backend.leaderboard import export, leaderboard
from backend.leaderboard.words import verdict
from backend.report import Report
from backend.report.curves import curve, mean_over_seeds, over_runs
from backend.report.document import Figure, Section, Table, plain
from backend.report.gathered import gather
from backend.report.methods import methods_of
from backend.report.sections.answer import lead
from backend.report.sections.closing import limits
from backend.report.sections.runs import runs as listing
from db import reads
from db.reads import StretchMean
from db.statuses import Status
from trainer.evaluation.statistics import avg_at_k

T_TWO_DEGREES = 4.302653
"""Student's 97.5 % quantile with two degrees of freedom, from a table."""

Made = Callable[[str], Report]


def section(report: Report, title: str) -> Section:
    return next(one for one in report.sections if one.title == title)


def tables(part: Section) -> list[Table]:
    inside = [one.values for one in part.blocks if isinstance(one, Figure) and one.values is not None]
    return [*inside, *(one for one in part.blocks if isinstance(one, Table))]


def table(report: Report, title: str, start: str) -> Table:
    return next(one for one in tables(section(report, title)) if one.title.startswith(start))


def row(of: Table, *first: str) -> dict[str, str]:
    cells = next(row for row in of.rows if tuple(map(plain, row[: len(first)])) == first)
    return dict(zip(of.head, map(plain, cells), strict=True))


def by_seed(connection: Connection, ids: list[int], metric: str) -> np.ndarray:
    series = reads.series(connection, ids, [metric])
    return np.array([series[run_id, metric].values for run_id in ids])


def test_a_mean_and_its_interval_are_students():
    found = mean_over_seeds([1.0, 2.0, 6.0])
    assert found.value == pytest.approx(3.0)
    assert found.half == pytest.approx(T_TWO_DEGREES * np.std([1, 2, 6], ddof=1) / math.sqrt(3), rel=1e-4)
    assert math.isnan(mean_over_seeds([1.0, 2.0]).half)
    with pytest.raises(ValueError, match="nothing to average"):
        mean_over_seeds([])


def test_a_curve_stands_only_where_all_seeds_have_values_of_the_same_steps():
    means = {
        (1, "m"): [StretchMean(1.5, 1.0, 2), StretchMean(3.5, 2.0, 2), StretchMean(5.0, 9.0, 1)],
        (2, "m"): [StretchMean(1.5, 3.0, 2), StretchMean(3.0, 4.0, 1)],
        (3, "m"): [StretchMean(1.5, 5.0, 2), StretchMean(3.5, 6.0, 2), StretchMean(5.0, 9.0, 1)],
    }
    found = curve(means, [1, 2, 3], "m")
    assert found is not None
    assert (found.steps, found.seeds, found.cut) == ((1.5,), 3, True)
    assert found.means[0].value == pytest.approx(3.0)
    whole = curve(means, [1, 3], "m")
    assert whole is not None
    assert (whole.steps, whole.cut) == ((1.5, 3.5, 5.0), False)
    assert curve(means, [1, 2], "absent") is None


def test_a_mean_over_a_run_weighs_every_step_the_same():
    means = {(1, "m"): [StretchMean(0.0, 8.0, 1), StretchMean(2.0, 2.0, 3)]}
    found = over_runs(means, [1], "m")
    assert found is not None
    assert found.value == pytest.approx((8 + 3 * 2) / 4)


def test_curves_are_means_over_seeds_of_what_is_stored(made: Made, connection: Connection, filled):
    ids = [filled.runs["demo"][f"detach {seed}"] for seed in (0, 1, 2)]
    values = 100 * by_seed(connection, ids, "reward/accuracy")
    shown = row(table(made("demo"), "Curves", "Accuracy of the rollouts"), "detach")
    assert shown["n"] == "3"
    for step in (1, 12):
        column = values[:, step - 1]
        half = T_TWO_DEGREES * column.std(ddof=1) / math.sqrt(3)
        assert shown[f"step {step}"] == f"{column.mean():.1f} ± {half:.1f}"


def test_the_figure_holds_the_same_numbers_as_its_table(made: Made, connection: Connection, filled):
    ids = [filled.runs["demo"][f"detach {seed}"] for seed in (0, 1, 2)]
    figure = next(
        one
        for one in section(made("demo"), "Curves").blocks
        if isinstance(one, Figure) and one.figure.layout.title.text == "Reward"
    ).figure
    bold = next(trace for trace in figure.data if trace.name == "detach, n 3")
    assert list(bold.y) == pytest.approx(by_seed(connection, ids, "reward/mean").mean(axis=0), rel=1e-4)
    raw = [trace for trace in figure.data if trace.name in {f"run {run_id}" for run_id in ids}]
    assert [list(trace.y) for trace in raw] == [
        pytest.approx(list(values), rel=1e-4) for values in by_seed(connection, ids, "reward/mean")
    ]


def test_a_run_that_failed_is_listed_and_drawn_and_not_averaged(made: Made, filled):
    failed = str(filled.runs["demo"]["failed"])
    report = made("demo")
    listed = next(
        dict(zip(one.head, map(plain, cells), strict=True))
        for one in tables(section(report, "Runs"))[:1]
        for cells in one.rows
        if plain(cells[one.head.index("run")]) == failed
    )
    assert (listed["status"], listed["averaged"], listed["steps"]) == ("failed", "no", "3 of 12")
    assert listed["how it ended"] == "the loss at step 4 is NaN <b>bold</b>"
    assert row(table(report, "Curves", "Reward"), "detach")["n"] == "3"
    drawn = {
        trace.name for one in section(report, "Curves").blocks if isinstance(one, Figure) for trace in one.figure.data
    }
    assert f"run {failed}" in drawn
    assert any(f"1 run failed ({failed}): listed, not averaged." == sentence for sentence in report.lead)


def test_of_a_seed_the_newest_run_that_neither_failed_nor_was_stopped_is_averaged(connection: Connection, filled):
    run = reads.get_run(connection, filled.runs["queued"]["queued"])
    statuses = {1: Status.FINISHED, 2: Status.FINISHED, 3: Status.STOPPED, 4: Status.FAILED}
    [method] = methods_of([replace(run, id=number, status=status) for number, status in statuses.items()])
    assert [one.id for one in method.runs] == [1, 2, 3, 4]
    assert [one.id for one in method.averaged] == [2]


def test_archived_runs_are_in_no_table_until_asked_for_and_the_report_says_how_many(filled):
    away = filled.runs["demo"]["occ 2"]
    labels.archive([away])
    with store.reading() as connection:
        found = gather(connection, "demo", 0.0, lambda what: None)
        text = report.written(report.make(connection, "demo", now=0.0), "markdown")
        everything = gather(connection, "demo", 0.0, lambda what: None, archived=True)
    assert (found.archived, found.left_out) == (1, 0)
    assert away not in {run.id for run in found.runs}
    assert all(away not in row.run_ids for board in found.boards for row in board.rows)
    assert "1 archived run is left out: nothing here counts or lists them" in text
    assert everything.archived == 0
    assert away in {run.id for run in everything.runs}
    assert any(away in row.run_ids for board in everything.boards for row in board.rows)


def test_runs_that_never_started_are_listed_and_are_no_method_and_no_seed(connection: Connection, filled):
    found = gather(connection, "demo", 0.0, lambda what: None)
    never = {"status": Status.FAILED, "step": 0}
    off = filled.runs["demo"]["off"]
    runs = [replace(run, **never) if run.id == off else run for run in found.runs]
    waiting = replace(runs[0], id=99, seed=9, status=Status.QUEUED, step=0)
    less = replace(found, groups=methods_of([*runs, waiting]))
    assert lead(less)[0] == "3 methods are compared, with 3 seeds of each: detach; occ; policy."
    assert not [
        item for block in limits(less).blocks for item in getattr(block, "items", ()) if item.startswith("off:")
    ]
    assert not [item for block in limits(less).blocks for item in getattr(block, "items", ()) if "same seed" in item]
    listed = tables(listing(less))[0]
    assert {str(off), "99"} <= {plain(cells[listed.head.index("run")]) for cells in listed.rows}
    none = replace(found, groups=methods_of([waiting]))
    assert lead(none)[0] == "No run of this experiment has made a step yet, so there is no method to compare."


def test_a_run_that_goes_on_is_averaged_as_far_as_it_is_and_said(made: Made, connection: Connection, filled):
    report, running = made("demo"), filled.runs["demo"]["running"]
    shown = row(table(report, "Curves", "Accuracy of the rollouts"), "policy")
    assert shown["n"] == "3"
    assert shown["step 12"] == "–"
    note = next(
        one.note
        for one in section(report, "Curves").blocks
        if isinstance(one, Figure) and one.figure.layout.title.text == "Reward"
    )
    assert note == "The mean stands only where all seeds have values, and some have more: policy."
    assert any(f"run {running}, running, step 7 of 12" in sentence for sentence in report.lead)
    finished = [filled.runs["demo"][f"policy {seed}"] for seed in (0, 1)]
    expected = by_seed(connection, finished, "mtp/v2_hat").mean()
    shown = row(table(report, "Coefficient", "Means over whole runs"), "policy", "1")
    assert (shown["n"], shown["v̂²"]) == ("2", f"{expected:.1f}")


def test_coefficients_are_means_over_runs_at_every_depth(made: Made, connection: Connection, filled):
    ids = [filled.runs["demo"][f"occ {seed}"] for seed in (0, 1, 2)]
    of = table(made("demo"), "Coefficient", "Means over whole runs")
    for depth, metric in (("1", "mtp/coefficient"), ("2", "mtp/depth_2/coefficient")):
        each = by_seed(connection, ids, metric).mean(axis=1)
        half = T_TWO_DEGREES * each.std(ddof=1) / math.sqrt(3)
        value, shown = row(of, "occ", depth)["λ"].split(" ± ")
        assert float(value) == pytest.approx(each.mean(), abs=5e-4)
        assert float(shown) == pytest.approx(half, rel=0.06)


def test_the_table_of_runs_shows_the_coefficient_of_lists(made: Made, connection: Connection, filled):
    run_id = filled.runs["demo"]["occ 0"]
    of = table(made("demo"), "Runs", "Runs: where")
    cells = next(cells for cells in of.rows if plain(cells[of.head.index("run")]) == str(run_id))
    shown = dict(zip(of.head, map(plain, cells), strict=True))
    last_ten = by_seed(connection, [run_id], "mtp/coefficient")[0, -10:]
    assert shown["λ, mean of last 10 steps"] == words.number(reads.get_run(connection, run_id).coefficient)
    assert float(shown["λ, mean of last 10 steps"]) == pytest.approx(last_ten.mean(), rel=1e-2)
    assert shown["s / step, last"] == words.number(reads.latest(connection, run_id)["time/step_seconds"].value)


def test_what_a_table_may_claim_stands_in_it_and_the_nearest_one_is_called_by_its_number(made: Made, connection):
    boards = leaderboard(connection, "demo")
    assert len(boards) > 1
    shown = [one for one in section(made("demo"), "Answer").blocks if isinstance(one, Table)]
    ranked = [one for one in shown if "avg@4" in one.head]
    assert [list(one.notes) for one in ranked] == [[*verdict(board), *filter(None, [board.caveat])] for board in boards]
    assert [one.title for one in ranked] == [f"Table {n}. {one.title}" for n, one in enumerate(boards, start=1)]
    keys = [board.key for board in boards]
    assert [one.title for one in shown if one.title.startswith("In what")] == [
        f"In what this table's protocol differs from that of table {keys.index(board.nearest) + 1}"
        for board in boards
        if board.nearest
    ]


def test_the_answer_is_the_leaderboard(made: Made, connection: Connection, filled):
    boards = leaderboard(connection, "demo")
    shown = [one for one in section(made("demo"), "Answer").blocks if isinstance(one, Table) and "avg@4" in one.head]
    assert [one.rows and [[plain(cell) for cell in row] for row in one.rows] for one in shown] == [
        [[cell or "–" for cell in export.cells(board, row)] for row in board.rows] for board in boards
    ]
    ids = [filled.runs["demo"][f"detach {seed}"] for seed in (0, 1, 2)]
    rows = reads.evaluations(connection, ids, last_only=True)
    outcomes = [{"b": {item: [int(mark) for mark in marks] for item, marks in one.items.items()}} for one in rows]
    expected = avg_at_k(outcomes)
    assert expected.value == pytest.approx(np.mean([[*run["b"].values()] for run in outcomes]))
    detach = next(row for one in shown for row in one.rows if plain(row[0]) == "detach")
    assert plain(detach[3]) == f"{100 * expected.value:.1f} ({100 * expected.low:.1f}–{100 * expected.high:.1f})"


def test_of_a_long_run_every_point_is_the_mean_over_a_stretch_and_it_says_so(
    made: Made, connection: Connection, filled, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("backend.report.gathered.MOST_STRETCHES", 4)
    ids = [filled.runs["demo"][f"detach {seed}"] for seed in (0, 1, 2)]
    found = gather(connection, "demo", 0.0, lambda what: None)
    assert found.width == 3
    values = by_seed(connection, ids, "reward/mean").reshape(3, 4, 3).mean(axis=2)
    line = curve(found.means, ids, "reward/mean")
    assert line is not None
    assert line.steps == (2.0, 5.0, 8.0, 11.0)
    assert [mean.value for mean in line.means] == pytest.approx(values.mean(axis=0))
    note = next(
        one.note
        for one in section(made("demo"), "Curves").blocks
        if isinstance(one, Figure) and "Means over" in one.note
    )
    assert note.startswith("Means over 3 steps.")


def test_audits_are_counted_by_run_and_depth(made: Made, filled):
    [of] = tables(section(made("demo"), "Audits"))
    assert [(plain(row[1]), plain(row[2]), plain(row[3])) for row in of.rows] == [
        (str(filled.runs["demo"][f"occ {seed}"]), depth, "12") for seed in (0, 1, 2) for depth in ("1", "2")
    ]
