"""What reading the training data says before a run is queued: lengths, contamination."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planned import lines
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backend import store
from backend.inspection.data import Source, source_of
from backend.planning import checks as service
from backend.planning import contents, lengths
from trainer.config import RunConfig, parse
from trainer.tasks import load

Config = Callable[..., RunConfig]


def write_tokenizer(folder: Path, template: str | None = None) -> None:
    """One token per character, and <bos> before every text, as Llama's has it."""
    letters = ["<bos>", "</s>", "<unk>", *string.printable]
    made = Tokenizer(models.WordLevel({token: place for place, token in enumerate(letters)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.add_special_tokens(["<bos>", "</s>", "<unk>"])
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    kept = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="</s>", unk_token="<unk>")
    kept.chat_template = template
    kept.save_pretrained(folder)


def write_problems(file: Path, *texts: str) -> dict[str, Any]:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"problem": text, "answer": "1"}) + "\n" for text in texts))
    return {"kind": "jsonl", "path": str(file)}


CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"


@pytest.mark.parametrize("prompted", [{}, {"template": "Q: {problem}"}, {"chat": True, "system": "Be brief."}])
def test_prompts_are_as_long_as_the_trainer_finds_them(
    values: dict[str, Any], tmp_path: Path, prompted: dict[str, Any]
) -> None:
    from trainer.models.storage import load_tokenizer
    from trainer.rollout.prompts import tokenize

    folder = Path(values["model"]["path"])
    write_tokenizer(folder, CHAT)
    section = {**write_problems(tmp_path / "p.jsonl", *("x" * size for size in range(1, 9))), **prompted}
    data = parse({**values, "data": section}).data
    source, tokenizer = source_of(data), lengths.tokenizer_of(str(folder))
    assert isinstance(source, Source)
    assert tokenizer is not None
    found = lengths.measure(source, tokenizer)
    assert found is not None
    known = [len(one.tokens) for one in tokenize(load(data), load_tokenizer(str(folder)), 1000, "data").kept]
    assert (list(found.tokens), found.shortest, found.complete) == (known, min(known), True)


def test_prompts_that_are_too_long_are_counted_and_none_that_fits_is_red(
    home: Path, config: Config, values: dict[str, Any], tmp_path: Path
) -> None:
    write_tokenizer(Path(values["model"]["path"]))
    write_problems(tmp_path / "problems.jsonl", "12", "123", "1234", "12345", "123456")
    rollout = values["rollout"]

    def said(limit: int, **more: int) -> tuple[str, str]:
        found = lines(config(rollout={**rollout, "max_prompt_tokens": limit, **more}))["Prompts"]
        return found.level, found.words

    assert said(7) == ("good", "5 prompts, none longer than 7 tokens; the longest has 7")
    level, sentence = said(6)
    assert (level, sentence.startswith("5 prompts, 1 longer than 6 tokens (rollout.max_prompt_tokens)")) == (
        "note",
        True,
    )
    level, sentence = said(5)
    assert (level, sentence.endswith("3 stay, but a step needs 4 (rollout.prompts_per_step)")) == ("bad", True)
    level, sentence = said(2)
    assert (level, "all longer than 2 tokens; the shortest has 3" in sentence) == ("bad", True)


def test_prompts_and_responses_beyond_the_models_positions_are_said_and_red_with_vllm(
    home: Path, config: Config, values: dict[str, Any], tmp_path: Path
) -> None:
    folder = Path(values["model"]["path"])
    write_tokenizer(folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 64}))
    write_problems(tmp_path / "problems.jsonl", "12", "123", "1234", "12345", "123456")

    def said(longest: int, **more: Any) -> tuple[str, str]:
        rollout = {**values["rollout"], "max_prompt_tokens": 7, "max_response_tokens": longest, **more}
        found = lines(config(rollout=rollout))["Prompts"]
        return found.level, found.words

    assert said(57)[0] == "good"
    level, sentence = said(58)
    assert (level, "with 7 of a prompt, 58 of a response" in sentence) == ("note", True)
    assert "the model's 64 positions" in sentence
    level, sentence = said(58, engine="vllm")
    assert level == "bad"
    assert sentence.endswith("where vLLM ends; set it to 57 or less")
    level, sentence = said(58, max_prompt_tokens=6)
    assert (level, "1 longer than 6 tokens" in sentence, "positions" in sentence) == ("note", True, False)


def test_of_many_prompts_some_are_looked_at_and_the_one_that_fits_is_among_them(
    home: Path, config: Config, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "MOST", 3)
    write_tokenizer(Path(values["model"]["path"]))
    write_problems(tmp_path / "problems.jsonl", *["1234567"] * 10, "1", "1234567")
    found = lines(config(rollout={**values["rollout"], "max_prompt_tokens": 4}))["Prompts"]
    assert (found.level, found.words.split(",")[0]) == ("note", "3 of 12 prompts looked at")
    found = lines(config(rollout={**values["rollout"], "max_prompt_tokens": 1}))["Prompts"]
    assert (found.level, "the shortest has 2" in found.words) == ("bad", True)


def test_prompts_are_measured_without_torch(values: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(Path(values["model"]["path"]), CHAT)
    section = {**write_problems(tmp_path / "p.jsonl", "1+1", "1+2", "1+3", "1+4"), "chat": True}
    program = (
        "import json, sys; from backend.planning.contents import too_long; from trainer.config import parse; "
        "print(too_long(parse(json.loads(sys.argv[1]))).words, 'torch' in sys.modules)"
    )
    given = json.dumps({**values, "data": section})
    done = subprocess.run([sys.executable, "-c", program, given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4 prompts, none longer than 2,048 tokens; the longest has 12 False"


def test_without_a_tokenizer_that_can_be_read_lengths_are_left_open(home: Path, config: Config, tmp_path: Path) -> None:
    assert lines(config())["Prompts"].words.endswith("has no tokenizer.json that can be read")
    (tmp_path / "model" / "tokenizer.json").rename(tmp_path / "model" / "tokenizer.model")
    found = lines(config())["Prompts"]
    assert (found.level, found.words.endswith("has no tokenizer.json on this machine")) == ("note", True)


def test_problems_to_evaluate_on_among_the_training_data_are_counted(
    home: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(tmp_path / "six"))
    write_problems(tmp_path / "six" / "amc23.jsonl", "What is the sum of all the odd numbers below ten?")
    held_out = write_problems(tmp_path / "held_out.jsonl", "1+1", "7+8")
    suite = write_problems(tmp_path / "later.jsonl", "2+2", "3+3", "9+9")["path"]
    only_later = lines(config())["Contamination"]
    assert (only_later.level, only_later.words) == (
        "good",
        "none of 1 problem to evaluate on (amc23) is in the training data",
    )
    evaluation = {"benchmarks": [{"name": "held-out", "data": held_out}], "afterwards": {"suite": suite}}
    found = lines(config(evaluation=evaluation))["Contamination"]
    assert found.level == "note"
    assert found.words.startswith("3 of 6 problems to evaluate on are in the training data: 1 of the 2 of held-out")
    assert "mtprl contamination" in found.words
    compared = []
    with monkeypatch.context() as patched:
        patched.setattr(contents, "compare", lambda *sets: compared.append(1))
        assert lines(config(evaluation=evaluation))["Contamination"] == found
    assert not compared, "nothing has changed"
    write_problems(tmp_path / "held_out.jsonl", "1+2", "7+8")
    clean = lines(config(evaluation={"benchmarks": evaluation["benchmarks"]}))["Contamination"]
    assert (clean.level, clean.words) == (
        "good",
        "none of 3 problems to evaluate on (held-out, amc23) is in the training data",
    )
    write_problems(tmp_path / "six" / "amc23.jsonl", "2 + 2")
    leaked = lines(config(evaluation={"benchmarks": evaluation["benchmarks"]}))["Contamination"]
    assert "1 of the 1 of amc23" in leaked.words or "all 1 of amc23" in leaked.words
    (tmp_path / "six" / "amc23.jsonl").unlink()
    nothing = lines(config())["Contamination"]
    assert (nothing.level, nothing.words.startswith("not checked: the run evaluates on nothing")) == ("note", True)
    missing = config(data={"kind": "jsonl", "path": str(tmp_path / "nowhere.jsonl")})
    assert "Contamination" not in lines(missing), "the line of the data says it"


def test_large_training_data_is_not_compared_unasked(
    home: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(tmp_path / "none"))
    held_out = write_problems(tmp_path / "held_out.jsonl", "1+1")
    one = config(evaluation={"benchmarks": [{"name": "held-out", "data": held_out}]})
    with store.reading() as connection:
        [found] = [check for check in service.checks([one], 1, connection, 10) if check.name == "Contamination"]
    assert (found.level, found.words.startswith("not checked yet, because")) == ("note", True)
    absent = config(evaluation={"benchmarks": [{"name": "h", "data": {"kind": "hub", "id": "nobody/nothing"}}]})
    assert lines(absent)["Contamination"].words.startswith("not checked yet: no benchmark of the run can be read")
