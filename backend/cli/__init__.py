"""The command line, `mtprl`. What a user can get wrong is answered in one sentence and a non-zero exit, never a traceback.

Nothing heavy is imported until a command needs it, so that `mtprl --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from backend.cli import (
    alerting,
    boards,
    evaluating,
    labelling,
    launching,
    mirroring,
    registering,
    reporting,
    runs,
    services,
    stack,
    tools,
    verifying,
    warming,
    workers,
)

app = typer.Typer(
    name="mtprl",
    help="Configure, launch, watch and compare RL runs that train a language model together with its MTP heads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "The stack": (stack.up, stack.down, stack.demo, stack.doctor),
    "Services, one by one": (services.migrate, services.worker, services.dashboard),
    "Runs": (
        *(launching.submit, launching.clone, launching.resume, runs.stop),
        *(runs.runs, runs.show, runs.watch, runs.logs, runs.export),
    ),
    "What is said about runs": (labelling.tag, labelling.note, labelling.rename, labelling.archive),
    "Evaluation": (evaluating.evaluate, boards.leaderboard, reporting.report),
    "Workers": (workers.workers, workers.drain, workers.undrain),
    "Tools": (tools.train, registering.plan, tools.contamination, tools.make_base, tools.presets),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        # `-old` of `mtprl tag` is a tag to take away, not an option.
        taken = {"ignore_unknown_options": _command is labelling.tag}
        app.command(rich_help_panel=_panel, context_settings=taken)(_command)
app.command("inspect", rich_help_panel="Models and data")(registering.show_model)
app.command(rich_help_panel="Models and data")(verifying.verify)
app.command(rich_help_panel="Models and data")(warming.warm_heads)
for _group in (registering.models, registering.data):
    app.add_typer(_group, rich_help_panel="Models and data")
app.add_typer(alerting.alerts, rich_help_panel="What is said about runs")
app.add_typer(mirroring.mirror, rich_help_panel="Tools")


def main() -> None:
    """Entry point of the program `mtprl`."""
    try:
        app()
    except Exception as error:
        words = in_words(error)
        if words is None:
            raise
        typer.secho(words, fg="red", err=True)
        sys.exit(1)


def in_words(error: Exception) -> str | None:
    """What to tell the user; None for an error that is a mistake in this program, whose traceback is wanted."""
    from redis.exceptions import RedisError
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from trainer.errors import MtprlError

    if isinstance(error, MtprlError):
        return str(error)
    if isinstance(error, SQLAlchemyError):
        cause = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
        return f"the database does not answer ({cause}); `mtprl doctor` says more"
    if isinstance(error, RedisError):
        return f"the queue (Redis) does not answer ({error}); `mtprl doctor` says more"
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        # Bytes of the command line or the environment that are no UTF-8 become surrogates, which nothing can store or print.
        around = error.object[max(0, error.start - 20) : error.end + 20]
        return f"{around!r}: this text holds bytes that are not UTF-8; type it again in a terminal that uses UTF-8"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None
