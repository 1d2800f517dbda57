"""What is said of a model and of problems, from their files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_models import SIZES, TRUNK, write_model

from backend.inspection.data import LARGEST, answer_kind, count, inspect_data
from backend.inspection.models import inspect_model
from trainer.config import JsonlData, ParquetData
from trainer.errors import DataError
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


@pytest.mark.parametrize(
    ("layout", "depths", "model_type", "tensors", "keys"),
    [
        (
            "MiMo",
            1,
            "mimo",
            ["model.mtp_layers.0.input_proj.weight", "model.mtp_layers.0.self_attn.q_proj.bias"],
            "mtp_layers.0.*",
        ),
        (
            "DeepSeek",
            1,
            "deepseek_v3",
            ["model.layers.2.eh_proj.weight", "model.layers.2.self_attn.o_proj.weight"],
            "model.layers.2.eh_proj.weight",
        ),
        (
            "GLM",
            1,
            "glm4_moe",
            ["model.layers.2.eh_proj.weight", "model.layers.2.enorm.weight"],
            "model.layers.2.eh_proj.weight",
        ),
        (
            "Qwen",
            2,
            "qwen3_5",
            ["mtp.fc.weight", "mtp.layers.0.mlp.up_proj.weight", "mtp.layers.1.mlp.up_proj.weight"],
            "mtp.layers.0.*",
        ),
    ],
)
def test_published_heads_are_named_by_their_keys_and_refused(
    tmp_path: Path, layout: str, depths: int, model_type: str, tensors: list[str], keys: str
) -> None:
    folder = write_model(
        tmp_path / "m", {**TRUNK, **dict.fromkeys(tensors, (2, 3))}, {**SIZES, "model_type": model_type}
    )
    facts = inspect_model(str(folder))
    assert facts.heads is not None
    assert (facts.heads.layout, facts.heads.depths, facts.heads.keys, facts.heads.readable) == (
        layout,
        depths,
        keys,
        False,
    )
    assert facts.parts is not None
    assert facts.parts["MTP heads"] == 6 * len(tensors)
    assert "not readable yet" in facts.heads_words
    assert f"{layout} layout" in facts.problems[0]


def test_heads_that_only_the_configuration_names_are_not_overlooked(tmp_path: Path) -> None:
    facts = inspect_model(str(write_model(tmp_path / "m", config={**SIZES, "num_nextn_predict_layers": 1})))
    assert facts.heads is not None
    assert facts.heads.words == "1 depth, unknown layout (config.json, num_nextn_predict_layers), not readable yet"


def test_a_folder_that_is_no_model_says_why_and_what_is_on_the_hub_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in inspect_model(str(tmp_path / "empty")).problems[0]
    facts = inspect_model("nobody/nothing-like-this")
    assert (facts.folder, facts.parameters, facts.heads_words) == (None, None, "not known")


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
