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
        ("MTPRL_CPU_SLOTS", "9" * 5000, "whole number from 1"),
        ("MTPRL_HOME", "~nosuchuser/x", "give the path of a folder"),
        ("MTPRL_REDIS_URL", "redis://h:port/0", "'redis://h:port/0' is refused; give an address such as redis://"),
        ("MTPRL_REDIS_URL", "redis://h:99999/0", "give an address"),
        ("MTPRL_REDIS_URL", "redis://h:1/zero", "give an address"),
        ("MTPRL_REDIS_URL", "http://x", "give an address"),
        ("MTPRL_REDIS_URL", "127.0.0.1:6379", "give an address"),
        ("MTPRL_DATABASE_URL", "postgresql://u@h:port/x", "'postgresql://u@h:port/x' is refused; give sqlite:///PATH"),
        ("MTPRL_DATABASE_URL", "sqlite+aiosqlite:////x.db", "give sqlite:///PATH"),
        ("MTPRL_DATABASE_URL", "sqlite://x.db", "give sqlite:///PATH"),
        ("MTPRL_DATABASE_URL", "mysql://h/x", "give sqlite:///PATH"),
        ("MTPRL_DATABASE_URL", "x.db", "give sqlite:///PATH"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=f"{name}.*{words}"):
        settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MTPRL_REDIS_URL", "redis://:word@redis.local"),
        ("MTPRL_REDIS_URL", "rediss://user:word@[::1]:6379/3?socket_timeout=2"),
        ("MTPRL_DATABASE_URL", "sqlite:////data/mtprl.db"),
        ("MTPRL_DATABASE_URL", "postgresql+psycopg://user:word@db.local:5432/mtprl"),
        ("MTPRL_DATABASE_URL", "postgresql:///mtprl?host=/var/run/postgresql"),
    ],
)
def test_an_address_that_can_be_used_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert value in (settings().redis_url, settings().database_url)


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("REDIS", "redis://redis.local:6379/0", "redis://:s%40cret%2F1@redis.local:6379/0"),
        ("REDIS", "rediss://user@[::1]", "rediss://user:s%40cret%2F1@[::1]"),
        ("DATABASE", "postgresql://user@db.local/mtprl", "postgresql://user:s%40cret%2F1@db.local/mtprl"),
    ],
)
def test_a_password_is_taken_from_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, address: str, expected: str
) -> None:
    (tmp_path / "password").write_text("s@cret/1\n")
    monkeypatch.setenv(f"MTPRL_{name}_URL", address)
    monkeypatch.setenv(f"MTPRL_{name}_PASSWORD_FILE", str(tmp_path / "password"))
    assert expected in (settings().redis_url, settings().database_url)


@pytest.mark.parametrize(
    ("name", "address", "text", "words"),
    [
        ("REDIS", "redis://:word@h/0", "secret", "MTPRL_REDIS_URL holds a password, too"),
        ("DATABASE", "postgresql://u:word@h/x", "secret", "MTPRL_DATABASE_URL holds a password, too"),
        ("DATABASE", "sqlite:////data/x.db", "secret", "MTPRL_DATABASE_URL is a file"),
        ("REDIS", "redis://h/0", "\n", "holds no password in its first line"),
        ("DATABASE", "postgresql://u@h/x", None, "cannot be read .*name a file"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, address: str, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "password").write_text(text)
    monkeypatch.setenv(f"MTPRL_{name}_URL", address)
    monkeypatch.setenv(f"MTPRL_{name}_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(StoreError, match=f"MTPRL_{name}_PASSWORD_FILE.*{words}"):
        settings()


def test_a_refused_address_does_not_give_away_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTPRL_REDIS_URL", "redis://user:se/cr@et@h:port/0")
    with pytest.raises(StoreError, match=r"'redis://user:\*\*\*@h:port/0'"):
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
