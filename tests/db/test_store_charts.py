from __future__ import annotations

import math
import random

import pytest
from sqlalchemy import event as sqlalchemy_event
from store_helpers import Reader, claim, metrics, started, submit

from db import reads
from db.engine import reading, writing
from db.extremes import STEPS
from trainer.events import encode_number


def _fill(store, *series: list[float], mini_batches: int = 0) -> list[int]:
    """One run per series of the metric `m`; with `mini_batches`, that many values share a step."""
    ids = []
    for values in series:
        with writing(store) as connection:
            run = submit(connection)
            claim(connection, f"cuda:{run}")
        places = [divmod(index, mini_batches) if mini_batches else (index, -1) for index in range(len(values))]
        numbers = zip(places, map(encode_number, values), strict=True)
        Reader(store, run).feed(started(), *(metrics(*place, m=number) for place, number in numbers))
        ids.append(run)
    return ids


def _series(store, runs: list[int], **options) -> dict[int, reads.Series]:
    with reading(store) as connection:
        return {run: series for (run, _), series in reads.series(connection, runs, ["m"], **options).items()}


def _noise(count: int, seed: int = 0) -> list[float]:
    generator = random.Random(seed)
    return [generator.gauss(0, 1) for _ in range(count)]


def test_a_series_that_fits_is_returned_whole(store):
    values = _noise(1000)
    (run,) = _fill(store, values)
    assert _series(store, [run]) == {run: reads.Series(tuple(range(1000)), (-1,) * 1000, tuple(values))}


@pytest.mark.parametrize(("count", "unit"), [(990, 1), (5001, STEPS)])
def test_a_long_series_keeps_its_ends_and_its_extremes_in_every_part(store, count, unit):
    """Parts are of single steps where they are shorter than a stretch, else of whole stretches."""
    values = _noise(count)
    values[345], values[346] = 99.0, -99.0
    (run,) = _fill(store, values)
    points = _series(store, [run], max_points=100)[run]
    assert 50 < len(points.steps) <= 100
    assert list(points.steps) == sorted(set(points.steps))
    assert [values[step] for step in points.steps] == list(points.values)
    assert (points.steps[0], points.steps[-1]) == (0, count - 1)
    buckets, units = 32, (count - 1) // unit + 1  # (100 - 2) // 3
    for bucket in range(buckets):
        part = values[units * bucket // buckets * unit : units * (bucket + 1) // buckets * unit]
        assert {min(part), max(part)} <= set(points.values)


def test_values_that_are_not_finite_survive_between_others(store):
    values = _noise(3000)
    values[7], values[1500], values[2500] = math.nan, math.inf, -math.inf
    (run,) = _fill(store, values)
    points = _series(store, [run], max_points=50)[run]
    kept = dict(zip(points.steps, points.values, strict=True))
    assert math.isnan(kept[7])
    assert (kept[1500], kept[2500]) == (math.inf, -math.inf)
    assert max(filter(math.isfinite, kept.values())) == max(filter(math.isfinite, values))


def test_a_long_series_without_a_finite_value_is_still_there(store):
    (run,) = _fill(store, [math.nan] * 500)
    points = _series(store, [run], max_points=20)[run]
    assert 2 <= len(points.values) <= 20
    assert all(map(math.isnan, points.values))


@pytest.mark.parametrize("count", [1, 2, 3, 18, 100, 2000])
def test_no_series_has_more_points_than_were_asked_for(store, count):
    values = [math.nan if index % 3 == 0 else float(index % 7) for index in range(count)]
    (run,) = _fill(store, values)
    for max_points in (2, 3, 4, 5, 17, 99, 100):
        points = _series(store, [run], max_points=max_points)[run]
        assert len(points.steps) <= max_points
        assert (points.steps[0], points.steps[-1]) == (0, count - 1)
        assert len(points.steps) == count or count > max_points


def test_a_single_point_cannot_stand_for_a_series(store):
    with reading(store) as connection, pytest.raises(ValueError, match="max_points: 1 is too few"):
        reads.series(connection, [1], ["m"], max_points=1)


def test_the_choice_depends_on_the_values_only(store):
    ids = _fill(store, *([0.5] * 3000 for _ in range(2)))
    together, again = _series(store, ids, max_points=60), _series(store, ids, max_points=60)
    alone = _series(store, ids[1:], max_points=60)
    assert together == again
    assert together[ids[0]] == together[ids[1]] == alone[ids[1]]


def test_levels_do_not_mix(store, run, reader):
    reader.feed(started())
    for step in (1, 2):
        reader.feed(*(metrics(step, mini_batch, m=step + mini_batch / 10) for mini_batch in (-1, 0, 1)))
    assert _series(store, [run]) == {run: reads.Series((1, 2), (-1, -1), (0.9, 1.9))}
    assert _series(store, [run], level="mini_batch") == {
        run: reads.Series((1, 1, 2, 2), (0, 1, 0, 1), (1.0, 1.1, 2.0, 2.1))
    }


def test_mini_batches_are_thinned_out_like_steps(store):
    values = _noise(4000)
    values[2222] = 99.0
    (run,) = _fill(store, values, mini_batches=4)
    points = _series(store, [run], max_points=100, level="mini_batch")[run]
    indices = [4 * step + mini_batch for step, mini_batch in zip(points.steps, points.mini_batches, strict=True)]
    assert indices == sorted(set(indices))
    assert [values[index] for index in indices] == list(points.values)
    assert (indices[0], indices[-1]) == (0, 3999)
    assert 2222 in indices
    assert _series(store, [run]) == {}


def test_one_statement_answers_for_all_runs_and_metrics(store):
    ids = _fill(store, _noise(50), _noise(5000), _noise(500))
    statements = []
    sqlalchemy_event.listen(store, "before_cursor_execute", lambda *args: statements.append(args[2]))
    answered = _series(store, [*ids, 99], max_points=100)
    assert sorted(answered) == ids
    assert len([statement for statement in statements if not statement.startswith(("BEGIN", "PRAGMA"))]) == 1
    assert _series(store, []) == {}


# --- values at the same places ---------------------------------------------------------------------------


def _aligned(store, run: int, names: list[str], **options) -> reads.Aligned:
    with reading(store) as connection:
        return reads.aligned(connection, run, names, **{"anchor": "a", **options})


def test_values_are_aligned_where_the_anchor_has_one(store, run, reader):
    reader.feed(
        started(), *(metrics(step, mini_batch, x=step + mini_batch / 10) for step in (1, 2, 3) for mini_batch in (0, 1))
    )
    reader.feed(metrics(1, 1, a=1.0, y=5.0), metrics(3, 1, a="NaN"), metrics(3, a=9.0, x=9.0))
    found = _aligned(store, run, ["a", "x", "y", "z"])
    assert (found.steps, found.mini_batches, found.total) == ((1, 3), (1, 1), 2)
    assert repr(found.values) == repr({"a": (1.0, math.nan), "x": (1.1, 3.1), "y": (5.0, math.nan)})
    of_step = _aligned(store, run, ["x"], level="step")
    assert (of_step.steps, of_step.mini_batches, of_step.values) == ((3,), (-1,), {"x": (9.0,)})


def test_a_value_beside_the_places_of_the_anchor_is_none_of_them(store, run, reader):
    reader.feed(started(), metrics(1, 1, a=1.0), metrics(3, 0, a=3.0), metrics(1, 0, x=7.0), metrics(3, 1, x=7.0))
    assert _aligned(store, run, ["a", "x"]).values == {"a": (1.0, 3.0)}


def test_the_values_of_another_run_are_not_aligned(store, run, reader):
    other, _ = _fill(store, _noise(5), _noise(5, seed=1))
    reader.feed(started(), metrics(1, 0, a=1.0, x=1.0), metrics(2, 0, a=2.0, x=2.0))
    with reading(store) as connection:
        assert reads.aligned(connection, other, ["m"], anchor="a").steps == ()
        assert reads.aligned(connection, run, ["m"], anchor="a").values == {}
        assert reads.aligned(connection, run, ["x"], anchor="none") == reads.Aligned((), (), {}, 0)


@pytest.mark.parametrize(("count", "most", "every"), [(7, 7, 1), (8, 7, 2), (100, 7, 15), (3, 1, 3)])
def test_too_many_places_are_thinned_out_evenly_for_all_metrics_alike(store, run, reader, count, most, every):
    reader.feed(started(), *(metrics(step, 0, a=float(step), x=-float(step)) for step in range(1, count + 1)))
    found = _aligned(store, run, ["a", "x"], max_places=most)
    assert found.total == count
    assert len(found.steps) <= most
    assert found.steps == tuple(range(count, 0, -every))[::-1]
    assert found.values == {"a": tuple(map(float, found.steps)), "x": tuple(-float(step) for step in found.steps)}
