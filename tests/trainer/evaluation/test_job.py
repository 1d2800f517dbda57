"""An evaluation as a run of its own: what it keeps, and that being killed or stopped changes nothing of the answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.config import EvaluationConfig, dump, load_job, parse_job
from trainer.errors import ConfigError, ModelError, TrainingError
from trainer.evaluation import evaluate as evaluating
from trainer.evaluation.job import evaluate_model
from trainer.events import JsonlSink, parse_lines
from trainer.folder import keep_config
from trainer.tasks import GRADER_VERSION, load
from trainer.tasks.addition import draw_pairs, write_problems
from trainer.tasks.revision import revision

ROOT = Path(__file__).parents[3]
PROBLEMS = 7


@pytest.fixture
def config(tiny_run, tmp_path) -> EvaluationConfig:
    """Two benchmarks of 7 and 3 problems, 2 samples each, 2 problems at a time."""
    write_problems(tmp_path / "many.jsonl", draw_pairs(PROBLEMS, 1))
    write_problems(tmp_path / "few.jsonl", draw_pairs(3, 2))
    return parse_job(
        {
            "kind": "evaluation",
            "model": {"path": tiny_run.model.path},
            "benchmarks": [
                {"name": name, "data": {"kind": "jsonl", "path": str(tmp_path / f"{name}.jsonl")}}
                for name in ("many", "few")
            ],
            "samples": 2,
            "top_p": 1.0,
            "max_response_tokens": 6,
            "sequences": 4,
        }
    )


def run(
    config: EvaluationConfig, folder: Path, should_stop: Callable[[], bool] = lambda: False, attempt: int = 1
) -> str:
    folder.mkdir(exist_ok=True)
    sink = JsonlSink(folder, attempt)
    try:
        return evaluate_model(config, folder, sink, should_stop)
    finally:
        sink.close()


def events(folder: Path) -> list[dict[str, Any]]:
    return [event for event, _ in parse_lines((folder / "events.jsonl").read_bytes()) if event is not None]


def answers(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (event["benchmark"], item["id"]): item
        for event in events(folder)
        if event["type"] == "evaluation"
        for item in event["items"]
    }


def asked_again(folder: Path, attempt: int) -> set[str]:
    return {
        item["id"]
        for event in events(folder)
        if event["type"] == "evaluation" and event["attempt"] == attempt
        for item in event["items"]
    }


def test_every_answer_is_kept_with_text_length_grade_and_reason(config, tmp_path):
    assert run(config, tmp_path / "out") == "finished"
    found = answers(tmp_path / "out")
    items = {("many", item.id): item for item in load(config.benchmarks[0].data)}
    assert len(found) == PROBLEMS + 3
    for key, item in items.items():
        assert (found[key]["problem"], found[key]["answer"]) == (item.problem, item.answer)
        assert len(found[key]["outcomes"]) == len(found[key]["samples"]) == 2
        for sample in found[key]["samples"]:
            assert 1 <= sample["tokens"] <= 6
            assert sample["reason"]
            assert isinstance(sample["completion"], str)
    terms = next(event for event in events(tmp_path / "out") if event["type"] == "evaluation")
    assert (terms["samples"], terms["top_p"], terms["max_tokens"], terms["grader"]) == (2, 1.0, 6, GRADER_VERSION)
    assert terms["revision"] == revision(list(items.values()))
    assert (terms["engine"], terms["top_k"], terms["stop"]) == ("builtin", 0, [])


def test_its_steps_are_its_problems_and_the_averages_are_those_of_the_outcomes(config, tmp_path, monkeypatch):
    class Alternating:
        """Grades every other answer of the benchmark as right."""

        def __init__(self, _grader, _world):
            pass

        def grade_many(self, pairs):
            return [evaluating.Grade(place % 2 == 0, "1", "of its place") for place in range(len(pairs))]

    monkeypatch.setattr("trainer.evaluation.job.DividedGrader", Alternating)
    run(config, tmp_path / "out")
    said = [event for event in events(tmp_path / "out") if event["type"] == "metrics"]
    assert [event["step"] for event in said] == [2, 4, 6, 7, 9, 10, 10]
    assert said[-1]["values"] == {"eval/mean/avg_at_2": 0.5}
    assert said[3]["values"]["eval/many/avg_at_2"] == 0.5
    assert said[0]["values"]["time/step_seconds"] > 0


def test_the_mean_weighs_benchmarks_and_not_problems(config, tmp_path, monkeypatch):
    few = {item.problem for item in load(config.benchmarks[1].data)}

    class OnlyFew:
        """Grades the answers of the small benchmark as right."""

        def __init__(self, _grader, _world):
            pass

        def grade_many(self, pairs):
            return [evaluating.Grade(item.problem in few, "1", "of its benchmark") for _, item in pairs]

    monkeypatch.setattr("trainer.evaluation.job.DividedGrader", OnlyFew)
    run(config, tmp_path / "out")
    last = [event for event in events(tmp_path / "out") if event["type"] == "metrics"][-1]
    assert last["values"] == {"eval/mean/avg_at_2": 0.5}  # 3 of 10 problems


def test_what_is_drawn_depends_on_the_seed_and_on_the_benchmark(config, tmp_path):
    def texts(config: EvaluationConfig, folder: str) -> dict[str, list[str]]:
        run(config, tmp_path / folder)
        found: dict[str, list[str]] = {}
        for (benchmark, _), item in answers(tmp_path / folder).items():
            found.setdefault(benchmark, []).extend(sample["completion"] for sample in item["samples"])
        return found

    many, few = config.benchmarks
    same = config.model_copy(update={"benchmarks": (many, few.model_copy(update={"data": many.data}))})
    first = texts(same, "first")
    assert first["many"] != first["few"]
    assert texts(same.model_copy(update={"seed": 1}), "other")["many"] != first["many"]


def test_an_evaluation_says_how_it_sampled(config, tmp_path):
    update = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ("7", "8")}
    run(config.model_copy(update=update), tmp_path / "out")
    said = [event for event in events(tmp_path / "out") if event["type"] == "evaluation"]
    assert {(event["temperature"], event["top_p"], event["top_k"], *event["stop"]) for event in said} == {
        (0.5, 0.9, 3, "7", "8")
    }


def test_top_k_and_what_ends_an_answer_are_heeded(config, tmp_path):
    def texts(folder: str, **changes: Any) -> list[list[str]]:
        run(config.model_copy(update={**changes, "max_response_tokens": 12}), tmp_path / folder)
        found = answers(tmp_path / folder).values()
        return [[sample["completion"] for sample in item["samples"]] for item in found]

    assert all(len(set(samples)) == 1 for samples in texts("one", top_k=1))
    assert any(len(set(samples)) == 2 for samples in texts("all"))
    stop = tuple("0123456789")
    for samples in texts("stopped", stop=stop):
        assert all(not set(stop) & set(sample[:-1]) for sample in samples)


def test_what_an_older_version_answered_stands_beside_what_is_sampled_alike(config, tmp_path):
    folder = tmp_path / "out"
    stops = iter([False, True])
    assert run(config, folder, lambda: next(stops)) == "stopped"
    older = (folder / "events.jsonl").read_text().replace('"top_k":0,"stop":[],"engine":"builtin",', "")
    assert "engine" not in older
    (folder / "events.jsonl").write_text(older)
    run(config, folder, attempt=2)
    assert len(asked_again(folder, 2)) == PROBLEMS + 3 - 4
    (folder / "other").mkdir()
    (folder / "other" / "events.jsonl").write_text(older)
    run(config.model_copy(update={"top_k": 3}), folder / "other", attempt=2)
    assert len(asked_again(folder / "other", 2)) == PROBLEMS + 3


def test_speed_is_per_problem_and_length_per_response(config, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.evaluation.job.time", SimpleNamespace(perf_counter=count().__next__))
    run(config, tmp_path / "out")
    said = [event for event in events(tmp_path / "out") if event["type"] in ("evaluation", "metrics")]
    for evaluation, metrics in zip(said[0:-1:2], said[1:-1:2], strict=True):
        lengths = [sample["tokens"] for item in evaluation["items"] for sample in item["samples"]]
        assert metrics["values"]["time/step_seconds"] == 1 / len(evaluation["items"])  # a part takes one tick
        assert metrics["values"]["rollout/tokens_per_second"] == sum(lengths)
        assert metrics["values"]["rollout/length_mean"] == sum(lengths) / len(lengths)


def test_a_stop_that_comes_with_the_last_answer_stops_nothing(config, tmp_path):
    looks = iter(range(5))
    assert run(config, tmp_path / "out", lambda: next(looks, None) is None) == "finished"
    assert next(looks, None) is None


@pytest.mark.parametrize("parts", [1, 2, 4, 5])
def test_a_stop_and_another_attempt_end_with_the_answers_of_an_undisturbed_one(config, tmp_path, parts):
    run(config, tmp_path / "whole")
    looks = iter(range(parts - 1))
    assert run(config, tmp_path / "parts", lambda: next(looks, None) is None) == "stopped"
    before = set(answers(tmp_path / "parts"))
    assert len(before) == {1: 2, 2: 4, 4: 7, 5: 9}[parts]
    assert run(config, tmp_path / "parts", attempt=2) == "finished"
    assert answers(tmp_path / "parts") == answers(tmp_path / "whole")
    assert not {item for _, item in before} & asked_again(tmp_path / "parts", 2)
    started = [event for event in events(tmp_path / "parts") if event["type"] == "attempt_started"]
    assert [event["resumed_from"] for event in started] == [None, len(before)]


def test_what_is_torn_lost_or_graded_by_another_version_is_answered_again(config, tmp_path, monkeypatch):
    run(config, tmp_path / "whole")
    run(config, tmp_path / "out")
    file = tmp_path / "out" / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if line.startswith(b'{"type":"evaluation"')]
    lines[places[1]] = b""  # lost on a full disk, in the middle
    lines[places[3]] = lines[places[3]][:80] + b"\n"  # torn by a kill
    lines[places[4]] = lines[places[4]].replace(f'"grader":"{GRADER_VERSION}"'.encode(), b'"grader":"before"')
    file.write_bytes(b"".join(lines))
    assert run(config, tmp_path / "out", attempt=2) == "finished"
    ids = [item.id for item in load(config.benchmarks[0].data)]
    few = [item.id for item in load(config.benchmarks[1].data)]
    assert asked_again(tmp_path / "out", 2) == {ids[2], ids[3], ids[6], few[0], few[1]}
    assert answers(tmp_path / "out") == answers(tmp_path / "whole")


def test_answers_do_not_depend_on_how_many_are_sampled_at_once(config, tmp_path):
    run(config, tmp_path / "two")
    run(config.model_copy(update={"sequences": 64}), tmp_path / "all")
    run(config.model_copy(update={"sequences": 1}), tmp_path / "one")
    assert answers(tmp_path / "two") == answers(tmp_path / "all") == answers(tmp_path / "one")


def test_an_evaluation_whose_answers_could_not_be_written_does_not_finish(config, tmp_path, monkeypatch):
    written = JsonlSink.emit

    def loses_one(self, type, *, step, mini_batch=-1, **fields):
        if type == "evaluation" and fields["benchmark"] == "few":
            return
        written(self, type, step=step, mini_batch=mini_batch, **fields)

    monkeypatch.setattr(JsonlSink, "emit", loses_one)
    with pytest.raises(TrainingError, match="3 answered problems could not be written; free disk space and resume"):
        run(config, tmp_path / "out")


def test_a_checkpoint_that_was_removed_while_the_evaluation_waited_is_said_to_be_gone(config, tmp_path):
    gone = config.model.model_copy(update={"path": str(tmp_path / "step-000002" / "model")})
    with pytest.raises(
        ModelError, match=r"model\.path: .*step-000002/model is gone; a run keeps its newest checkpoints"
    ):
        run(config.model_copy(update={"model": gone}), tmp_path / "out")


def test_a_response_beyond_the_models_positions_is_said(config, tmp_path):
    run(config.model_copy(update={"max_response_tokens": 100}), tmp_path / "out")
    [alarm] = [event for event in events(tmp_path / "out") if event["type"] == "alarm"]
    assert alarm["name"] == "context_exceeded"
    assert "up to 100, together more than the 64 positions" in alarm["message"]


def test_a_folder_goes_on_only_with_the_evaluation_that_it_began_with(config, tmp_path, tiny_run):
    keep_config(config, tmp_path)
    keep_config(config.model_copy(update={"sequences": 9, "name": "other"}), tmp_path)
    with pytest.raises(ConfigError, match=r"samples: is 3, but .* was made with 2"):
        keep_config(config.model_copy(update={"samples": 3}), tmp_path)
    with pytest.raises(ConfigError, match="was made by a run of another kind"):
        keep_config(tiny_run, tmp_path)
    assert load_job(tmp_path / "config.yaml").sequences == 9


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"benchmarks": []}, "benchmarks: "),
        ({"samples": 0}, "samples: "),
        ({"top_p": 0.0}, "top_p: "),
        ({"steps": 3}, "steps: "),
        ({"name": "  "}, "name: holds nothing but spaces"),
    ],
)
def test_a_refused_value_names_its_field(config, changes, says):
    with pytest.raises(ConfigError, match=says):
        parse_job({**config.model_dump(mode="json"), **changes})


def test_two_benchmarks_of_one_name_are_refused(config):
    values = config.model_dump(mode="json")
    with pytest.raises(ConfigError, match="benchmarks: 2 benchmarks are called 'many'"):
        parse_job({**values, "benchmarks": [values["benchmarks"][0]] * 2})


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_program_evaluates_in_one_process_or_two_with_the_same_answers(config, tmp_path, processes):
    values = {**config.model_dump(mode="json"), "launch": {"num_processes": processes}}
    (tmp_path / "given.yaml").write_text(dump(parse_job(values)))
    command = [sys.executable, "-m", "trainer", str(tmp_path / "given.yaml"), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run(config, tmp_path / "here")
    assert answers(tmp_path / "out") == answers(tmp_path / "here")
    assert events(tmp_path / "out")[-1]["message"] == "all problems answered"
    assert "10 problems on " in done.stderr
    assert "problem 10/10: many" not in done.stderr
    assert "eval/few/avg_at_2" in done.stderr


def test_a_revision_is_of_what_is_asked_and_not_of_the_order(config, tmp_path):
    items = load(config.benchmarks[0].data)
    assert revision(items) == revision(items[::-1])
    lines = (tmp_path / "many.jsonl").read_text().splitlines()
    changed = json.loads(lines[0]) | {"answer": "7"}
    (tmp_path / "other.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]))
    other = load(config.benchmarks[0].data.model_copy(update={"path": str(tmp_path / "other.jsonl")}))
    assert revision(other) != revision(items)
