"""Two processes with half of the parameters each make the update of one that has them all."""

import pytest
import torch
from cases import Case, in_processes, make
from test_several_processes import HEAVY_TAILED, MEASURED, PARAMETERS, experience_of
from update_phases import REGIMES, WARM

SHORT = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_prompt_tokens": 5, "max_response_tokens": 7}
UPDATES = {
    "uneven pieces": {
        "mini_batches": 1,
        "epochs": 2,
        "micro_batch_sequences": 2,
    },  # of 5: one process has an idle piece
    "in a budget": {"mini_batches": 2, "micro_batch_tokens": 12},
}


@pytest.fixture
def cases(make_joint, make_config, sequences) -> dict[str, tuple[Case, Case]]:
    """In one process, and in two with divided parameters."""
    made = {}

    def add(name, regime, algorithm="dapo", *, tied=True, rows=8, audited=False, recomputes=False, update=None):
        model = {"path": "unused", "gradient_checkpointing": recomputes}
        sections = {"model": model, "rollout": SHORT, "update": update or {"mini_batches": 2}}
        launch = {"num_processes": 2, "sharding": "full"}
        joint, experience = make_joint(2, tied=tied), experience_of(sequences, rows)
        made[name] = tuple(
            Case(
                make_config((REGIMES | WARM)[regime], algorithm, **sections, **more),
                joint,
                experience,
                is_audited=audited,
            )
            for more in ({}, {"launch": launch})
        )
        return made[name]

    for regime in REGIMES | WARM:
        add(regime, regime)
    add("heads by themselves", "occ-own")
    for name, update in UPDATES.items():
        for regime in ("occ-own", "oracle", "detach", "warm"):
            rows = 5 if name == "uneven pieces" else 8
            add(f"{name} {regime}", regime, "grpo", update=update, rows=rows, recomputes=True)
    add("untied", "occ-own", "gspo", tied=False, recomputes=True)
    for regime in ("occ-own", "ce", "oracle"):
        add(f"audited {regime}", regime, audited=True, recomputes=regime == "ce")
    for case in add("not finite", "policy", update={"mini_batches": 2, "micro_batch_sequences": 1}):
        case.experience.advantages[3] = float("nan")  # of the second process's first piece
    return made


@pytest.mark.slow
def test_divided_parameters_make_the_update_of_whole_ones(cases, tmp_path):
    first, second = in_processes({name: divided for name, (_, divided) in cases.items()}, tmp_path, 2)
    for name, (case, _) in cases.items():
        alone, mine, theirs = make(case), first[name], second[name]
        assert mine.metrics == theirs.metrics, name
        assert mine.error == theirs.error == alone.error, name
        torch.testing.assert_close(mine.old, alone.old, rtol=1e-5, atol=1e-5)
        assert mine.parameters.keys() == alone.parameters.keys()
        for tensor, value in mine.parameters.items():
            torch.testing.assert_close(value, theirs.parameters[tensor], rtol=0, atol=0)
            torch.testing.assert_close(
                value, alone.parameters[tensor], **PARAMETERS, msg=lambda m, n=name, t=tensor: f"{n}, {t}: {m}"
            )
        assert len(mine.metrics) == len(alone.metrics), name
        for measured, expected in zip(mine.metrics, alone.metrics, strict=True):
            assert measured.keys() == expected.keys(), name
            for key, value in measured.items():
                is_coarse = name.startswith(("occ-loss", "in a budget")) or key.startswith("audit/")
                tolerance = HEAVY_TAILED if is_coarse else MEASURED
                assert value == pytest.approx(expected[key], **tolerance, nan_ok=True), (name, key)
    assert first["not finite"].error == "policy loss became NaN"
    assert any(key == "audit/measured_change" for key in first["audited ce"].metrics[-1])
