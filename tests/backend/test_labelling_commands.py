"""Tags, notes, names and the archive from the shell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from backend_harness import look

from backend import runs


@pytest.fixture
def two(config: Any) -> list[int]:
    made = [runs.submit(config(name)) for name in ("one", "two")]
    for run_id in made:
        runs.stop(run_id)
    return made


def test_runs_are_tagged_noted_renamed_and_put_away(mtprl: Any, two: list[int]) -> None:
    a, b = two
    assert mtprl("tag", "one", "two", "+baseline", "+keep")[:2] == (0, "2 runs: tagged baseline, keep\n")
    assert mtprl("tag", str(b), "-keep", "+old")[1] == f"run {b}: tagged old; no longer tagged keep\n"
    assert (look(a).tags, look(b).tags) == (("baseline", "keep"), ("baseline", "old"))
    assert mtprl("note", "one", "diverged")[0] == 0
    assert mtprl("rename", "one", "first")[0] == 0
    assert "#baseline #keep" in mtprl("runs", "--tag", "baseline", "--tag", "keep")[1]
    assert "diverged" in mtprl("show", "first")[1]
    assert mtprl("archive", "two")[1] == f"run {b}: archived; nothing was deleted\n"
    assert [row["id"] for row in json.loads(mtprl("runs", "--json")[1])] == [a]
    assert [row["id"] for row in json.loads(mtprl("runs", "--archived", "--json")[1])] == [b]
    assert mtprl("archive", "two", "--undo")[0] == 0
    assert look(b).archived_at is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tag", "one"], "no tag is given"),
        (["tag", "+baseline"], "no run is given"),
        (["tag", "one", "+two words"], "tag 'two words' is refused"),
        (["tag", "nobody", "+x"], "run 'nobody' does not exist"),
        (["rename", "one", " "], "name: ' ' has 0 characters"),
        (["archive", "waits"], "is queued and cannot be archived"),
    ],
)
def test_what_is_refused_is_said_in_words(
    mtprl: Any,
    two: list[int],
    config: Any,
    arguments: list[str],
    words: str,
) -> None:
    runs.submit(config("waits"))
    code, out, err = mtprl(*arguments)
    assert (code, out) == (1, "")
    assert words in err


def test_alerts_are_made_listed_switched_off_and_removed(mtprl: Any) -> None:
    assert "there are no alerts yet" in mtprl("alerts")[1]
    code, out, _ = mtprl("alerts", "add", "low", "reward/*", "below", "-1.5", "--steps", "3", "--tag", "paper")
    assert (code, out) == (
        0,
        "alert 'low': reward/* below -1.5 for 3 steps, of tag paper; it looks at what comes from now on\n",
    )
    assert mtprl("alerts", "off", "low")[0] == 0
    assert "low (switched off): reward/* below -1.5 for 3 steps, of tag paper" in mtprl("alerts")[1]
    assert mtprl("alerts", "on", "low")[0] == 0
    [rule] = json.loads(mtprl("alerts", "--json")[1])
    assert (rule["threshold"], rule["steps"], rule["active"], rule["runs"]) == (-1.5, 3, True, [])
    assert mtprl("alerts", "rm", "low")[0] == 0
    for arguments, words in (
        (["rm", "low"], "there is no alert 'low'"),
        (["add", "", "m", "above", "1"], "name: '' is refused"),
        (["add", "n", "m", "over", "1"], "comparison: 'over' is not known"),
        (["add", "n", "m", "above"], "threshold: none is given"),
    ):
        code, _, err = mtprl("alerts", *arguments)
        assert (code, words in err) == (1, True), err
