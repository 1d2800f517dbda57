"""pass@k and maj@k, by hand and by drawing samples."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest

from trainer.evaluation.statistics import Answer, avg_at_k, maj_at_k, pass_at_k

RUN = {"sums": {"a": [1, 0, 0, 0], "b": [1, 1, 0, 0], "c": [0, 0, 0, 0]}}


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pass_at_k_is_the_mean_over_all_ways_to_choose_k_samples(k):
    chosen = [
        np.mean([any(samples[i] for i in choice) for choice in combinations(range(4), k)])
        for samples in RUN["sums"].values()
    ]
    assert pass_at_k([RUN], k).value == pytest.approx(np.mean(chosen))


def test_pass_at_1_is_avg_at_n_with_its_interval():
    assert pass_at_k([RUN], 1) == avg_at_k([RUN])


def test_pass_at_k_by_hand_with_the_error_between_problems():
    # k = 2: 1 - C(3,2)/C(4,2) = 1/2, 1 - C(2,2)/C(4,2) = 5/6, 0.
    estimate = pass_at_k([RUN], 2)
    chances = [1 / 2, 5 / 6, 0]
    assert estimate.value == pytest.approx(np.mean(chances))
    assert estimate.standard_error == pytest.approx(np.std(chances, ddof=1) / math.sqrt(3))


def test_pass_at_k_of_n_samples_knows_no_more_of_a_problem_than_n_by_k_draws():
    # 1 - C(3,2)/C(4,2) = 1/2 of every problem, from two pairs of samples.
    four, two = ({"sums": {str(i): [1] + [0] * (n - 1) for i in range(6)}} for n in (4, 2))
    assert pass_at_k([four], 2) == avg_at_k([two])


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_k_samples(k):
    with pytest.raises(ValueError, match=f"pass@{k}: k is from 1 to the number of samples per problem, which is 4"):
        pass_at_k([RUN], k)


def answers(*texts: str | None, right: str = "7") -> list[Answer]:
    return [Answer(text, text == right) for text in texts]


@pytest.mark.parametrize(
    ("samples", "score"),
    [
        (answers("7", "7", "8"), 1),
        (answers("7", "8", "8"), 0),
        (answers("7", "8", "9"), 1 / 3),
        (answers("7", "7", "8", "8", "9"), 1 / 2),
        (answers("7", None, None, None), 1),  # no answer is no vote
        (answers(None, None), 0),
    ],
)
def test_the_majority_wins_ties_are_drawn_and_no_answer_is_no_vote(samples, score):
    one = {"sums": {"a": samples, "b": samples}}
    assert maj_at_k([one]).value == pytest.approx(score)


def test_maj_at_k_has_the_error_between_problems_and_between_seeds():
    right, wrong = answers("7", "7"), answers("8", "8")
    runs = [{"sums": dict(zip("ab", pair, strict=True))} for pair in product((right, wrong), repeat=2)]
    estimate = maj_at_k(runs)
    # Problems 1/2 and 1/2; seeds 1, 1/2, 1/2, 0: variance 1/6 over 4.
    assert (estimate.value, estimate.seeds) == (0.5, 4)
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 6 / 4))
