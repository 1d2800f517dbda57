"""Two processes make the update of one: parameters, coefficients and everything that is measured."""

import pytest
import torch
from cases import Case, Result, in_processes, make
from update_phases import REGIMES

from trainer.objectives.algorithms import ALGORITHMS
from trainer.rollout.collect import Experience

# Sums of floats depend on their order: float32, and c_hat of a mini-batch is a sum of products that nearly cancel.
PARAMETERS = {"rtol": 1e-5, "atol": 1e-6}
MEASURED = {"rel": 1e-3, "abs": 5e-6}
# A mean of per-token ratios lives on tokens that hardly moved, where rounding is much of the difference.
HEAVY_TAILED = {"rel": 1e-2, "abs": 5e-6}
ON_GPU = {"rtol": 1e-3, "atol": 1e-4}, {"rel": 1e-2, "abs": 1e-4}

# Left out is window micro_batch (the preset occ-official), whose coefficient depends by definition on how the batch is split.
CASES = [f"{algorithm} {regime}" for algorithm in ALGORITHMS for regime in REGIMES]
EDGES = {"uneven": 5, "in pieces": 5, "in a budget": 8, "one sequence": 1, "without tokens": 4}
PIECES = {"in pieces": {"micro_batch_sequences": 2}, "in a budget": {"micro_batch_tokens": 12}}
SHORT = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_prompt_tokens": 5, "max_response_tokens": 7}


def experience_of(sequences, count: int) -> Experience:
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.2, 0.1, -0.3, 0.3])[:count]
    rows = sequences.rows(slice(count))
    return Experience([], [], [], [], rows, advantages, advantages, torch.zeros(rows.mask.shape))


@pytest.fixture
def cases(make_joint, make_config, sequences) -> dict[str, Case]:
    joint = make_joint(2)
    made = {}
    for name in CASES:
        algorithm, regime = name.split()
        made[name] = Case(make_config(REGIMES[regime], algorithm), joint, experience_of(sequences, 8))
    for name, count in EDGES.items():
        update = {"mini_batches": 1, "epochs": 2, **PIECES.get(name, {})}
        model = {"path": "unused", "gradient_checkpointing": name in PIECES}
        experience = experience_of(sequences, count)
        if name == "without tokens":  # the second process has rows, of which none counts
            mask = experience.sequences.mask.clone()
            mask[2:] = False
            experience = experience_of(experience.sequences._replace(mask=mask), count)
        for regime in ("occ-own", "oracle", "detach"):
            config = make_config(REGIMES[regime], "grpo", update=update, model=model, rollout=SHORT)
            made[f"{name} {regime}"] = Case(config, joint, experience)
    spoilt = experience_of(sequences, 8)
    spoilt.advantages[3] = float("nan")  # a row of the second process
    made["not finite"] = Case(make_config(REGIMES["policy"]), joint, spoilt)
    return made


@pytest.mark.slow
def test_two_processes_make_the_update_of_one(cases, tmp_path):
    first, second = in_processes(cases, tmp_path, 2)
    for name, case in cases.items():
        alone: Result = make(case)
        mine, theirs = first[name], second[name]
        # Between the two processes everything is the same bit for bit, the coefficient included.
        assert mine.metrics == theirs.metrics, name
        assert mine.error == theirs.error == alone.error, name
        torch.testing.assert_close(mine.parameters, theirs.parameters, rtol=0, atol=0)
        torch.testing.assert_close(mine.old, theirs.old, rtol=0, atol=0)
        torch.testing.assert_close(mine.old, alone.old, rtol=1e-5, atol=1e-5)
        for tensor, value in mine.parameters.items():
            torch.testing.assert_close(
                value, alone.parameters[tensor], **PARAMETERS, msg=lambda m, n=name, t=tensor: f"{n}, {t}: {m}"
            )
        assert len(mine.metrics) == len(alone.metrics), name
        for measured, expected in zip(mine.metrics, alone.metrics, strict=True):
            assert measured.keys() == expected.keys(), name
            for key, value in measured.items():
                tolerance = HEAVY_TAILED if "occ-loss" in name else MEASURED
                assert value == pytest.approx(expected[key], **tolerance), (name, key)
    assert first["not finite"].error == "policy loss became NaN"
    used = [metrics["mtp/coefficient"] for metrics in first["dapo occ-own"].metrics]
    assert [value == 0 for value in used] == [True, False, True, False]

    learnt = [each["exchanges"] for each in (first, second)]
    assert [each.pop("calls") for each in learnt] == [[0], [2, 0]]
    assert learnt[0] == learnt[1]
    assert learnt[0] == {
        "gathered": ["from 0", "from 1"],
        "any": True,
        "none": False,
        "divided 5": [(0, 0), (10, 0), (20, 1), (30, 1), (40, 1)],
        "divided 1": [(0, 1)],
        "divided 0": [],
        "from main": "made by 0",
        "summed": [[[3.0, 3.0], [3.0, 3.0]], [0.0, 2.0, 4.0]],
        "divide": "process 1 fails",
        "from_main": "process 0 fails",
        "differing parameters": learnt[0]["differing parameters"],
    }
    assert "no longer the same (first weight)" in learnt[0]["differing parameters"]
    assert first["lost"].startswith("another process of the run does not answer: ")


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpus_make_the_update_of_the_cpu(cases, tmp_path):
    on_gpu = {name: case._replace(device="cuda") for name, case in cases.items()}
    for processes in range(1, min(torch.cuda.device_count(), 2) + 1):
        folder = tmp_path / str(processes)
        folder.mkdir()
        results = in_processes(on_gpu, folder, processes)
        for name, case in cases.items():
            alone = make(case)
            for tensor, value in results[0][name].parameters.items():
                torch.testing.assert_close(value, results[-1][name].parameters[tensor], rtol=0, atol=0)
                torch.testing.assert_close(value, alone.parameters[tensor], **ON_GPU[0])
            for measured, expected in zip(results[0][name].metrics, alone.metrics, strict=True):
                for key, value in measured.items():
                    assert value == pytest.approx(expected[key], **ON_GPU[1]), (name, key)
