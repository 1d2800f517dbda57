"""Models and data sets by name: registered once, used in forms and commands, resolved when a run is made.

A name stands in a configuration as `model.path: NAME` and as `data: NAME`, in the place of the section. What a run keeps is what the name
stood for, so that its configuration is complete by itself whatever becomes of the name.
"""

from __future__ import annotations

import difflib
import getpass
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from backend import store
from backend.evaluations import checkpoint
from backend.inspection.data import count
from backend.runs import settled_model
from backend.settings import variables
from db import reads
from db import registry as rows
from db.registry import Entry, Registered, Users
from trainer.config import Data, Model, Section, resolve
from trainer.config.words import in_words
from trainer.errors import ConfigError, Problem
from trainer.preflight import model_problems
from trainer.tasks import settled

_MOST_NEAR = 3


class _Holder(Section):
    """A data section by itself, where the schema's words of refusal expect it."""

    data: Data


def add_model(name: str, path: str, note: str = "") -> Entry:
    """Register a model's folder, or its name on the hub.

    Raises:
        ConfigError: no model is there.
        StoreError: the name is refused or taken.
    """
    filled = resolve({"path": path}, variables=variables())["path"]
    if not str(filled).strip():
        raise ConfigError([Problem("path", "is empty; give a model's folder, or its name on the Hugging Face hub")])
    model = Model(path=filled)
    if problems := [Problem("path", problem.message) for problem in model_problems(model)]:
        raise ConfigError(problems)
    return _add(Registered.MODEL, name, {"path": settled_model(model).path}, note)


def add_checkpoint(name: str, run_id: int, step: int | None = None, note: str = "") -> Entry:
    """Register a checkpoint of a run as a model, by default its newest one.

    Raises:
        StoreError: there is no such run or checkpoint, or the name is refused or taken.
    """
    with store.reading() as connection:
        found = checkpoint(reads.get_run(connection, run_id), step)
    said = note or f"run {run_id} after step {found.step}"
    return _add(Registered.MODEL, name, {"path": str(Path(found.values["model"]["path"]).absolute())}, said)


def add_data(name: str, section: Mapping[str, Any], note: str = "") -> Entry:
    """Register a data section, read first unless it is large or would have to be fetched.

    Raises:
        ConfigError: the section is refused, or its problems cannot be read.
        StoreError: the name is refused or taken.
    """
    data = data_of(section)
    if error := count(data).error:
        raise ConfigError([Problem("data", error)])
    return _add(Registered.DATA, name, data.model_dump(mode="json"), note)


def section_of(where: str) -> dict[str, Any]:
    """The data section that a file, a folder or a name on the hub stands for: JSONL by its ending, Parquet by ending or folder, else the hub."""
    path = Path(where).expanduser()
    if path.suffix in (".jsonl", ".json"):
        return {"kind": "jsonl", "path": where}
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        return {"kind": "parquet", "path": where}
    return {"kind": "hub", "id": where}


def data_of(section: Mapping[str, Any]) -> Data:
    """A data section with its variables filled in and its paths absolute.

    Raises:
        ConfigError: it is refused.
    """
    try:
        data = _Holder.model_validate(resolve({"data": dict(section)}, variables=variables())).data
    except ValidationError as error:
        raise ConfigError([in_words(item) for item in error.errors()]) from None
    return settled(data, {**os.environ, **variables()})


def resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with what its registered names stand for; what is a folder or a name of the hub stays as it is.

    Raises:
        ConfigError: the model, `data` or a benchmark's data is a name that stands for nothing.
    """
    result = dict(values)
    benchmarks = _benchmarks(values)
    asked = _asks_for_model(values) or isinstance(values.get("data"), str)
    if not asked and not any(isinstance(item.get("data"), str) for item in benchmarks):
        return result
    if not store.is_ready():
        return result
    with store.reading() as connection:
        if _asks_for_model(values):
            content = _content(connection, Registered.MODEL, "model.path", values["model"]["path"])
            result["model"] = {**values["model"], **content}
        if isinstance(values.get("data"), str):
            result["data"] = _content(connection, Registered.DATA, "data", values["data"])
        if benchmarks:
            filled = [
                {
                    **item,
                    "data": _content(connection, Registered.DATA, f"evaluation.benchmarks.{index}.data", item["data"]),
                }
                if isinstance(item.get("data"), str)
                else item
                for index, item in enumerate(benchmarks)
            ]
            result["evaluation"] = {**values["evaluation"], "benchmarks": filled}
    return result


def model_path(name: str, field: str = "model.path") -> str:
    """Where a model is that is named by a folder, a name of the hub or a registered name.

    Raises:
        ConfigError: it is none of them.
    """
    if not _is_name(name) or not store.is_ready():
        return name
    with store.reading() as connection:
        return str(_content(connection, Registered.MODEL, field, name)["path"])


def where(entry: Entry) -> str:
    """What a name stands for, in a few words."""
    content = entry.content
    if entry.kind == Registered.MODEL:
        return str(content["path"])
    return (
        f"{content['kind']}: {content.get('path') or content.get('id') or content.get('task') or content.get('name')}"
    )


def step_of(text: str) -> int | None:
    """The step that a text names; None where it is empty.

    Raises:
        ConfigError: it is no number.
    """
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdigit() and len(text) < 10):
        raise ConfigError([Problem("step", f"{text[:40]!r} is no step; give a whole number, or leave it empty")])
    return int(text)


def used_by(connection: Connection, entry: Entry) -> Users:
    """The trainings that used what a name stands for, under this name or not."""
    if entry.kind == Registered.MODEL:
        return rows.users(connection, "model", {"path": entry.content["path"]})
    keys = ("kind", "path", "id", "config", "split", "name", "language", "task")
    said = {key: str(entry.content[key]) for key in keys if entry.content.get(key) is not None}
    return rows.users(connection, "data", said)


def _add(kind: Registered, name: str, content: Mapping[str, Any], note: str) -> Entry:
    entry = Entry(kind, name.strip(), content, note.strip(), _user(), time.time())
    with store.writing() as connection:
        rows.add(connection, entry)
    return entry


def _asks_for_model(values: Mapping[str, Any]) -> bool:
    model = values.get("model")
    path = model.get("path") if isinstance(model, Mapping) else None
    return isinstance(path, str) and _is_name(path)


def _is_name(path: str) -> bool:
    """Whether a model's path can only be a registered name: those of the hub have a slash."""
    return bool(path) and "/" not in path and not Path(path).exists()


def _benchmarks(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    evaluation = values.get("evaluation")
    benchmarks = evaluation.get("benchmarks") if isinstance(evaluation, Mapping) else None
    return [item if isinstance(item, Mapping) else {} for item in benchmarks] if isinstance(benchmarks, list) else []


_INSTEAD = {
    Registered.MODEL: "give a model's folder, its name on the Hugging Face hub such as Qwen/Qwen3-0.6B, or a registered one",
    Registered.DATA: "give a section such as {kind: jsonl, path: problems.jsonl}, or a registered one",
}


def _content(connection: Connection, kind: Registered, field: str, name: str) -> Mapping[str, Any]:
    entry = rows.find(connection, kind, name)
    if entry is not None:
        return entry.content
    what, command = ("data set", "data") if kind == Registered.DATA else ("model", "models")
    message = f"{name!r} is no registered {what}{_near(connection, kind, name)} (`mtprl {command}` lists them); {_INSTEAD[kind]}"
    raise ConfigError([Problem(field, message)])


def _near(connection: Connection, kind: Registered, name: str) -> str:
    """The registered names that are most like it, in words."""
    names = [entry.name for entry in rows.listed(connection, kind)]
    lower = {known.lower(): known for known in names}
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=_MOST_NEAR, cutoff=0.5)]
    near += [known for known in names if name.lower() in known.lower() and known not in near]
    return f"; near to it: {', '.join(near[:_MOST_NEAR])}" if near else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a process of a user that this machine has no name for
        return str(os.getuid())
