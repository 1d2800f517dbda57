"""The form of a run, as pure functions between three things: the configuration's schema, the texts in its fields, and values.

    presets' values  --texts_of-->  {field key: text}  --values_of-->  values  --trainer.config.parse-->  RunConfig or problems

Every field holds text and the trainer's own schema judges it, so that the form refuses exactly what the trainer refuses, in
the same words. A section with variants (regime, algorithm, data) has the fields of all variants; which of them are shown and
count follows from the text of its `kind` field, so that what was typed for one regime is still there after trying another.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from backend.grid import OWN
from backend.overrides import overrides as changes_of
from backend.overrides import plain
from trainer.config import Prompted, RunConfig, yaml_text
from trainer.errors import ConfigError, Problem

Kind = Literal["integer", "number", "text", "choice", "inline", "block"]

_SWITCH = ("false", "true")

# Replaced in the form by a list of seeds, which makes one run each.
_NOT_SHOWN = {"seed"}


@dataclass(frozen=True)
class Field:
    """One value of the configuration.

    `path` is its dotted name in the configuration, `key` the same with the variant in it (`regime.occ.eps`). `inline` and
    `block` fields hold YAML, on one line or several. `variants` describes each choice of a `kind` field.
    """

    path: str
    key: str
    kind: Kind
    help: str
    default: Any
    optional: bool = False
    choices: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The last part of the path, as words."""
        return self.path.rpartition(".")[2].replace("_", " ").capitalize()


@dataclass(frozen=True)
class Section:
    """A top-level part of the configuration: its fields by variant ('' for fields that every variant has)."""

    name: str
    help: str
    fields: Mapping[str, tuple[Field, ...]]

    def shown(self, texts: Mapping[str, str]) -> tuple[Field, ...]:
        """The fields that count, given which variant is chosen."""
        chosen = texts.get(f"{self.name}.kind", "")
        return self.fields.get("", ()) + (self.fields.get(chosen, ()) if chosen else ())


@cache
def sections() -> dict[str, Section]:
    """All sections in the order of the configuration; values that stand outside any section are in section `run`."""
    schema = RunConfig.model_json_schema()
    definitions = schema["$defs"]
    result: dict[str, Section] = {}
    loose: list[Field] = []
    for name, part in schema["properties"].items():
        if "oneOf" in part:
            result[name] = _variant_section(name, part, definitions)
        elif "$ref" in part:
            definition = definitions[part["$ref"].rpartition("/")[2]]
            result[name] = Section(name, definition["description"], {"": tuple(_fields(name, name, definition))})
        elif name not in _NOT_SHOWN:
            loose.append(_field(name, name, part))
    return {"run": Section("run", RunConfig.__doc__ or "", {"": tuple(loose)}), **result}


def _variant_section(name: str, part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Section:
    variants = {tag: definitions[ref.rpartition("/")[2]] for tag, ref in part["discriminator"]["mapping"].items()}
    tags = [ref["$ref"].rpartition("/")[2] for ref in part["oneOf"]]
    ordered = sorted(variants, key=lambda tag: tags.index(variants[tag]["title"]))
    kind = Field(
        path=f"{name}.kind",
        key=f"{name}.kind",
        kind="choice",
        help="",
        default=(part.get("default") or {}).get("kind", ordered[0]),
        choices=tuple(ordered),
        variants=tuple(variants[tag]["description"] for tag in ordered),
    )
    return Section(
        name, "", {"": (kind,), **{tag: tuple(_fields(name, f"{name}.{tag}", variants[tag])) for tag in ordered}}
    )


def _fields(path: str, key: str, definition: Mapping[str, Any]) -> Iterable[Field]:
    properties = definition.get("properties", {})
    # How problems become prompts belongs to every source of data but is rarely changed: what tells sources apart comes first.
    for name in sorted(properties, key=lambda name: name in Prompted.model_fields):
        if name != "kind":
            yield _field(f"{path}.{name}", f"{key}.{name}", properties[name])


def _field(path: str, key: str, part: Mapping[str, Any]) -> Field:
    options = [option for option in part.get("anyOf", [part]) if option.get("type") != "null"]
    optional = len(options) < len(part.get("anyOf", [part]))
    [schema] = options
    kind: Kind
    choices = (schema["const"],) if "const" in schema else tuple(schema.get("enum", ()))
    choices = _SWITCH if schema.get("type") == "boolean" else choices
    if choices:
        kind = "choice"
    elif "$ref" in schema:  # a section within a section, such as data.columns
        kind = "block"
    elif schema["type"] == "array":
        kind = "inline" if "prefixItems" in schema else "block"
    elif schema["type"] == "object" or path.endswith(".template"):
        kind = "block" if schema["type"] == "object" else "text"
    else:
        kind = {"integer": "integer", "number": "number", "string": "text"}[schema["type"]]  # type: ignore[assignment]
    return Field(
        path,
        key,
        kind,
        " ".join(part.get("description", "").split()),
        part.get("default"),
        optional,
        choices,
    )


def every_field() -> Iterable[Field]:
    """All fields of all variants."""
    return (field for section in sections().values() for fields in section.fields.values() for field in fields)


def shown_fields(texts: Mapping[str, str]) -> list[Field]:
    """The fields that count under the chosen variants."""
    return [field for section in sections().values() for field in section.shown(texts)]


# --- values <-> texts ------------------------------------------------------------------------------------


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The text of every field, hidden ones included; the schema's default where `values` says nothing."""
    return {field.key: _text(field, _given(values, field)) for field in every_field()}


def _given(values: Mapping[str, Any], field: Field) -> Any:
    name, _, rest = field.key.partition(".")
    section = values.get(name)
    if not rest:
        return field.default if section is None else section
    if not isinstance(section, Mapping):
        return field.default
    variant = rest.rpartition(".")[0]
    if variant and section.get("kind") != variant:
        return field.default
    return section.get(rest.rpartition(".")[2], field.default)


def _text(field: Field, value: Any) -> str:
    if value is None or value in ((), [], {}):
        return ""
    if field.choices == _SWITCH:
        return str(value).lower()
    if field.kind == "block":
        return yaml_text.write(plain(value)).strip()
    return json.dumps(plain(value)) if field.kind == "inline" else str(value)


def values_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """The configuration that the shown fields hold, not yet judged; a text that is no number stays text for the schema to refuse."""
    values: dict[str, Any] = {}
    for field in shown_fields(texts):
        value = _value(field, texts.get(field.key, ""))
        section, _, name = field.path.rpartition(".")
        (values.setdefault(section, {}) if section else values)[name] = value
    return values


def _value(field: Field, text: str) -> Any:
    if field.choices == _SWITCH:
        return text == "true"
    if not text.strip():
        return field.default if field.kind == "block" else (None if field.optional else "")
    if field.kind in ("inline", "block"):
        try:
            return yaml_text.read(text)
        except ValueError:
            return text
    if field.kind in ("integer", "number"):
        for read in (int, float):
            try:
                return read(text)
            except ValueError:
                continue
    return text if field.path.endswith(".template") else text.strip()


# --- problems --------------------------------------------------------------------------------------------


def beside_fields(problems: Iterable[Problem], texts: Mapping[str, str]) -> dict[str, list[str]]:
    """The problems by the key of the shown field that they belong to; under '' those that belong to none.

    A problem inside a field's value (`evaluation.benchmarks.0.limit`) stands beside that field and keeps its full name.
    """
    by_path = {field.path: field.key for field in shown_fields(texts)}
    result: dict[str, list[str]] = {}
    for problem in problems:
        path = problem.field
        while path and path not in by_path:
            path = path.rpartition(".")[0]
        key = by_path.get(path, "")
        result.setdefault(key, []).append(problem.message if path == problem.field and key else str(problem))
    return result


def parse_seeds(text: str) -> list[int]:
    """Seeds from '0' or '0,1,2'.

    Raises:
        ConfigError: not whole numbers, negative, or repeated; the problem's field is `seeds`.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(
            [
                Problem(
                    "seeds", f"{text!r} is no list of whole numbers; give one seed such as 0, or several such as 0,1,2"
                )
            ]
        )
    seeds = [int(part) for part in parts]
    if len(set(seeds)) < len(seeds):
        raise ConfigError([Problem("seeds", f"{text!r} names a seed twice; each seed is one run, so give each once")])
    return seeds


# --- the command that does the same ----------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """What a form began with: a preset, a run, or the matched control of one."""

    command: tuple[str, ...]
    """The shell command that submits it unchanged, without `mtprl`."""
    values: Mapping[str, Any]
    description: str
    preset: str | None = None
    """Its name, where it is one."""
    origin: int | None = None
    """The run that it was made from."""
    parent: Mapping[str, Any] | None = None
    """That run's configuration."""


@dataclass(frozen=True)
class Methods:
    """What a grid is made of beside the form's values and seeds."""

    regimes: tuple[str, ...]
    algorithms: tuple[str, ...]
    lr_controls: tuple[float, ...] = ()
    skip_refused: bool = False

    @property
    def options(self) -> list[str]:
        """The shell command's options."""
        parts = ["--regimes", ",".join(self.regimes), "--algorithms", ",".join(self.algorithms)]
        if self.lr_controls:
            parts += ["--lr-controls", ",".join(f"{factor:g}" for factor in self.lr_controls)]
        return [*parts, "--skip-refused"] if self.skip_refused else parts


def command(
    start: Start, texts: Mapping[str, str], *, seeds: Sequence[int], experiment: str, methods: Methods | None = None
) -> str:
    """The shell command that submits the same runs: what the form began with, then only what differs from it."""
    parts = ["mtprl", *start.command]
    for override in overrides(start.values, texts):
        # In a grid the form's own method counts for no other cell.
        if methods is None or OWN in methods.regimes or not override.startswith(("regime.", "regime=", "mtp.", "mtp=")):
            parts += ["--set", override]
    if methods is not None:
        parts += methods.options
    parts += ["--seeds", ",".join(map(str, seeds)), "--experiment", experiment]
    return shlex.join(parts)


def overrides(values: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """`a.b=c` for each value of the form that differs from `values`; a whole section where its variant differs."""
    return changes_of(values, values_of(texts_of(values)), values_of(texts))
