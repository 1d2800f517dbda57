"""Settings from the environment, refused in words."""

from pathlib import Path

import pytest

from backend import settings as module
from backend.settings import settings
from trainer.errors import StoreError


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MTPRL_DASHBOARD_ADDRESS", "0.0.0.0", "no accounts yet"),
        ("MTPRL_DASHBOARD_PORT", "99999", "whole number from 1 to 65535"),
        ("MTPRL_CPU_SLOTS", "0", "whole number from 1"),
        ("MTPRL_STOP_GRACE", "soon", "give seconds"),
        ("MTPRL_STOP_GRACE", "nan", "give seconds"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=f"{name}.*{words}"):
        settings()


def test_everything_is_below_the_home(home: Path) -> None:
    assert settings().database_url == f"sqlite:///{home}/mtprl.db"
    assert module.variables() == {"MTPRL_HOME": str(home)}
    assert module.environment()["PYTHONPATH"].startswith(str(module.ROOT))


def test_a_source_checkout_keeps_its_home_beside_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTPRL_HOME", raising=False)
    assert settings().home == module.ROOT / ".mtprl"


def test_a_package_of_another_distribution_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module.check_packages()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    with pytest.raises(StoreError, match="'trainer' comes from"):
        module.check_packages()


def test_a_damaged_stack_file_counts_as_none(home: Path) -> None:
    (home / "stack.json").write_text("{")
    assert module.read_stack(settings()) == {}
    assert module.redis_url() is None
