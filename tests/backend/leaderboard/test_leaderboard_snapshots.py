"""Snapshots, exports, what a board says in words, and what stands behind a difference."""

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from boards_now import boards
from sqlalchemy import delete

from backend import store
from backend.leaderboard import behind, boards_from_json, boards_to_json, export, paper, snapshots, words
from db import tables
from trainer.errors import StoreError

Make = Callable[..., int]
HALF = {"a": [1, 0], "b": [0, 1], "c": [1, 0], "d": [1, 0]}
MOST = {"a": [1, 1], "b": [1, 1], "c": [1, 0], "d": [1, 1]}
FEW = {"a": [0, 0], "b": [0, 0], "c": [1, 0], "d": [0, 0]}


@pytest.fixture
def filled(finished: Make) -> None:
    """Three seeds of detach and of occ, one of ce without heads logged, on two benchmarks."""
    for seed in range(3):
        finished("detach", {"sums": HALF, "products": FEW}, seed=seed, texts=True)
        finished("occ", {"sums": MOST, "products": MOST}, seed=seed, texts=True, update={"mini_batches": 4})
    finished("ce", {"sums": FEW, "products": FEW}, seed=0)


def test_boards_become_json_and_come_back_the_same(filled: None) -> None:
    found = boards()
    text = boards_to_json(found)
    assert boards_to_json(boards_from_json(text)) == text
    assert boards_from_json(text) == found


def test_a_number_that_is_not_finite_comes_back_too(finished: Make) -> None:
    finished("detach", {"a": [1, 0]})  # one problem has no standard error
    [board] = boards_from_json(boards_to_json(boards()))
    assert math.isnan(board.rows[0].mean.standard_error)


def test_a_snapshot_stays_what_it_was_while_the_board_moves_on(filled: None, finished: Make) -> None:
    before = boards()
    with store.writing() as connection:
        token = snapshots.freeze(connection, "As of now", before, None).token
    with store.reading() as connection:
        assert not snapshots.moved_on(snapshots.thaw(connection, token), boards())
    finished("occ", {"sums": FEW, "products": FEW}, seed=0)
    after = boards()
    assert boards_to_json(after) != boards_to_json(before)
    with store.writing() as connection:
        connection.execute(delete(tables.evaluation_items))
        later = snapshots.freeze(connection, "As of now", after, None).token
    with store.reading() as connection:
        frozen = snapshots.thaw(connection, token)
        assert (frozen.boards, frozen.snapshot.title, frozen.experiment) == (before, "As of now", None)
        assert snapshots.moved_on(frozen, after)
        assert [one.token for one in snapshots.listed(connection)] == [later, token]


def test_nothing_is_not_frozen_and_another_format_is_refused(home: Any) -> None:
    with store.writing() as connection:
        with pytest.raises(StoreError, match="there is no board to freeze yet"):
            snapshots.freeze(connection, "Empty", [], None)
        token = snapshots.snapshots.keep(connection, "Later", '{"format": 2}', 1.0).token
        with pytest.raises(StoreError, match="has format 2, this version reads 1"):
            snapshots.thaw(connection, token)


def test_the_shell_freezes_lists_and_shows_snapshots(filled: None, finished: Make, mtprl: Any) -> None:
    code, table, said = mtprl("leaderboard", "--freeze", "First results")
    assert code == 0
    token = said.split()[1].rstrip(":")
    assert f"leaderboard?snapshot={token}" in said
    frozen = json.loads(mtprl("leaderboard", "--json")[1])
    finished("policy", {"sums": MOST, "products": MOST}, seed=0)
    assert json.loads(mtprl("leaderboard", "--json")[1]) != frozen
    assert json.loads(mtprl("leaderboard", "--json", "--snapshot", token)[1]) == frozen
    assert mtprl("leaderboard", "--snapshot", token)[1] == table
    assert "First results" in mtprl("leaderboard", "--snapshots")[1]
    assert [row["token"] for row in json.loads(mtprl("leaderboard", "--snapshots", "--json")[1])] == [token]
    assert "snapshot 'nope' does not exist" in mtprl("leaderboard", "--snapshot", "nope")[2]
    assert "give one of them" in mtprl("leaderboard", "--json", "--format", "csv")[2]
    assert "give only --json" in mtprl("leaderboard", "--snapshots", "--experiment", "board")[2]
    assert "give neither --experiment" in mtprl("leaderboard", "--snapshot", token, "--freeze", "again")[2]


def test_csv_holds_every_digit_of_every_row_and_benchmark(filled: None, mtprl: Any) -> None:
    [board] = boards()
    lines = list(csv.DictReader(io.StringIO(mtprl("leaderboard", "--format", "csv")[1])))
    assert len(lines) == 3 * 3
    by_place = {(line["row"], line["benchmark"]): line for line in lines}
    for row in board.rows:
        whole = by_place[row.key, export.MEAN]
        assert float(whole["avg_at_k"]) == row.mean.value
        assert whole["runs"].split() == [str(run_id) for run_id in row.run_ids]
        assert (whole["best_rank"] or None) == (None if row.rank is None else str(row.rank.best))
        for name, found in row.benchmarks.items():
            assert float(by_place[row.key, name]["low"]) == found.low
            assert by_place[row.key, name]["p"] == ""
        if row.difference is None:
            assert whole["difference"] == ""
        else:
            assert float(whole["difference"]) == row.difference.mean.value
            assert whole["p"] == ("" if row.difference.p is None else str(row.difference.p))


def test_csv_of_one_benchmark_has_one_line_per_row_with_all_of_it(finished: Make, mtprl: Any) -> None:
    for seed in range(3):
        finished("detach", HALF, seed=seed, texts=True)
        finished("occ", MOST, seed=seed, texts=True, update={"mini_batches": 4})
    [board] = boards()
    lines = list(csv.DictReader(io.StringIO(mtprl("leaderboard", "--format", "csv")[1])))
    assert [line["benchmark"] for line in lines] == ["sums", "sums"]
    line, row = lines[0], board.rows[0]
    assert row.difference is not None
    assert row.benchmarks["sums"] == row.mean  # so that nothing is lost with the line of the mean
    assert row.difference.benchmarks["sums"] == row.difference.mean
    assert row.pass_at_k is not None
    assert row.maj_at_k is not None
    assert (line["regime"], line["best_rank"]) == ("occ", "1")
    found = [float(line[name]) for name in ("avg_at_k", "difference", "p", "pass_at_k", "maj_at_k")]
    whole = [row.mean.value, row.difference.mean.value, row.difference.p, row.pass_at_k.value, row.maj_at_k.value]
    assert found == whole


def test_markdown_is_one_table_per_board(filled: None, mtprl: Any) -> None:
    text = mtprl("leaderboard", "--format", "markdown")[1]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1
    assert "| occ | dapo | 3 | 87.5" in text
    assert "87.5" in lines[2]


def test_boards_are_numbered_and_refer_to_each_other_by_number(finished: Make, mtprl: Any) -> None:
    finished("detach", HALF)
    assert mtprl("leaderboard")[1].startswith("sums · avg@2: ")
    finished("detach", HALF, steps=6)
    why = "Not mixed with board 1, because of steps: 5 (there 6)."
    printed, markdown = mtprl("leaderboard")[1], mtprl("leaderboard", "--format", "markdown")[1]
    for text in (printed, markdown):
        assert text.index("Board 1 · sums · avg@2") < text.index("Board 2 · sums · avg@2") < len(text)
        assert text.count(why) == 1
    assert printed.index("Board 2") < printed.index(why)


def test_the_verdict_names_what_is_better_and_what_few_seeds_cannot_show(filled: None) -> None:
    [board] = boards()
    said = words.verdict(board)
    assert said[0].startswith("Better than detach: occ dapo (+56.2 points, ")
    assert said[-1] == "3 seeds a side cannot give p below 0.10: more seeds are needed for a claim."
    assert "ce" not in " ".join(said)  # one seed
    assert "for ce speak of these checkpoints" in board.caveat


def test_a_difference_whose_interval_holds_0_is_not_told_apart(finished: Make) -> None:
    for seed in range(3):
        finished("detach", HALF, seed=seed)
        finished("occ", HALF | {"a": [1, 1] if seed else [0, 0]}, seed=seed, update={"mini_batches": 4})
    said = words.verdict(boards()[0])
    assert said[0].startswith("Not told apart from detach: occ dapo (+4.2 points, −")


def test_one_seed_a_side_has_no_verdict(finished: Make) -> None:
    finished("detach", HALF)
    finished("occ", MOST)
    assert words.verdict(boards()[0]) == []


def test_problems_are_ordered_by_how_much_they_changed_with_what_was_answered(filled: None) -> None:
    [board] = boards()
    rows = {row.regime: row for row in board.rows}
    with store.reading() as connection:
        found = behind.changes(connection, rows["occ"], rows["detach"], "products")
        assert [(one.item_id, one.here.right, one.there.right, one.here.of) for one in found] == [
            ("a", 6, 0, 6),
            ("b", 6, 0, 6),
            ("d", 6, 0, 6),
            ("c", 3, 3, 6),
        ]
        item = behind.answers(connection, rows["detach"].runs[1], "products", "c")
        assert item is not None
        assert (item.problem, item.answer) == ("2+2?", "4")
        assert [(one.completion, one.correct) for one in item.samples] == [("it is 4", True), ("it is 5", False)]
        assert behind.answers(connection, rows["ce"].runs[0], "sums", "a") is None  # its texts were not kept


def test_a_problem_is_shown_by_the_trainings_that_differ_most_in_the_direction_of_its_change(finished: Make) -> None:
    marks = {"detach": ([0, 1], [0, 0], [1, 1]), "occ": ([1, 1], [1, 0], [1, 1])}
    for regime, seeds in marks.items():
        for seed, one in enumerate(seeds):
            finished(regime, {"a": one, "b": [1, 0], "c": [[0, 1], [1, 1], [0, 0]][seed]}, seed=seed)
    [board] = boards()
    occ, detach = (next(row for row in board.rows if row.regime == regime) for regime in ("occ", "detach"))
    with store.reading() as connection:
        for here, there, seeds in (
            (occ, detach, {"a": (0, 1), "b": (0, 0), "c": (1, 2)}),
            (detach, occ, {"a": (1, 0)}),
        ):
            changes = {one.item_id: one for one in behind.changes(connection, here, there, "sums")}
            for item, expected in seeds.items():
                pair = behind.most_apart(connection, here, there, "sums", changes[item])
                assert tuple(run.seed for run in pair) == expected, item


def test_the_papers_rows_say_in_what_their_protocol_differs(filled: None) -> None:
    [board] = boards()
    apart = {one.field: (one.here, one.there) for one in paper.apart(board)}
    assert apart["steps"] == ("5", "200")
    assert apart["benchmarks"][0] == "products, sums"
    assert "temperature" not in apart
    assert max(row.percent[3] or 0 for row in paper.REPORTED if row.benchmarks == "mean of six") == 67.6
