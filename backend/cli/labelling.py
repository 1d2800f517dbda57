"""Commands that say something about runs: tags, notes, names, and what is put away."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.common import Run, find, require_store

Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Ids, or names where only one run has them.", show_default=False),
]


def tag(
    given: Annotated[
        list[str],
        typer.Argument(metavar="RUN... +TAG... -TAG...", help="Runs, then tags to add and to take away."),
    ],
) -> None:
    """Tag runs: `mtprl tag 3 4 +baseline -old`. A clone begins without its origin's tags; a resumed run keeps its own."""
    from backend import labels
    from trainer.errors import StoreError

    changes = [word for word in given if word[:1] in ("+", "-") and len(word) > 1]
    named = [word for word in given if word not in changes]
    if not named:
        raise StoreError("no run is given; `mtprl tag 3 +baseline` tags run 3")
    require_store()
    typer.echo(labels.tag([find(run) for run in named], *labels.parse_changes(changes)))


def note(
    run: Run,
    text: Annotated[str, typer.Argument(help='What to remember about it; "" takes the note away.')],
) -> None:
    """Note something about a run, in the place of what was noted before."""
    from backend import labels

    typer.echo(labels.note([find(run)], text))


def rename(run: Run, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a run another name; its folder keeps the old one."""
    from backend import labels

    typer.echo(labels.rename(find(run), name))


def archive(
    runs: Runs,
    undo: Annotated[bool, typer.Option("--undo", help="Take them back into the list.")] = False,
) -> None:
    """Put runs away that have ended: lists leave them out unless asked for. Nothing is deleted."""
    from backend import labels

    typer.echo(labels.archive([find(run) for run in runs], undo))
