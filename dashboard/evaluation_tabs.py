"""The tabs of the run page that show evaluations: what came out, and every answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import streamlit as st

from backend import charts, palette, words
from backend.results import Result, Results, averages, decoding_of, results
from dashboard import liveness, markup, store
from db import reads
from db.reads import EvaluatedItem, EvaluationRow, RunDetail, RunRow, SampleRow
from db.statuses import ENDED, Kind
from trainer.evaluation.statistics import Estimate

_NOTHING = "Nothing is evaluated so far."


def outcome(run: RunDetail) -> None:
    """What a run's last evaluation came to, and the evaluations of its checkpoints."""
    with store.reading() as connection:
        # The vote reads every answer: not every two seconds while there are more to come.
        found = results(connection, run.id, votes=run.status in ENDED)
        jobs = reads.list_runs(connection, evaluates=run.id)
        scores = averages(connection, [job.id for job in jobs])
    if found.by_benchmark:
        _results(run, found)
    elif run.kind == Kind.EVALUATION or not jobs:
        more = "" if run.kind == Kind.EVALUATION else " **Evaluate** above puts a checkpoint to a suite of problems."
        st.info(_NOTHING + more, icon=":material/hourglass_empty:")
    if jobs:
        st.header("Evaluations of its checkpoints", anchor=False)
        cells = [_job_cells(job, scores.get(job.id)) for job in jobs]
        st.html(markup.table(_JOB_COLUMNS, cells, label="Evaluations of its checkpoints"))


def answers(run: RunDetail) -> None:
    """Every answer of the last evaluation, problem by problem."""
    with store.reading() as connection:
        rows = [row for row in reads.evaluations(connection, [run.id], last_only=True) if row.items]
    if not rows:
        st.info(_NOTHING, icon=":material/hourglass_empty:")
        return
    by_name = {row.benchmark: row for row in rows}
    first, second, third = st.columns([1, 1.4, 2.2])
    name = first.selectbox("Benchmark", list(by_name), key="benchmark", bind="query-params")
    row = by_name[name]
    which = second.selectbox("Problems", list(_WHICH), key="which", bind="query-params")
    items = [item for item, marks in row.items.items() if _WHICH[which](marks)]
    if not items:
        third.selectbox("Problem", [], disabled=True, placeholder="none of them")
        st.info("No problem of this kind in this benchmark.", icon=":material/filter_alt_off:")
        return
    item = third.selectbox(
        f"Problem ({len(items):,} of {len(row.items):,})",
        items,
        key="item",
        bind="query-params",
        format_func=lambda item: f"{item} · {_right(row.items.get(item, ''))}",
    )
    with store.reading() as connection:
        answered = reads.evaluated_item(connection, row.id, item)
    if answered is None:
        st.info(
            f"{_right(row.items[item])}. The texts were not kept: a training keeps those of its last evaluation, an evaluation by itself keeps all.",
            icon=":material/text_snippet:",
        )
        return
    _answered(row, item, answered)


def _answered(row: EvaluationRow, item: str, answered: EvaluatedItem) -> None:
    st.html(
        f'<div class="m-sub">Problem {markup.text(item)}</div><div class="m-box">{markup.verbatim(answered.problem)}</div>'
        f'<div class="m-sub" style="margin-top:.6rem">Right answer: <b>{markup.text(answered.answer)}</b> · {_right(row.items[item])}</div>'
    )
    st.html(markup.table(_SAMPLE_COLUMNS, [_sample_cells(sample) for sample in answered.samples], label="Answers"))


_WHICH: dict[str, Callable[[str], bool]] = {
    "all": lambda marks: True,
    "sometimes right": lambda marks: 0 < marks.count("1") < len(marks),
    "never right": lambda marks: "1" not in marks,
    "always right": lambda marks: "0" not in marks,
}

_SAMPLE_COLUMNS = (
    markup.Column("Sample", number=True),
    markup.Column("Grade"),
    markup.Column("Answer read"),
    markup.Column("Tokens", number=True),
    markup.Column("Completion"),
)


def _sample_cells(sample: SampleRow) -> list[str]:
    return [
        str(sample.sample + 1),
        markup.grade(sample.correct, sample.reason),
        markup.text(sample.extracted or "–"),
        markup.text(f"{sample.tokens:,}", sub="truncated" if sample.truncated else ""),
        markup.verbatim(sample.completion),
    ]


def _right(marks: str) -> str:
    return f"{marks.count('1')} of {len(marks)} right"


def _results(run: RunDetail, found: Results) -> None:
    last = found.by_benchmark[0].evaluation
    if found.partial:
        ended = " It ended before the others; **Resume** goes on with them." if run.status in ENDED else ""
        st.warning(f"Partial: {found.partial} are answered so far.{ended}", icon=":material/hourglass_bottom:")
    facts = [
        f"after step {last.trained_steps:,}" if last.trained_steps is not None else "",
        f"{words.plural(last.samples, 'sample')} per problem",
        words.literal(f"sampled {decoding_of(last)}"),
        f"responses of at most {last.max_tokens:,} tokens" if last.max_tokens else "",
        f"grader {last.grader}" if last.grader else "",
    ]
    st.caption(" · ".join(filter(None, facts)))
    left, right = st.columns([1.25, 1], gap="small")
    with left:
        table = [_result_cells(result) for result in found.by_benchmark]
        if found.mean is not None:
            table.append(["<b>mean</b>", "", *_score(found.mean), "", "", ""])
        st.html(markup.table(_result_columns(last.samples), table, label="Results by benchmark"))
    rows = [
        charts.Row(
            result.evaluation.benchmark, result.average.value, result.average.low, result.average.high, _colour(run)
        )
        for result in found.by_benchmark
    ]
    if found.mean is not None:
        rows.append(charts.Row("mean", found.mean.value, found.mean.low, found.mean.high, charts.MUTED))
    with right.container(border=True):
        st.plotly_chart(
            charts.intervals(f"avg@{last.samples} with 95 % interval", rows),
            key=f"results:{run.id}",
            config={"displaylogo": False},
            alt="Share of right answers on each benchmark with its interval",
        )
    st.caption(
        "Intervals are 95 %, over the problems: they speak of this checkpoint and other problems, not of the method."
    )


def _result_columns(k: int) -> Sequence[markup.Column]:
    return (
        markup.Column("Benchmark"),
        markup.Column("Problems", number=True),
        markup.Column(f"avg@{k}", number=True),
        markup.Column("95 % interval", number=True),
        markup.Column(f"pass@{k}", number=True, wide=True),
        markup.Column(f"maj@{k}", number=True, wide=True),
        markup.Column("Revision", wide=True),
    )


def _result_cells(result: Result) -> list[str]:
    return [
        markup.text(result.evaluation.benchmark),
        f"{result.average.problems:,}",
        *_score(result.average),
        "–" if result.passed is None else words.percent(result.passed.value),
        "–" if result.majority is None else words.percent(result.majority.value),
        f'<span class="m-sub">{markup.text(result.evaluation.revision or "–")}</span>',
    ]


def _score(estimate: Estimate) -> list[str]:
    return [
        f"<b>{words.percent(estimate.value)}</b>",
        words.percents(estimate.low, estimate.high),
    ]


_JOB_COLUMNS = (
    markup.Column("Evaluation"),
    markup.Column("After step", number=True),
    markup.Column("Status"),
    markup.Column("Problems"),
    markup.Column("Right", number=True),
    markup.Column("Created", number=True, wide=True),
)


def _job_cells(job: RunRow, score: Estimate | None) -> list[str]:
    now = time.time()
    shown = liveness.shown_status(job.status, job.heartbeat_at, now)
    return [
        markup.link(f"{job.id} · {job.name}", f"run?run={job.id}"),
        f"{job.evaluates_step:,}" if job.evaluates_step is not None else "–",
        markup.status(shown, note=liveness.note(job.status, job.reason, job.stage, job.heartbeat_at, now)),
        markup.progress(job.step, job.total_steps, palette.regime_colour(job.regime)),
        "–" if score is None else markup.text(words.percent(score.value), sub=words.percents(score.low, score.high)),
        words.age(job.created_at, now),
    ]


def _colour(run: RunDetail) -> str:
    return palette.regime_colour(run.regime)
