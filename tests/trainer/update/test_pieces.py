"""How a mini-batch is cut, and that no cut and no recomputation changes the update."""

import pytest
import torch
from update_phases import REGIMES, Phase

from trainer.config import Update
from trainer.errors import TrainingError
from trainer.models import recompute
from trainer.update.pieces import Size, cut, sizes_of

LENGTHS = [9, 5, 5, 9, 8, 5, 11, 5]  # of the fixture `sequences`


def test_sizes_are_those_of_what_counts(sequences):
    assert [size.length for size in sizes_of(sequences)] == LENGTHS
    mask = sequences.mask.clone()
    mask[0, 2:], mask[1] = False, False
    assert sizes_of(sequences._replace(mask=mask))[:2] == [Size(5, 2), Size(1, 0)]


@pytest.mark.parametrize("processes", [1, 2, 3, 11])
@pytest.mark.parametrize("settings", [{}, {"micro_batch_sequences": 2}, {"micro_batch_tokens": 18}])
def test_every_sequence_is_in_one_piece_which_is_as_wide_as_its_longest_and_within_the_budget(
    sequences, settings, processes
):
    pieces = cut(sizes_of(sequences), Update(**settings), processes)
    assert len(pieces) == processes
    assert sorted(row for part in pieces for piece in part for row in piece.rows) == list(range(8))
    for piece in (piece for part in pieces for piece in part):
        assert piece.length == max(LENGTHS[row] for row in piece.rows)
        assert len(piece.rows) * piece.length <= settings.get("micro_batch_tokens", 1000)
        assert len(piece.rows) <= settings.get("micro_batch_sequences", 8)


def test_a_budget_puts_sequences_of_like_length_together_and_deals_them_evenly(sequences):
    [alone] = cut(sizes_of(sequences), Update(micro_batch_tokens=18), 1)
    assert [[LENGTHS[row] for row in piece.rows] for piece in alone] == [[11], [9, 9], [8, 5], [5, 5, 5]]
    first, second = cut(sizes_of(sequences), Update(micro_batch_tokens=18), 2)
    assert [[LENGTHS[row] for row in piece.rows] for piece in first] == [[11], [9, 5], [5]]
    assert [[LENGTHS[row] for row in piece.rows] for piece in second] == [[9, 8], [5, 5]]


def updated(make_joint, make_config, experience, name, algorithm, update, *, recomputes=False, phases=2):
    model = {"path": "unused", "gradient_checkpointing": recomputes}
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_prompt_tokens": 5, "max_response_tokens": 7}
    config = make_config(REGIMES[name], algorithm, update={"mini_batches": 2, **update}, model=model, rollout=rollout)
    phase = Phase(make_joint(2), config)
    metrics = [one for _ in range(phases) for one in phase.run(experience)]
    return phase.joint.state_dict(), metrics


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [*((name, "dapo") for name in REGIMES), ("occ-own", "gspo"), ("policy", "grpo"), ("oracle", "gspo")],
)
def test_a_token_budget_does_not_change_the_update(make_joint, make_config, experience, name, algorithm):
    whole, expected = updated(make_joint, make_config, experience, name, algorithm, {})
    parameters, metrics = updated(make_joint, make_config, experience, name, algorithm, {"micro_batch_tokens": 12})
    for key, tensor in whole.items():
        torch.testing.assert_close(parameters[key], tensor, rtol=2e-4, atol=2e-5, msg=key)
    for mine, theirs in zip(metrics, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert value == pytest.approx(theirs[key], rel=1e-2, abs=2e-5), key


@pytest.mark.parametrize("update", [{}, {"micro_batch_sequences": 2}])
@pytest.mark.parametrize("name", REGIMES)
def test_blocks_that_run_again_give_the_same_update_bit_for_bit(make_joint, make_config, experience, name, update):
    kept, expected = updated(make_joint, make_config, experience, name, "dapo", update, phases=1)
    made_again, metrics = updated(make_joint, make_config, experience, name, "dapo", update, phases=1, recomputes=True)
    assert metrics == expected
    for key, tensor in kept.items():
        torch.testing.assert_close(made_again[key], tensor, rtol=0, atol=0, msg=key)


def test_blocks_run_again_in_the_backward_pass_alone(make_joint, make_config, experience):
    phase = Phase(make_joint(2), make_config({"kind": "policy"}, model={"path": "-", "gradient_checkpointing": True}))
    runs = []
    for index, block in enumerate(phase.joint.blocks):
        block.register_forward_pre_hook(lambda *_, index=index: runs.append(index))
    phase.updater.old_log_probs(experience.sequences)
    assert sorted(runs) == [0, 0, 1, 1, 2, 2, 3, 3]  # one pass for each of two mini-batches
    runs.clear()
    phase.joint(experience.sequences, 1.0, ("all",)).mtp.sum().backward()
    assert runs == [0, 1, 2, 3, 3, 2, 1, 0]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_parameter_that_no_gradient_reaches_stops_the_run_in_words(make_joint, make_config, experience, monkeypatch):
    # A re-entrant block with detached inputs has no gradient, and torch only warns.
    def reentrant(function, *args, use_reentrant, **kwargs):
        return torch.utils.checkpoint.checkpoint(lambda *given: function(*given, **kwargs), *args, use_reentrant=True)

    model = {"path": "unused", "gradient_checkpointing": True}
    monkeypatch.setattr(recompute, "checkpoint", lambda *args, preserve_rng_state, **kwargs: reentrant(*args, **kwargs))
    phase = Phase(make_joint(2), make_config({"kind": "detach"}, model=model))
    before = phase.state("mtp")
    with pytest.raises(TrainingError, match=r"no gradient reaches the parameter mtp\.0\.\S+ and \d+ more, .* to false"):
        phase.run(experience)
    assert all(torch.equal(tensor, before[key]) for key, tensor in phase.state("mtp").items())
