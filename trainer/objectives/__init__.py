"""The formulas of docs/method.md: pure functions on tensors, usable in any training loop.

    policy_loss(algorithm, log_probs, old_log_probs, advantages, mask, **settings)   DAPO, GRPO or GSPO
    group_advantages(rewards, group_ids, ...)                                        group-relative advantages
    overlong_penalty(lengths, max_length, buffer, factor)                            soft overlong punishment
    calibrate(log_probs, old_log_probs, mtp_log_probs, mask, ...)                    the OCC coefficient

Shapes: B sequences, T response positions (padded), K MTP depths. `mask` [B, T] is true on response tokens that count; what
stands elsewhere, NaN included, has no influence on any value or gradient.
"""

from trainer.objectives.advantages import group_advantages
from trainer.objectives.algorithms import policy_loss
from trainer.objectives.coefficient import Calibration, calibrate
from trainer.objectives.overlong import overlong_penalty

__all__ = ["Calibration", "calibrate", "group_advantages", "overlong_penalty", "policy_loss"]
