"""Which checkpoints are kept: the newest and the best."""

import pytest
from checkpoints import begin, changed, flip_a_bit, names, save_at, steps

from db.batches import parse as parse_events
from trainer.checkpoint import Checkpoints
from trainer.events import MemorySink
from trainer.loop import evaluate_now, train
from trainer.rollout.engine import Drafted, Response
from trainer.tasks.addition import write_problems


@pytest.fixture
def config(tiny_run):
    return tiny_run


def test_the_newest_and_the_best_are_kept_also_over_a_resume(config, tmp_path):
    folder = tmp_path / "run"
    run = begin(changed(config, checkpoint={"keep": 2}), folder)
    kept = []
    for step, accuracy in enumerate([0.1, 0.5, None, 0.3, 0.2], start=1):
        event = save_at(run, step, accuracy)
        assert event.get("best") == {1: True, 2: True, 4: False, 5: False}.get(step)
        kept.append(steps(run.checkpoints))
        assert [path.path.name for path in run.checkpoints.good] == names(folder)
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5]]
    run = begin(run.config, folder)
    assert run.step == 5
    assert run.checkpoints.best.step == 2
    save_at(run, 6, 0.4)
    assert names(folder) == ["step-000002", "step-000005", "step-000006"]
    assert save_at(run, 7, 0.5)["best"]  # of equals the newest
    assert names(folder) == ["step-000006", "step-000007"]


def test_steps_of_more_digits_are_later(config, tmp_path):
    folder = tmp_path / "run"
    run = begin(changed(config, checkpoint={"keep": 2}), folder)
    for step in (999_999, 1_000_000):
        save_at(run, step)
    run = begin(run.config, folder)
    assert run.step == 1_000_000
    assert steps(run.checkpoints) == [999_999, 1_000_000]
    assert run.checkpoints.broken == []


def test_accuracies_of_another_evaluation_are_not_compared(config, tmp_path):
    folder = tmp_path / "run"
    save_at(begin(config, folder), 1, 0.9)
    often = changed(config, evaluation={"every": 1})
    assert begin(often, folder).checkpoints.best.step == 1
    harder = begin(changed(config, evaluation={"samples": 4}), folder)
    assert harder.checkpoints.best is None
    assert save_at(harder, 2, 0.1)["best"]
    assert names(folder) == ["step-000002"]


def test_a_broken_best_is_best_no_more(config, tmp_path):
    folder = tmp_path / "run"
    run = begin(config, folder)
    for step, accuracy in enumerate([0.2, 0.9, 0.1], start=1):
        save_at(run, step, accuracy)
    assert names(folder) == ["step-000002", "step-000003"]
    flip_a_bit(folder / "checkpoints" / "step-000002" / "state.pt")
    run = begin(config, folder)
    assert run.checkpoints.best.step == 3
    save_at(run, 4, 0.3)
    assert steps(run.checkpoints) == [4]


class AnswersSeven:
    """Gives one and the same answer to every problem."""

    def generate(self, prompts, sampling):
        tokens = [3, 6 + 7]  # Answer:7
        return [[Response(tokens, [0.0, 0.0], False)] * sampling.samples for _ in prompts]

    def finish(self):
        return Drafted()


def test_accuracy_is_the_mean_over_the_benchmarks_of_an_evaluation_at_that_very_step(config, tmp_path):
    write_problems(tmp_path / "right.jsonl", [(3, 4), (1, 6)])
    write_problems(tmp_path / "half.jsonl", [(5, 2), (5, 3)])
    benchmarks = [
        {"name": name, "data": {"kind": "jsonl", "path": str(tmp_path / f"{name}.jsonl")}} for name in ("right", "half")
    ]
    run = begin(changed(config, evaluation={"benchmarks": benchmarks}), tmp_path / "run")
    run.engine = AnswersSeven()
    evaluate_now(run)
    assert run.accuracy == pytest.approx(0.75)


def test_a_whole_run_rates_the_checkpoints_of_evaluated_steps_only(config, tmp_path):
    sink = MemorySink()
    train(changed(config, checkpoint={"every": 1, "keep": 9}), tmp_path, sink)
    rated = {event["step"]: event.get("best") for event in sink.events if event["type"] == "checkpoint"}
    assert rated == {1: None, 2: True, 3: None, 4: True, 5: None, 6: True}  # random text: all of them 0
    kept = Checkpoints(tmp_path, config).good
    assert [checkpoint.accuracy for checkpoint in kept] == [None, 0.0, None, 0.0, None, 0.0]
    parsed = parse_events(sink.events, attempt=1)
    assert parsed.malformed == 0
    assert sum(row["type"] == "checkpoint" for batch in parsed.batches for row in batch.history) == 6
