"""A depth of every layout against formulas written out here on the tensors of the checkpoint's files."""

import math

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import LAYERS, LAYOUTS, long_model, write_tiny
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from trainer.models.joint import Sequences
from trainer.models.mtp import MtpDepth
from trainer.models.storage import load_joint

NAMES = {
    "mimo": ("token_layernorm", "hidden_layernorm", "input_proj", "final_layernorm", "model.mtp_layers.0."),
    "deepseek_v3": ("enorm", "hnorm", "eh_proj", "shared_head.norm", "model.layers.2."),
    "glm4_moe": ("enorm", "hnorm", "eh_proj", "shared_head.norm", "model.layers.2."),
    "qwen3_next": ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "fc", "norm", "mtp."),
}
NAMES |= {"qwen3_5": NAMES["qwen3_next"], "qwen3_5_vision": NAMES["qwen3_next"]}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    prompts, responses = torch.tensor([3, 1, 5]), torch.tensor([6, 8, 2])
    tokens = torch.randint(2, 60, (3, 9), generator=generator)
    tokens = tokens.where(torch.arange(9) < (prompts + responses)[:, None], 0)
    return Sequences(tokens, prompts, torch.arange(8) < responses[:, None])


def rms(values, weight, *, eps=1e-6, centred=False):
    scaled = values / (values.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return scaled * (1 + weight if centred else weight)


def expected(layout, folder, tokens):
    """[B, S, V] log-probs of depth 1 at every place; what it says at place i is about x_{i+2}."""
    stored = load_file(folder / "model.safetensors")
    model = long_model(layout)[0]
    embedding_norm, hidden_norm, projection, final, prefix = NAMES[layout]
    centred, eps = prefix == "mtp.", model.config.rms_norm_eps
    out = model.model(tokens, output_hidden_states=True, use_cache=False)
    name = "model.language_model." if layout == "qwen3_5_vision" else "model."
    hidden = out.hidden_states[LAYERS]
    if layout != "mimo":
        hidden = rms(hidden, stored[name + "norm.weight"], eps=eps, centred=centred)
    ahead = stored[name + "embed_tokens.weight"][tokens.roll(-1, 1)]
    if not centred:
        ahead[:, 0] = 0.0
    left = rms(ahead, stored[f"{prefix}{embedding_norm}.weight"], eps=eps, centred=centred)
    right = rms(hidden, stored[f"{prefix}{hidden_norm}.weight"], eps=eps, centred=centred)
    joined = torch.cat([right, left] if layout == "mimo" else [left, right], dim=-1)
    states = joined @ stored[f"{prefix}{projection}.weight"].T
    length = tokens.shape[1]
    places = torch.arange(length)[None]
    states = model.model.layers[LAYERS](
        states,
        attention_mask=torch.full((length, length), -math.inf).triu(1)[None, None],
        position_ids=places,
        position_embeddings=model.model.rotary_emb(states, places.expand(3, 1, -1) if "3_5" in layout else places),
    )
    normed = rms(states, stored[f"{prefix}{final}.weight"], eps=eps, centred=centred)
    return (normed @ stored["lm_head.weight"].T).log_softmax(-1)


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_a_depth_is_what_its_layout_says(layout, batch, tmp_path):
    folder = write_tiny(layout, tmp_path)
    joint = load_joint(str(folder), 1)
    predictions = joint(batch, 1.0, ("all",))
    wanted = expected(layout, folder, batch.tokens)
    masks, checked = joint.depth_masks(batch)[0], 0
    for row, place in masks.nonzero().tolist():
        token = int(batch.prompt_lengths[row]) + place
        value = wanted[row, token - 2, batch.tokens[row, token]]
        assert predictions.mtp[0, row, place].item() == pytest.approx(value.item(), abs=2e-5)
        checked += 1
    assert checked == 6 + 7 + 2
    main = joint.trunk(batch.tokens).logits.log_softmax(-1)
    long = long_model(layout)[0]
    del long.model.layers[LAYERS:]
    long.config.num_hidden_layers = LAYERS
    assert torch.allclose(main, long(batch.tokens).logits.log_softmax(-1), atol=1e-5)


@pytest.mark.parametrize(("layout", "normed"), [("mimo", True), ("deepseek_v3", True), ("glm4_moe", False)])
@torch.no_grad()
def test_a_second_depth_reads_the_first_ones_states_as_its_layout_says(layout, normed, batch, tmp_path):
    joint = load_joint(str(write_tiny(layout, tmp_path, depths=2)), 2)
    tokens = batch.tokens
    _, read = joint._trunk_hidden(tokens)
    embeddings, inputs = joint.trunk.get_input_embeddings()(tokens), joint._block_inputs(read)
    before_norm, after_norm = joint.mtp[0](read, embeddings.roll(-1, 1), **inputs)
    chained = after_norm if normed else before_norm
    _, wanted = joint.mtp[1](chained, embeddings.roll(-2, 1), **inputs)
    first, second = joint._mtp_hidden(read, tokens, "all")
    assert torch.equal(first, after_norm)
    assert torch.equal(second, wanted)


@pytest.mark.parametrize("layout", ["mimo", "deepseek_v3"])
@torch.no_grad()
def test_what_drafts_read_is_what_the_first_depth_reads_but_for_a_factor(layout, batch, tmp_path):
    joint = load_joint(str(write_tiny(layout, tmp_path)), 1)
    hidden, read = joint._trunk_hidden(batch.tokens)
    norm = joint.mtp[0].hnorm
    torch.testing.assert_close(norm(joint.read_by_heads(hidden)), norm(read), rtol=1e-4, atol=1e-4)


def test_new_heads_begin_with_norms_that_change_no_scale_and_with_a_block_that_attends():
    for layout, idle in {"qwen3": 1.0, "qwen3_next": 0.0}.items():
        decoder = long_model(layout, depths=0)[0].get_decoder()
        decoder.layers = torch.nn.ModuleList(reversed(decoder.layers))  # of Qwen3-Next: linear attention last
        head = MtpDepth(decoder)
        for norm in (head.enorm, head.hnorm):
            assert torch.equal(norm.weight, torch.full_like(norm.weight, idle))
        assert torch.equal(head.norm.weight, decoder.norm.weight)
        assert hasattr(head.block, "self_attn")


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_halves_in_the_wrong_order_give_something_else(layout, batch, tmp_path):
    joint = load_joint(str(write_tiny(layout, tmp_path)), 1)
    right = joint(batch, 1.0, ("all",)).mtp
    joint.mtp[0].hidden_first = not joint.mtp[0].hidden_first
    wrong = joint(batch, 1.0, ("all",)).mtp
    assert (right - wrong).abs().max() > 0.1


@torch.no_grad()
def test_a_block_of_mimo_written_out(batch, tmp_path):
    """Attention with biases and rotary embeddings, and the feed-forward part, without any module."""
    folder = write_tiny("mimo", tmp_path)
    stored = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    block = load_joint(str(folder), 1).mtp[0].block.double()
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 7, 16, generator=generator, dtype=torch.float64)
    theta = 10_000.0 ** (-torch.arange(0, 8, 2).double() / 8)
    angles = torch.arange(7).double()[:, None] * theta
    cos, sin = (torch.cat([part(angles)] * 2, dim=-1) for part in (torch.cos, torch.sin))

    def weight(name):
        return stored[f"model.mtp_layers.0.{name}"]

    def rotated(values):
        left, right = values.chunk(2, dim=-1)
        return values * cos + torch.cat([-right, left], dim=-1) * sin

    def project(values, name):
        made = values @ weight(f"self_attn.{name}_proj.weight").T + weight(f"self_attn.{name}_proj.bias")
        return made.view(2, 7, -1, 8).transpose(1, 2)

    normed = rms(states, weight("input_layernorm.weight"))
    queries, keys = rotated(project(normed, "q")), rotated(project(normed, "k"))
    scores = queries @ keys.transpose(-1, -2) / math.sqrt(8) + torch.full((7, 7), -math.inf).triu(1)
    mixed = (scores.softmax(-1) @ project(normed, "v")).transpose(1, 2).reshape(2, 7, 16)
    wanted = states + mixed @ weight("self_attn.o_proj.weight").T
    normed = rms(wanted, weight("post_attention_layernorm.weight"))
    gate, up = (normed @ weight(f"mlp.{name}_proj.weight").T for name in ("gate", "up"))
    wanted = wanted + (torch.nn.functional.silu(gate) * up) @ weight("mlp.down_proj.weight").T
    found = block(states, attention_mask=None, position_embeddings=(cos[None], sin[None]))
    assert torch.allclose(found, wanted, atol=1e-9)


@torch.no_grad()
def test_the_trunk_of_mimo_is_a_qwen2_and_needs_no_code_of_the_checkpoint(batch, tmp_path):
    folder = write_tiny("mimo", tmp_path)
    found = AutoModelForCausalLM.from_pretrained(folder)
    assert type(found).__name__ == "MiMoForCausalLM"
    assert found.config.num_nextn_predict_layers == 1
    qwen2, _, _ = long_model("mimo")
    del qwen2.model.layers[LAYERS:]
    qwen2.config.num_hidden_layers = LAYERS
    assert isinstance(qwen2, Qwen2ForCausalLM)
    assert torch.equal(found(batch.tokens).logits, qwen2(batch.tokens).logits)
