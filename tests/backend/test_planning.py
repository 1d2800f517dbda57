"""Memory, time, devices and disk of a run, before it is queued."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_models import SIZES, write_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backend import runs, store
from backend.inspection.data import Source, source_of
from backend.inspection.models import Shape, inspect_model
from backend.planning import checks as service
from backend.planning import contents, duration, lengths, memory
from backend.planning.check import Check, is_bad
from backend.runs import with_absolute_paths
from db import claims, ingest
from db.workers import set_draining, worker_heartbeat
from trainer.config import RunConfig, parse, resolve
from trainer.events import MemorySink
from trainer.presets import presets
from trainer.tasks import load

Config = Callable[..., RunConfig]


def lines(*configs: RunConfig, seeds: int = 1) -> dict[str, Check]:
    with store.reading() as connection:
        return {check.name: check for check in service.checks(configs, seeds, connection)}


def made(config: RunConfig, seconds: list[float], device: str = "cpu:0") -> int:
    """Submit a run and let it make steps of these times, with one evaluation of 4 s."""
    run_id = runs.submit(config)
    sink = MemorySink()
    sink.emit(
        "attempt_started",
        step=0,
        pid=1,
        host="h",
        total_steps=9,
        resumed_from=None,
        threads=1,
        device="cpu",
        versions={},
    )
    for step, lasted in enumerate(seconds, 1):
        sink.emit("metrics", step=step, values={"time/step_seconds": lasted})
    sink.emit("metrics", step=len(seconds), values={"time/evaluating_seconds": 4.0})
    for event in sink.events:
        event["time"] = 1.0
    with store.writing() as connection:
        claim = claims.claim_next(connection, host="h", devices=[device], now=time.time())
        assert claim is not None
        ingest.ingest(connection, run_id, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
        claims.finish(connection, run_id=run_id, attempt=1, status="finished", reason="", exit_code=0, now=time.time())
    return run_id


@pytest.fixture
def evaluated(values: dict[str, Any]) -> dict[str, Any]:
    benchmark = {"name": "held-out", "data": values["data"]}
    return {**values, "name": "", "steps": 10, "evaluation": {"benchmarks": [benchmark], "every": 4}}


def test_time_is_the_median_of_like_runs_times_the_steps_and_the_evaluations(
    home: Path, evaluated: dict[str, Any]
) -> None:
    config = with_absolute_paths(parse(evaluated))
    ids = [made(config, [1.0, 1.0, 9.0]), made(config, [3.0, 3.0, 3.0])]
    made(config.model_copy(update={"update": config.update.model_copy(update={"epochs": 2})}), [100.0] * 3)
    made(config, [100.0] * 3, device="cuda:0")
    made(config, [100.0] * (duration.LEAST_STEPS - 1))
    with store.reading() as connection:
        pace = duration.pace(connection, config, "cpu")
        assert duration.pace(connection, parse({**evaluated, "regime": {"kind": "oracle"}}), "cpu") is None
    assert pace is not None
    assert (pace.runs, pace.step, pace.low, pace.high, pace.evaluation) == (tuple(ids), 2.0, 1.0, 9.0, 4.0)
    assert duration.evaluations(config) == 4  # before training, after steps 4, 8 and 10
    assert pace.total(config) == 10 * 2.0 + 4 * 4.0
    assert pace.words(config) == "about 36 s (26 s to 1 min 46 s), at 2 s per step as in 2 runs like it"


def test_the_time_of_a_grid_counts_seeds_and_what_runs_at_once(home: Path, evaluated: dict[str, Any]) -> None:
    detach, ce = (parse({**evaluated, "regime": {"kind": kind}}) for kind in ("detach", "ce"))
    made(with_absolute_paths(detach), [1.0] * 3)
    made(with_absolute_paths(ce), [3.0] * 3)
    each = (10 * 1.0 + 4 * 4.0, 10 * 3.0 + 4 * 4.0)  # 26 and 46 s
    with store.writing() as connection:
        worker_heartbeat(connection, "w", "h", 1, [f"cpu:{n}" for n in range(4)], time.time())
        worker_heartbeat(connection, "away", "h", 2, [f"cpu:{n}" for n in range(4, 9)], time.time())
        set_draining(connection, ["away"], True)
    assert (
        lines(detach, ce, seeds=3)["Time"].words
        == f"6 runs of 26 s to 46 s each, about {3 * sum(each) / 4:.0f} s in all"
    )
    assert lines(detach, ce)["Time"].words.endswith(f"about {sum(each) / 2:.0f} s in all"), (
        "two runs keep two devices busy"
    )


def test_an_evaluation_of_another_kind_is_not_counted_and_said_so(home: Path, evaluated: dict[str, Any]) -> None:
    made(parse(evaluated), [2.0] * 3)
    config = parse({**evaluated, "evaluation": {**evaluated["evaluation"], "samples": 32}})
    with store.reading() as connection:
        pace = duration.pace(connection, with_absolute_paths(config), None)
    assert pace is not None
    assert pace.evaluation is None
    assert "evaluations not counted" in pace.words(config)


def sized(folder: Path, values: dict[str, Any], **changes: Any) -> RunConfig:
    large = {
        **SIZES,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    }
    large |= {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936}
    path = folder / "large"
    if not path.exists():
        write_model(path, config=large)
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_prompt_tokens": 100, "max_response_tokens": 900}
    return parse({**values, "model": {"path": str(path)}, "rollout": rollout, **changes})


def test_memory_by_hand(tmp_path: Path, values: dict[str, Any]) -> None:
    config = sized(tmp_path, values, regime={"kind": "occ"}, mtp={"head_loss": "ce"})
    facts = inspect_model(config.model.path)
    assert facts.shape is not None
    assert facts.shape.trunk == 151_936 * 1024 + 28 * facts.shape.block + 1024  # near 0.6 billion, as Qwen3-0.6B
    assert 595e6 < facts.shape.trunk < 597e6
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    trunk, depth = facts.trunk_parameters or 0, facts.shape.depth
    assert found.fixed["parameters"] == 4 * (trunk + depth)
    assert found.fixed["optimiser"] == 2 * found.update["gradients"] == 8 * (trunk + depth)
    layer = 6 * 1024 + 4 * 3072 + 4 * (2048 + 1024)
    assert found.update["activations"] == 4 * 4 * 1000 * (28 * layer + 3 * 1024)
    assert found.update["activations of the MTP heads"] == 4 * 4 * 1000 * 2 * (layer + 9 * 1024)
    assert found.update["logits"] == 4 * 4 * 2**26  # 4 x 900 x 151,936 are more than a chunk
    assert found.rollout["key-value cache"] == 4 * 16 * 1000 * 2 * 1024 * 29
    assert found.peak == sum(found.fixed.values()) + sum(found.update.values())
    assert memory.checkpoint_bytes(config, facts) == 12 * (trunk + depth)


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"regime": {"kind": "off"}}, 0),
        ({"regime": {"kind": "detach"}}, 1),
        ({"regime": {"kind": "warm"}}, 1),
        ({"regime": {"kind": "ce"}}, 1),
        ({"regime": {"kind": "ce"}, "mtp": {"head_loss": "ce"}}, 2),
    ],
)
def test_the_heads_passes_are_those_of_the_trainer(
    tmp_path: Path, values: dict[str, Any], changes: dict[str, Any], passes: int
) -> None:
    from trainer.update.losses import reaches, trains_heads, trains_trunk

    config = sized(tmp_path, values, **changes)
    found = memory.estimate(config, inspect_model(config.model.path), on_gpu=False)
    assert found is not None
    assert len(reaches(config)) == passes
    shape = inspect_model(config.model.path).shape
    assert shape is not None
    layer = 6 * 1024 + 4 * 3072 + 4 * (2048 + 1024) + 9 * 1024
    assert found.update["activations of the MTP heads"] == 16_000 * passes * layer
    trunk = inspect_model(config.model.path).trunk_parameters or 0
    assert found.fixed["optimiser"] == 8 * (trunk * trains_trunk(config) + shape.depth * trains_heads(config))


def test_what_to_lower_brings_the_peak_below_the_limit(tmp_path: Path, values: dict[str, Any]) -> None:
    config = sized(tmp_path, values, update={"mini_batches": 1})
    facts = inspect_model(config.model.path)
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    limit = found.peak // 2
    said = memory.what_to_lower(config, facts, limit, on_gpu=True)
    lower = int(said.split("update.micro_batch_sequences to ")[1].split()[0])
    fits = memory.estimate(
        sized(tmp_path, values, update={"mini_batches": 1, "micro_batch_sequences": lower}), facts, on_gpu=True
    )
    assert fits is not None
    assert fits.peak <= limit
    said = memory.what_to_lower(config, facts, found.fixed["parameters"], on_gpu=True)
    assert said.endswith("alone are more; use a smaller model, or a device with more memory")
    least = sum(found.fixed.values()) + found.update["gradients"]
    assert "launch.sharding full, launch.num_processes 2 or more" in memory.what_to_lower(
        config, facts, least, on_gpu=True
    )


def test_blocks_that_run_again_and_a_token_budget_are_found_where_fewer_sequences_do_not_help(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    long = {"prompts_per_step": 1, "samples_per_prompt": 4, "max_prompt_tokens": 1000, "max_response_tokens": 15_000}
    one = sized(tmp_path, values, rollout=long, update={"mini_batches": 1, "micro_batch_sequences": 1})
    facts = inspect_model(one.model.path)
    again = memory.estimate(memory._with(one, "model", gradient_checkpointing=True), facts, on_gpu=True)
    now = memory.estimate(one, facts, on_gpu=True)
    assert now is not None
    assert again is not None
    assert again.peak < now.peak / 2
    said = memory.what_to_lower(one, facts, again.peak, on_gpu=True)
    assert said == (
        "set update.micro_batch_sequences to 1 or less (now 1 at once) with model.gradient_checkpointing; the update does not depend on it"
    )
    budget = sized(tmp_path, values, rollout=long, update={"mini_batches": 1, "micro_batch_tokens": 64_000})
    wide = memory.estimate(memory._with(budget, "model", gradient_checkpointing=True), facts, on_gpu=True)
    assert wide is not None
    said = memory.what_to_lower(budget, facts, wide.peak, on_gpu=True)
    tokens = int(said.split("update.micro_batch_tokens to ")[1].split()[0])
    fits = memory._with(memory._with(budget, "update", micro_batch_tokens=tokens), "model", gradient_checkpointing=True)
    found = memory.estimate(fits, facts, on_gpu=True)
    assert found is not None
    assert 16_000 <= tokens <= 64_000
    assert found.peak <= wide.peak


def test_divided_parameters_are_a_part_on_each_device_and_whole_only_while_sampling(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    update = {"mini_batches": 1, "micro_batch_sequences": 1}
    config = sized(tmp_path, values, update=update, launch={"num_processes": 4, "sharding": "full"})
    facts = inspect_model(config.model.path)
    divided = memory.estimate(config, facts, on_gpu=True)
    whole = memory.estimate(sized(tmp_path, values, update=update, launch={"num_processes": 4}), facts, on_gpu=True)
    assert divided is not None
    assert whole is not None
    for part in ("parameters", "optimiser"):
        assert divided.fixed[part] == pytest.approx(whole.fixed[part] / 4, abs=1)
    assert divided.update["gradients"] == pytest.approx(whole.update["gradients"] / 4, abs=1)
    assert divided.rollout["the whole model"] == whole.fixed["parameters"]
    assert "parameters put together" not in whole.update


def test_a_run_that_could_not_work_has_a_red_check_and_others_none(home: Path, config: Config, tmp_path: Path) -> None:
    found = lines(config())
    assert not is_bad(list(found.values()))
    assert (found["Data"].level, found["Data"].words) == ("good", "4 problems read, each step takes 4")
    assert found["Devices"].words.startswith("no worker takes runs now")
    assert found["Time"].words.startswith("no run like it yet")
    assert found["Memory"].words.startswith("not estimated")
    model, data = (
        lines(config(model={"path": "/absent"}))["Model"],
        lines(config(data={"kind": "jsonl", "path": "/absent"}))["Data"],
    )
    assert (model.level, data.level) == ("bad", "bad")
    assert "data: /absent: cannot be read" in data.words
    few = lines(config(rollout={"prompts_per_step": 8, "samples_per_prompt": 2}))["Data"]
    assert (few.level, few.words) == ("bad", "4 problems, but a step needs 8 (rollout.prompts_per_step)")


def test_devices_are_those_of_workers_that_take_runs(home: Path, config: Config) -> None:
    runs.submit(config())
    with store.writing() as connection:
        worker_heartbeat(connection, "a", "h", 1, ["cpu:0", "cpu:1", "cpu:2"], time.time())
    assert (
        lines(config(), seeds=9)["Devices"].words
        == "3 runs at once on 3 devices of 1 worker, 3 free now; 1 run before them in the queue"
    )
    assert lines(config(launch={"num_processes": 2}))["Devices"].words.startswith("1 run at once")
    assert (
        "no worker has more than 3"
        in lines(config(launch={"num_processes": 4}, update={"mini_batches": 1}))["Devices"].words
    )


def test_too_much_for_the_machine_is_red_and_says_what_to_lower(
    home: Path, tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sized(tmp_path, values)
    for limit, level in ((10**15, "good"), (10**8, "bad")):
        monkeypatch.setattr(service, "memory_of", lambda kind, limit=limit: limit)
        assert lines(config)["Memory"].level == level
    assert "smaller model" in lines(config)["Memory"].words


# --- what reading the training data says ---------------------------------------------------------------------


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


def test_vllm_has_the_parameters_once_more_and_a_cache_that_can_be_lowered(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    rollout = {"engine": "vllm", "vllm": {"cache_gib": 60}, "max_response_tokens": 512}
    config = sized(tmp_path, values, rollout={**values["rollout"], **rollout})
    facts = inspect_model(config.model.path)
    on_gpu, beside = (memory.estimate(config, facts, on_gpu=gpu) for gpu in (True, False))
    assert on_gpu is not None
    assert beside is not None
    assert on_gpu.rollout == {"vLLM's parameters": on_gpu.fixed["parameters"], "vLLM's key-value cache": 60 * 2**30}
    assert not on_gpu.in_update
    assert memory.what_to_lower(config, facts, on_gpu.peak - 10 * 2**30, on_gpu=True) == (
        "set rollout.vllm.cache_gib to 50 or less"
    )
    assert on_gpu.rollout.items() <= beside.fixed.items()  # on a processor it does not sleep
    assert beside.rollout == {}


def test_what_samples_too_much_is_told_how_many_responses_fit_at_once(tmp_path: Path, values: dict[str, Any]) -> None:
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 64, "max_prompt_tokens": 100, "max_response_tokens": 900}
    update = {"mini_batches": 4, "micro_batch_sequences": 1}
    config = sized(tmp_path, values, rollout=rollout, update=update)
    facts = inspect_model(config.model.path)
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    assert not found.in_update
    said = memory.what_to_lower(config, facts, found.peak // 3, on_gpu=True)
    count = int(said.split("rollout.sequences_at_once to ")[1].split()[0])
    for fewer, fits in ((count, True), (count + 1, False)):
        tried = memory.estimate(memory._with(config, "rollout", sequences_at_once=fewer), facts, on_gpu=True)
        assert tried is not None
        assert (tried.peak <= found.peak // 3) == fits


GPU_24, GPU_141 = 24 * 2**30, 141 * 10**9
MADE_FOR = {"small-gpu": (1, GPU_24), "paper-mimo-7b": (8, GPU_141), "paper-mimo-7b-gspo": (8, GPU_141)}
PUBLISHED = {
    "Qwen/Qwen3-0.6B": Shape(1024, 3072, 28, 16, 8, 128, 151_936, tied=True),
    "XiaomiMiMo/MiMo-7B-RL": Shape(4096, 11_008, 36, 32, 8, 128, 151_680, tied=False),
    "zai-org/GLM-4.5-Air": Shape(4096, 1408, 46, 96, 8, 128, 151_552, tied=False, experts=128, active_experts=8),
}


def preset_with_model(name: str, folder: Path) -> RunConfig:
    """A preset whose model is a folder of headers that say the published sizes."""
    config = parse(resolve(presets()[name].values, variables={"MTPRL_HOME": str(folder)}))
    shape = PUBLISHED[config.model.path]
    tensors: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocabulary, shape.hidden),
        "model.norm.weight": (shape.hidden,),
        **{f"model.layers.{layer}.mlp.weight": (shape.block,) for layer in range(shape.layers)},
    }
    if not shape.tied:
        tensors["lm_head.weight"] = (shape.vocabulary, shape.hidden)
    sizes = {
        **SIZES,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
    }
    if shape.experts > 1:
        experts = {"moe_intermediate_size": shape.inner, "num_experts": shape.experts}
        sizes |= {**experts, "num_experts_per_tok": shape.active_experts}
    path = write_model(folder / name.replace("/", "-"), tensors, sizes)
    return config.model_copy(update={"model": config.model.model_copy(update={"path": str(path)})})


@pytest.mark.parametrize("regime", ["off", "occ", "occ-calibrated", "oracle"])
@pytest.mark.parametrize("recipe", MADE_FOR)
def test_a_preset_fits_the_devices_that_it_is_made_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, regime: str
) -> None:
    processes, limit = MADE_FOR[recipe]
    config = preset_with_model(f"{recipe}/{regime}", tmp_path)
    assert config.launch.num_processes == processes
    with store.writing() as connection:
        devices = [f"cuda:{index}" for index in range(processes)]
        worker_heartbeat(connection, "a", os.uname().nodename, 1, devices, time.time())
    monkeypatch.setattr(service, "memory_of", lambda kind: limit)
    monkeypatch.setattr(service, "_data", lambda config: [])
    found = lines(config)["Memory"]
    assert found.level == "good", found.words


def test_the_plan_of_glm_says_that_sampling_and_not_the_update_is_too_much(tmp_path: Path) -> None:
    config = preset_with_model("paper-glm-4.5-air/occ", tmp_path)
    facts = inspect_model(config.model.path)
    assert facts.trunk_parameters == pytest.approx(106e9, rel=0.05)
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    assert sum(found.fixed.values()) + sum(found.update.values()) < 0.9 * GPU_141
    assert found.rollout["the whole model"] > GPU_141
    said = memory.what_to_lower(config, facts, int(0.9 * GPU_141), on_gpu=True)
    assert (
        said
        == "sampling puts the whole model on every device, and that alone is too much; use a smaller model, or devices with more memory"
    )
