"""Whole runs of a tiny random model: events, checkpoints, resume, refusals, the program itself."""

import json
import re
import resource
import signal
from pathlib import Path

import pytest
import torch

from trainer.config import RunConfig, parse
from trainer.errors import DataError, ModelError, NotFiniteError, TrainingError
from trainer.events import MemorySink
from trainer.loop import collect, evaluate_now, learn, save, train
from trainer.models.storage import load_joint
from trainer.rollout.engine import Sampling
from trainer.tasks import Grader
from trainer.training import prepare

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tiny_run) -> RunConfig:
    return tiny_run


def run(config, folder, *, stop_after=None, attempt=1):
    folder.mkdir(exist_ok=True)
    sink = MemorySink(attempt)
    steps = iter(range(1, 1000))
    outcome = train(config, folder, sink, lambda: next(steps) == stop_after)
    return outcome, sink


def parameters(folder):
    return load_joint(str(folder / "checkpoints" / "step-000006" / "model"), 2).state_dict()


def lasting(sink, above=0):
    """Every metric that does not measure time, of steps above `above`."""
    return {
        (event["step"], event["mini_batch"], name): value
        for event in sink.events
        if event["type"] == "metrics" and event["step"] > above
        for name, value in event["values"].items()
        if not name.startswith(("time/", "system/")) and not name.endswith("tokens_per_second")
    }


def test_events_tell_the_whole_run(config, tmp_path):
    outcome, sink = run(config, tmp_path / "run")
    assert outcome == "finished"
    kinds = [event["type"] for event in sink.events]
    assert kinds[0] == "attempt_started"
    assert [event["step"] for event in sink.events if event["type"] == "evaluation"] == [0, 2, 4, 6]
    assert [event["step"] for event in sink.events if event["type"] == "checkpoint"] == [3, 6]
    assert [event["step"] for event in sink.events if event["type"] == "completions"] == [1, 2, 4, 6]
    names = {name for event in sink.events if event["type"] == "metrics" for name in event["values"]}
    documented = (ROOT / "docs" / "metrics.md").read_text()
    for name in names:
        generic = name.replace("depth_2/", "").replace("held-out", "<benchmark>").replace("avg_at_2", "avg_at_<k>")
        assert f"`{generic}`" in documented, f"{name} is not in docs/metrics.md"
    coefficients = sink.series("mtp/coefficient")
    assert [place[:2] for place in coefficients] == [(step, part) for step in range(1, 7) for part in (0, 1, -1)]
    for step in range(1, 7):
        by_part = {part: value for at, part, value in coefficients if at == step}
        assert by_part[0] == 0
        assert by_part[-1] == pytest.approx((by_part[0] + by_part[1]) / 2)
    evaluation = next(event for event in sink.events if event["type"] == "evaluation")
    assert len(evaluation["items"]) == 4
    assert all(len(item["outcomes"]) == 2 for item in evaluation["items"])


@pytest.mark.parametrize("regime", ["occ", "off"])
def test_logged_completions_say_token_by_token_what_both_heads_make_of_them(config, tmp_path, regime):
    own = {"regime": config.regime.model_dump(), "mtp": {"head_loss": "ce"}} if regime == "occ" else {}
    config = parse({**config.model_dump(), "regime": {"kind": "off"}, "mtp": {}, **own, "steps": 2})
    with Grader() as grader:
        training = prepare(config, tmp_path, MemorySink(), grader)
        training.step = 1
        experience, old = collect(training)
    [event] = [event for event in training.sink.events if event["type"] == "completions"]
    heads = training.updater.old_log_probs(experience.sequences, ("all",)).mtp[0]
    assert len(event["items"]) == 2 * 3
    for row, item in enumerate(event["items"]):
        tokens, length = item["by_token"], item["tokens"]
        assert [len(values) for values in tokens.values()] == [length] * 4
        assert re.sub("<(pad|unk|eos)>", "", "".join(tokens["texts"])) == item["completion"]
        assert tokens["log_probs"] == pytest.approx(old.main[row, :length].tolist(), abs=6e-4)
        assert tokens["mtp_log_probs"] == pytest.approx(heads[row, :length].tolist(), abs=6e-4)
        assert set(tokens["agrees"]) <= {0, 1}
    documented = (ROOT / "docs" / "metrics.md").read_text()
    assert {f"`{name}`" in documented for name in training.seconds} == {True}


def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(config, tmp_path):
    _, whole = run(config, tmp_path / "whole")
    outcome, first = run(config, tmp_path / "parts", stop_after=4)
    assert outcome == "stopped"
    outcome, rest = run(config, tmp_path / "parts", attempt=2)
    assert outcome == "finished"
    assert rest.events[0]["resumed_from"] == 4
    # The stop came before the evaluation of step 4, which is made up for.
    evaluated = [[event["step"] for event in sink.events if event["type"] == "evaluation"] for sink in (first, rest)]
    assert evaluated == [[0, 2], [4, 6]]
    assert lasting(first) | lasting(rest) == lasting(whole)
    before, after = parameters(tmp_path / "whole"), parameters(tmp_path / "parts")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_drafts_says_so_believes_only_the_main_head_and_resumes_bit_for_bit(config, tmp_path):
    config = config.model_copy(update={"rollout": config.rollout.model_copy(update={"speculative": "on"})})
    _, whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "parts", stop_after=4)
    run(config, tmp_path / "parts", attempt=2)
    before, after = parameters(tmp_path / "whole"), parameters(tmp_path / "parts")
    assert all(torch.equal(before[name], after[name]) for name in before)
    metrics = {name: [value for *_, value in whole.series(f"rollout/{name}")] for name in ("drafts", "log_prob_gap")}
    assert len(metrics["drafts"]) == 6
    assert min(metrics["drafts"]) > 0
    assert max(metrics["log_prob_gap"]) < 1e-4
    documented = (ROOT / "docs" / "metrics.md").read_text()
    for name in ("drafts", "draft_acceptance_<k>", "tokens_per_draft"):
        assert whole.series(f"rollout/{name.replace('<k>', '2')}")
        assert f"`rollout/{name}`" in documented


def test_a_resumed_run_with_dynamic_sampling_samples_what_the_uninterrupted_run_does(config, tmp_path):
    rollout = config.rollout.model_copy(update={"dynamic_sampling_rounds": 2})
    # Only the longest responses are punished, so that many groups have equal rewards.
    reward = config.reward.model_copy(update={"overlong_buffer": 2})
    config = config.model_copy(update={"rollout": rollout, "reward": reward})
    _, whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "parts", stop_after=3)
    _, rest = run(config, tmp_path / "parts", attempt=2)
    assert lasting(rest) == lasting(whole, above=3)
    rounds, sampled, discarded, unreplaced = (
        [value for _, _, value in whole.series(f"rollout/{name}")]
        for name in ("sampling_rounds", "prompts_sampled", "groups_discarded", "groups_unreplaced")
    )
    assert {2, 3} <= set(rounds)
    assert discarded == [count - 4 for count in sampled]
    assert all(
        left == 0 or made == 3 or count == 8 for left, made, count in zip(unreplaced, rounds, sampled, strict=True)
    )
    documented = (ROOT / "docs" / "metrics.md").read_text()
    for name in ("sampling_rounds", "prompts_sampled", "groups_discarded", "groups_unreplaced"):
        assert f"`rollout/{name}`" in documented


@pytest.mark.parametrize("regime", [{"kind": "occ", "reference": "own"}, {"kind": "off"}])
def test_an_audited_run_is_the_same_run_bit_for_bit(config, tmp_path, regime):
    mtp = {"head_loss": "regime"}
    plain = parse({**config.model_dump(), "regime": regime, "mtp": mtp})
    audited = parse({**plain.model_dump(), "audit": {"every": 2, "prompts": 3}})
    (_, without), (_, with_audit) = run(plain, tmp_path / "plain"), run(audited, tmp_path / "audited")
    measured = lasting(with_audit)
    audits = {place: value for place, value in measured.items() if place[2].startswith("audit/")}
    assert {place[0] for place in audits} == {2, 4, 6}
    assert {place[1] for place in audits} == {1, -1}
    for (step, _, name), value in audits.items():  # one audit in a step: the step's value is that of its mini-batch
        assert audits[step, 1, name] == pytest.approx(value, nan_ok=True)
    documented = (ROOT / "docs" / "metrics.md").read_text()
    assert not [name for _, _, name in audits if f"`{name.replace('depth_2/', '')}`" not in documented]
    assert {place: value for place, value in measured.items() if place not in audits} == lasting(without)
    first, second = parameters(tmp_path / "plain"), parameters(tmp_path / "audited")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_audit_without_enough_other_prompts_is_refused_in_words(config, tmp_path):
    with pytest.raises(DataError, match=r"audit\.prompts: 5 prompts .* the training data have 8 and a step takes 4"):
        run(parse({**config.model_dump(), "audit": {"every": 2, "prompts": 5}}), tmp_path / "run")


def test_the_same_seed_repeats_a_run_and_another_seed_does_not(config, tmp_path):
    (_, first), (_, again) = run(config, tmp_path / "a"), run(config, tmp_path / "b")
    assert lasting(first) == lasting(again)
    _, other = run(config.model_copy(update={"seed": 1}), tmp_path / "c")
    assert lasting(first) != lasting(other)


def test_a_half_written_checkpoint_is_never_loaded(config, tmp_path):
    folder = tmp_path / "run"
    run(config, folder, stop_after=2)
    torn = folder / "checkpoints" / ".step-000004.partial"
    torn.mkdir()
    (torn / "state.pt").write_bytes(b"half")
    _, rest = run(config, folder, attempt=2)
    assert rest.events[0]["resumed_from"] == 2


class SpyEngine:
    """Samples with the real engine, records how it was asked, and reports log-probs that are off by 1."""

    def __init__(self, engine):
        self.engine = engine
        self.asked: list[Sampling] = []

    def generate(self, prompts, sampling):
        self.asked.append(sampling)
        groups = self.engine.generate(prompts, sampling)
        return [
            [response._replace(log_probs=[value - 1 for value in response.log_probs]) for response in group]
            for group in groups
        ]

    def finish(self):
        return self.engine.finish()


def test_sampling_follows_the_configuration_and_the_engines_log_probs_train_nothing(config, tmp_path):
    update = {"temperature": 0.6, "top_p": 0.8, "top_k": 5, "stop": ("9",)}
    settings = config.evaluation.model_copy(update=update)
    rollout = config.rollout.model_copy(update={"temperature": 0.9})
    config = config.model_copy(update={"evaluation": settings, "rollout": rollout})
    with Grader() as grader:
        run = prepare(config, tmp_path, MemorySink(), grader)
        run.engine = spy = SpyEngine(run.engine)
        evaluate_now(run)
        run.step = 1
        experience, old = collect(run)
        learn(run, experience, old)
    held_out, training = spy.asked
    assert (held_out.temperature, held_out.top_p, held_out.samples, held_out.max_tokens) == (0.6, 0.8, 2, 10)
    assert (held_out.top_k, held_out.stop, training.top_k, training.stop) == (5, ("9",), 0, ())
    assert (training.temperature, training.top_p, training.samples, training.max_tokens) == (0.9, 1.0, 3, 10)
    mask = experience.sequences.mask
    gap = (old.main - experience.engine_log_probs)[mask]
    torch.testing.assert_close(gap, torch.ones_like(gap), rtol=0, atol=1e-4)
    assert not mask.all()
    assert run.sink.series("rollout/log_prob_gap")[0][2] == pytest.approx(1, abs=1e-4)


def test_the_optimiser_is_adamw_as_configured_with_decay_on_matrices_only(config, tmp_path):
    settings = config.optimizer.model_copy(update={"weight_decay": 0.3, "betas": (0.8, 0.95)})
    with Grader() as grader:
        run = prepare(config.model_copy(update={"optimizer": settings}), tmp_path, MemorySink(), grader)
    groups = run.updater.optimizer.param_groups
    assert {group["betas"] for group in groups} == {(0.8, 0.95)}
    decayed = {parameter.dim(): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decayed == {2: 0.3, 1: 0.0}
    held = sum(len(group["params"]) for group in groups)
    assert held == sum(1 for _ in run.joint.parameters())


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_ones_before(config, tmp_path):
    folder = tmp_path / "run"
    run(config, folder, stop_after=1)
    with Grader() as grader:
        training = prepare(config, folder, MemorySink(), grader)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (2_000, 30_000, 120_000):  # the write that fails is another one each time
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            training.step += 1
            with pytest.raises(ModelError, match=r"the checkpoint cannot be written \(.+\); free disk space"):
                save(training)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000001"]


def test_a_run_that_is_not_finite_says_where_and_what_to_change_and_keeps_its_last_good_checkpoint(config, tmp_path):
    wild = parse(
        {
            **config.model_dump(),
            "regime": {"kind": "policy"},
            "optimizer": {"lr": 1e30},
            "update": {"mini_batches": 1, "micro_batch_sequences": 4},
            "checkpoint": {"every": 1, "keep": 1},
        }
    )
    folder = tmp_path / "run"
    with pytest.raises(
        TrainingError, match=r"became (NaN|infinite) in step 2, .* good checkpoint is of step 1\."
    ) as caught:
        run(wild, folder)
    assert "lower optimizer.lr (1e+30) or bring regime.coefficient (1) nearer to 0" in str(caught.value)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000001"]
    sink = MemorySink()
    wild = config.model_copy(update={"optimizer": wild.optimizer})
    with pytest.raises(
        TrainingError, match=r"No checkpoint was saved before that.* bound the coefficient with regime\.clip"
    ):
        train(wild, tmp_path / "new", sink)
    [alarm] = [event for event in sink.events if event["type"] == "alarm"]
    assert (alarm["severity"], alarm["name"], alarm["step"]) == ("error", "not_finite", 1)


def test_parameters_that_are_not_finite_are_never_saved(config, tmp_path):
    folder = tmp_path / "run"
    run(config, folder, stop_after=1)
    with Grader() as grader:
        training = prepare(config, folder, MemorySink(), grader)
    with torch.no_grad():
        training.joint.mtp[1].norm.weight[3] = torch.nan
    training.step = 2
    with pytest.raises(NotFiniteError, match=r"parameter mtp\.1\.norm\.weight became NaN"):
        save(training)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000001"]


def test_a_model_that_predicts_nothing_ends_the_run_in_words(config, tmp_path):
    with Grader() as grader:
        training = prepare(config, tmp_path, MemorySink(), grader)
        with torch.no_grad():
            training.joint.trunk.get_decoder().norm.weight[0] = torch.inf
        training.step = 1
        with pytest.raises(NotFiniteError, match="the sampler's logits became"):
            collect(training)


def test_alarms_are_told_once_when_they_begin(config, tmp_path):
    # Random text is always wrong: without the length punishment every group is without variance.
    reward = config.reward.model_copy(update={"overlong_buffer": 0})
    alarms = config.alarms.model_copy(update={"steps": 3})
    _, sink = run(config.model_copy(update={"reward": reward, "alarms": alarms}), tmp_path / "run")
    told = [event for event in sink.events if event["type"] == "alarm"]
    assert [(event["step"], event["severity"], event["name"]) for event in told] == [(3, "warning", "zero_variance")]
    assert told[0]["message"].startswith(
        "reward/zero_variance_fraction above 90 % since step 1 (100 %, accuracy 0 % in step 3)."
    )


def test_a_resumed_run_raises_the_alarms_of_the_uninterrupted_run(config, tmp_path):
    reward = config.reward.model_copy(update={"overlong_buffer": 0})
    alarms = config.alarms.model_copy(update={"steps": 3})
    config = config.model_copy(update={"reward": reward, "alarms": alarms})
    run(config, tmp_path / "run", stop_after=2)
    _, rest = run(config, tmp_path / "run", attempt=2)
    told = [(event["step"], event["name"]) for event in rest.events if event["type"] == "alarm"]
    assert told == [(3, "zero_variance")]


@pytest.mark.parametrize(("clip", "names"), [([-1e9, 1e9], set()), ([1e8, 1e9], {"", "/depth_2"})])
def test_whether_a_coefficient_is_at_its_clip_is_seen_in_every_mini_batch(config, tmp_path, clip, names):
    regime = {"kind": "occ", "clip": clip}
    alarms = {"coefficient_steps": 2}
    at_clip = parse({**config.model_dump(), "regime": regime, "alarms": alarms, "steps": 3})
    _, sink = run(at_clip, tmp_path / "run")
    told = {event["name"] for event in sink.events if event["type"] == "alarm"}
    assert {name for name in told if "clip" in name} == {f"coefficient_at_clip{suffix}" for suffix in names}


def test_prompts_that_are_too_long_are_reported(config, tmp_path):
    short = config.model_copy(update={"rollout": config.rollout.model_copy(update={"max_prompt_tokens": 8})})
    with open(tmp_path / "train.jsonl", "a") as file:
        file.write(json.dumps({"problem": "1000000+2=", "answer": "1000002"}) + "\n")
    _, sink = run(short.model_copy(update={"steps": 1}), tmp_path / "run")
    assert sink.series("data/prompts") == [(0, -1, 8)]
    assert sink.series("data/prompts_too_long") == [(0, -1, 1)]
    alarms = [event["message"] for event in sink.events if event["type"] == "alarm"]
    assert alarms == ["1 prompts of training data have more than 8 tokens and are left out"]
    tiny = config.model_copy(update={"rollout": config.rollout.model_copy(update={"max_prompt_tokens": 2})})
    with pytest.raises(DataError, match=r"raise rollout\.max_prompt_tokens"):
        run(tiny, tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regime": {"kind": "detach"}}, "they learn in this run"),
        ({"regime": {"kind": "off"}}, "with regime off .* they never learn"),
        ({"regime": {"kind": "warm", "held_out": 1}, "evaluation": {}}, "they are what learns in this run"),
    ],
)
def test_heads_that_start_at_random_do_not_go_unnoticed(config, tmp_path, changes, words):
    for file in ("mtp.safetensors", "mtp_config.json"):
        (tmp_path / "base" / file).unlink()
    values = {**config.model_dump(), **changes, "mtp": {}, "steps": 1}
    _, sink = run(parse(values), tmp_path / "run")
    told = [event for event in sink.events if event["type"] == "alarm"]
    assert [(event["name"], event["step"]) for event in told] == [("new_heads", 0)]
    assert re.search(f"base has no MTP heads: 2 new, started from its last block; .*{words}", told[0]["message"])
    _, again = run(parse({**values, "steps": 2}), tmp_path / "run", attempt=2)
    assert not [event for event in again.events if event["type"] == "alarm"]
