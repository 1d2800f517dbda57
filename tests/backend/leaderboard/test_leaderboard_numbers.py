"""The board's numbers against an independent computation, written here with numpy alone and from the formulas' own definitions."""

import json
from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest
from boards_now import boards

from backend.leaderboard import Board, Row
from trainer.evaluation.statistics import student_quantile

Make = Callable[..., int]
Counts = dict[str, np.ndarray]
"""By benchmark: 0 or 1, [seeds, problems, samples]."""
SIZES = {"products": 7, "sums": 12}
SAMPLES = 6


def drawn(lift: float, seeds: int, generator: np.random.Generator) -> Counts:
    chance = {name: np.linspace(0.1, 0.5, size) for name, size in SIZES.items()}
    luck = generator.normal(0, 0.05, seeds)
    return {
        name: (generator.random((seeds, size, SAMPLES)) < (chance[name] + lift + luck[:, None])[..., None]).astype(int)
        for name, size in SIZES.items()
    }


def as_runs(counts: Counts) -> list[dict[str, dict[str, list[int]]]]:
    seeds = len(counts["sums"])
    return [
        {name: {f"p{n}": array[seed, n].tolist() for n in range(array.shape[1])} for name, array in counts.items()}
        for seed in range(seeds)
    ]


def variance(counts: Counts, other: Counts | None = None) -> tuple[float, float]:
    """Of the mean over benchmarks, or of a difference: problems within benchmarks, seeds over all of them; with its freedom."""
    sides = [counts] if other is None else [counts, other]
    parts = []
    for name in counts:
        values = counts[name].mean(axis=(0, 2)) - (0 if other is None else other[name].mean(axis=(0, 2)))
        parts.append((np.var(values, ddof=1) / len(values) / len(counts) ** 2, len(values) - 1))
    for side in sides:
        per_seed = np.mean([array.mean(axis=(1, 2)) for array in side.values()], axis=0)
        parts.append((np.var(per_seed, ddof=1) / len(per_seed), len(per_seed) - 1))
    total = sum(part for part, _ in parts)
    return total, total**2 / sum(part**2 / freedom for part, freedom in parts)


def mean(counts: Counts) -> float:
    return float(np.mean([array.mean() for array in counts.values()]))


def permuted(a: Counts, b: Counts) -> float:
    per_seed = np.concatenate([np.mean([x.mean(axis=(1, 2)) for x in side.values()], axis=0) for side in (a, b)])
    size = len(a["sums"])
    found = abs(per_seed[:size].mean() - per_seed[size:].mean())
    apart = []
    for chosen in combinations(range(len(per_seed)), size):
        inside = np.isin(np.arange(len(per_seed)), chosen)
        apart.append(abs(per_seed[inside].mean() - per_seed[~inside].mean()))
    return float(np.mean(np.array(apart) >= found - 1e-9))


@pytest.fixture
def drawn_board(finished: Make) -> tuple[Board, dict[str, Counts]]:
    generator = np.random.default_rng(11)
    lifts = {"detach": (0.0, 4), "occ": (0.5, 5), "policy": (0.05, 3), "ce": (-0.05, 2)}
    methods = {regime: drawn(lift, seeds, generator) for regime, (lift, seeds) in lifts.items()}
    for regime, counts in methods.items():
        for seed, run in enumerate(as_runs(counts)):
            finished(regime, run, seed=seed, texts=True, evaluation={"samples": SAMPLES}, update={"mini_batches": 2})
    [board] = boards()
    return board, methods


def row_of(board: Board, regime: str) -> Row:
    [row] = [row for row in board.rows if row.regime == regime]
    return row


def test_every_number_of_a_board_is_that_of_an_independent_computation(
    drawn_board: tuple[Board, dict[str, Counts]],
) -> None:
    board, methods = drawn_board
    assert board.problems == SIZES
    assert [row.mean.value for row in board.rows] == pytest.approx(sorted(map(mean, methods.values()), reverse=True))
    p_values = {name: permuted(methods[name], methods["detach"]) for name in ("occ", "policy")}
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted = {ordered[0]: min(1, 2 * p_values[ordered[0]])}
    adjusted[ordered[1]] = max(adjusted[ordered[0]], p_values[ordered[1]])
    for regime, counts in methods.items():
        row = row_of(board, regime)
        assert row.mean.value == pytest.approx(mean(counts))
        for name, array in counts.items():
            assert row.benchmarks[name].value == pytest.approx(array.mean())
        if len(counts["sums"]) >= 3:
            assert row.mean.standard_error == pytest.approx(np.sqrt(variance(counts)[0]))
        right = {name: array.sum(axis=2) for name, array in counts.items()}
        assert row.pass_at_k is not None
        assert row.pass_at_k.value == pytest.approx(np.mean([(array > 0).mean() for array in right.values()]))
        # Two answers only, a right and a wrong one: the majority is right above half, and at half in half of the draws.
        majority = np.mean([np.mean((array > SAMPLES / 2) + 0.5 * (array == SAMPLES / 2)) for array in right.values()])
        assert row.maj_at_k is not None
        assert row.maj_at_k.value == pytest.approx(majority)
        if regime == "detach":
            assert row.difference is None
            continue
        assert row.difference is not None
        found = row.difference.mean
        assert found.value == pytest.approx(mean(counts) - mean(methods["detach"]))
        for name in counts:
            own, other = counts[name].mean(), methods["detach"][name].mean()
            assert row.difference.benchmarks[name].value == pytest.approx(own - other)
        if regime == "ce":
            assert (row.difference.p, row.difference.adjusted_p, row.rank) == (None, None, None)
            continue
        total, freedom = variance(counts, methods["detach"])
        half = student_quantile(0.95, freedom) * np.sqrt(total)
        assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
        assert row.difference.p == pytest.approx(p_values[regime])
        assert row.difference.adjusted_p == pytest.approx(adjusted[regime])
        sizes = len(counts["sums"]), 4
        assert row.difference.smallest_p == pytest.approx((2 if sizes[0] == sizes[1] else 1) / comb(sum(sizes), 4))


def test_ranks_are_those_of_all_pairwise_intervals_together(drawn_board: tuple[Board, dict[str, Counts]]) -> None:
    board, methods = drawn_board
    able = [name for name, counts in methods.items() if len(counts["sums"]) >= 3]
    better = dict.fromkeys(able, 0)
    worse = dict.fromkeys(able, 0)
    for one, other in combinations(able, 2):
        total, freedom = variance(methods[one], methods[other])
        apart = mean(methods[one]) - mean(methods[other])
        if abs(apart) > student_quantile(1 - 0.05 / 3, freedom) * np.sqrt(total):
            winner, loser = (one, other) if apart > 0 else (other, one)
            better[loser] += 1
            worse[winner] += 1
    assert {name: row_of(board, name).rank for name in able} == {
        name: (1 + better[name], len(able) - worse[name]) for name in able
    }
    assert row_of(board, "occ").rank == (1, 1)  # the numbers were made so that something can be told


def test_the_shell_prints_the_same_numbers(
    drawn_board: tuple[Board, dict[str, Counts]], mtprl: Callable[..., tuple[int, str, str]]
) -> None:
    board, _ = drawn_board
    [printed] = json.loads(mtprl("leaderboard", "--json")[1])
    for row, said in zip(board.rows, printed["rows"], strict=True):
        assert said["mean"]["value"] == row.mean.value
        assert said["benchmarks"]["sums"]["low"] == row.benchmarks["sums"].low
        if row.difference is not None:
            assert said["difference"]["adjusted_p"] == row.difference.adjusted_p
        assert said["rank"] == (None if row.rank is None else list(row.rank))
