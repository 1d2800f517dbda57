"""Differences between arms on records that are written out by hand, so that every number can be checked by head."""

import math

import pytest

from benchmarks.comparisons import GREEDY, Contrast, adjusted, contrast_table, difference, level, over_blocks
from benchmarks.intervals import mean
from benchmarks.records import Block, area, blocks, final

ARMS = ("detach", "occ")
FINALS = {"detach": {0: 0.10, 1: 0.50, 2: 0.90}, "occ": {0: 0.12, 1: 0.53, 2: 0.94}}


def row(arm: str, seed: int, value: float | None, base: str = "sorting", **more: object) -> dict[str, object]:
    results = {"failed": "loss is NaN"} if value is None else {"final": value, "auc": value / 2}
    return {"block": "main", "base": base, "algorithm": "dapo", "arm": arm, "seed": seed, **results, **more}


def rows(finals: dict[str, dict[int, float | None]], base: str = "sorting") -> list[dict[str, object]]:
    return [row(arm, seed, value, base) for arm, by_seed in finals.items() for seed, value in by_seed.items()]


def one(found: list[Block]) -> Block:
    (block,) = found
    return block


def test_difference_is_arm_minus_other_with_the_interval_of_its_pairs():
    block = one(blocks(rows(FINALS), "main", ARMS))
    found = difference(block, Contrast("occ", "detach"), final)
    # Of +0.02, +0.03, +0.04: sd 0.01, standard error 0.0057735, t(0.975, 2) = 4.30265.
    assert (found.value, found.half, found.n) == (pytest.approx(0.03), pytest.approx(0.0248414, rel=1e-4), 3)
    assert difference(block, Contrast("detach", "occ"), final).value == pytest.approx(-0.03)
    assert difference(block, Contrast("occ", "detach"), area).value == pytest.approx(0.015)


def test_runs_are_paired_by_seed_in_whatever_order_they_finished():
    finished = [row("occ", seed, FINALS["occ"][seed]) for seed in (2, 0, 1)]
    finished += [row("detach", seed, FINALS["detach"][seed]) for seed in (1, 2, 0)]
    block = one(blocks(finished, "main", ARMS))
    assert difference(block, Contrast("occ"), final).half == pytest.approx(0.0248414, rel=1e-4)


def test_a_seed_counts_only_with_a_run_of_every_arm():
    finished = [*rows(FINALS), row("detach", 3, 0.0), row("occ", 4, 1.0), row("ce", 5, 0.3)]
    block = one(blocks(finished, "main", ARMS))
    assert block.seeds == (0, 1, 2)
    assert level(block, "detach", final).value == pytest.approx(0.5)
    assert one(blocks(finished, "main", (*ARMS, "ce"))).seeds == ()


def test_over_blocks_a_seed_counts_only_with_both():
    both = [*rows(FINALS), *rows({arm: {0: v[0], 2: v[2]} for arm, v in FINALS.items()}, "addition")]
    found = over_blocks(blocks(both, "main", ARMS), Contrast("occ"), final)
    assert (found.n, found.value) == (2, pytest.approx(0.03))


def test_a_run_that_broke_off_solves_nothing_and_is_not_left_out():
    block = one(blocks(rows({**FINALS, "occ": {0: 0.12, 1: None, 2: 0.94}}), "main", ARMS))
    assert block.seeds == (0, 1, 2)
    assert level(block, "occ", final).value == pytest.approx((0.12 + 0.0 + 0.94) / 3)
    assert difference(block, Contrast("occ"), final).value == pytest.approx((0.02 - 0.50 + 0.04) / 3)
    assert difference(block, Contrast("occ"), area).value == pytest.approx((0.01 - 0.25 + 0.02) / 3)


def test_a_measure_that_a_run_lacks_is_left_out_with_its_pair():
    name = "mtp/acceptance_greedy"
    accepted = [row("detach", seed, 0.5, **{name: [0.1, 0.8]}) for seed in range(3)]
    accepted += [row("occ", 0, None), *(row("occ", seed, 0.5, **{name: [0.1, 0.7 + 0.1 * seed]}) for seed in (1, 2))]
    found = difference(one(blocks(accepted, "main", ARMS)), Contrast("occ"), GREEDY)
    assert (found.n, found.value) == (2, pytest.approx(0.05))


def test_blocks_of_other_kinds_stay_apart():
    audit = [{**run, "block": "audit", "final": 0.0} for run in rows(FINALS)]
    assert level(one(blocks([*rows(FINALS), *audit], "main", ARMS)), "detach", final).value == pytest.approx(0.5)


def test_what_cannot_differ_is_no_comparison_to_adjust_for():
    means = {"off": mean([0.0, 0.0, 0.0]), "one seed": mean([0.4]), "none": None, "occ": mean([0.01, 0.02, 0.03])}
    assert set(adjusted(means)) == {"occ"}
    assert adjusted({**means, "ce": mean([-0.1, 0.1, 0.05])})["occ"] == pytest.approx(2 * means["occ"].p)


def test_table_of_contrasts_has_the_signs_the_p_values_and_the_questions():
    # Pooled differences of two equal blocks: +3.00 ± 2.48 points, t = 0.03 / 0.0057735 = 5.196, p = 0.0351 with 2 degrees of freedom.
    both = blocks([*rows(FINALS), *rows(FINALS, "addition")], "main", ARMS)
    lines = contrast_table(both, {Contrast("detach", "occ"): "why"}, ("difference", "what it asks"))
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert lines[0].count("|") == lines[-1].count("|")
    assert cells[:5] == ["detach − occ", "why", "-3.00 ± 2.48", "-3.00 ± 2.48", "-3.00 ± 2.48"]
    assert cells[5:8] == ["0.035", "**0.035**", "-1.50 ± 1.24"]
    assert math.isclose(over_blocks(both, Contrast("occ"), final).p, 0.0351, rel_tol=5e-3)
