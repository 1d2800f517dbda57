"""What every part of the configuration is made of: the base of its sections, and the kinds of numbers in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer.config import rules
from trainer.errors import ConfigError

_UNDERSCORED = re.compile(r"[-+]?[0-9.]+_[0-9_.]*([eE][-+]?[0-9_]+)?")
LARGEST = 2**31 - 1  # what every store and every random generator can take

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Switch = Annotated[bool, Field(strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Decay = Annotated[Finite, Field(ge=0, lt=1)]
# Logits divided by less overflow, and by more are all alike.
Temperature = Annotated[Finite, Field(ge=0.01, le=100)]


class Section(BaseModel):
    """Base of every part of the configuration: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_plain(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            # Python counts true as 1.
            if isinstance(value, bool) and not (field and field.annotation is bool):
                raise ValueError(f"{name}: {value} is a truth value; give a number or a word")
            # pydantic reads the text 1_0 as 10, which no other reader of the run's YAML does.
            if isinstance(value, str) and _UNDERSCORED.fullmatch(value) and field and field.annotation is not str:
                raise ValueError(f"{name}: {value!r} is no number; write it without _")
        return values


class Document(Section):
    """Base of what stands in a file of its own: all of its texts are looked at."""

    @model_validator(mode="before")
    @classmethod
    def _texts_are_usable(cls, values: Any) -> Any:
        problems = list(rules.text_problems(values))
        if problems:
            raise ConfigError(problems)
        return values
