"""Where problems come from: one section per kind of source.

The sections say what to read and which column holds what; `trainer.tasks` reads it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.section import NonNegative, Positive, Section, Switch

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
    chat: Switch = False
    """true: that text is the user's message in the chat template of the model's tokenizer, and the response is the assistant's. false: it
    goes in as it is."""
    system: str = ""
    """The system message that the chat begins with; empty: none."""

    @model_validator(mode="after")
    def _template_holds_the_problem(self) -> Prompted:
        if "{problem}" not in self.template:
            raise ValueError(f"template: {self.template!r} has no {{problem}} in it; add it where the problem belongs")
        return self

    @model_validator(mode="after")
    def _system_needs_a_chat(self) -> Prompted:
        if self.system and not self.chat:
            raise ValueError(
                f"system: {self.system[:80]!r} has no effect while chat is false; set chat to true, or leave it empty"
            )
        return self

    @property
    def prompting(self) -> dict[str, Any]:
        """How problems become prompts: the settings that every source has."""
        return {name: getattr(self, name) for name in Prompted.model_fields}


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


class ParquetData(Prompted):
    """Parquet files with one problem per row."""

    kind: Literal["parquet"] = "parquet"
    path: Name
    """A file, a folder of them, or a pattern such as data/train-*.parquet."""
    columns: Columns = Columns()
    """Names of the columns that hold the problem, the answer and the id."""

    @property
    def source(self) -> str:
        """What the problems are called by in lists."""
        return self.path


class HubData(Prompted):
    """A data set of the Hugging Face hub, fetched once and then read from the local cache. Its code is never run."""

    kind: Literal["hub"] = "hub"
    id: Name
    """Its name on the hub, such as HuggingFaceH4/MATH-500, or a folder that `save_to_disk` of the datasets library wrote."""
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


class NamedData(Prompted):
    """A training set or a benchmark that is known by name."""

    kind: Literal["named"] = "named"
    name: Literal["dapo-math-17k", "aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench"] = "dapo-math-17k"
    """dapo-math-17k: 17 thousand competition problems with whole numbers as answers, the training data of DAPO and of the OCC paper. The
    others are the six benchmarks."""
    language: Literal["en", "zh", "all"] = "en"
    """Problems of dapo-math-17k in English, in Chinese, or all of them."""
    folder: Name | None = None
    """The folder that holds train/dapo_math_17k_en.jsonl, train/dapo_math_17k_zh.jsonl, aime24.jsonl and the others; none: that of
    MTPRL_BENCHMARKS_DIR where it has the files, else the hub: of dapo-math-17k open-r1/DAPO-Math-17k-Processed, in which problems of the
    benchmarks are."""

    @model_validator(mode="after")
    def _only_the_training_set_has_languages(self) -> NamedData:
        if self.language != "en" and self.name != "dapo-math-17k":
            raise ValueError(f"language: {self.language} is for dapo-math-17k alone; leave it out with {self.name}")
        return self

    @property
    def source(self) -> str:
        """What the problems are called by in lists."""
        return f"{self.name} ({self.language})" if self.name == "dapo-math-17k" else self.name


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


Data = Annotated[JsonlData | ParquetData | HubData | NamedData | ReasoningGymData, Field(discriminator="kind")]
