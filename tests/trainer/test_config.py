"""The configuration refuses, in words, what cannot mean what it says."""

from __future__ import annotations

import math
import pickle

import pytest
from configs import LEAST, refusals

from trainer.config import RunConfig, parse
from trainer.errors import ConfigError


def test_model_regime_and_data_are_enough():
    config = parse(LEAST)
    assert config.updates_per_step == 4
    assert config.regime.model_dump() == {
        "kind": "occ",
        "lambda_plus": 1.0,
        "eps": 1e-8,
        "reference": "main",
        "estimator": "ratio_of_sums",
        "apply_to": "advantages",
        "window": "mini_batch",
        "ratio": "main",
        "clip": None,
        "ema": None,
        "exact_every": None,
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"regime": {"kind": "occ", "exact_every": 4, "reference": "own"}},
            "regime.reference: own has no effect with exact_every, which takes lambda from gradients; leave out one of the two",
        ),
        (
            {"regime": {"kind": "oracle", "clip": [1, 0]}},
            "regime.clip: [1.0, 0.0] is empty; give [low, high] with low < high, such as [0, 1]",
        ),
        (
            {"audit": {"every": 5}, "update": {"mini_batches": 64}},
            "audit.every: a mini-batch of 1 prompt has no two halves to compare; lower update.mini_batches or leave the audit out",
        ),
        (
            {"update": {"mini_batches": 5}},
            "update.mini_batches: 5 does not divide the 64 prompts of a step; use one of [1, 2, 4, 8, 16, 32, 64]",
        ),
        (
            {"update": {"mini_batches": 128}},
            "update.mini_batches: 128 does not divide the 64 prompts of a step; use one of [1, 2, 4, 8, 16, 32, 64]",
        ),
        (
            {"update": {"mini_batches": 1}},
            "update.mini_batches: 1 mini-batch per rollout leaves nothing for occ to measure: log-probs equal the old ones and the "
            "coefficient stays 0; use 2 or more mini-batches (the paper uses 4), or another regime",
        ),
        (
            {"regime": {"kind": "off"}, "mtp": {"head_loss": "ce"}},
            "mtp.head_loss: ce has no effect with regime off, which trains no heads; use regime detach",
        ),
        (
            {"regime": {"kind": "off"}, "mtp": {"head_loss": "none"}},
            "mtp.head_loss: none has no effect with regime off, which trains no heads; leave mtp.head_loss at regime",
        ),
        (
            {"regime": {"kind": "detach"}, "mtp": {"head_loss": "none"}},
            "mtp.head_loss: none with regime detach trains no heads; use regime off",
        ),
        (
            {"mtp": {"head_loss_scale": 2.0}},
            "mtp.head_loss_scale: 2.0 has no effect here; set mtp.head_loss to ce, or leave it at 1",
        ),
        (
            {"reward": {"correct": -1.0}},
            "reward.correct: -1.0 is not above reward.incorrect (-1.0); a right answer must pay more",
        ),
        (
            {"reward": {"overlong_buffer": 8192}},
            "reward.overlong_buffer: 8192 must be below rollout.max_response_tokens (8192)",
        ),
        (
            {"reward": {"overlong_factor": 2.0}},
            "reward.overlong_factor: 2 has no effect while reward.overlong_buffer is 0; set the buffer, or leave this at 1",
        ),
        (
            {
                "evaluation": {
                    "benchmarks": [{"name": "a", "data": LEAST["data"]}, {"name": "a", "data": LEAST["data"]}]
                }
            },
            "evaluation.benchmarks: 2 benchmarks are called 'a', so their results could not be told apart; rename all but one",
        ),
        (
            {"regime": {"kind": "occ", "clip": [1, 1]}},
            "regime.clip: [1.0, 1.0] is empty; give [low, high] with low < high, such as [0, 1]",
        ),
        (
            {"regime": {"kind": "occ", "ema": 0.9, "estimator": "token_mean"}},
            "regime.ema: averages the sums c_hat and v2_hat, which estimator token_mean does not use; set estimator to ratio_of_sums or leave ema out",
        ),
        (
            {"regime": {"kind": "occ", "ema": 0.9, "window": "micro_batch"}},
            "regime.ema: averages the sums of whole mini-batches; set window to mini_batch or previous, or leave ema out",
        ),
        (
            {"data": {"kind": "jsonl", "path": "d", "template": "Solve it."}},
            "data.template: 'Solve it.' has no {problem} in it; add it where the problem belongs",
        ),
        (
            {
                "launch": {"num_processes": 5},
                "rollout": {"prompts_per_step": 4, "samples_per_prompt": 2},
                "update": {"mini_batches": 2},
            },
            "launch.num_processes: 5 is more than the 4 sequences of a mini-batch, so that some would have nothing to do; use at most 4",
        ),
    ],
)
def test_a_combination_that_cannot_mean_what_it_says_is_refused_with_the_fix(changes, says):
    assert refusals(**changes) == [says]


@pytest.mark.parametrize(
    "changes",
    [
        {"update": {"mini_batches": 1, "epochs": 2}},  # two updates per rollout: occ has something to measure
        {"update": {"mini_batches": 1}, "regime": {"kind": "policy"}},
        {"update": {"mini_batches": 1}, "regime": {"kind": "occ", "exact_every": 1}},  # gradients need no second update
        {"update": {"mini_batches": 1}, "regime": {"kind": "oracle"}},
        {"regime": {"kind": "detach"}, "mtp": {"head_loss_scale": 2.0}},
        {"mtp": {"head_loss": "ce", "head_loss_scale": 2.0}},
        {"reward": {"overlong_buffer": 4096, "overlong_factor": 2.0}},
        {"regime": {"kind": "occ", "clip": [-1, 1], "ema": 0.9}},
        {"optimizer": {"betas": [0, 0.95]}},
    ],
)
def test_a_combination_beside_a_refused_one_is_accepted(changes):
    assert isinstance(parse({**LEAST, **changes}), RunConfig)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"regime": {"kind": "ooc"}},
            "regime.kind: 'ooc' is not known; choose one of 'off', 'detach', 'warm', 'ce', 'policy', 'occ', 'oracle'",
        ),
        ({"regime": {}}, "regime.kind: is missing; say which kind, such as `kind: occ`"),
        ({"regime": "occ"}, "regime: 'occ' is no section; write its settings below it, such as `kind: ...`"),
        ({"model": "m"}, "model: 'm' is no section; write its settings below it, as `name: value`"),
        ({"model": {}}, "model.path: is missing; add it"),
        ({"model": {"path": ""}}, "model.path: is empty; give at least 1 character"),
        ({"regime": {"kind": "occ", "lambda_plus": -1}}, "regime.lambda_plus: -1 is too small; give 0 or more"),
        ({"regime": {"kind": "occ", "lambda_plus": "big"}}, "regime.lambda_plus: 'big' is no number; give one"),
        ({"regime": {"kind": "occ", "eps": 0}}, "regime.eps: 0 is too small; give a number above 0"),
        ({"regime": {"kind": "occ", "ema": 1.0}}, "regime.ema: 1.0 is too large; give a number below 1"),
        ({"regime": {"kind": "occ", "ema": math.nan}}, "regime.ema: nan is no finite number; give one"),
        (
            {"regime": {"kind": "occ", "reference": "self"}},
            "regime.reference: 'self' is not known; choose 'main' or 'own'",
        ),
        ({"regime": {"kind": "occ", "clip": 5}}, "regime.clip: 5 is no list; write it as [..., ...]"),
        ({"regime": {"kind": "occ", "clip": [0, 1, 2]}}, "regime.clip: [0, 1, 2] has too many parts; give 2"),
        (
            {"regime": {"kind": "ce", "lambda_plus": 1}},
            "regime.lambda_plus: is not a setting here; check its spelling and the section it stands in",
        ),
        ({"optimiser": {}}, "optimiser: is not a setting here; check its spelling and the section it stands in"),
        ({"optimizer": {"lr": math.inf}}, "optimizer.lr: inf is no finite number; give one"),
        ({"optimizer": {"betas": [0.9, math.nan]}}, "optimizer.betas.1: nan is no finite number; give one"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "optimizer.betas.1: 1.0 is too large; give a number below 1"),
        ({"steps": 1.5}, "steps: 1.5 is no whole number; give one"),
        ({"steps": True}, "steps: True is a truth value; give a number or a word"),
        (
            {"data": {**LEAST["data"], "chat": "yes"}},
            "data.chat: 'yes' is neither true nor false; give one of them",
        ),
        (
            {"data": {**LEAST["data"], "system": "Be brief."}},
            "data.system: 'Be brief.' has no effect while chat is false; set chat to true, or leave it empty",
        ),
        (
            {"data": {**LEAST["data"], "columns": {"question": "q"}}},
            "data.columns.question: is not a setting here; check its spelling and the section it stands in",
        ),
        ({"seed": 2**31}, "seed: 2147483648 is too large; give 2147483647 or less"),
        ({"seed": 10**30}, "seed: 1000000000000000000000000000000 is too large; give 2147483647 or less"),
        ({"name": "a/b"}, "name: 'a/b' is no name; use up to 80 letters, digits, spaces and the signs . _ + -"),
        ({"name": "  "}, "name: holds nothing but spaces; give a name, or leave it empty"),
        ({"model": {"path": "a\0b"}}, "model.path: 'a\\x00b' has a NUL character in it; remove it"),
        (
            {"data": {**LEAST["data"], "template": "\ud800"}},
            "data.template: '\\ud800' is not valid Unicode; write whole characters",
        ),
        (
            {"data": {"kind": "reasoning_gym", "task": "gcd", "settings": {"a": ["b", "\0"], "\udfff": 1}}},
            "data.settings.a.1: '\\x00' has a NUL character in it; remove it\n"
            "data.settings: the name '\\udfff' is not valid Unicode; write whole characters",
        ),
        ({"rollout": {"temperature": 0.001}}, "rollout.temperature: 0.001 is too small; give 0.01 or more"),
        ({"evaluation": {"temperature": 101}}, "evaluation.temperature: 101 is too large; give 100 or less"),
        ({"name": 5}, "name: 5 is no text; put it in quotes"),
        ({"model": {"path": "m", "mtp_depths": 9}}, "model.mtp_depths: 9 is too large; give 8 or less"),
        ({"rollout": {"samples_per_prompt": 1}}, "rollout.samples_per_prompt: 1 is too small; give 2 or more"),
        (
            {"data": {"kind": "reasoning_gym", "task": "gcd", "settings": "x"}},
            "data.settings: 'x' is no mapping; write `name: value` below it",
        ),
        (
            {"evaluation": {"benchmarks": [{"name": "A b", "data": LEAST["data"]}]}},
            "evaluation.benchmarks.0.name: 'A b' is no short name; use lower-case letters, digits and the signs . _ -, beginning with a letter or digit",
        ),
        (
            {"evaluation": {"benchmarks": [{"name": "a" * 81, "data": LEAST["data"]}]}},
            f"evaluation.benchmarks.0.name: '{'a' * 79}... is too long; give at most 80 characters",
        ),
        (
            {"evaluation": {"benchmarks": [{"name": "a", "data": {"kind": "jsonl", "path": ""}}]}},
            "evaluation.benchmarks.0.data.path: is empty; give at least 1 character",
        ),
    ],
)
def test_a_refused_value_names_the_field_as_the_user_wrote_it_with_the_fix(changes, says):
    assert "\n".join(refusals(**changes)) == says


def test_every_refused_value_is_reported_at_once():
    said = refusals(steps=0, optimizer={"lr": -1}, regime={"kind": "occ", "lambda_plus": -1})
    assert [line.partition(":")[0] for line in said] == ["steps", "regime.lambda_plus", "optimizer.lr"]
    said = refusals(update={"mini_batches": 7}, reward={"correct": -2})
    assert [line.partition(":")[0] for line in said] == ["update.mini_batches", "reward.correct"]


def test_a_long_refused_value_is_shown_cut():
    (said,) = refusals(name="x" * 5000)
    assert len(said) < 250


def test_a_configuration_error_crosses_a_process_boundary():
    with pytest.raises(ConfigError) as refused:
        parse({})
    copy = pickle.loads(pickle.dumps(refused.value))
    assert copy.problems == refused.value.problems
    assert str(copy) == str(refused.value)


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        parse(LEAST).steps = 3


def test_a_token_budget_stands_alone_and_takes_the_longest_sequence():
    rollout = {"max_prompt_tokens": 100, "max_response_tokens": 50}
    both = refusals(rollout=rollout, update={"micro_batch_tokens": 500, "micro_batch_sequences": 4})
    assert both == [
        "update.micro_batch_tokens: 500 tokens and micro_batch_sequences 4 both say how much goes through the model at once; leave one of "
        "the two out"
    ]
    assert refusals(rollout=rollout, update={"micro_batch_tokens": 149}) == [
        "update.micro_batch_tokens: 149 is too little for the longest sequence: rollout.max_prompt_tokens and max_response_tokens are 150 "
        "together; set it to 150 or more, or lower one of them"
    ]
    assert parse({**LEAST, "rollout": rollout, "update": {"micro_batch_tokens": 150}}).update.micro_batch_tokens == 150


def test_settings_of_vllm_that_would_be_ignored_are_refused():
    assert refusals(rollout={"vllm": {"draft_tokens": 1}}) == [
        "rollout.vllm.draft_tokens: 1 has no effect with rollout.engine builtin; set that to vllm, or leave this out"
    ]
    assert refusals(rollout={"engine": "vllm", "vllm": {"draft_sampling": "probabilistic"}}) == [
        "rollout.vllm.draft_sampling: probabilistic has no effect while rollout.vllm.draft_tokens is 0; set that to 1, or leave this out"
    ]
    sharded = refusals(rollout={"engine": "vllm"}, launch={"num_processes": 2, "sharding": "full"})
    assert sharded == [
        "launch.sharding: full does not go with rollout.engine vllm yet; set one to none, or the other to builtin"
    ]
    assert refusals(rollout={"engine": "vllm", "stop": ["\\n"]}) == [
        "rollout.stop: stop strings do not go with rollout.engine vllm yet; leave them out, or set that to builtin"
    ]
    assert refusals(rollout={"engine": "vllm", "speculative": "auto"}) == [
        "rollout.speculative: auto is for the built-in sampler; with rollout.engine vllm set rollout.vllm.draft_tokens"
    ]
    drafting = {"engine": "vllm", "vllm": {"draft_tokens": 1, "draft_sampling": "probabilistic"}}
    config = parse({**LEAST, "rollout": drafting})
    assert parse(config.model_dump(mode="json")) == config
    assert parse(parse(LEAST).model_dump(mode="json")) == parse(LEAST)


@pytest.mark.parametrize("method", ["fly", "synthetic", "standard"])
def test_how_drafts_are_judged_is_not_to_be_chosen(method):
    [refusal] = refusals(rollout={"engine": "vllm", "vllm": {"rejection_sample_method": method}})
    assert refusal.startswith(
        "rollout.vllm.rejection_sample_method: is no setting here: drafts are always judged by exact"
    )


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("gpu_memory_utilization", "rollout.vllm.cache_gib"),
        ("num_speculative_tokens", "rollout.vllm.draft_tokens"),
        ("tensor_parallel_size", "launch.num_processes"),
    ],
)
def test_names_that_vllm_gives_to_what_is_set_elsewhere_are_told_so(name, instead):
    [refusal] = refusals(rollout={"engine": "vllm", "vllm": {name: 1}})
    assert refusal.startswith(f"rollout.vllm.{name}: is no setting here")
    assert instead in refusal
