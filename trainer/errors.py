"""The errors a user can cause, each with words that name the field or file and the fix.

    MtprlError
    |- ConfigError       a configuration, or one of its values, is refused (carries one Problem per field)
    |- DataError         a dataset, benchmark or one of its lines cannot be used
    |- ModelError        a base model or a checkpoint cannot be loaded or saved
    |- TrainingError     training cannot go on (a folder that another trainer holds, an engine that stopped)
    |  |- NotFiniteError a tensor became NaN or infinite (carries its name)
    |  `- PeerLostError  another process of the same run is gone
    `- StoreError        a run, the store, the queue or a service is not in the state that was asked for

All of them survive pickling, so that they can cross a process boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class MtprlError(Exception):
    """Base of every error whose message is meant for the user as it stands."""


class Problem(NamedTuple):
    """One refused value. `field` is the dotted path in the configuration, such as `regime.lambda_plus`."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ConfigError(MtprlError):
    """A configuration is refused; `problems` lists every reason, not only the first."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class DataError(MtprlError):
    """A dataset or one of its lines cannot be used."""


class ModelError(MtprlError):
    """A base model or a checkpoint cannot be loaded or saved."""


class TrainingError(MtprlError):
    """Training cannot go on."""


class NotFiniteError(TrainingError):
    """A tensor holds a number that is not finite. `tensor` names it, such as "gradient of trunk.model.norm.weight"."""

    def __init__(self, tensor: str, kind: str):
        self.tensor = tensor
        self.kind = kind
        """NaN or infinite."""
        super().__init__(tensor, kind)

    def __str__(self) -> str:
        return f"{self.tensor} became {self.kind}"


class PeerLostError(TrainingError):
    """Another process of the same run is gone; its own words say why."""


class StoreError(MtprlError):
    """A run, the store, the queue or a service is not in the state that was asked for."""
