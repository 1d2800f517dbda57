"""A folder that can tell whether it is whole."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from checkpoints import cut, flip_a_bit

from trainer import manifest
from trainer.manifest import MANIFEST, flaw, flaw_at_a_glance, seal, to_disk


@pytest.fixture
def sealed(tmp_path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(bytes(range(256)))
    (folder / "state").write_bytes(b"state")
    (folder / "empty").write_bytes(b"")
    seal(folder)
    return folder


def test_a_sealed_folder_is_whole(sealed):
    assert flaw(sealed) is None
    shutil.copytree(sealed, sealed.with_name("copy"))
    assert flaw(sealed.with_name("copy")) is None


def test_a_glance_sees_names_and_sizes_and_no_contents(sealed):
    assert flaw_at_a_glance(sealed) is None
    flip_a_bit(sealed / "model" / "weights")
    assert flaw_at_a_glance(sealed) is None
    cut(sealed / "model" / "weights")
    assert flaw_at_a_glance(sealed) == "model/weights has 128 bytes instead of 256"
    (sealed / "state").unlink()
    assert flaw_at_a_glance(sealed) == "state is missing"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: flip_a_bit(folder / "model" / "weights"), "model/weights was changed"),
        (lambda folder: cut(folder / "model" / "weights"), "model/weights has 128 bytes instead of 256"),
        (lambda folder: (folder / "empty").write_bytes(b"x"), "empty has 1 bytes instead of 0"),
        (lambda folder: (folder / "empty").unlink(), "empty is missing"),
        (
            lambda folder: (folder / "model" / "adapter_config.json").touch(),
            "model/adapter_config.json does not belong",
        ),
        (lambda folder: (folder / MANIFEST).unlink(), "it has no manifest.json, so it was not completed"),
        (lambda folder: cut(folder / MANIFEST), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff{}"), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "manifest.json holds no list of files"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), "empty does not belong to it"),
        (
            lambda folder: (folder / "state").unlink() or (folder / "state").symlink_to("/nowhere"),
            "state cannot be read",
        ),
    ],
)
def test_damage_is_named(sealed, damage, words):
    damage(sealed)
    assert flaw(sealed).startswith(words)


def test_no_bit_of_the_manifest_itself_can_change_what_it_says(sealed):
    file = sealed / MANIFEST
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        # A line break that became another kind of white space says the same.
        assert flaw(sealed) is not None or json.loads(file.read_bytes()) == json.loads(whole)


def test_only_a_folder_may_be_one_that_cannot_be_forced_to_the_disk(tmp_path, monkeypatch):
    to_disk(Path("/proc"))  # refuses with EINVAL, as some network file systems do
    with pytest.raises(OSError, match="No such file"):
        to_disk(tmp_path / "absent")

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(manifest.os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        to_disk(tmp_path)
