"""What is made of the audits: by hand where it can be, and in words that turn when the numbers turn."""

from itertools import cycle

import pytest

from benchmarks import plan, seen_audit
from benchmarks.audited import HALVES, MAIN, by_group, less, rank_correlation, signal_and_noise, signs, surviving
from benchmarks.records import blocks


def words(rows):
    return "\n".join(seen_audit.words(audited(rows)))


def audited(rows):
    return blocks(rows, "audit", plan.AUDIT_ARMS)


def test_signs_and_what_chance_alone_would_give():
    run = {"predicted_change": [1.0, -1.0, -2.0, -3.0, 0.0], "measured_change": [2.0, 5.0, -1.0, -1.0, 0.0]}
    (found,) = signs([run, {"predicted_change": [0.0], "measured_change": [0.0]}])
    # Of four that acted: equal in three; predicted above 0 in 1/4, measured in 1/2, so 1/4 x 1/2 + 3/4 x 1/2 by chance.
    assert found == (0.75, 0.5, 0.25, 0.5)


def test_signal_and_noise_are_ratios_of_sums():
    run = {"c": [3.0, 5.0], "c_cross": [1.0, 1.0], "g_rl_squared": [6.0, 6.0], "g_rl_squared_cross": [1.0, 3.0]}
    s, kappa = signal_and_noise([run])
    assert (s.value, kappa.value) == (2 / 4, (8 - 2) / (12 - 4))


def test_rank_correlation_is_the_mean_over_runs_and_not_over_all_their_audits():
    same, opposite = [1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0]
    runs = [{"proxy_main": same, "coefficient": [10 * x for x in same]}, {"proxy_main": same, "coefficient": opposite}]
    assert rank_correlation(runs[:1], MAIN).value == pytest.approx(1.0)
    assert rank_correlation(runs, MAIN).value == pytest.approx(0.0)


def test_groups_are_base_and_seed(made):
    found = audited(made.audit(lambda draw, series: {"proxy_main": series["coefficient"]}))
    assert by_group(found, MAIN) == pytest.approx([1.0] * 6)
    assert less(found, MAIN, MAIN) == [0.0] * 6
    assert len(less(found, MAIN, HALVES)) == 6


def test_each_run_counts_alike_in_what_survives_however_long_its_gradients_are(made):
    kinds = cycle([(100.0, 0.9), (1.0, 0.1)])

    def change(draw, series):
        length, left = next(kinds)
        scaled = {name: [length * value for value in series[name]] for name in ("c", "v2", "g_rl_squared")}
        return {**scaled, "c_cross": [left * value for value in scaled["c"]]}

    # Of 30 runs half keep 0.9 of c and half 0.1, and the former have all of the length.
    assert surviving(audited(made.audit(change))).value == pytest.approx(0.5, abs=0.05)


def test_words_on_shared_noise_turn_with_c_across_halves(made):
    fifth = words(made.audit(lambda draw, series: {"c_cross": [c * draw.uniform(0.1, 0.3) for c in series["c"]]}))
    assert "the rest, about 80 %, is noise" in fifth
    assert "that nothing is left at all" not in fifth
    all_of_it = words(made.audit(lambda draw, series: {"c_cross": [c * draw.uniform(0.8, 1.2) for c in series["c"]]}))
    assert "that noise shared by both losses adds to it could not be seen" in all_of_it
    none = words(made.audit(lambda draw, series: {"c_cross": [draw.gauss(0, 0.3) for _ in series["c"]]}))
    assert "that nothing is left at all is not ruled out" in none


def test_words_on_the_ceiling_turn_with_the_halves(made):
    noise = words(made.audit(lambda draw, series: {}))
    assert "That it orders them at all could not be seen" in noise
    alike = words(
        made.audit(
            lambda draw, series: {"coefficient_half_2": [x + draw.gauss(0, 0.5) for x in series["coefficient_half_1"]]}
        )
    )
    assert "It orders the mini-batches, as far as that goes" in alike
    assert "reference main, against the exact λ" in alike
    assert alike.count("below the halves' agreement") == 2
    assert "neither above nor below" not in alike


def test_ceiling_by_hand(made):
    # Equal halves order alike: nothing is noise, and a proxy can reach 1.
    same = words(made.audit(lambda draw, series: {"coefficient_half_2": series["coefficient_half_1"]}))
    assert "+1.00 ± 0.00. It orders the mini-batches, as far as that goes: about 0 %" in same
    # Spearman and Brown: halves that correlate by 1/3 make a whole whose variance is half noise, 2 (1/3) / (1 + 1/3).
    assert seen_audit._reliability(1 / 3) == pytest.approx(0.5)
    assert seen_audit._reliability(-0.2) == 0.0


def test_words_on_a_proxy_that_does_better_than_the_halves(made):
    found = words(
        made.audit(lambda draw, series: {"proxy_own": [x + draw.gauss(0, 0.3) for x in series["coefficient"]]})
    )
    main, own = (line for line in found.splitlines() if line.startswith("* λ from log-probs"))
    assert main.endswith("neither above nor below the halves' agreement.")
    assert own.endswith(", above the halves' agreement.")


@pytest.mark.parametrize(
    ("factor", "sign", "order", "effect"),
    [
        (1.0, "says something about the sign", "above 0", "better"),
        (-1.0, "is wrong more often than chance", "below 0", "worse"),
        (0.0, "says anything about the sign could not be seen", "not seen", "not seen"),
    ],
)
def test_words_on_the_premise_turn_with_the_measured_change(made, factor, sign, order, effect):
    def change(draw, series):
        return {"measured_change": [factor * (p + 1) + draw.gauss(0, 0.5) for p in series["predicted_change"]]}

    signs_line, order_line, effect_line = words(made.audit(change)).splitlines()[-3:]
    assert sign in signs_line
    assert order_line.count(f"({order})") == 4
    assert effect_line.count(f"({effect})") == 4
    assert "plain gradient descent, while the step was AdamW's with a clipped gradient norm" in signs_line


def test_signs_that_agree_only_because_both_are_mostly_negative_are_chance(made):
    def change(draw, series):
        return {name: [draw.gauss(-1, 1) for _ in series[name]] for name in ("predicted_change", "measured_change")}

    signs_line = words(made.audit(change)).splitlines()[-3]
    assert "equal signs in 7" in signs_line
    assert "chance alone would give 7" in signs_line
    assert "says anything about the sign could not be seen" in signs_line


def test_condition_is_seen_only_where_intervals_do_not_overlap(made):
    def clear(draw, series):
        near = [draw.uniform(0.95, 1.05) for _ in series["c"]]
        return {"c": [3.0 * x for x in near], "c_cross": [3.0 * x for x in near], "g_rl_squared_cross": near}

    assert "is seen in 10 (sorting, detach; " in words(made.audit(clear))
    none = words(made.audit(lambda draw, series: {"g_rl_squared_cross": [draw.gauss(0, 1) for _ in series["c"]]}))
    assert "is seen in none of 10 cases (arm and base), its opposite in none" in none


def test_without_a_complete_seed_nothing_is_said(made):
    rows = [row for row in made.audit(lambda draw, series: {}) if row["arm"] != "occ"]
    assert seen_audit.words(audited(rows)) == ["Nothing yet: no seed is complete."]
