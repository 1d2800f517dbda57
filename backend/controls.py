"""Matched controls: a run that weighs the MTP loss with the mean coefficient of an occ run, everything else equal.

What occ gains over its control comes from when the coefficient was large; what the control gains over detach, from how large it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from db import reads
from db.statuses import ENDED
from trainer.config import Occ, Policy, RunConfig, parse
from trainer.errors import StoreError

_DIGITS = 4  # significant ones: more would only look exact


@dataclass(frozen=True, slots=True)
class Control:
    """The configuration of a matched control, and where its coefficient comes from."""

    config: RunConfig
    of: int
    """The occ run."""
    experiment: str
    """The experiment of that run."""
    values: int
    """Coefficients that the mean is over."""
    left_out: int
    """Coefficients that are not finite, and not in the mean."""

    @property
    def words(self) -> str:
        """What was done, in a sentence."""
        assert isinstance(self.config.regime, Policy)
        left_out = f" ({self.left_out:,} that are not finite left out)" if self.left_out else ""
        return (
            f"Matched control of run {self.of}: regime policy with that run's mean coefficient, {self.config.regime.coefficient:g}, over "
            f"{self.values:,} mini-batch values{left_out}; everything else as it was."
        )


def matched_control(connection: Connection, run_id: int) -> Control:
    """The control of an occ run that has ended: regime policy at its mean coefficient, with the same ratio, seed, data and budget.

    The mean is over all mini-batches of the run's surviving history, those included where occ is 0 by rule, and over the depths.

    Raises:
        StoreError: there is no such run, its regime is not occ, it has not ended, or it has no finite coefficient.
        ConfigError: its configuration is of another version.
    """
    run = reads.get_run(connection, run_id)
    if run.regime != "occ":
        raise StoreError(
            f"run {run_id} has regime {run.regime}; a matched control needs the mean coefficient of a run with regime occ"
        )
    if run.status not in ENDED:
        raise StoreError(
            f"run {run_id} is {run.status}; its mean coefficient is known when it has ended, so make the control then"
        )
    config = parse(run.config)
    assert isinstance(config.regime, Occ)
    average = reads.mini_batch_mean(connection, run_id, _coefficients(config.model.mtp_depths))
    if average.mean is None:
        why = f"all {average.left_out:,} are not finite" if average.left_out else "it ended before its first update"
        raise StoreError(f"run {run_id} has no coefficient to take the mean of: {why}; choose another run")
    regime = {"kind": "policy", "coefficient": float(f"{average.mean:.{_DIGITS}g}"), "ratio": config.regime.ratio}
    values = {**config.model_dump(mode="json"), "name": f"control-of-run-{run_id}", "regime": regime}
    return Control(parse(values), run_id, run.experiment, average.values, average.left_out)


def _coefficients(depths: int) -> list[str]:
    return ["mtp/coefficient", *(f"mtp/depth_{depth}/coefficient" for depth in range(2, depths + 1))]
