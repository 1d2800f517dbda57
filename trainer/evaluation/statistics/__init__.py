"""How sure an evaluation is: scores, differences, p-values and ranks that hold for new problems and new trainings.

| function | what | source |
| --- | --- | --- |
| `avg_at_k` | share of right samples | Owen 2007, Miller 2024 (`estimates`) |
| `compare` | difference of two methods, paired by problem | the same |
| `pass_at_k` | chance that one of k samples is right, unbiased | Chen et al. 2021 (`samples`) |
| `maj_at_k` | how often the most frequent answer is right | Wang et al. 2023 (`samples`) |
| `permutation_test`, `holm` | p-value over trainings, and its correction for many | Fisher 1935, Holm 1979 (`permutation`) |
| `rank_intervals` | which ranks a method may have | Mogstad et al. 2024 (`ranks`) |

An outcome is found by benchmark, problem and sample. A mean over several benchmarks gives each the same weight. Pure functions on numpy; no
torch, no database.
"""

from trainer.evaluation.statistics.estimates import SEEDS_FOR_METHODS, Estimate, avg_at_k, compare
from trainer.evaluation.statistics.permutation import Permutation, holm, permutation_test
from trainer.evaluation.statistics.ranks import RankInterval, rank_intervals
from trainer.evaluation.statistics.samples import Answer, Answers, maj_at_k, pass_at_k
from trainer.evaluation.statistics.scores import Outcomes
from trainer.evaluation.statistics.student import student_quantile

__all__ = [
    "SEEDS_FOR_METHODS",
    "Answer",
    "Answers",
    "Estimate",
    "Outcomes",
    "Permutation",
    "RankInterval",
    "avg_at_k",
    "compare",
    "holm",
    "maj_at_k",
    "pass_at_k",
    "permutation_test",
    "rank_intervals",
    "student_quantile",
]
