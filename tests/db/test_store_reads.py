from __future__ import annotations

import pytest
from store_helpers import Reader, claim, event, metrics, started, submit

from db import claims, reads, runs
from db.engine import reading, writing
from db.statuses import Status
from db.tokens import Tokens
from trainer.errors import StoreError

EVALUATION = {"samples": 2, "temperature": 1.0, "top_p": 0.7}


def test_runs_are_listed_newest_first_and_by_experiment_and_status(store):
    with writing(store) as connection:
        a, b = submit(connection, "a"), submit(connection, "b")
        c = submit(connection, "c", experiment="other")
        claim(connection)

        def ids(**chosen) -> list[int]:
            return [row.id for row in reads.list_runs(connection, **chosen)]

        assert ids() == [c, b, a]
        assert ids(limit=2) == [c, b]
        assert ids(experiment="demo") == [b, a]
        assert ids(experiment="demo", status=Status.QUEUED) == [b]
        assert ids(experiment="nothing") == []


def test_a_listed_run_shows_its_owner_and_its_headline_values(store, run, reader):
    reader.feed(started(), metrics(3, reward__mean="NaN", reward__accuracy=0.5, mtp__coefficient=0.25, other=1.0))
    with reading(store) as connection:
        (row,) = reads.list_runs(connection)
    assert (row.status, row.step, row.attempt, row.devices, row.heartbeat_at) == (Status.RUNNING, 3, 1, ("cpu:0",), 2.0)
    assert repr(row.latest) == repr({"reward/mean": float("nan"), "reward/accuracy": 0.5})
    assert row.coefficient == 0.25


def test_an_unknown_run_is_refused_in_words(store):
    with reading(store) as connection:
        with pytest.raises(StoreError, match="run '4' does not exist; `mtprl runs` lists"):
            reads.get_run(connection, 4)
        with pytest.raises(StoreError, match="run 'occ' does not exist"):
            reads.find_run(connection, "occ")
        for number in ("12", "9" * 30):
            with pytest.raises(StoreError, match=f"run '{number}' does not exist"):
                reads.find_run(connection, number)


def test_a_run_is_found_by_its_id_or_by_a_name_that_only_it_has(store):
    with writing(store) as connection:
        first, second, third, named_7 = (submit(connection, name) for name in ("one", "twice", "twice", "7"))
        assert reads.find_run(connection, str(first)) == first
        assert reads.find_run(connection, "one") == first
        assert reads.find_run(connection, "7") == named_7
        with pytest.raises(StoreError, match=f"2 runs are named 'twice'; name one by its id: {second}, {third}"):
            reads.find_run(connection, "twice")


def test_runs_are_counted_by_status(store):
    with writing(store) as connection:
        _, second, _ = (submit(connection, name) for name in "abc")
        runs.request_stop(connection, second, now=2.0)
        assert reads.status_counts(connection) == {**dict.fromkeys(Status, 0), Status.QUEUED: 2, Status.STOPPED: 1}


def test_of_one_run_what_was_measured_of_its_drafts_is_said_too(store, run, reader):
    said = {
        "mtp/held_out_acceptance_greedy": 0.8,
        "mtp/held_out_acceptance_sampled": 0.7,
        "rollout/draft_acceptance_1": 0.1,
    }
    reader.feed(started(), metrics(1, **said, other=0.5))
    with reading(store) as connection:
        assert reads.get_run(connection, run).latest == said


def test_a_run_has_the_metrics_that_were_logged_for_it(store, run, reader):
    with writing(store) as connection:
        other = submit(connection, "other")
        claims.claim_next(connection, host="alpha", devices=["cpu:1"], now=2.0)
    reader.feed(started(), metrics(1, b=1.0, a=2.0))
    Reader(store, other).feed(started(), metrics(1, c=3.0))
    with reading(store) as connection:
        assert reads.metric_list(connection, run) == ["a", "b"]
        assert reads.metric_list(connection, other) == ["c"]
        assert [row.metric for row in reads.export_rows(connection, run)] == ["a", "b"]


def test_the_coefficient_of_a_listed_run_is_the_finite_mean_over_its_last_steps(store, run, reader):
    with writing(store) as connection:
        other, none = submit(connection, "other"), submit(connection, "none")
        claims.claim_next(connection, host="alpha", devices=["cpu:1"], now=2.0)
    steps = [metrics(step, mtp__coefficient=float(step)) for step in range(1, 13)]
    reader.feed(started(), *steps, metrics(13, mtp__coefficient="NaN"), metrics(13, 0, mtp__coefficient=99.0))
    Reader(store, other).feed(started(), metrics(1, 0, mtp__coefficient=5.0), metrics(1, mtp__coefficient=0.5))
    with reading(store) as connection:
        assert reads.RECENT_STEPS == 10
        found = {row.id: row.coefficient for row in reads.list_runs(connection)}
        assert found == {run: sum(range(4, 13)) / 9, other: 0.5, none: None}
        assert reads.get_run(connection, run).coefficient == found[run]


def test_a_mean_over_mini_batches_says_what_it_left_out(store, run, reader):
    with writing(store) as connection:
        other = submit(connection, "other")
        claims.claim_next(connection, host="alpha", devices=["cpu:1"], now=2.0)
    reader.feed(
        started(),
        *(metrics(step, mini_batch, x=float(step), y=10.0, z=1.0) for step in (1, 2) for mini_batch in (0, 1)),
        metrics(1, x=99.0, y=99.0),
        metrics(3, 0, x="NaN", y="Infinity"),
    )
    Reader(store, other).feed(started(), metrics(1, 0, x=77.0, y="NaN"))
    with reading(store) as connection:
        assert reads.mini_batch_mean(connection, run, ["x"]) == (1.5, 4, 1)
        assert reads.mini_batch_mean(connection, run, ["x", "y"]) == (5.75, 8, 2)
        assert reads.mini_batch_mean(connection, other, ["y"]) == (None, 0, 1)
        assert reads.mini_batch_mean(connection, run, ["w"]) == (None, 0, 0)


def test_an_export_is_in_key_order_with_every_value_once(store, run, reader):
    reader.feed(started(), *(metrics(step, mini_batch, z=1.0, a=2.0) for step in (2, 1) for mini_batch in (1, 0, -1)))
    with reading(store) as connection:
        rows = [(row.run, row.metric, row.step, row.mini_batch) for row in reads.export_rows(connection, run)]
    assert rows == [(run, name, step, mini_batch) for name in "az" for step in (1, 2) for mini_batch in (-1, 0, 1)]


def test_completions_of_a_step_come_group_by_group(store, run, reader):
    def item(prompt_id: str, sample: int) -> dict:
        text = dict.fromkeys(("problem", "answer", "completion", "reason"), "")
        numbers = {"reward": 1.0, "advantage": 0.0, "tokens": 1, "correct": True, "truncated": False}
        return {"prompt_id": prompt_id, "sample": sample, "extracted": None, **text, **numbers}

    reader.feed(started(), event("completions", 10, items=[item("b", 0), item("a", 1), item("a", 0)]))
    with reading(store) as connection:
        assert reads.completion_steps(connection, run) == [10]
        rows = reads.completions_at(connection, run, 10)
        assert reads.completions_at(connection, run, 11) == []
        assert reads.newest_completions(connection, run) == 10
        assert reads.newest_completions(connection, run + 1) is None
    assert [(row.prompt_id, row.sample, row.extracted) for row in rows] == [
        ("a", 0, None),
        ("a", 1, None),
        ("b", 0, None),
    ]


def completion(prompt_id: str, sample: int = 0, **more) -> dict:
    text = dict.fromkeys(("answer", "completion", "reason"), "")
    numbers = {"reward": 1.0, "advantage": 0.0, "tokens": 1, "correct": True, "truncated": False}
    return {"prompt_id": prompt_id, "sample": sample, "extracted": None, "problem": "1+1", **text, **numbers, **more}


def test_what_was_said_of_each_token_comes_back_and_what_makes_no_sense_is_refused(store, run, reader):
    tokens = {
        "texts": ["", "\u00e9", "<eos>"],
        "log_probs": [-0.125, -2.5, None],
        "mtp_log_probs": [None, -3, -0.5],
        "agrees": [None, 1, 0],
    }
    said = [completion("a", 0, by_token=tokens), completion("a", 1), completion("b", 0, by_token=tokens)]
    assert reader.feed(started(), event("completions", 10, items=said)).malformed == 0
    for wrong in (
        {**tokens, "texts": ["", "x"]},
        {**tokens, "texts": ["", "x", 3]},
        {**tokens, "log_probs": ["", "", ""]},
        {**tokens, "log_probs": [float("nan"), 0.0, 0.0]},
        {name: values for name, values in tokens.items() if name != "agrees"},
        [],
    ):
        refused = event("completions", 20, items=[completion("a", by_token=wrong)])
        assert reader.feed(refused).malformed == 1, wrong
    with reading(store) as connection:
        assert reads.tokens_at(connection, run, 10, "a") == {0: Tokens(**tokens)}
        assert reads.tokens_at(connection, run, 20, "a") == {}


def test_a_prompt_is_found_at_other_steps_and_in_other_runs_of_the_experiment(store, run, reader):
    with writing(store) as connection:
        again, elsewhere = submit(connection, "again"), submit(connection, "far", experiment="elsewhere")
        for number in range(2):
            claims.claim_next(connection, host="alpha", devices=[f"cpu:{number + 1}"], now=2.0)
    reader.feed(started(), *(event("completions", step, items=[completion("a"), completion("b")]) for step in (1, 9)))
    reader.feed(event("completions", 20, items=[completion("a", 0), completion("a", 1)]))
    for other in (again, elsewhere):
        Reader(store, other).feed(
            started(),
            *(event("completions", step, items=[completion("a", 0), completion("a", 1)]) for step in (5, 10)),
            event("completions", 15, items=[completion("b", problem="another problem of that name")]),
        )
    with reading(store) as connection:
        assert reads.steps_of_prompts(connection, run, ["a", "b", "c"]) == {"a": [1, 9, 20], "b": [1, 9]}
        assert reads.runs_of_prompt(connection, run, "a", "1+1") == [(again, "again", [5, 10])]
        assert reads.runs_of_prompt(connection, run, "b", "1+1") == []
        assert reads.runs_of_prompt(connection, again, "b", "1+1") == [(run, "occ-seed0", [1, 9])]


def test_evaluations_are_chosen_by_run_experiment_benchmark_and_recency(store, run, reader):
    with writing(store) as connection:
        other = submit(connection, "other", experiment="elsewhere")
        claims.claim_next(connection, host="alpha", devices=["cpu:1"], now=2.0)
    for each in (reader, Reader(store, other)):
        for step, benchmark in ((0, "addition"), (20, "addition"), (10, "gcd")):
            items = [{"id": "q2", "outcomes": [0, 1]}, {"id": "q1", "outcomes": [1, 1]}]
            each.feed(event("evaluation", step, benchmark=benchmark, **EVALUATION, items=items))
    with reading(store) as connection:

        def chosen(*args, **kwargs) -> list[tuple]:
            return [(row.run_id, row.benchmark, row.step) for row in reads.evaluations(connection, *args, **kwargs)]

        assert chosen([run]) == [(run, "addition", 0), (run, "addition", 20), (run, "gcd", 10)]
        assert chosen(experiment="elsewhere", benchmark="gcd") == [(other, "gcd", 10)]
        assert chosen(last_only=True, benchmark="addition") == [(run, "addition", 20), (other, "addition", 20)]
        assert chosen([]) == []
        (row,) = reads.evaluations(connection, [run], benchmark="gcd")
    assert (list(row.items.items()), row.samples, row.top_p) == ([("q1", "11"), ("q2", "01")], 2, 0.7)


def test_history_is_read_on_from_a_cursor(store):
    with writing(store) as connection:
        run = submit(connection)
        for number in range(5):
            runs.log_event(connection, run, 1, number, "alarm", f"message {number}", "warning", now=float(number))
        first = reads.run_events(connection, run, limit=4)
        rest = reads.run_events(connection, run, after_id=first[-1].id, limit=4)
    assert [line.type for line in first] == ["submitted", "alarm", "alarm", "alarm"]
    assert [(line.step, line.message, line.severity) for line in rest] == [
        (3, "message 3", "warning"),
        (4, "message 4", "warning"),
    ]


def test_the_newest_history_is_chosen_by_type_and_counted(store):
    with writing(store) as connection:
        run, other = submit(connection), submit(connection, "other")
        for number, kind in enumerate(("checkpoint", "alarm", "claimed", "checkpoint", "alarm")):
            runs.log_event(connection, run, 1, number, kind, "", now=float(number))
            runs.log_event(connection, other, 1, 90 + number, kind, "", now=float(number))

        def steps(*types: str, all_but: list[str] | None = None, limit: int = 9) -> list[int]:
            found = reads.newest_events(connection, run, types=types, all_but=all_but, limit=limit)
            return [line.step for line in found]

        assert steps("alarm") == [4, 1]
        assert steps("alarm", "checkpoint", limit=3) == [4, 3, 1]
        assert steps(all_but=["alarm", "checkpoint"]) == [2, 0]  # claimed and submitted
        assert steps("alarm", all_but=["alarm", "checkpoint"]) == [4, 2, 1, 0]
        assert steps() == []
        assert reads.event_counts(connection, run) == {"submitted": 1, "checkpoint": 2, "alarm": 2, "claimed": 1}
