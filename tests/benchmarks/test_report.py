"""The report and the records that it is made of, those that are kept in the repository included."""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import plan, report
from benchmarks.bases import base_folder
from benchmarks.records import FOLDER, refresh

KEPT = Path(__file__).parents[2] / FOLDER
FIGURES = ("regimes-accuracy.svg", "regimes-coefficient.svg", "regimes-differences.svg")


def test_kept_report_and_figures_are_what_the_kept_records_give(tmp_path):
    for name in ("regimes.jsonl", "regimes.about.json"):
        shutil.copy(KEPT / name, tmp_path)
    report.write(tmp_path)
    again = "; make them again: python -m benchmarks.regimes report"
    for name in ("regimes.md", *FIGURES):
        assert (KEPT / name).read_text() == (tmp_path / name).read_text(), f"{name} is not made from the records{again}"
    assert sorted(path.name for path in KEPT.glob("regimes*")) == sorted(path.name for path in tmp_path.iterdir())


def test_kept_records_are_small_complete_and_name_no_machine():
    texts = [(KEPT / name).read_text() for name in ("regimes.jsonl", "regimes.about.json")]
    assert sum(path.stat().st_size for path in KEPT.iterdir()) < 1_000_000
    for text in texts:
        assert not re.search(r'"(code|host|hostname|user|path)"|/(work|tmp|home|root|Users)\b', text)
    rows = [json.loads(line) for line in texts[0].splitlines()]
    assert (
        len(rows) == len(plan.sweep()) + plan.SEEDS * len(plan.ARMS) * 4 + plan.AUDIT_SEEDS * len(plan.AUDIT_ARMS) * 2
    )
    made = [count for attempt in json.loads(texts[1])["attempts"] for count in attempt["runs"].values()]
    assert sum(made) == len(rows)


def test_every_section_that_is_linked_is_there():
    text = (KEPT / "regimes.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        assert not path or (KEPT / path).is_file(), link
        assert path or anchor in anchors, link
    order = ["What is seen", "What was run", "Over all blocks", "Between arms", "Audit", "Curves", "Seconds per update"]
    assert re.findall(r"^## (.+)$", text, re.M)[:7] == order


def test_numbers_that_the_method_quotes_stand_in_the_report():
    quoted = re.findall(r"[+-]\d+\.\d+ ± \d+\.\d+", (KEPT.parent / "method.md").read_text())
    assert quoted
    text = (KEPT / "regimes.md").read_text()
    assert [number for number in quoted if number not in text] == []


def test_report_of_made_up_runs_says_what_broke_off_and_what_is_not_complete(made, tmp_path):
    rows = [*made.sweep(), *made.main({"occ": 0.03}), *made.audit(lambda draw, series: {})]
    dropped = next(row for row in rows if (row["block"], row["arm"], row["seed"]) == ("main", "ce 1", 4))
    rows.remove(dropped)
    broken = next(row for row in rows if (row["block"], row["arm"], row["seed"]) == ("main", "policy 1", 2))
    broken["failed"] = "loss is NaN"
    for name in ("final", "auc", "sampled", "accuracy", "coefficient_curve"):
        del broken[name]
    text = report.write(made.keep(tmp_path, rows, made.about())).read_text()
    assert "sorting, dapo: 4 of 5; sorting, gspo: 5 of 5" in text
    assert "main 339 of 340 runs" in text
    assert "Broken off, and counted as accuracy 0: main sorting dapo policy 1 seed 2." in text
    assert "| 30.0 | **50.0** | 40.0 | 20.0 |" in text
    assert "over 4 seeds. Last column" in text
    assert {path.name for path in tmp_path.glob("*.svg")} == set(FIGURES)


def test_report_before_anything_is_complete_says_so(made, tmp_path):
    rows = [*made.sweep(), *(row for row in made.main() if row["arm"] != "oracle")]
    known = {name: value for name, value in made.about().items() if name != "timing"}
    text = report.write(made.keep(tmp_path, rows, known)).read_text()
    assert "Nothing yet: no seed is complete." in text
    assert "Not measured yet: `python -m benchmarks.regimes timing`." in text
    with pytest.raises(SystemExit, match="is not there; make it from a measurement"):
        report.write(tmp_path / "nowhere")


@pytest.fixture
def measured(made, tmp_path) -> Path:
    """A folder as the benchmark leaves it, in which the first start made no run of the plan."""
    folder = tmp_path / "measured"
    for base in plan.BASES:
        base_folder(folder, base).mkdir(parents=True)
        (base_folder(folder, base) / "made.json").write_text(json.dumps({"task": base, "steps": 9, "accuracy": 0.4}))
    versions = {"torch": "2.0", "python": "3.11", "machine": "abacus"}
    attempts = [
        {"started": day, "commit": commit, "clean": True, "code": "/secret/place", **versions}
        for day, commit in (("monday", "aaa"), ("tuesday", "bbb"))
    ]
    (folder / "attempts.jsonl").write_text("".join(json.dumps(attempt) + "\n" for attempt in attempts))
    timing = {"about": {**attempts[1], "load": 0.5}, "updates": made.about()["timing"]["updates"]}
    (folder / "timing.json").write_text(json.dumps(timing))
    rows = [{**row, "key": job.key, "started": "tuesday"} for row, job in zip(made.sweep(), plan.sweep(), strict=True)]
    other = {**rows[0], "key": "another recipe", "started": "monday", "final": 1.0}
    write(folder, [other, *rows])
    return folder


def write(folder: Path, rows: list[dict[str, object]]) -> None:
    (folder / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def test_records_take_over_the_runs_of_the_plan_and_the_starts_that_made_them(measured, tmp_path):
    refresh(measured, tmp_path / "kept")
    about = json.loads((tmp_path / "kept/regimes.about.json").read_text())
    assert [(attempt["commit"], attempt["runs"]) for attempt in about["attempts"]] == [("bbb", {"sweep": 32})]
    assert about["timing"]["about"]["commit"] == "bbb"
    rows = (tmp_path / "kept/regimes.jsonl").read_text()
    assert len(rows.splitlines()) == len(plan.sweep())
    assert "secret" not in rows + json.dumps(about)


def test_records_are_refused_while_the_sweep_is_not_complete(measured, tmp_path):
    write(measured, read(measured)[:-1])
    with pytest.raises(SystemExit, match="has 31 of 32 runs of the sweep"):
        refresh(measured, tmp_path / "kept")


def test_runs_of_which_nobody_knows_the_commit_are_refused(measured, tmp_path):
    *rest, last = read(measured)
    del last["started"]
    write(measured, [*rest, last])
    with pytest.raises(SystemExit, match="1 runs have no `started`"):
        refresh(measured, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
