"""Every run by itself: how it went and ended, what its audits and alarms say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from backend import words
from backend.report.document import Block, Cell, Marked, Section, Table, Text
from backend.report.gathered import MOST_AUDITS, Gathered
from backend.report.methods import Method
from db.reads import AlarmRow, RunDetail
from db.reads.runs import COEFFICIENT, RECENT_STEPS
from db.statuses import ACTIVE
from trainer.evaluation.rank_correlation import FEWEST_PAIRS, RankCorrelation

_FINALS = {
    "reward/mean": "reward",
    "reward/accuracy": "accuracy",
    "policy/entropy": "entropy",
    "mtp/acceptance_greedy": "acceptance",
    COEFFICIENT: f"λ, mean of last {RECENT_STEPS} steps",
    "time/step_seconds": "s / step, last",
}


def runs(found: Gathered) -> Section:
    """The table of runs, failed and stopped ones included."""
    if not found.runs:
        return Section("Runs", [Text("There is no run that trains.")])
    evaluated = sorted(name for name in found.metrics if name.startswith("eval/"))
    names = [*(name.removeprefix("eval/").replace("/avg_at_", " avg@") for name in evaluated), *_FINALS.values()]
    blocks: list[Block] = [
        Table(
            "Runs: how they went",
            (
                "method",
                "status",
                "how it ended",
                "averaged",
                "run",
                "seed",
                "steps",
                "time",
                "attempts",
                "resumed from step",
            ),
            [_went(found, method, run) for method in found.groups for run in method.runs],
            words=4,
        ),
        Table(
            "Runs: where, and their last values",
            ("method", "host", "device", "run", "seed", *names),
            [_ended(found, method, run, [*evaluated, *_FINALS]) for method in found.groups for run in method.runs],
            words=3,
        ),
        Text(
            f"Last values are those of each run's last step, or of its last evaluation; λ is the mean over its last {RECENT_STEPS} steps, as "
            "`mtprl runs` shows it; time is that on its devices over all attempts."
        ),
    ]
    again = [(run, attempt) for run in found.runs for attempt in run.attempts if len(run.attempts) > 1]
    if again:
        rows = [
            (str(run.id), str(one.number), one.cause or "", one.host, one.outcome or "not ended", one.message)
            for run, one in again
        ]
        blocks.append(
            Table("Runs with several attempts", ("run", "attempt", "why", "host", "outcome", "message"), rows, words=6)
        )
    return Section("Runs", blocks)


def alarms(found: Gathered) -> Section:
    """The alarms that were raised."""
    rows = [row for run in found.runs for row in _alarms(found, run.id)]
    if not rows:
        return Section("Alarms", [Text("No alarm was raised." if found.runs else "There is no run that trains.")])
    head = ("run", "alarm", "severity", "on at the end", "what it said last", "first step", "last step", "times")
    return Section("Alarms", [Table("Alarms that were raised", head, rows, words=5)])


def audits(found: Gathered) -> Section | None:
    """How far proxies and predictions agree with what was measured; None where nothing was audited."""
    if not found.audits:
        return None
    rows: list[list[Cell]] = []
    for method in found.methods:
        for run in method.runs:
            for (run_id, depth), one in found.audits.items():
                if run_id == run.id:
                    effects = one.effects()
                    rows.append(
                        [
                            Marked(method.name, method.colour),
                            *(str(run.id), str(depth), str(len(one.steps))),
                            _rank(one.correlation("coefficient", "proxy_main")),
                            _rank(one.correlation("coefficient", "proxy_own")),
                            _rank(one.correlation("coefficient_half_1", "coefficient_half_2")),
                            _rank(effects.correlation),
                            f"{effects.equal_signs} of {effects.of}" if effects.of else "–",
                        ]
                    )
    head = (
        "method",
        "run",
        "depth",
        "audits",
        "proxy main",
        "proxy own",
        "ceiling",
        "predicted and measured",
        "equal signs",
    )
    thinned = [run_id for run_id, made in found.audits_made.items() if made > MOST_AUDITS]
    note = (
        "Spearman's rank correlation with its 95 % interval: of λ by each reference with the exact λ, of the exact λ of two halves of the "
        "mini-batch (the ceiling for a proxy), and of the predicted and the measured change of the objective by the MTP part, with how often "
        f"their signs agree. From {FEWEST_PAIRS} audits on."
    )
    if thinned:
        note += f" Of the runs {words.listed_briefly(thinned)} every so many-th audit is used, {MOST_AUDITS} at most."
    return Section("Audits", [Table("Audits", head, rows), Text(note)])


def _went(found: Gathered, method: Method, run: RunDetail) -> list[Cell]:
    last = run.attempts[-1] if run.attempts else None
    ended = run.reason or (run.stage if run.status in ACTIVE else "") or (last.message if last else "")
    return [
        Marked(method.name, method.colour),
        str(run.status),
        ended or "–",
        "yes" if run.id in found.averaged and run.step else "no",
        str(run.id),
        str(run.seed),
        f"{run.step:,} of {run.total_steps:,}",
        words.duration(run.seconds),
        str(len(run.attempts)),
        ", ".join(str(one.resumed_from) for one in run.attempts if one.resumed_from is not None) or "–",
    ]


def _ended(found: Gathered, method: Method, run: RunDetail, metrics: Sequence[str]) -> list[Cell]:
    attempt = found.attempts.get(run.id)
    hosts = dict.fromkeys(one.host for one in run.attempts)
    devices = dict.fromkeys(name for one in run.attempts for name in one.devices or ())
    named = filter(None, [attempt.device if attempt else "", f"({', '.join(devices)})" if devices else ""])
    latest = found.latest.get(run.id, {})
    return [
        Marked(method.name, method.colour),
        ", ".join(hosts) or "–",
        " ".join(named) or "–",
        str(run.id),
        str(run.seed),
        *(
            words.number(run.coefficient)
            if name == COEFFICIENT
            else _last(name, latest[name].value)
            if name in latest
            else "–"
            for name in metrics
        ),
    ]


def _last(name: str, value: float) -> str:
    return words.percent(value) if name.startswith("eval/") and math.isfinite(value) else words.number(value)


def _alarms(found: Gathered, run_id: int) -> Iterator[list[Cell]]:
    def name(alarm: AlarmRow) -> str:
        return alarm.name

    on = {alarm.name for alarm in found.alarms_on.get(run_id, ())}
    raised = [alarm for alarm in found.alarms.get(run_id, ()) if alarm.severity != "info"]
    for called, each in groupby(sorted(raised, key=name), key=name):
        alarms = sorted(each, key=lambda alarm: alarm.step)
        last = alarms[-1]
        state = "yes" if called in on else "no"
        cells = [str(run_id), words.alarm(called), last.severity, state, last.message]
        yield [*cells, f"{alarms[0].step:,}", f"{last.step:,}", str(len(alarms))]


def _rank(found: RankCorrelation) -> str:
    if found.n < FEWEST_PAIRS:
        return "too few"
    if math.isnan(found.value):
        return "none"
    value, low, high = (f"{part:.2f}".replace("-", "−") for part in found[:3])
    return f"{value} ({low} … {high})"
