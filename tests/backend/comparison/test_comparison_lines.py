"""Lines of a comparison: means and intervals against numpy's, axes after a resume, and nothing left out in silence."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from backend.comparison import axes, lines, paper, table
from backend.comparison.groups import REGIMES, RUNS, SEEDS, SETTING, difference, grouped, said, settings_that_differ
from backend.comparison.smoothing import Smoothing, centred_mean
from db import claims, engine, ingest, reads, runs
from db.reads import Reached, StretchMean
from db.statuses import Status
from trainer.config import parse, resolve
from trainer.presets import presets

T_95 = {1: 12.7062, 2: 4.30265, 3: 3.18245}
CLOCK = "time/step_seconds"


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path / 'mtprl.db'}"
    engine.migrate(url)
    opened = engine.connect(url)
    yield opened
    opened.dispose()


def _events(values, attempt=1, first=1, begun=0.0, **more):
    """A metrics event per step, ten seconds each."""
    for place, value in enumerate(values):
        named = {"m": float(value), CLOCK: 10.0, **{name: float(each[place]) for name, each in more.items()}}
        kept = {name: (value if math.isfinite(value) else "NaN") for name, value in named.items()}
        head = {"type": "metrics", "attempt": attempt, "step": first + place, "mini_batch": -1}
        yield {**head, "time": begun + 10 * (place + 1), "values": kept}


def _add(store, values, *, seed=0, preset="demo/occ", status=Status.FINISHED, overrides=(), **more):
    config = parse(resolve(presets()[preset].values, [f"seed={seed}", *overrides], {"MTPRL_HOME": "/"}))
    with engine.writing(store) as connection:
        run = runs.create_run(
            connection,
            experiment="e",
            name=f"{config.regime.kind}-{seed}",
            config=config.model_dump(mode="json"),
            regime=config.regime.kind,
            algorithm=config.algorithm.kind,
            seed=seed,
            total_steps=len(values),
            preset=preset,
            folder=f"runs/{seed}",
            now=0.0,
        )
        assert claims.claim_next(connection, host="h", devices=[f"cpu:{run}"], now=0.0)
        events = list(_events(values, **more))
        ingest.ingest(connection, run, events, attempt=1, start=0, offset=1, torn_lines=0)
        claims.finish(connection, run_id=run, attempt=1, status=status, reason="", exit_code=0, now=10.0 * len(values))
    return run


def _groups(store, ids, by=SEEDS, setting=""):
    with engine.reading(store) as connection:
        return grouped([reads.get_run(connection, run_id) for run_id in ids], by, setting)


def _chart(store, groups, *, axis=axes.STEPS, smoothing=None, metric="m"):
    with engine.reading(store) as connection:
        values = lines.read(connection, groups, [metric], axis=axis)
    return values, lines.chart(values, groups, metric, smoothing or Smoothing())


# --- means -----------------------------------------------------------------------------------------------


def test_mean_and_interval_over_seeds_are_numpys_and_n_changes_where_seeds_end_or_have_no_number(store):
    values = np.random.default_rng(0).normal(size=(3, 8))
    values[1, 3] = math.nan
    lengths = (8, 8, 5)
    ids = [_add(store, row[:length], seed=seed) for seed, (row, length) in enumerate(zip(values, lengths, strict=True))]
    [line] = _chart(store, _groups(store, ids))[1].averaged
    assert list(line.x) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(line.n) == [3, 3, 3, 2, 3, 2, 2, 2]
    values[2, 5:] = math.nan
    assert line.y == pytest.approx(np.nanmean(values, axis=0))
    n = np.array(line.n)
    half = [T_95[count - 1] for count in n] * np.nanstd(values, axis=0, ddof=1) / np.sqrt(n)
    assert line.half == pytest.approx(half, rel=1e-4)


def test_one_run_has_no_interval(store):
    ids = [_add(store, [1.0, 2.0, 3.0]), _add(store, [1.0, 3.0], seed=1)]
    [line] = _chart(store, _groups(store, ids))[1].averaged
    assert [math.isnan(half) for half in line.half] == [False, False, True]


def test_runs_are_smoothed_before_they_are_averaged(store):
    values = np.random.default_rng(1).normal(size=(3, 20))
    ids = [_add(store, row, seed=seed) for seed, row in enumerate(values)]
    [line] = _chart(store, _groups(store, ids), smoothing=Smoothing("mean", window=5))[1].averaged
    smooth = np.array([centred_mean(range(20), list(row), 5) for row in values])
    assert line.y == pytest.approx(smooth.mean(axis=0))
    assert line.half == pytest.approx(T_95[2] * smooth.std(axis=0, ddof=1) / math.sqrt(3), rel=1e-4)


def test_long_runs_are_averaged_over_stretches_that_hold_every_value_and_say_that_not_all_is_drawn(store):
    values = np.random.default_rng(2).normal(size=(2, 5000))
    ids = [_add(store, row, seed=seed) for seed, row in enumerate(values)]
    groups = _groups(store, ids)
    read, chart = _chart(store, groups)
    [line] = chart.averaged
    assert (read.stretches.width, read.stretches.from_sums) == (32, True)
    assert line.y[0] == pytest.approx(values[:, :31].mean())
    assert line.y[1:-1] == pytest.approx(values[:, 31:4991].reshape(2, -1, 32).mean(axis=(0, 2)))
    assert chart.thinned
    assert all(len(one.y) <= read.most_raw for one in chart.raw)
    assert len(line.y) <= lines.MOST_POINTS


def test_short_runs_are_drawn_whole_and_nothing_is_said(store):
    chart = _chart(store, _groups(store, [_add(store, [1.0] * 900)], by=RUNS))[1]
    assert not chart.thinned
    assert len(chart.raw[0].y) == 900


def test_a_line_has_few_points_however_long_its_runs_are():
    for last, count in ((10, 1), (4000, 4), (4001, 1), (10**6, 20), (10**7, 50)):
        stretches = lines.stretches_of(last, count)
        assert last / stretches.width <= 1000
        assert stretches.number(last) <= 1000


def test_a_stretch_is_the_same_for_runs_that_have_all_of_its_steps_or_one():
    """As the reads cut them: 1 to 10, 11 to 20 where they are made of values; 0 to 31, 32 to 63 where of sums."""
    assert [lines.Stretches(10, from_sums=False).number(step) for step in (0, 1, 5.5, 10, 11)] == [0, 1, 1, 1, 2]
    assert [lines.Stretches(32, from_sums=True).number(step) for step in (0, 15.5, 31, 32)] == [0, 0, 0, 1]


# --- axes ------------------------------------------------------------------------------------------------


def _resumed(store, **more):
    """Six steps of 10 s; two of them are lost, and made again, with other numbers of tokens, after a long pause."""
    run = _add(store, range(1, 7), status=Status.STOPPED, **{name: each[:6] for name, each in more.items()})
    with engine.writing(store) as connection:
        detail = reads.get_run(connection, run)
        again = {"config": detail.config, "total_steps": 7, "devices": 1, "priority": 0, "retries": 0, "reason": ""}
        assert runs.resume(connection, run, attempt=1, now=5000.0, **again)
        assert claims.claim_next(connection, host="h", devices=["cpu:0"], now=9000.0)
        started = {"type": "attempt_started", "attempt": 2, "step": 0, "mini_batch": -1, "time": 9000.0, "pid": 1}
        started |= {"host": "h", "total_steps": 7, "resumed_from": 4}
        later = {name: each[6:] for name, each in more.items()}
        made = _events([5, 6, 7], attempt=2, first=5, begun=9000.0, **later)
        ingest.ingest(connection, run, [started, *made], attempt=2, start=1, offset=2, torn_lines=0)
    return run


def test_hours_leave_the_pause_out_and_keep_what_was_lost(store):
    group = _groups(store, [_resumed(store)], by=RUNS)
    [line] = _chart(store, group, axis=axes.HOURS)[1].averaged
    assert [3600 * x for x in line.x] == pytest.approx([10, 20, 30, 40, 70, 80, 90])


def test_tokens_count_a_step_that_was_made_again_once(store):
    tokens = [100, 100, 100, 100, 999, 999, 50, 60, 70]
    run = _resumed(store, **{"rollout/tokens": tokens})
    [line] = _chart(store, _groups(store, [run], by=RUNS), axis=axes.TOKENS)[1].averaged
    assert list(line.x) == pytest.approx([100, 200, 300, 400, 450, 510, 580])


def test_tokens_of_runs_that_did_not_count_them_follow_from_their_lengths(store):
    overrides = ["rollout.prompts_per_step=16", "rollout.samples_per_prompt=4", "update.mini_batches=2"]
    run = _add(store, [1.0, 2.0], overrides=overrides, **{"rollout/length_mean": [2.0, 3.5]})
    [line] = _chart(store, _groups(store, [run], by=RUNS), axis=axes.TOKENS)[1].averaged
    assert list(line.x) == pytest.approx([128, 352])


def test_a_run_whose_tokens_are_not_known_of_every_step_is_named_and_not_drawn(store):
    run = _add(store, [1.0, 2.0, 3.0], **{"rollout/tokens": [5.0, math.nan, 5.0]})
    values, chart = _chart(store, _groups(store, [run], by=RUNS), axis=axes.TOKENS)
    assert (values.unplaced, chart.raw, chart.averaged) == ([run], [], [])


def test_on_an_axis_of_hours_a_mean_stands_where_its_runs_are_on_average(store):
    ids = [_add(store, [1.0, 2.0]), _add(store, [1.0, 2.0], seed=1, begun=20.0)]
    [line] = _chart(store, _groups(store, ids), axis=axes.HOURS)[1].averaged
    assert [3600 * x for x in line.x] == pytest.approx([20, 30])


def test_positions_begin_at_nothing_and_a_stretch_ends_with_its_last_step(store):
    hours = axes.by_hours([Reached(2, 3600.0)])
    assert hours.at([0, 1, 2]) == pytest.approx([0.0, 0.5, 1.0])
    [group] = _groups(store, [_add(store, [1.0])])
    tokens = axes.by_tokens(group.runs[0], [StretchMean(5.5, 3.0, 10), StretchMean(15.5, 1.0, 10)], ())
    assert tokens.at([10, 15, 20]) == pytest.approx([30.0, 35.0, 40.0])


def test_lengths_tell_no_tokens_where_a_step_may_sample_more_than_its_prompts(store):
    run = _add(store, [1.0], overrides=["rollout.dynamic_sampling_rounds=2"], **{"rollout/length_mean": [2.0]})
    assert _chart(store, _groups(store, [run], by=RUNS), axis=axes.TOKENS)[0].unplaced == [run]


# --- groups ----------------------------------------------------------------------------------------------


def test_groups_are_of_seeds_of_regimes_or_of_a_setting(store):
    ids = [
        *(_add(store, [1.0], seed=seed) for seed in (0, 1)),
        _add(store, [1.0], seed=2, status=Status.FAILED),
        _add(store, [1.0], overrides=["optimizer.lr=0.5"]),
        _add(store, [1.0], preset="demo/detach"),
    ]
    assert [group.ids for group in _groups(store, ids)] == [ids[:2], [ids[3]], [ids[4]]]
    first, second = _groups(store, ids, by=REGIMES)
    assert (first.ids, first.left_out, first.methods) == ([ids[0], ids[1], ids[3]], [ids[2]], 2)
    assert second.ids == [ids[4]]
    by_rate = _groups(store, ids, by=SETTING, setting="optimizer.lr")
    assert sorted(group.ids for group in by_rate)[-1] == [ids[3]]
    assert [len(group.runs) for group in _groups(store, ids, by=RUNS)] == [1] * 5


def test_the_difference_of_groups_is_in_the_settings_that_differ(store):
    ids = [
        _add(store, [1.0]),
        _add(store, [1.0], seed=1),
        _add(store, [1.0], overrides=["optimizer.lr=0.5", "name=fast"]),
    ]
    with engine.reading(store) as connection:
        assert settings_that_differ([reads.get_run(connection, run_id) for run_id in ids]) == ["optimizer.lr"]
    differing, equal = difference(_groups(store, ids))
    assert [row[0] for row in differing] == ["seed", "optimizer.lr"]
    assert differing[0][1:] == ["0, 1", "0"]
    assert differing[1][2] == "0.5"
    assert "steps" in [name for name, _ in equal]


def test_a_group_of_several_regimes_has_none_and_what_is_absent_is_not_what_is_not_set(store):
    ids = [_add(store, [1.0]), _add(store, [1.0], preset="demo/detach")]
    [group] = _groups(store, ids, by=SETTING, setting="steps")
    assert (group.regime, group.methods) == ("", 2)
    assert [said(values, "a") for values in ({}, {"a": None}, {"a": ""})] == ["–", "not set", "empty"]


# --- what is missing -------------------------------------------------------------------------------------


def test_groups_without_the_metric_are_named_and_only_what_is_thinned_in_a_chart_is_said_there(store):
    short, long = (_groups(store, [_add(store, [1.0] * steps, seed=steps)]) for steps in (10, 1100))
    with engine.reading(store) as connection:
        values = lines.read(connection, [*short, *long], ["m", "absent"], axis=axes.STEPS)
    assert [lines.chart(values, groups, "m", Smoothing()).thinned for groups in (short, long)] == [False, True]
    absent = lines.chart(values, short, "absent", Smoothing())
    assert (absent.without, absent.raw, absent.averaged) == ([short[0].name], [], [])


def test_what_only_mini_batches_have_is_drawn_without_a_mean(store):
    run = _add(store, [1.0])
    values = {"type": "metrics", "attempt": 1, "step": 1, "time": 1.0}
    each = [{**values, "mini_batch": place, "values": {"fine": float(place)}} for place in (0, 1)]
    with engine.writing(store) as connection:
        ingest.ingest(connection, run, each, attempt=1, start=1, offset=2, torn_lines=0)
    chart = _chart(store, _groups(store, [run], by=RUNS), metric="fine")[1]
    assert [list(one.y) for one in chart.raw] == [[0.0, 1.0]]
    assert (chart.fine, chart.averaged) == (True, [])


def test_accuracy_in_the_papers_figure_is_the_held_out_one_where_there_is_one():
    assert paper.figures(["reward/accuracy", "eval/b", "eval/a"])[0].metrics == ("eval/a", "eval/b")
    assert paper.figures(["reward/accuracy"])[0].metrics == ("reward/accuracy",)


# --- CSV -------------------------------------------------------------------------------------------------


def test_the_table_holds_every_point_that_is_drawn(store):
    ids = [_add(store, [1.0, 2.0, 4.0]), _add(store, [1.0, 4.0], seed=1)]
    chart = _chart(store, _groups(store, ids))[1]
    rows = list(csv.DictReader(io.StringIO(table.to_csv([chart], axis="steps", smoothed=False))))
    means = [row for row in rows if row["what"] == "mean"]
    assert [(row["x"], row["n"], float(row["value"])) for row in means] == [
        ("1.0", "2", 1.0),
        ("2.0", "2", 3.0),
        ("3.0", "1", 4.0),
    ]
    assert (means[0]["low"], means[2]["low"]) == ("1.0", "")
    half = T_95[1]  # of 2 and 4, whose standard error is 1
    assert [float(means[1][bound]) for bound in ("low", "high")] == pytest.approx([3 - half, 3 + half], rel=1e-4)
    smooth = table.to_csv([chart], axis="steps", smoothed=True)
    assert smooth.count(",smoothed mean,") == len(means)
    assert len(rows) - len(means) == 5
