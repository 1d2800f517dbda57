"""Where problems come from: one section per kind of source.

The sections say what to read and which column holds what; `trainer.tasks` reads it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.section import NonNegative, Positive, Section

Name = Annotated[str, Field(min_length=1)]


class Columns(Section):
    """Which column holds what. A dotted name goes into a column: `reward_model.ground_truth`, and `final_answer.0` into a list."""

    problem: Name = "problem"
    """The problem. Of a conversation, a list of {role, content}, the last message of the user counts."""
    answer: Name = "answer"
    """The final answer: text or a number."""
    id: Name = "id"
    """What tells problems apart; where the source has no column `id`, the number of the line or row is taken."""


class Prompted(Section):
    """What every source of problems shares."""

    template: str = "{problem}"
    """Text that the model sees; `{problem}` stands for the problem."""

    @model_validator(mode="after")
    def _template_holds_the_problem(self) -> Prompted:
        if "{problem}" not in self.template:
            raise ValueError(f"template: {self.template!r} has no {{problem}} in it; add it where the problem belongs")
        return self


class JsonlData(Prompted):
    """A JSONL file with one {"id", "problem", "answer"} per line (id may be absent: the line number is used)."""

    kind: Literal["jsonl"] = "jsonl"
    path: Name
    """The file. `${MTPRL_HOME}` and other environment variables are filled in."""
    columns: Columns = Columns()
    """Names of the problem, the answer and the id in the file, where they are called otherwise."""

    @property
    def source(self) -> str:
        """What the problems are called by in lists."""
        return self.path


class HubData(Prompted):
    """A data set of the Hugging Face hub, fetched once and then read from the local cache. Its code is never run."""

    kind: Literal["hub"] = "hub"
    id: Name
    """Its name on the hub, such as HuggingFaceH4/MATH-500."""
    config: Name | None = None
    """Its configuration (subset), where it has several."""
    split: Name = "train"
    """The split to read."""
    revision: Name | None = None
    """Commit, tag or branch; none: the newest at the time of reading."""
    columns: Columns = Columns()
    """Names of the columns that hold the problem, the answer and the id."""

    @property
    def source(self) -> str:
        """What the problems are called by in lists."""
        return f"{self.id} ({', '.join(filter(None, [self.config, self.split]))})"


class ReasoningGymData(Prompted):
    """A procedurally generated task of the reasoning-gym library, by name."""

    kind: Literal["reasoning_gym"] = "reasoning_gym"
    task: Name
    """Name of the task, such as basic_arithmetic or gcd."""
    size: Positive = 1000
    """How many problems to generate."""
    seed: NonNegative = 0
    """Seed of the generator; give evaluation another one than training."""
    settings: dict[str, Any] = Field(default={})
    """Further settings of the task, as the library names them."""

    @property
    def source(self) -> str:
        """What the problems are called by in lists."""
        return self.task


Data = Annotated[JsonlData | HubData | ReasoningGymData, Field(discriminator="kind")]
