"""Models and data sets by name, and what is known of a run before it is queued."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.common import Json, Overrides, find, print_json, read_config, reading, require_store, tell

if TYPE_CHECKING:
    from rich.table import Table

    from db.registry import Registered

models = typer.Typer(name="models", help="Models by name: list, add, show, export, rm.", invoke_without_command=True)
data = typer.Typer(name="data", help="Data sets by name: list, add, show, rm.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and . _ + -", show_default=False)]
Note = Annotated[str, typer.Option(help="What somebody else should know about it.")]


@models.callback()
def _models(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        from db.registry import Registered

        _list(Registered.MODEL, as_json)


@data.callback()
def _data(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        from db.registry import Registered

        _list(Registered.DATA, as_json)


@models.command("add")
def add_model(
    name: Name,
    path: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|HUB", help="A model's folder or name on the hub.", show_default=False),
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="In its place: a checkpoint of this run.")] = None,
    step: Annotated[int | None, typer.Option(help="Which checkpoint.", show_default="the newest")] = None,
    note: Note = "",
) -> None:
    """Give a model a name, which then stands for it in model.path."""
    require_store()
    from backend import registry
    from trainer.errors import ConfigError, Problem

    if (path is None) == (run is None):
        raise ConfigError([Problem("", "give either a folder or hub name, or --run RUN")])
    if step is not None and run is None:
        raise ConfigError([Problem("--step", f"{step} has no effect without --run; leave it out")])
    entry = (
        registry.add_model(name, path or "", note)
        if run is None
        else registry.add_checkpoint(name, find(run), step, note)
    )
    typer.echo(f"model {entry.name} is {entry.content['path']}")


@models.command("show")
def show_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered name, a folder or a name on the hub.")],
    as_json: Json = False,
) -> None:
    """Say what a model is: architecture, parameters, MTP heads, what is shared, what transformers drops, memory to train. Loads nothing.
    Exit code 1 where it is not on this machine."""
    from backend import registry, store, words
    from backend.inspection.models import inspect_model
    from db.registry import Registered
    from db.registry import find as find_entry

    entry, users = None, None
    if store.is_ready():  # a folder can be inspected without one
        with store.reading() as connection:
            entry = find_entry(connection, Registered.MODEL, model)
            users = None if entry is None else registry.used_by(connection, entry)
    facts = inspect_model(model if entry is None else entry.content["path"])
    if as_json:
        print_json({**asdict(facts), "folder": None if facts.folder is None else str(facts.folder)})
        if facts.folder is None:
            raise typer.Exit(1)
        return
    if facts.folder is None:
        said = "; ".join(facts.problems) or "fetch it from the hub, as a run does when it starts, and inspect it again"
        tell(f"{facts.path} is not on this machine, so that nothing is known of it: {said}")
        raise typer.Exit(1)
    lines = {"where": facts.path, "problems": "; ".join(facts.problems) or "none"} | facts.facts
    lines["On disk"] = "not known" if facts.bytes is None else words.size(facts.bytes)
    if users is not None:
        lines["used by"] = _users(users)
    _print_lines(lines)


@models.command("export")
def export_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN", help="A run by number or name, a registered name, or a folder.", show_default=False
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Is made; must be empty.", show_default=False)],
    step: Annotated[int | None, typer.Option(help="Which checkpoint of a run.", show_default="the newest")] = None,
) -> None:
    """Write a model with its MTP heads in the layout and dtypes of the checkpoint that it came from: a run's checkpoints lie in float32."""
    from backend import serving
    from backend.cli.evaluating import evaluable
    from trainer.config import EvaluatedModel
    from trainer.errors import ConfigError, Problem
    from trainer.models.export import export, why_not_into
    from trainer.models.storage import load_joint, load_tokenizer, stored_depths
    from trainer.preflight import model_problems

    if wrong := why_not_into(folder):
        raise ConfigError([Problem("FOLDER", wrong)])
    path = str(evaluable(model, step, best=False).values["model"]["path"])
    if problems := model_problems(EvaluatedModel(path=path)):
        raise ConfigError(problems)
    depths = stored_depths(path)
    if not depths:
        raise ConfigError(
            [Problem("MODEL", f"{path} has no MTP heads, and nothing else that a copy of it would not have")]
        )
    export(load_joint(path, depths), load_tokenizer(path), folder)
    typer.echo(f"{path} with {depths} MTP depth{'s' if depths > 1 else ''} is in {folder}")
    tell(f"vLLM serves it with `{serving.serve_line(str(folder), serving.drafting_depths(folder))}`")


@models.command("rm")
def remove_model(name: Name) -> None:
    """Take a model's name away; its files and the runs that used it stay."""
    from db.registry import Registered

    _remove(Registered.MODEL, name)


@data.command("add")
def add_data(
    name: Name,
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|HUB", help="A JSONL or Parquet file, a folder, or a name on the hub.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    note: Note = "",
) -> None:
    """Give a data section a name, which then stands for it in `--set data=NAME`. `--set` gives its settings, such as columns.answer=solution."""
    require_store()
    from backend import registry
    from trainer.config import resolve
    from trainer.errors import ConfigError, Problem

    section = resolve(registry.section_of(where) if where else {}, overrides or ())
    if not section:
        raise ConfigError([Problem("", "give a file, a folder or a name on the hub, or --set kind=...")])
    entry = registry.add_data(name, section, note)
    typer.echo(f"data {entry.name} is {registry.where(entry)}")


@data.command("show")
def show_data(name: Name, as_json: Json = False) -> None:
    """Say what a registered data set holds."""
    from backend import registry
    from backend.inspection.data import inspect_data
    from db.registry import Registered, get

    with reading() as connection:
        entry = get(connection, Registered.DATA, name)
        users = registry.used_by(connection, entry)
    facts = inspect_data(registry.data_of(entry.content))
    examples = [{"id": item.id, "problem": item.problem, "answer": item.answer} for item in facts.examples]
    if as_json:
        values = {"source": facts.source, "problems": facts.problems, "lengths": facts.lengths}
        print_json({**values, "answers": facts.answers, "conflicts": len(facts.conflicts), "examples": examples})
        return
    low, middle, high = facts.lengths
    lines = {
        "where": registry.where(entry),
        "problems": f"{facts.problems:,}, of {low:,} to {high:,} characters (median {middle:,})",
        "answers": ", ".join(f"{kind} {count:,}" for kind, count in facts.answers.items()),
        "conflicts": f"{len(facts.conflicts):,} problems again with another answer",
        "used by": _users(users),
    }
    lines |= {f"example {one['id']}": f"{' '.join(one['problem'].split())[:200]} = {one['answer']}" for one in examples}
    _print_lines(lines)


@data.command("rm")
def remove_data(name: Name) -> None:
    """Take a data set's name away; its files and the runs that used it stay."""
    from db.registry import Registered

    _remove(Registered.DATA, name)


def plan(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG|PRESET", help="A YAML file, or a preset's name.", show_default=False)
    ],
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs of it.")] = 1,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="GB",
            help="Weigh it against launch.num_processes GPUs of so many GB (10^9 bytes) each, in the place of the devices here.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a run will need before it is queued: model, data, devices, memory, time, disk. Exit code 1 where it could not work."""
    from rich.markup import escape

    from backend import show, store
    from backend.planning.check import is_bad
    from backend.planning.checks import checks
    from trainer.config import parse

    values, _ = read_config(config, overrides)
    run = parse(values)
    elsewhere = None if gpu_memory is None else int(gpu_memory * 10**9)
    if store.is_ready():
        with store.reading() as connection:
            found = checks([run], seeds, connection, elsewhere=elsewhere)
    else:
        found = checks([run], seeds, None, elsewhere=elsewhere)
    if as_json:
        print_json([check._asdict() for check in found])
    else:
        colours = {"good": "green", "note": "yellow", "bad": "red"}
        rows = table("check", "", "")
        for check in found:
            rows.add_row(check.name, f"[{colours[check.level]}]{check.level}[/]", escape(check.words))
        show.console().print(rows)
    if is_bad(found):
        raise typer.Exit(1)


def _list(kind: Registered, as_json: bool) -> None:
    from rich.markup import escape

    from backend import registry, show
    from db.registry import listed

    with reading() as connection:
        entries = listed(connection, kind)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    if not entries:
        typer.echo(
            f"no {kind} has a name yet; `mtprl {'models' if kind == 'model' else 'data'} add NAME ...` gives one"
        )
        return
    rows = table("name", "where", "by", "when", "note")
    for entry in entries:
        when = f"{datetime.fromtimestamp(entry.created_at):%Y-%m-%d %H:%M}"
        rows.add_row(*map(escape, (entry.name, registry.where(entry), entry.created_by, when, entry.note)))
    show.console().print(rows)


def _remove(kind: Registered, name: str) -> None:
    require_store()
    from backend import store
    from db.registry import remove

    with store.writing() as connection:
        remove(connection, kind, name)
    typer.echo(f"{kind} {name} has its name no more")


def _users(users: Any) -> str:
    if not users.count:
        return "no run yet"
    return f"{users.count:,} runs, the newest: {', '.join(str(run_id) for run_id, _ in users.newest)}"


def _print_lines(lines: dict[str, str]) -> None:
    for name, said in lines.items():
        typer.echo(f"{typer.style(f'{name:20}', bold=True)} {said}")


def table(*headings: str) -> Table:
    """A table without lines."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table
