"""What the numbers cannot say, and the commands that repeat the experiment."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from backend import words
from backend.leaderboard.words import verdict
from backend.report.document import Block, Bullets, Code, Section, Text
from backend.report.gathered import MOST_RUNS, Gathered
from backend.report.methods import has_begun
from backend.report.repeat import (
    evaluation_command,
    experiment_again,
    is_queued_by_training,
    new_run,
    refused,
    repeated_by,
    training_commands,
)
from db.reads import RunDetail
from db.statuses import ENDED, Status
from trainer.evaluation.statistics import SEEDS_FOR_METHODS


def limits(found: Gathered) -> Section:
    """What a reader may not conclude."""
    items = list(dict.fromkeys(_limits(found)))
    return Section(
        "Limits", [Bullets(items)] if items else [Text("Nothing was found that limits what these numbers say.")]
    )


def repeat(found: Gathered) -> Section:
    """The commands, to copy."""
    runs = [run for run in found.runs if has_begun(run)]
    jobs = [job for job in found.jobs if job.status == Status.FINISHED]
    if not runs and not jobs:
        return Section("Repeat it", [Text("There is nothing to repeat: nothing has been trained or evaluated yet.")])
    blocks: list[Block] = []
    commands = list(training_commands(runs, found.experiment))
    if commands:
        about = (
            "These commands queue the same configurations again, under another experiment so that the two are not pooled. Paths are those of "
            "the machine that the runs were queued on. Runs that never started a step are left out."
        )
        blocks += [Text(about), Code("Training", "\n\n".join(commands), "bash")]
    old = refused(runs)
    if old:
        blocks.append(
            Text(
                f"No command repeats {words.listed_briefly(old)}: this version refuses their configurations, which an older one made.",
                strong=True,
            )
        )
    blocks += _evaluations(found.experiment, runs, jobs)
    if any((run.config.get("evaluation") or {}).get("afterwards") for run in runs):
        blocks.append(
            Text(
                "Trainings with evaluation.afterwards queue that evaluation by themselves when they have finished; no command stands here for it."
            )
        )
    return Section("Repeat it", blocks)


def _evaluations(experiment: str, runs: Sequence[RunDetail], jobs: Sequence[RunDetail]) -> Iterator[Block]:
    """The commands for the evaluations, of the runs that repeat the trainings."""
    trainings, repeated = {run.id: run for run in runs}, repeated_by(runs)
    said: list[str | None] = []
    for job in jobs:
        of = trainings.get(job.evaluates or 0)
        if of is None or not is_queued_by_training(job, of):
            again = repeated.get(of.id) if of else None
            said.append(evaluation_command(job, of, new_run(again.id) if again else ""))
    lines = list(dict.fromkeys(line for line in said if line))
    if lines:
        about = "These commands evaluate in the same way again."
        example = next(
            (new_run(run.id) for run in repeated.values() if any(new_run(run.id) in line for line in lines)), ""
        )
        if example:
            listed = shlex.join(["mtprl", "runs", "--experiment", experiment_again(experiment)])
            number = example.removeprefix(new_run(0)[:-1])
            note = f"The numbers to give are those of the new runs: in the place of {example} that of the run that repeats run {number}."
            about += f" {note} `{listed}` lists them; they can be evaluated when they have finished."
            lines.insert(0, f"# {note} They are listed by: {listed}")
        yield Text(about)
        yield Code("Evaluation", "\n".join(lines), "bash")
    if None in said:
        yield Text("Evaluations whose configurations this version refuses are left out.", strong=True)


def _limits(found: Gathered) -> Iterator[str]:
    for method in found.methods:
        n = len(method.averaged)
        if n < SEEDS_FOR_METHODS:
            yield (
                f"{method.name}: {words.plural(n, 'seed')}. Nothing can be said of the spread between trainings, so its curves have no "
                "interval, and what is measured speaks of these checkpoints, not of the method."
            )
    for board in found.boards:
        if board.caveat:
            yield board.caveat
        yield from (sentence for sentence in verdict(board) if "cannot give p below" in sentence)
    if len(found.boards) > 1:
        yield "The runs do not share one protocol; numbers of different tables must not be compared."
    going = [run.id for run in found.runs if run.status not in ENDED]
    if going:
        yield f"Not finished: {_runs(going)}. What stands here of them will change."
    for status, said in ((Status.FAILED, "Failed"), (Status.STOPPED, "Stopped")):
        ids = [run.id for run in found.runs if run.status == status]
        if ids:
            yield f"{said}: {_runs(ids)}. They are listed and drawn, and in no mean; a method whose trainings fail is not as good as the rest of them."
    twice = [
        run.id
        for run in found.runs
        if has_begun(run) and run.id not in found.averaged and run.status not in (Status.FAILED, Status.STOPPED)
    ]
    if twice:
        yield f"Trained again with the same seed: {_runs(twice)}. Of each seed only the newest training is averaged."
    lengths = {run.total_steps for run in found.runs}
    if len(lengths) > 1:
        yield f"Not all runs are of one length: {', '.join(f'{steps:,}' for steps in sorted(lengths))} steps."
    hosts = {attempt.host for run in found.runs for attempt in run.attempts}
    if len(hosts) > 1:
        yield f"The runs were made on {len(hosts)} hosts; their seconds per step can be compared only within one."
    if found.runs and found.boards and not found.jobs:
        yield "All evaluations were made by the trainings themselves, with their seeds of sampling; none was made again by a job of its own."
    if found.means:
        yield (
            "The intervals of the curves hold at each step by itself, not for whole curves; they know of seeds and not of problems, and are not "
            "corrected for how many are looked at. Differences are to be read off the tables."
        )
    if found.archived:
        yield f"{words.archived_left_out(found.archived)}: nothing here counts or lists them; `mtprl report --archived` does."
    if found.left_out:
        yield f"Only the newest {MOST_RUNS} trainings and evaluations are in the report; {found.left_out} older ones are left out."


def _runs(ids: list[int]) -> str:
    return f"run{'s' if len(ids) > 1 else ''} {words.listed_briefly(sorted(ids))}"
