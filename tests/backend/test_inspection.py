"""What is said of a model and of problems, from their files alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_models import SIZES, TRUNK, write_model

from backend.inspection.data import LARGEST, answer_kind, count, inspect_data
from backend.inspection.models import inspect_model
from trainer.config import JsonlData, ParquetData
from trainer.errors import DataError, ModelError
from trainer.models.storage import load_joint
from trainer.tasks import Item


def test_a_model_is_described_from_headers_and_json(tmp_path: Path) -> None:
    facts = inspect_model(str(write_model(tmp_path / "m", heads=2)))
    assert facts.problems == ()
    assert (facts.architecture, facts.dtypes, facts.vocabulary, facts.positions) == (
        "Qwen3ForCausalLM",
        ("BF16",),
        100,
        64,
    )
    assert facts.parts == {"embeddings": 800, "layers": 256, "final norm": 8, "MTP heads": 256}
    assert (facts.parameters, facts.trunk_parameters) == (1320, 1064)
    assert (facts.tokenizer, facts.chat_template) == ("Qwen2Tokenizer", True)
    assert facts.heads is not None
    assert facts.heads.words == "2 depths, attached layout (mtp.safetensors)"
    assert facts.bytes == sum(file.stat().st_size for file in (tmp_path / "m").iterdir())


def test_an_lm_head_of_its_own_counts(tmp_path: Path) -> None:
    facts = inspect_model(str(write_model(tmp_path / "m", config={**SIZES, "tie_word_embeddings": False})))
    assert facts.parts is not None
    assert facts.parts["lm_head"] == 800
    assert facts.heads_words == "none: a run starts new ones from the last block"
    assert facts.shape is not None
    assert facts.bytes_to_train == 16 * (1064 + 800 + facts.shape.depth)


@pytest.mark.parametrize("name", ["num_experts", "n_routed_experts"])
def test_experts_are_counted_under_either_name(tmp_path: Path, name: str) -> None:
    sizes = {**SIZES, name: 4, "moe_intermediate_size": 6, "num_experts_per_tok": 2}
    shape = inspect_model(str(write_model(tmp_path / "m", config=sizes))).shape
    assert shape is not None
    assert (shape.experts, shape.active_experts, shape.inner) == (4, 2, 6)


def test_a_configuration_with_a_strange_type_is_said_to_have_none(tmp_path: Path) -> None:
    facts = inspect_model(str(write_model(tmp_path / "m", config={**SIZES, "model_type": ["qwen3"]})))
    assert "names no model_type" in facts.problems[0]


_SHAPES = ((8,), (8,), (8, 16), (8,), (2, 3))
OF_HEADS = 3 * 8 + 8 * 16 + 2 * 3
HEADS = {
    layout: {f"{place}{name}.weight": shape for name, shape in zip(names, _SHAPES, strict=True)}
    for layout, place, names in (
        (
            "MiMo",
            "model.mtp_layers.0.",
            ("token_layernorm", "hidden_layernorm", "input_proj", "final_layernorm", "self_attn.q_proj"),
        ),
        (
            "DeepSeek-V3",
            "model.layers.2.",
            ("enorm", "hnorm", "eh_proj", "shared_head.norm", "self_attn.o_proj"),
        ),
        ("Qwen3.5", "mtp.", ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "fc", "norm", "layers.0.mlp.up_proj")),
    )
}
HEADS["GLM-4.5"] = HEADS["DeepSeek-V3"]
HEADS["Qwen3-Next"] = HEADS["Qwen3.5"]
COPIES = {"model.layers.2.embed_tokens.weight": (100, 8), "model.layers.2.shared_head.head.weight": (100, 8)}


@pytest.mark.parametrize(
    ("layout", "model_type", "keys", "projection"),
    [
        ("MiMo", "mimo", "model.mtp_layers.0.*", "[hidden, embedding]"),
        ("DeepSeek-V3", "deepseek_v3", "model.layers.2.*", "[embedding, hidden]"),
        ("GLM-4.5", "glm4_moe", "model.layers.2.*", "[embedding, hidden]"),
        ("Qwen3-Next", "qwen3_next", "mtp.layers.0.*", "[embedding, hidden]"),
        *(
            ("Qwen3.5", model_type, "mtp.layers.0.*", "[embedding, hidden]")
            for model_type in ("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")
        ),
    ],
)
def test_published_heads_are_named_with_their_keys(
    tmp_path: Path, layout: str, model_type: str, keys: str, projection: str
) -> None:
    folder = write_model(tmp_path / "m", {**TRUNK, **HEADS[layout]}, {**SIZES, "model_type": model_type})
    facts = inspect_model(str(folder))
    assert facts.problems == ()
    assert facts.heads is not None
    assert (facts.heads.layout, facts.heads.depths, facts.heads.keys, facts.heads.projection) == (
        layout,
        1,
        keys,
        projection,
    )
    assert facts.parts is not None
    assert facts.parts["MTP heads"] == OF_HEADS
    assert set(facts.dropped) == set(HEADS[layout])
    assert facts.facts["transformers drops"].startswith("5 tensors of the MTP heads")
    assert facts.bytes_to_train == 16 * (1064 + OF_HEADS)
    assert facts.shared == ("embeddings and lm_head are one matrix", "the heads use the trunk's embeddings and lm_head")


def test_copies_of_the_trunk_are_named_and_not_counted(tmp_path: Path) -> None:
    tensors = {**TRUNK, **HEADS["GLM-4.5"], **COPIES}
    facts = inspect_model(str(write_model(tmp_path / "m", tensors, {**SIZES, "model_type": "glm4_moe"})))
    assert facts.parts is not None
    assert facts.parts["MTP heads"] == OF_HEADS
    assert facts.shared[2:] == tuple(f"{name} is a copy of the trunk's" for name in COPIES)
    assert len(facts.dropped) == 7


@pytest.mark.parametrize(
    ("config", "extra", "says"),
    [
        ({"num_nextn_predict_layers": 1}, {}, "(num_nextn_predict_layers), in a layout that cannot be read"),
        ({}, {"mtp_block.eh_proj.weight": (2, 3)}, "(mtp_block.eh_proj.weight), in a layout that cannot be read"),
        ({"mtp_num_hidden_layers": 1}, {}, "(mtp_num_hidden_layers), in a layout that cannot be read"),
        ({"num_mtp_layers": 1}, {}, "(num_mtp_layers), in a layout that cannot be read"),
        ({}, {"mtp_heads.0.weight": (2, 3)}, "(mtp_heads.0.weight), in a layout that cannot be read"),
        (
            {"model_type": "mimo"},
            {**HEADS["MiMo"], "model.mtp_layers.1.input_proj.weight": (8, 16)},
            "are missing: model.mtp_layers.1.token_layernorm.weight",
        ),
        (
            {"model_type": "mimo", "num_nextn_predict_layers": 3},
            HEADS["MiMo"],
            "says num_nextn_predict_layers = 3, but there are tensors of 1 in its safetensors files: model.mtp_layers.1.* is missing",
        ),
        (
            {"model_type": "mimo"},
            {**HEADS["MiMo"], "model.mtp_layers.0.input_proj.weight": (16, 32)},
            "model.mtp_layers.0.input_proj.weight is (16, 32), and (8, 16) by config.json (hidden_size = 8, vocab_size = 100)",
        ),
        ({"vocab_size": 120}, {}, "model.embed_tokens.weight is (100, 8), and (120, 8) by config.json"),
        ({"layer_types": ["full_attention"]}, {}, "says num_hidden_layers = 2, and has 1 layer_types"),
        (
            {"model_type": "mimo", "num_nextn_predict_layers": 1},
            {},
            "says num_nextn_predict_layers = 1, but there are no tensors of MTP heads",
        ),
        (
            {"model_type": "mimo"},
            {"model.mtp_layers.0.input_proj.weight": (2, 3)},
            "are missing: model.mtp_layers.0.token_layernorm.weight",
        ),
        (
            {"model_type": "qwen3_5"},
            {**HEADS["Qwen3.5"], "mtp.layers.1.mlp.up_proj.weight": (2, 3)},
            "carries 2 MTP blocks behind one projection",
        ),
        ({"model_type": "qwen3_5", "mtp_use_dedicated_embeddings": True}, HEADS["Qwen3.5"], "embeddings of their own"),
        ({"quantization_config": {"quant_method": "fp8"}}, {}, "it is quantised (fp8)"),
        (
            {"final_logit_softcapping": 30.0},
            {},
            "changes its logits after the lm_head (final_logit_softcapping = 30.0)",
        ),
        ({"text_config": {"logits_scaling": 8}}, {}, "(logits_scaling = 8)"),
        ({"logit_scale": 0.0625}, {}, "(logit_scale = 0.0625)"),
        ({"lm_head_multiplier": 0.5}, {}, "(lm_head_multiplier = 0.5)"),
    ],
)
def test_heads_that_cannot_be_read_are_not_overlooked(
    tmp_path: Path, config: dict[str, Any], extra: dict[str, tuple[int, ...]], says: str
) -> None:
    folder = str(write_model(tmp_path / "m", {**TRUNK, **extra}, {**SIZES, **config}))
    assert says in inspect_model(folder).problems[0]
    with pytest.raises(ModelError, match=re.escape(says)):
        load_joint(folder, 1)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F4", "I8"])
def test_what_is_quantised_without_saying_so_is_refused(tmp_path: Path, dtype: str) -> None:
    folder = str(write_model(tmp_path / "m", dtype=dtype))
    says = f"is stored in {dtype}, and what is quantised cannot be trained; use a copy in bfloat16"
    assert says in inspect_model(folder).problems[0]
    with pytest.raises(ModelError, match=says):
        load_joint(folder, 1)
    assert inspect_model(str(write_model(tmp_path / "fine", dtype="F64"))).problems == ()


def test_a_folder_that_is_no_model_says_why_and_what_is_on_the_hub_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in inspect_model(str(tmp_path / "empty")).problems[0]
    facts = inspect_model("nobody/nothing-like-this")
    assert (facts.folder, facts.parameters, facts.heads_words) == (None, None, "not known")
    assert "Projection" not in facts.facts


def write(path: Path, *pairs: tuple[str, str]) -> JsonlData:
    path.write_text("".join(json.dumps({"problem": problem, "answer": answer}) + "\n" for problem, answer in pairs))
    return JsonlData(path=str(path))


def test_problems_are_counted_measured_and_doubted(tmp_path: Path) -> None:
    pairs = [("1+1", "2"), ("half", "0.5"), ("1+1", "3"), ("who", "Ada Lovelace"), ("solve it", "\\frac{1}{2}")]
    facts = inspect_data(write(tmp_path / "a.jsonl", *pairs))
    assert (facts.problems, facts.lengths) == (5, (3, 3, 8))
    assert facts.answers == {"integer": 2, "decimal": 1, "text": 1, "expression": 1}
    assert [(first.answer, other.answer) for first, other in facts.conflicts] == [("2", "3")]
    assert [item.problem for item in facts.examples] == ["1+1", "1+1", "solve it"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("-1,234", "integer"),
        ("$7$", "integer"),
        ("3.50", "decimal"),
        ("2%", "expression"),
        ("x", "expression"),
        ("yes", "text"),
        ("(1, 2)", "expression"),
    ],
)
def test_the_kind_of_an_answer(answer: str, kind: str) -> None:
    assert answer_kind(Item("1", "p", answer, "p")) == kind


def test_counting_follows_the_file_and_leaves_what_is_large_or_far_for_later(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    data = write(path, ("a", "1"))
    assert count(data).problems == 1
    write(path, ("a", "1"), ("b", "2"))
    assert count(data).problems == 2
    path.write_text("nothing")
    assert "line 1" in count(data).error
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert "read when the run is queued" in count(data).later
    assert "there is no such file" in count(ParquetData(path=str(tmp_path / "no.parquet"))).error
    with pytest.raises(DataError):
        inspect_data(JsonlData(path=str(tmp_path / "absent.jsonl")))
