"""Which configuration may go on from what another one began."""

import resource
import signal

import pytest
from checkpoints import begin, changed, save_at

from trainer.config import dump, load, parse
from trainer.errors import ConfigError
from trainer.events import MemorySink
from trainer.folder import keep_config


@pytest.fixture
def config(tiny_run):
    return tiny_run


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"regime": {"kind": "occ", "ema": 0.9}}, ["regime.ema: is 0.9, but {} was made with 0.5"]),
        ({"model": {"mtp_depths": 1}}, ["model.mtp_depths: is 1, but {} was made with 2"]),
        ({"algorithm": {"dual_clip": 3.0}}, ["algorithm.dual_clip: is 3.0, but {} was made with 10.0"]),
        ({"seed": 3, "mtp": {"head_loss": "none"}}, ["seed: is 3, but {} was", "mtp.head_loss: is none, but {} was"]),
    ],
)
def test_a_run_goes_on_only_with_what_it_began_with(config, tmp_path, sections, words):
    folder = tmp_path / "run"
    save_at(begin(config, folder), 1)
    keep_config(config, folder)
    other = changed(config, **sections)
    sink = MemorySink()
    for where, attempt in (
        (folder / "checkpoints" / "step-000001", lambda: begin(other, folder, sink)),
        (folder / "config.yaml", lambda: keep_config(other, folder)),
    ):
        with pytest.raises(ConfigError) as refused:
            attempt()
        *differences, fix = map(str, refused.value.problems)
        assert all(line.startswith(word.format(where)) for line, word in zip(differences, words, strict=True))
        assert fix == (
            "a run goes on with what it began with; "
            "only name, steps, evaluation, checkpoint, logging, audit, alarms and launch may change. "
            "Give the configuration that it began with, or another output folder for a new run "
            "(which may begin from a checkpoint: its folder `model` as model.path)"
        )
    assert sink.events == []  # nothing that was logged is void
    assert load(folder / "config.yaml") == config


def test_of_another_kind_only_the_kind_is_named(config, tmp_path):
    keep_config(config, tmp_path)
    values = config.model_dump(mode="json")
    values["regime"], values["algorithm"] = {"kind": "ce"}, {"kind": "gspo"}
    with pytest.raises(ConfigError) as refused:
        keep_config(parse(values), tmp_path)
    assert [problem.field for problem in refused.value.problems] == ["regime.kind", "algorithm.kind", ""]


def test_what_does_not_touch_the_training_may_change_and_is_written_down(config, tmp_path):
    keep_config(config, tmp_path)
    later = changed(
        config,
        name="longer",
        steps=9,
        evaluation={"every": 3, "benchmarks": []},
        checkpoint={"every": 1, "keep": 5},
        logging={"completions_every": 1},
        audit={"every": 2, "prompts": 2},
        alarms={"steps": 1},
    )
    keep_config(later, tmp_path)
    assert load(tmp_path / "config.yaml") == later
    save_at(begin(config, tmp_path), 2)
    assert begin(later, tmp_path).step == 2


def test_a_configuration_that_says_the_same_in_other_words_is_left_as_it_is(config, tmp_path, monkeypatch):
    monkeypatch.setenv("BASE", str(tmp_path))
    text = "# mine\n" + dump(config).replace(str(tmp_path), "${BASE}")
    (tmp_path / "config.yaml").write_text(text)
    keep_config(load(tmp_path / "config.yaml"), tmp_path)
    assert (tmp_path / "config.yaml").read_text() == text


def test_a_configuration_of_another_version_is_refused_with_its_place(config, tmp_path):
    (tmp_path / "config.yaml").write_text(dump(config) + "invented: 1\n")
    with pytest.raises(
        ConfigError, match=r"config.yaml: its configuration is refused today \(invented: .*another output"
    ):
        keep_config(config, tmp_path)


@pytest.mark.parametrize("text", [b"", b"{{{", b"\xff\xfe", b"\0" * 100])
def test_a_kept_configuration_that_cannot_be_read_is_refused_with_what_to_do(config, tmp_path, text):
    (tmp_path / "config.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: (is not|must hold)(.|\n)*put it right, or remove it"):
        keep_config(config, tmp_path)
    assert (tmp_path / "config.yaml").read_bytes() == text


def test_a_full_disk_leaves_the_configuration_that_was_there(config, tmp_path):
    keep_config(config, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError, match="File too large"):
            keep_config(changed(config, steps=9), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert load(tmp_path / "config.yaml") == config
