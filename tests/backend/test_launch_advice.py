"""What is said before a launch about training data that holds problems to evaluate on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_models import write_model

from backend import contamination
from backend.advice import advice
from backend.contamination import report
from backend.show import contamination_pairs
from trainer.config import RunConfig, parse
from trainer.errors import ConfigError, DataError

LONG = "A train leaves the city of {} at noon and drives {} miles north before it turns around, how far is it from home at {}?"


def write(path: Path, problems: list[str], answer: int = 1) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"id": f"{path.stem}-{n}", "problem": text, "answer": answer} for n, text in enumerate(problems)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return {"kind": "jsonl", "path": str(path)}


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """Training data with a problem of its own benchmark, and nearly one of a folder's amc23; the other five are not at hand."""
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(tmp_path / "folder"))
    monkeypatch.setenv("MTPRL_HOME", str(tmp_path))
    write(
        tmp_path / "folder" / "amc23.jsonl",
        [LONG.format("Ulm", 30, 4), "What is the sum of all the odd numbers below ten?"],
    )
    data = write(tmp_path / "train.jsonl", [LONG.format("Bern", 50, 7), "3+4=", "5+6="])
    own = write(tmp_path / "own.jsonl", ["3 + 4 =", "8+9="])
    return parse(
        {
            "model": {"path": "m"},
            "regime": {"kind": "ce"},
            "data": data,
            "evaluation": {"benchmarks": [{"name": "own", "data": own}]},
        }
    )


def test_a_report_of_the_runs_own_benchmarks_and_those_at_hand(training):
    found = report(training)
    assert [(part.benchmark, part.problems, part.exact, part.near) for part in found.overlaps] == [
        ("own", 2, 1, 0),
        ("amc23", 2, 0, 1),
    ]
    assert found.line == (
        "the training data holds problems to evaluate on: 1 of the 2 of own (1 word for word); 1 of the 2 of amc23 (1 nearly)"
    )
    assert found.warnings[0].startswith("amc23 has 2 problems here and not the 40 of AMC 2023")
    [match] = found.plain()["benchmarks"][0]["matches"]
    assert (match["problem"], match["training"], match["place"], match["score"]) == ("own-0", "train-1", "line 2", 1.0)
    assert "own own-0: training problem train-1, line 2 (word for word)" in contamination_pairs(found)


def test_near_problems_alone_are_said_to_be_near(training, tmp_path):
    write(tmp_path / "own.jsonl", ["8+9="])
    assert (
        report(training).line == "the training data comes near problems to evaluate on: 1 of the 2 of amc23 (1 nearly)"
    )


def test_another_suite_in_the_place_of_the_six(training, tmp_path):
    write(tmp_path / "mine.jsonl", ["5+6="])
    found = report(training, str(tmp_path / "mine.jsonl"))
    assert [(part.benchmark, part.exact) for part in found.overlaps] == [("own", 1), ("mine", 1)]
    assert "all 1 of mine, word for word" in found.line
    with pytest.raises(ConfigError, match="suite: 'seven' is not known"):
        report(training, "seven")


def test_a_benchmark_that_cannot_be_read_is_named_and_the_others_are_compared(training, tmp_path):
    gone = {"name": "gone", "data": {"kind": "jsonl", "path": str(tmp_path / "gone.jsonl")}}
    own = training.evaluation.benchmarks[0].model_dump()
    found = report(parse({**training.model_dump(), "evaluation": {"benchmarks": [gone, own]}}))
    assert [part.benchmark for part in found.overlaps] == ["own", "amc23"]
    assert found.warnings[-1].startswith(f"gone is not compared: {tmp_path}/gone.jsonl: cannot be read")
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        contamination.compare(
            training.data, parse({**training.model_dump(), "evaluation": {"benchmarks": [gone]}}).evaluation.benchmarks
        )


def test_a_benchmark_of_the_runs_own_goes_before_one_of_the_suite_of_its_name(training):
    evaluation = training.evaluation.model_copy(
        update={"benchmarks": (training.evaluation.benchmarks[0].model_copy(update={"name": "amc23"}),)}
    )
    [found] = report(training.model_copy(update={"evaluation": evaluation})).overlaps
    assert (found.benchmark, found.exact, found.near) == ("amc23", 1, 0)


def test_what_was_compared_before_is_not_compared_again_unless_it_changed(training, tmp_path, monkeypatch):
    compared: list[int] = []
    overlaps = contamination.overlaps
    monkeypatch.setattr(contamination, "overlaps", lambda *sets: compared.append(1) or overlaps(*sets))
    write(tmp_path / "own.jsonl", ["100+200=", "300+400="])
    assert report(training).overlaps == report(training).overlaps
    assert len(compared) == 1
    write(tmp_path / "own.jsonl", ["5+6="])
    assert report(training).overlaps[0].exact == 1
    assert len(compared) == 2


def test_advice_is_silent_where_there_is_nothing_to_say(training, tmp_path):
    write(tmp_path / "train.jsonl", ["1+1=", "2+2="])
    assert advice(training) == []


def test_advice_names_contamination_contradictions_and_a_template_left_out(training, tmp_path):
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('\n{"id": "again", "problem": "5+6=", "answer": 12}\n')
    model = tmp_path / "model"
    model.mkdir()
    (model / "chat_template.jinja").write_text("{{ messages }}")
    config = training.model_copy(update={"model": training.model.model_copy(update={"path": str(model)})})
    plain, doubtful, line = advice(config)
    assert plain.startswith("the model has a chat template, but problems go in as plain text; data.chat=true")
    assert doubtful == (
        "training problems that stand there again with another answer: 1, such as again with '12' and train-2 with '1'; "
        "take the wrong ones out"
    )
    assert line == report(config).line


def test_drafts_of_heads_that_do_not_learn_are_said(training, tmp_path):
    write(tmp_path / "train.jsonl", ["1+1=", "2+2="])
    new, with_heads = write_model(tmp_path / "new"), write_model(tmp_path / "heads", heads=1)

    def said(model, regime="off", speculative="auto", **mtp):
        values = {**training.model_dump(), "model": {"path": str(model)}, "regime": {"kind": regime}, "mtp": mtp}
        found = advice(parse({**values, "rollout": {"speculative": speculative}}))
        return [sentence for sentence in found if sentence.startswith("drafts")]

    assert said(new, speculative="off") == said(new, regime="detach") == []
    [sentence] = said(new)
    assert sentence.startswith("drafts are asked for of new MTP heads that never learn in this run (regime off)")
    [sentence] = said(with_heads)
    assert sentence.endswith("(regime off): the further the policy moves, the fewer are accepted")
    assert "(mtp.head_loss none)" in said(new, regime="ce", head_loss="none")[0]


def test_generated_problems_are_compared_only_when_asked_to(training):
    config = parse({**training.model_dump(), "data": {"kind": "reasoning_gym", "task": "gcd", "size": 5}})
    assert advice(config) == []
    assert report(config).problems == 5


def test_data_that_cannot_be_read_is_left_to_preflight_and_named_by_the_report(training, tmp_path):
    (tmp_path / "train.jsonl").unlink()
    assert advice(training) == []
    with pytest.raises(DataError, match=r"train\.jsonl: cannot be read"):
        report(training)
