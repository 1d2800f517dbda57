"""What can only be seen on a GPU, part by part.

    benchmarks/gpu_check.sh [PART...] [--small] [--minutes 7.5] [--out gpu-results] [--work .mtprl/gpu]
    benchmarks/gpu_check.sh list
    benchmarks/gpu_check.sh report [--write docs/results/gpu.md]

Each part keeps its measurements in OUT/PART.json as they are made, begins none after its minutes, and is called again to go on: what
is there is not made again. Without a name all parts are made, one after the other, and each has its minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu import learning, memory, parity, speed, tests
from benchmarks.gpu.parts import Setting, make

PARTS = {part.name: part for part in (tests.PART, parity.PART, memory.PART, speed.PART, learning.PART)}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join([*PARTS, "list", "report"]))
    parser.add_argument("--small", action="store_true", help="on the processor, of next to no size: does it work?")
    parser.add_argument("--minutes", type=float, default=7.5, help="of each part; nothing is begun after them")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="where results stand")
    parser.add_argument("--work", type=Path, default=Path(".mtprl/gpu"), help="models, which are made again if lost")
    parser.add_argument("--write", type=Path, help="where the report goes; else it is printed")
    given = parser.parse_args()
    if given.parts == ["list"]:
        print("\n".join(f"{name:10} {_first_line(part.cells.__module__)}" for name, part in PARTS.items()))
        return
    if given.parts == ["report"]:
        lines = report(given.out)
        print("\n".join(lines)) if given.write is None else given.write.write_text("\n".join(lines) + "\n")
        return
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not (given.small or torch.cuda.is_available()):
        parser.error("torch sees no GPU here; --small tries the program on the processor")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in given.parts or PARTS:
        deadline = time.monotonic() + 60 * given.minutes
        make(PARTS[name], Setting(device, given.small, given.out, given.work, deadline))


def report(out: Path) -> list[str]:
    """All parts that have results, as Markdown."""
    lines = ["# On a GPU", ""]
    for part in PARTS.values():
        path = out / f"{part.name}.json"
        if not path.is_file():
            continue
        kept = json.loads(path.read_text())
        lines += [f"## {part.title}", "", f"`benchmarks/gpu_check.sh {part.name}`: {_where(kept)}", ""]
        lines += [*part.tell(kept["cells"]), ""]
        if kept["left"]:
            lines += [f"Not made for want of time, or failed: {', '.join(kept['left'])}.", ""]
    return lines


def _where(kept: dict) -> str:
    used = {cell["call"] for cell in kept["cells"].values()}
    said = []
    for call in (kept["calls"][index] for index in sorted(used)):
        gpu = (
            f"{call['device']}, {call['device_gib']} GiB, driver {call['driver']}"
            if "driver" in call
            else call["device"]
        )
        size = "; of next to no size, no measurement" if call["small"] else ""
        versions = f"torch {call['torch']}, transformers {call['transformers']}, Python {call['python']}"
        said.append(f"{gpu}; {versions}, commit {call['commit'] or 'not known'}{size}")
    return "; and ".join(dict.fromkeys(said)) + "."


def _first_line(module: str) -> str:
    return (sys.modules[module].__doc__ or "").split("\n")[0]


if __name__ == "__main__":
    main()
