"""The end of a log, and where a text stands in it, however large it is."""

from __future__ import annotations

import pytest

from backend import logs


@pytest.fixture
def log(tmp_path):
    def write(lines: list[str], ending: str = "\n"):
        path = tmp_path / "trainer.log"
        path.write_text("\n".join(lines) + ending, encoding="utf-8")
        return path

    return write


def numbered(place: logs.Place) -> list[tuple[int, str]]:
    return [(place.first + index, line) for index, line in enumerate(place.lines)]


def test_the_end_of_a_log_begins_with_a_whole_line_and_says_whether_it_is_all(log):
    path = log([f"line {number}" for number in range(100)])
    assert logs.end(path, 10_000) == (path.read_text(), path.stat().st_size, True)
    part = logs.end(path, 20)
    assert (part.text, part.whole) == ("line 98\nline 99\n", False)


def test_a_search_counts_lines_and_shows_those_around_with_their_numbers(log):
    path = log(["first", "a", "b", "c", "Warning: x, warning", "d", "e", "f", "g", "h", "é WARNING"], ending="")
    found = logs.search(path, "warning")
    assert (found.hits, found.shown, found.whole) == (2, 2, True)
    near, last = found.places
    assert numbered(near) == [(3, "b"), (4, "c"), (5, "Warning: x, warning"), (6, "d"), (7, "e")]
    assert near.hits == [2]
    assert numbered(last) == [(9, "g"), (10, "h"), (11, "é WARNING")]
    assert logs.search(path, "nowhere").hits == 0


def test_hits_near_one_another_stand_in_one_place(log):
    [place] = logs.search(log(["a", "hit", "b", "hit", "c", "d", "e"]), "hit").places
    assert numbered(place) == [(1, "a"), (2, "hit"), (3, "b"), (4, "hit"), (5, "c"), (6, "d")]
    assert place.hits == [1, 3]


@pytest.mark.parametrize("chunk", [1, 7, 64, 4096])
def test_the_pieces_in_which_a_log_is_read_do_not_show(log, chunk, monkeypatch):
    lines = ["x" * (number % 50) + (" needle" if number % 97 == 5 else "") for number in range(500)]
    path = log(lines)
    expected = logs.search(path, "NEEDLE")
    assert [number for place in expected.places for number, line in numbered(place) if "needle" in line] == [
        number for number, line in enumerate(lines, start=1) if "needle" in line
    ]
    if chunk > 60:  # a line that is longer than a chunk may be taken apart
        monkeypatch.setattr(logs, "_CHUNK", chunk)
        assert logs.search(path, "NEEDLE") == expected


def test_a_large_log_is_searched_from_its_end_and_that_is_said(log):
    path = log([f"needle {number}" for number in range(1000)])
    found = logs.search(path, "needle", most=100)
    assert (found.hits, found.whole, found.searched) == (9, False, 100)
    [place] = found.places
    assert place.lines[-1] == "needle 999"


def test_many_hits_are_all_counted_and_the_last_ones_shown(log):
    found = logs.search(log(["needle"] * 10_000), "needle")
    assert found.hits == 10_000
    assert found.shown == logs.MOST_PLACES * logs._LONGEST_PLACE
    assert found.places[-1].first + len(found.places[-1].lines) == 10_001


def test_of_a_long_line_the_part_with_the_hit_is_shown(log):
    [place] = logs.search(log(["x" * 5000 + "needle" + "y" * 5000]), "needle").places
    assert "xneedley" in place.lines[0]
    assert len(place.lines[0]) < 700


def test_a_log_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        logs.search(tmp_path / "none", "x")
