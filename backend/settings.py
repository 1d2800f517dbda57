"""Where this installation keeps its things, from the environment.

MTPRL_HOME               folder of runs, models, data, logs and the SQLite file
MTPRL_DATABASE_URL       sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; by default a file in MTPRL_HOME
MTPRL_REDIS_URL          by default the Redis that `mtprl up` starts
MTPRL_DATABASE_PASSWORD_FILE, MTPRL_REDIS_PASSWORD_FILE
                         files with the passwords of those addresses, which then need to hold none
MTPRL_DASHBOARD_PORT     by default 8501, or the next free one
MTPRL_DASHBOARD_ADDRESS  127.0.0.1, the only one that is accepted
MTPRL_CPU_SLOTS          runs at once where there is no GPU; by default one per core, up to 4
MTPRL_STOP_GRACE         seconds that a trainer has to write a checkpoint when it is stopped; 30 by default
MTPRL_BENCHMARKS_DIR     folder with the six benchmarks as JSONL files (`trainer.evaluation.suites`); by default
                         ../shared/benchmarks beside the repository where it exists, else they come from the hub
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from trainer.errors import StoreError

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages: the repository, or site-packages where they were installed."""

LOCAL_ADDRESS = "127.0.0.1"

_DATABASE_FORMS = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
"""What an address may begin with; other drivers of these databases are not installed, or do not work this way."""
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Settings:
    """The environment, read once and checked."""

    home: Path
    database_url: str
    redis_url: str | None
    """None: the Redis that `mtprl up` starts and records in `stack_file`."""
    dashboard_port: int | None
    cpu_slots: int | None
    stop_grace: float

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.home / "runs"

    @property
    def logs(self) -> Path:
        """The folder of the services' output."""
        return self.home / "logs"

    @property
    def stack_file(self) -> Path:
        """Where `mtprl up` records what it started (`backend.stack`)."""
        return self.home / "stack.json"


def settings() -> Settings:
    """The settings of this process.

    Raises:
        StoreError: a variable holds a value that cannot be used.
    """
    home = _home()
    address = os.environ.get("MTPRL_DASHBOARD_ADDRESS", LOCAL_ADDRESS)
    if address != LOCAL_ADDRESS:
        raise StoreError(
            f"MTPRL_DASHBOARD_ADDRESS: {address!r} is refused, because the dashboard has no accounts yet and would be open to "
            f"everybody who reaches it; leave it at {LOCAL_ADDRESS} and use an SSH tunnel"
        )
    return Settings(
        home=home,
        database_url=_database_url() or f"sqlite:///{home / 'mtprl.db'}",
        redis_url=_redis_url(),
        dashboard_port=_whole("MTPRL_DASHBOARD_PORT", low=1, high=65535),
        cpu_slots=_whole("MTPRL_CPU_SLOTS", low=1, high=1024),
        stop_grace=_seconds("MTPRL_STOP_GRACE", default=30.0),
    )


def variables() -> dict[str, str]:
    """What `${NAME}` in a configuration is filled in with, besides the environment."""
    return {"MTPRL_HOME": str(_home())}


def environment() -> dict[str, str]:
    """The environment of a program of ours: the same home, and our packages before any others of the same name."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **variables(), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def redis_url(of: Settings | None = None) -> str | None:
    """The queue's address: as given, else as `mtprl up` recorded it; None where neither is there."""
    of = of or settings()
    return of.redis_url or read_stack(of).get("redis", {}).get("facts", {}).get("url")


def read_stack(of: Settings) -> dict[str, Any]:
    """The services that `mtprl up` recorded, by name; empty where it never ran or the file cannot be read."""
    try:
        services = json.loads(of.stack_file.read_text(encoding="utf-8"))["services"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return services if isinstance(services, dict) else {}


def check_packages() -> None:
    """Make sure that `trainer`, `db`, `backend` and `dashboard` are ours: other distributions use these names, too.

    Raises:
        StoreError: one of them would be imported from elsewhere.
    """
    for name in ("trainer", "db", "backend", "dashboard"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin != ROOT / name / "__init__.py":
            raise StoreError(
                f"the package {name!r} comes from {origin or 'nowhere'} and not from {ROOT}; "
                "uninstall the distribution of that name, or take its folder out of PYTHONPATH"
            )


def _home() -> Path:
    default = ROOT / ".mtprl" if (ROOT / "pyproject.toml").is_file() else Path.home() / ".mtprl"
    given = os.environ.get("MTPRL_HOME")
    try:
        return Path(given or default).expanduser().resolve()
    except (OSError, RuntimeError) as error:  # an unknown user after ~, or links that lead in a circle
        raise StoreError(
            f"MTPRL_HOME: {_shown(str(given or default))} is refused ({error}); give the path of a folder"
        ) from None


def _redis_url() -> str | None:
    text = os.environ.get("MTPRL_REDIS_URL")
    if not text:
        return None
    try:
        parts = urlsplit(text)
        # `port` is computed when it is asked for, and raises where it is no number or too large.
        usable = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        usable = usable and re.fullmatch(r"(/[0-9]{0,4})?", parts.path) is not None
    except ValueError:
        usable = False
    if not usable:
        raise StoreError(
            f"MTPRL_REDIS_URL: {_shown(text)} is refused; give an address such as redis://127.0.0.1:6379/0, or unset it to "
            "use the Redis that `mtprl up` starts"
        )
    password = _password("MTPRL_REDIS_PASSWORD_FILE")
    if password is None:
        return text
    if parts.password is not None:
        raise StoreError("MTPRL_REDIS_PASSWORD_FILE: MTPRL_REDIS_URL holds a password, too; take it out of one of them")
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{host}").geturl()


def _database_url() -> str | None:
    text = os.environ.get("MTPRL_DATABASE_URL")
    if not text:
        return None
    # Imported here, because most commands that need no database need no SQLAlchemy either.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(text)
        usable = address.drivername in _DRIVERS and (address.port or 1) in range(1, 65536)
        if address.drivername.startswith("sqlite"):
            # One in memory would be another one in each process.
            usable = usable and not address.host and address.database not in (None, "", ":memory:")
    except (ArgumentError, ValueError):
        usable = False
    if not usable:
        raise StoreError(
            f"MTPRL_DATABASE_URL: {_shown(text)} is refused; give {_DATABASE_FORMS}, or unset it to use a file in MTPRL_HOME"
        )
    password = _password("MTPRL_DATABASE_PASSWORD_FILE")
    if password is None:
        return text
    if address.password is not None or address.drivername.startswith("sqlite"):
        had = "is a file" if address.drivername.startswith("sqlite") else "holds a password, too"
        raise StoreError(
            f"MTPRL_DATABASE_PASSWORD_FILE: MTPRL_DATABASE_URL {had}; take the password out of one of them"
        )
    return address.set(password=password).render_as_string(hide_password=False)


def _password(name: str) -> str | None:
    """The first line of the file that the variable names; None where it names none."""
    path = os.environ.get(name)
    if not path:
        return None
    try:
        password = Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{name}: {_shown(path)} cannot be read ({error}); name a file whose first line is the password"
        ) from None
    if not password:
        raise StoreError(f"{name}: {_shown(path)} holds no password in its first line; write one into it")
    return password


def _shown(text: str) -> str:
    """A refused value as an error shows it: without the password that it may hold, and not longer than anybody reads."""
    text = re.sub(r"//([^:@/]*):.*@", r"//\1:***@", text)
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")


def _whole(name: str, low: int, high: int) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    # By its length first: Python refuses to read a number of thousands of digits at all.
    if len(text) > 9 or not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise StoreError(f"{name}: {_shown(text)} is refused; give a whole number from {low} to {high}")
    return int(text)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise StoreError(f"{name}: {_shown(text)} is refused; give seconds, such as 30")
    return seconds
