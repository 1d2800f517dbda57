"""Every published layout: what is loaded and saved again is the same, name for name; what was trained differs, and nothing else."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import LAYOUTS, write_tiny

from trainer.errors import ModelError
from trainer.models.published import unstored
from trainer.models.storage import load_joint, load_tokenizer, published_tensors, save_joint

ALL = (*LAYOUTS, "qwen3")


def tensors(folder):
    """The model's tensors by name; heads that were attached apart."""
    files = [file for file in sorted(folder.glob("*.safetensors")) if file.name != "mtp.safetensors"]
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def places(folder):
    return {file.name: sorted(load_file(file)) for file in folder.glob("model*.safetensors")}


def others(folder):
    """All files but weights and what says that heads were attached."""
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.suffix != ".safetensors" and file.name not in ("mtp_config.json", "model.safetensors.index.json")
    }


def index(folder):
    return json.loads((folder / "model.safetensors.index.json").read_text())


def same(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def saved_again(source, target, depths=1, **settings):
    joint = load_joint(str(source), depths)
    save_joint(joint, load_tokenizer(str(source)), target, **settings)
    return joint


@pytest.mark.parametrize("layout", ALL)
@pytest.mark.parametrize(("dtype", "shards"), [(torch.float32, 1), (torch.bfloat16, 3)])
def test_what_was_not_trained_is_written_bit_for_bit(layout, dtype, shards, tmp_path):
    write_tiny(layout, tmp_path / "a", dtype=dtype, shards=shards)
    saved_again(tmp_path / "a", tmp_path / "b")
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert places(tmp_path / "a") == places(tmp_path / "b")
    assert others(tmp_path / "a") == others(tmp_path / "b")
    if shards > 1:
        assert index(tmp_path / "a") == index(tmp_path / "b")
    first, again = (load_joint(str(tmp_path / name), 1) for name in ("a", "b"))
    assert same(first.state_dict(), again.state_dict())


@pytest.mark.parametrize("layout", ALL)
def test_everything_that_was_trained_is_written_in_the_stored_dtype(layout, tmp_path):
    write_tiny(layout, tmp_path / "a", dtype=torch.bfloat16, shards=2)
    joint = load_joint(str(tmp_path / "a"), 1)
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.add_(1.0)
    save_joint(joint, load_tokenizer(str(tmp_path / "a")), tmp_path / "b")
    before, after = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    assert before.keys() == after.keys()
    alike = {name for name in before if torch.equal(before[name], after[name])}
    assert all("visual" in name or "e_score_correction_bias" in name for name in alike)
    assert {name: one.dtype for name, one in before.items()} == {name: one.dtype for name, one in after.items()}
    name = "model.language_model.embed_tokens.weight" if layout == "qwen3_5_vision" else "model.embed_tokens.weight"
    assert torch.equal(after[name], joint.trunk.get_input_embeddings().weight.bfloat16())
    for copy in (name for name in after if "model.layers.2.embed_tokens" in name):
        assert torch.equal(after[copy], after[name])
    for copy in (name for name in after if "shared_head.head" in name):
        assert torch.equal(after[copy], after["lm_head.weight"])


@pytest.mark.parametrize("layout", ALL)
def test_a_checkpoint_in_full_precision_keeps_parameters_exactly_and_can_go_back(layout, tmp_path):
    write_tiny(layout, tmp_path / "a", dtype=torch.bfloat16, shards=2)
    joint = load_joint(str(tmp_path / "a"), 1)
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.mul_(1.001)
    tokenizer = load_tokenizer(str(tmp_path / "a"))
    save_joint(joint, tokenizer, tmp_path / "full", full_precision=True)
    resumed = load_joint(str(tmp_path / "full"), 1)
    assert same(joint.state_dict(), resumed.state_dict())
    assert '"float32"' in (tmp_path / "full" / "config.json").read_text()
    save_joint(joint, tokenizer, tmp_path / "direct")
    save_joint(resumed, tokenizer, tmp_path / "back")
    assert same(tensors(tmp_path / "direct"), tensors(tmp_path / "back"))
    direct, back = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("direct", "back"))
    assert direct == back
    assert not (tmp_path / "back" / "stored_dtypes.json").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_dtypes_go_through_full_precision_and_back(dtype, tmp_path):
    write_tiny("mimo", tmp_path / "a", dtype=dtype)
    saved_again(tmp_path / "a", tmp_path / "full", full_precision=True)
    saved_again(tmp_path / "full", tmp_path / "b")
    exact = dtype == torch.float16  # what is finer than float32 is rounded to it
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b")) is exact
    assert ((tmp_path / "full" / "config.json").read_text().count('"float32"') > 0) is exact


def test_files_beside_the_weights_are_kept_and_other_weights_are_not(tmp_path):
    folder = write_tiny("mimo", tmp_path / "a", dtype=torch.bfloat16)
    config = json.loads((folder / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")  # as older versions of transformers call it
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weight_map = dict.fromkeys(sorted(tensors(folder)), "model.safetensors")
    listed = {"metadata": {"total_size": sum(one.nbytes for one in tensors(folder).values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(listed))
    (folder / "vocab.txt").write_bytes(bytes(8 * 2**20))
    kept = others(folder)
    (folder / ".gitattributes").write_text("not part of the model")
    (folder / "pytorch_model.bin").write_text("weights in another form")
    saved_again(folder, tmp_path / "full", full_precision=True)
    assert json.loads((tmp_path / "full" / "config.json").read_text())["torch_dtype"] == "float32"
    saved_again(tmp_path / "full", tmp_path / "b")
    assert others(tmp_path / "b") == kept
    assert index(tmp_path / "b") == listed


def test_a_tensor_of_another_form_is_not_taken_for_the_checkpoints(tmp_path):
    joint = load_joint(str(write_tiny("mimo", tmp_path)), 1)
    has = dict(joint.stored.tensors)
    name = "model.mtp_layers.0.input_proj.weight"
    assert unstored(joint, has) == []
    assert unstored(joint, has | {name: has[name]._replace(shape=has[name].shape[::-1])}) == [name]
    del has[name]
    assert unstored(joint, has) == [name]


@pytest.mark.parametrize("layout", ["mimo", "qwen3_5", "qwen3"])
def test_tied_weights_are_stored_once_as_they_were(layout, tmp_path):
    write_tiny(layout, tmp_path / "a", tied=True)
    joint = saved_again(tmp_path / "a", tmp_path / "b")
    assert joint.trunk.get_output_embeddings().weight is joint.trunk.get_input_embeddings().weight
    assert "lm_head.weight" not in tensors(tmp_path / "b")
    named = [name for name, _ in published_tensors(joint) if not name.startswith("depths.")]
    assert sorted(named) == sorted(tensors(tmp_path / "a"))
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


@pytest.mark.parametrize("layout", ["mimo", "deepseek_v3", "glm4_moe"])
def test_depths_that_are_not_used_are_kept(layout, tmp_path):
    write_tiny(layout, tmp_path / "a", depths=2, shards=2)
    joint = saved_again(tmp_path / "a", tmp_path / "b", depths=1)
    assert joint.depths == 1
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert index(tmp_path / "a") == index(tmp_path / "b")
    assert load_joint(str(tmp_path / "b"), 2).depths == 2
    with pytest.raises(ModelError, match=r"model\.mtp_depths: 3 asked for, but .* has 2; use at most 2"):
        load_joint(str(tmp_path / "b"), 3)


@pytest.mark.parametrize("layout", ["deepseek_v3", "glm4_moe"])
def test_the_copies_of_every_depth_follow(layout, tmp_path):
    write_tiny(layout, tmp_path / "a", depths=2)
    joint = load_joint(str(tmp_path / "a"), 2)
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.add_(1.0)
    save_joint(joint, load_tokenizer(str(tmp_path / "a")), tmp_path / "b")
    saved = tensors(tmp_path / "b")
    for layer in (2, 3):
        assert torch.equal(saved[f"model.layers.{layer}.embed_tokens.weight"], saved["model.embed_tokens.weight"])
        assert torch.equal(saved[f"model.layers.{layer}.shared_head.head.weight"], saved["lm_head.weight"])


def test_weights_beside_the_usual_file_are_not_the_models(tmp_path):
    write_tiny("mimo", tmp_path / "a")
    weights = tensors(tmp_path / "a")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, tmp_path / "a" / "other.safetensors")
    saved_again(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b" / "other.safetensors").exists()
    assert same(tensors(tmp_path / "b"), weights)


@pytest.mark.parametrize("layout", ["deepseek_v3", "glm4_moe"])
def test_a_checkpoint_without_copies_gets_none(layout, tmp_path):
    write_tiny(layout, tmp_path / "a", copies=False)
    saved_again(tmp_path / "a", tmp_path / "b")
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


@pytest.mark.parametrize("layout", ALL)
def test_published_tensors_are_those_of_the_checkpoint_and_follow_the_model(layout, tmp_path):
    write_tiny(layout, tmp_path, shards=2)
    joint = load_joint(str(tmp_path), 1)
    named = list(published_tensors(joint))
    published = dict(named)
    stored = tensors(tmp_path)
    assert len(named) == len(published)
    assert {name for name in published if not name.startswith("depths.")} == {
        name for name in stored if "visual" not in name
    }
    assert all(torch.equal(published[name], stored[name]) for name in published if name in stored)
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.add_(1.0)
    moved = dict(published_tensors(joint))
    assert all(not torch.equal(moved[name], stored[name]) for name in moved if name in stored and "e_score" not in name)


def test_heads_that_were_attached_lie_beside_an_index_that_does_not_name_them(tmp_path):
    write_tiny("qwen3", tmp_path / "a")
    saved_again(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "mtp.safetensors").is_file()
    weight_map = index(tmp_path / "b")["weight_map"]
    assert set(weight_map.values()) == {"model.safetensors"}
    assert weight_map.keys() == tensors(tmp_path / "a").keys()


def test_saving_over_the_model_that_was_loaded_is_refused(tmp_path):
    folder = write_tiny("mimo", tmp_path / "a")
    (tmp_path / "link").symlink_to(folder)
    joint = load_joint(str(folder), 1)
    for target in (folder, tmp_path / "link"):
        with pytest.raises(ModelError, match="the model was loaded from there; save it into another folder"):
            save_joint(joint, load_tokenizer(str(folder)), target)


def test_what_must_be_copied_from_a_folder_that_is_gone_is_named(tmp_path):
    folder = write_tiny("mimo", tmp_path / "a", depths=2)
    joint, tokenizer = load_joint(str(folder), 1), load_tokenizer(str(folder))
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"model\.mtp_layers\.1\..* cannot be read .* put the model back"):
        save_joint(joint, tokenizer, tmp_path / "b")
