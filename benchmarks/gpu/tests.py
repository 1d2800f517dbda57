"""The project's tests on the device: each file in a process of its own, for devices are chosen once in each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.parts import Cell, Found, Part, Setting, Values
from benchmarks.markdown import table

ALWAYS = ("tests/gpu", "tests/trainer/gpu", "tests/trainer/objectives")
ON_GPU = (
    *ALWAYS,
    "tests/trainer/test_loop.py",
    "tests/trainer/test_continuing.py",
    "tests/trainer/test_checkpoint.py",
    "tests/trainer/test_precision.py",
    "tests/trainer/test_warming.py",
    "tests/trainer/audit",
    "tests/trainer/update",
    "tests/trainer/rollout",
    "tests/trainer/models",
    "tests/trainer/launch/test_several_processes.py",
)
"""Those whose runs take the GPU where there is one, and those that must not mind it."""


def cells(setting: Setting) -> Iterator[Cell]:
    """One for each file or folder."""
    for where in ALWAYS if setting.small else ON_GPU:
        yield Cell(where, partial(tested, where, setting))


def tested(where: str, setting: Setting) -> Values:
    """What pytest says of it."""
    report = (setting.work / "junit.xml").absolute()
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", where, "-p", "no:cacheprovider", f"--junitxml={report}"]
    # Warnings of libraries of other versions are no errors here.
    command += ["-W", "default", "--timeout", "240", "--tb", "short"]
    ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if not report.is_file():
        return {"failed": f"pytest ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-400:]}"}
    return _read(report)


def _read(report: Path) -> Values:
    cases = list(ElementTree.parse(report).iter("testcase"))
    found: Values = {"passed": 0, "skipped": [], "not passed": {}}
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}"
        wrong = next((part for kind in ("failure", "error") if (part := case.find(kind)) is not None), None)
        skipped = case.find("skipped")
        if wrong is not None:
            found["not passed"][name] = (wrong.text or wrong.get("message") or "")[-1500:]
        elif skipped is not None:
            found["skipped"].append(f"{name}: {skipped.get('message')}")
        else:
            found["passed"] += 1
    return found


def tell(found: Found) -> list[str]:
    """A line for each file."""
    rows = [
        [name, str(of["passed"]), str(len(of["skipped"])), str(len(of["not passed"])), f"{of['seconds']:.0f}"]
        for name, of in found.items()
        if "failed" not in of
    ]
    lines = table(["tests", "passed", "skipped", "failed", "seconds"], rows)
    for name, values in found.items():
        lines += [f"* failed: {test}" for test in values.get("not passed", {})]
        lines += [f"* {name} did not run: {values['failed']}"] if "failed" in values else []
    return lines


PART = Part("tests", "Tests", cells, tell)
