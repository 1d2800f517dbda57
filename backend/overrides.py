"""From values that a command begins with to the `--set a.b=c` that make others of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainer.config import yaml_text


def overrides(start: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`a.b=c` for each value of `after` that differs from `before`; a whole section where its variant differs.

    Args:
        start: the values that the overrides are applied to, in which defaults may be left out.
        before: what they stand for, complete.
        after: what is wanted, complete.
    """
    result = []
    for name, section in after.items():
        if not isinstance(section, dict):
            if section != before[name]:
                result.append(f"{name}={as_yaml(section)}")
            continue
        changed = {key: value for key, value in section.items() if before[name].get(key) != value}
        # Without its kind in `start`, a lone value of a variant section would stand in a mapping that says no kind.
        if "kind" in changed or (changed and "kind" in section and "kind" not in start.get(name, {})):
            result.append(f"{name}={as_yaml(section)}")
        else:
            result += [f"{name}.{key}={as_yaml(value)}" for key, value in changed.items()]
    return result


def as_yaml(value: Any) -> str:
    """A value on one line, so that YAML reads the same value back."""
    if isinstance(value, str) and "\n" not in value and _reads_back(value):
        return value
    return json.dumps(plain(value), ensure_ascii=False)


def plain(value: Any) -> Any:
    """The same value of dicts and lists alone."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _reads_back(text: str) -> bool:
    try:
        return bool(yaml_text.read(text) == text)
    except ValueError:
        return False
