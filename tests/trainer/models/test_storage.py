"""Saving and loading models with their heads."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import write_tiny
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from trainer.errors import ModelError
from trainer.models.demo_base import character_tokenizer
from trainer.models.storage import (
    load_joint,
    load_tokenizer,
    load_trunk,
    positions_of,
    save_joint,
    stored_depths,
)


@pytest.fixture
def saved(make_joint, tmp_path):
    joint = make_joint(2)
    save_joint(joint, character_tokenizer(), tmp_path)
    return joint, tmp_path


def test_round_trip_keeps_every_tensor_bit_for_bit(saved):
    joint, folder = saved
    loaded = load_joint(str(folder), 2)
    before, after = joint.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_fewer_depths_than_stored_take_the_first(saved):
    joint, folder = saved
    loaded = load_joint(str(folder), 1)
    assert loaded.depths == 1
    assert torch.equal(loaded.mtp[0].eh_proj.weight, joint.mtp[0].eh_proj.weight)


def test_more_depths_than_stored_are_refused(saved):
    with pytest.raises(ModelError, match=r"model\.mtp_depths: 3 asked for, but .* has 2; use at most 2"):
        load_joint(str(saved[1]), 3)


def test_a_model_without_heads_gets_the_same_new_ones_from_the_same_seed(saved):
    _, folder = saved
    (folder / "mtp_config.json").unlink()
    assert stored_depths(str(folder)) == 0
    first, again, other = (load_joint(str(folder), 1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.mtp[0].eh_proj.weight, again.mtp[0].eh_proj.weight)
    assert not torch.equal(first.mtp[0].eh_proj.weight, other.mtp[0].eh_proj.weight)
    last_block = first.trunk.get_decoder().layers[-1]
    assert torch.equal(first.mtp[0].block.mlp.up_proj.weight, last_block.mlp.up_proj.weight)


def test_new_heads_draw_nothing_from_the_global_generator(saved):
    _, folder = saved
    (folder / "mtp_config.json").unlink()
    before = torch.get_rng_state()
    load_joint(str(folder), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_from_no_folder_keeps_its_generation_settings(make_joint, tmp_path):
    joint = make_joint()
    joint.trunk.generation_config.max_new_tokens = 77
    save_joint(joint, character_tokenizer(), tmp_path)
    assert load_joint(str(tmp_path), 1).trunk.generation_config.max_new_tokens == 77


def test_how_many_tokens_a_model_was_made_for_is_said_by_its_text_part(tmp_path):
    assert positions_of(str(write_tiny("qwen3_5_vision", tmp_path))) == 256


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    tokenizer = character_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no end-of-sequence token; set eos_token in it"):
        load_tokenizer(str(tmp_path))


def test_the_trunk_counts_its_own_layers_and_not_those_of_the_heads(tmp_path):
    config = load_joint(str(write_tiny("mimo", tmp_path, depths=2)), 2).trunk.config
    assert (config.num_hidden_layers, len(config.layer_types)) == (2, 2)


def test_missing_and_misshapen_head_tensors_are_named(saved):
    _, folder = saved
    tensors = load_file(folder / "mtp.safetensors")
    removed = tensors.pop("depths.1.eh_proj.weight")
    save_file(tensors, folder / "mtp.safetensors")
    with pytest.raises(ModelError, match=r"the tensor depths\.1\.eh_proj\.weight is missing"):
        load_joint(str(folder), 2)
    save_file(tensors | {"depths.1.eh_proj.weight": removed.T.contiguous()}, folder / "mtp.safetensors")
    with pytest.raises(ModelError, match=r"depths\.1\.eh_proj\.weight is \(32, 16\), the model needs \(16, 32\)"):
        load_joint(str(folder), 2)


@pytest.mark.parametrize("depths", ["-1", '"x"', "1.9", "true"])
def test_a_number_of_heads_that_is_none_is_refused(saved, depths):
    (saved[1] / "mtp_config.json").write_text(f'{{"depths": {depths}}}')
    with pytest.raises(ModelError, match=r"mtp_config\.json: holds no number of depths"):
        load_joint(str(saved[1]), 1)


def test_what_transformers_cannot_put_together_is_said_in_words(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\..* is \(.*32.*\), and the model .* needs \(.*48.*\); fetch"):
        load_joint(str(folder), 1)
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": "two"}))
    with pytest.raises(ModelError, match=r"cannot be loaded as a causal language model: .*num_attention_heads"):
        load_joint(str(folder), 1)
    (folder / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 0}))
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model: integer division"):
        load_joint(str(folder), 1)


def test_heads_in_an_unknown_layout_are_refused_and_not_replaced(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 1}))
    with pytest.raises(ModelError, match="carries MTP heads of its own"):
        load_joint(str(folder), 1)


def test_nothing_to_load_is_said_in_words(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_joint(str(tmp_path), 1)
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        load_tokenizer(str(tmp_path))


def test_the_character_tokenizer_survives_saving_and_keeps_text(tmp_path):
    character_tokenizer().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    text = "7+4=11 5+6+1=12 Answer:1221\n\\boxed{x}~"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text) - len("Answer:") + 1
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text


def plain_sizes(**more):
    return dict(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, **more,
    )  # fmt: skip


@pytest.mark.parametrize("load", [load_joint, lambda path, _: load_trunk(path)])
def test_models_whose_logits_are_not_what_the_lm_head_gives_are_refused_also_by_their_defaults(tmp_path, load):
    Gemma2ForCausalLM(Gemma2Config(**plain_sizes())).save_pretrained(tmp_path / "gemma")
    config = json.loads((tmp_path / "gemma" / "config.json").read_text())
    del config["final_logit_softcapping"]  # the architecture's default holds then
    (tmp_path / "gemma" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"final_logit_softcapping = 30\.0\).*every log-prob would be wrong"):
        load(str(tmp_path / "gemma"), 1)
    Phi3ForCausalLM(Phi3Config(**plain_sizes(pad_token_id=0))).save_pretrained(tmp_path / "phi3")
    load(str(tmp_path / "phi3"), 1)
    PhiForCausalLM(PhiConfig(**plain_sizes(pad_token_id=0))).save_pretrained(tmp_path / "phi")
    with pytest.raises(ModelError, match="has a bias in its lm_head"):
        load(str(tmp_path / "phi"), 1)
