"""The leaderboard's pages: boards, what changed, snapshots, and the paper's rows apart."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import synthetic
from pages import charts, html, in_store, texts

from backend import labels, store
from backend.leaderboard import RowRun, behind, leaderboard, snapshots
from db import reads

FEW = {"steps": 12, "changes": {"evaluation.every": 4}}


def tables(app, label: str) -> list[str]:
    return re.findall(rf'<table class="m-table" aria-label="{label}".*?</table>', html(app), re.S)


def add(home, *runs: tuple[str, int], experiment: str = "demo") -> None:
    """Finished runs of the demo's presets, by seed."""
    if not (home / "models").exists():
        synthetic.make_base(home)
    with store.writing() as connection:
        for preset, seed in runs:
            synthetic.add_run(
                connection, home, f"demo/{preset}", seed=seed, now=time.time(), experiment=experiment, **FEW
            )


def test_few_seeds_rank_nothing_and_the_page_says_so(full_store, open_page):
    app = open_page("leaderboard")
    assert not app.exception
    assert "nothing: the intervals speak of these checkpoints, not these methods" in texts(app)
    assert charts(app) == ["avg@4, with 95 % interval", "Difference to detach with 95 % interval"]
    [table] = tables(app, "addition · avg@4")
    assert "To detach, points" in table
    assert "too few seeds" in table


def test_archived_runs_do_not_count_until_asked_for_and_the_page_says_how_many_there_are(empty_store, open_page):
    add(empty_store, ("detach", 0), ("detach", 1), ("occ", 0))
    assert not open_page("leaderboard").toggle
    away = in_store(lambda connection: reads.list_runs(connection, regime="occ"))[0].id
    labels.archive([away])
    app = open_page("leaderboard")
    assert "1 archived run is left out." in texts(app)
    assert tables(app, "addition · avg@4")[0].count("<tr") == 2
    app.toggle(key="count_archived").set_value(True).run()
    assert "1 archived run counts here." in texts(app)
    [table] = tables(app, "addition · avg@4")
    assert table.count("<tr") == 3
    [address] = set(re.findall(r'href="changes\?([^"]*)"', html(app)))
    query = {key: values[0] for key, values in parse_qs(address.replace("&amp;", "&")).items()}
    assert query["archived_too"] == "true"
    app = open_page("changes", **query)
    assert "Right, occ dapo" in html(app)
    assert "not there any more" in texts(open_page("changes", **{**query, "archived_too": ""}))


def test_three_seeds_a_side_are_ranked_and_judged(empty_store, open_page):
    add(empty_store, *[(preset, seed) for preset in ("detach", "occ-calibrated") for seed in range(3)])
    app = open_page("leaderboard")
    assert "detach" in texts(app)
    assert "3 seeds a side cannot give p below 0.10" in texts(app).replace("\\", "")
    assert "smallest possible 0.10" in html(app)


def test_a_difference_leads_to_the_problems_behind_it_in_the_order_of_their_change(full_store, open_page):
    address = re.findall(r'href="changes\?([^"]*row=[^"]*)"', html(open_page("leaderboard")))[0]
    query = {key: values[0] for key, values in parse_qs(address.replace("&amp;", "&")).items()}
    app = open_page("changes", **query)
    assert not app.exception
    [table], [others] = tables(app, "Problems by how much they changed"), tables(app, "Problems that changed less")
    changes = [float(text.replace("−", "-")) for text in re.findall(r">([+−]?\d+\.\d)<", table + others)]
    assert len(changes) == 100
    assert [abs(change) for change in changes] == sorted((abs(change) for change in changes), reverse=True)
    problem = parse_qs(urlsplit(re.findall(r'href="([^"]*problem=[^"]*)"', table)[0].replace("&amp;", "&")).query)[
        "problem"
    ][0]
    app = open_page("changes", **query, problem=problem)
    assert "The texts of this evaluation were not kept" in texts(app)


def test_what_changed_is_that_of_the_experiment_whose_board_it_was_opened_from(empty_store, open_page):
    add(empty_store, ("detach", 0), ("occ-calibrated", 0))
    add(empty_store, ("detach", 1), ("occ-calibrated", 1), experiment="other")
    shown = {}
    for experiment in (None, "other"):
        app = open_page("leaderboard")
        if experiment is not None:
            app.selectbox(key="experiment").select(experiment).run()
        address = re.findall(r'href="changes\?([^"]*row=[^"]*)"', html(app))[0]
        asked = {key: values[0] for key, values in parse_qs(address.replace("&amp;", "&")).items()}
        assert asked.get("within") == experiment
        [shown[experiment]] = tables(open_page("changes", **asked), "Problems by how much they changed")
    assert " of 8<" in shown[None]  # two seeds of four samples
    assert " of 4<" in shown["other"]


def _right_before_wrong(run: RowRun, problem: str) -> bool:
    marks = [sample.correct for sample in in_store(behind.answers, run, "doubles", problem).samples]
    return marks != sorted(marks)


def test_what_changed_has_a_worded_link_and_opens_on_the_trainings_that_differ_most(empty_store, open_page):
    synthetic.make_base(empty_store)
    chances = {("detach", 0): 1.0, ("detach", 1): 0.0, ("occ-calibrated", 0): 0.5, ("occ-calibrated", 1): 1.0}
    for (preset, seed), chance in chances.items():
        with store.writing() as connection:
            run = synthetic.add_run(connection, empty_store, f"demo/{preset}", seed=seed, now=time.time(), **FEW)
            synthetic.add_evaluation(connection, run, {"doubles": [chance] * 12}, now=time.time())
    app = open_page("leaderboard")
    label = "What changed: occ dapo occ-calibrated against detach dapo"
    address, _ = re.findall(rf'href="changes\?([^"]*)"[^>]*>{label}<', html(app))
    query = {key: values[0] for key, values in parse_qs(address.replace("&amp;", "&")).items()}
    row = in_store(leaderboard)[0].row(query["row"])
    problem = next(name for name in map("p{}".format, range(12)) if _right_before_wrong(row.runs[0], name))
    app = open_page("changes", **query, problem=problem)
    assert not app.exception
    opened = [box for box in app.selectbox if box.label == "Training"]
    assert [box.value.seed for box in opened] == [1, 1]
    said = [element.value for element in app.markdown]
    [summary], [named] = (
        [n for n, text in enumerate(said) if part in text] for part in ("was right more", "**Problem ")
    )
    assert summary < named
    opened[0].select_index(0).run()  # the seed that is right half of the time
    wrong = [" is not " in reason for reason in re.findall(r"equal to the right answer|\d+ is not \d+", html(app))]
    assert wrong[:4] == sorted(wrong[:4], reverse=True)


def test_several_boards_are_numbered_and_refer_to_each_other_by_number(empty_store, open_page):
    add(empty_store, ("detach", 0))
    with store.writing() as connection:
        run = in_store(reads.list_runs)[0]
        synthetic.add_evaluation(connection, run.id, {"doubles": [0.5] * 3}, now=time.time())
    app = open_page("leaderboard")
    assert [title.value for title in app.header][:2] == ["Board 1 · doubles · avg@4", "Board 2 · addition · avg@4"]
    assert "Why it is not mixed with board 1" in [expander.label for expander in app.expander]


def test_a_board_that_is_gone_is_said_to_be_in_words(full_store, open_page):
    app = open_page("changes", board="00000000", row="x")
    assert not app.exception
    assert "This board is not there any more" in texts(app)


def test_a_snapshot_is_frozen_from_the_page_and_a_later_run_changes_it_in_nothing(empty_store, open_page):
    add(empty_store, ("detach", 0), ("occ-calibrated", 0))
    app = open_page("leaderboard")
    app.text_input(key="freeze:title").input("Before the fix")
    [button] = [button for button in app.button if button.label == "Freeze a snapshot"]
    button.click().run()
    [kept] = in_store(snapshots.listed)
    assert f"leaderboard?snapshot={kept.token}" in html(app)

    before = tables(open_page("leaderboard", snapshot=kept.token), "addition · avg@4")
    add(empty_store, ("policy", 0))
    assert len(in_store(leaderboard)[0].rows) > 2
    app = open_page("leaderboard", snapshot=kept.token)
    assert not app.exception
    assert tables(app, "addition · avg@4") == before
    assert "The leaderboard of now says something else" in texts(app)
    assert next(element.value for element in app.header) == "Before the fix"
    assert tables(open_page("leaderboard"), "addition · avg@4") != before


def test_an_unknown_snapshot_is_refused_in_words(full_store, open_page):
    app = open_page("leaderboard", snapshot="nope")
    assert not app.exception
    assert "snapshot 'nope' does not exist" in texts(app)


def test_the_papers_rows_stand_apart_also_where_nothing_was_measured(empty_store, open_page):
    app = open_page("leaderboard")
    assert not app.exception
    assert "Nothing has been evaluated" in texts(app)
    assert "arXiv 2605.28184" in texts(app)
    [table] = tables(app, "Reported by the paper, not measured here")
    assert "61.7" in table


def test_a_report_is_offered_for_one_experiment_and_made_only_when_it_is_asked_for(full_store, open_page):
    app = open_page("leaderboard")
    assert "A report is on one experiment: choose it on the left." in texts(app)
    app.selectbox(key="experiment").set_value("demo").run()
    offered = {element.proto.id.rpartition("-")[2]: element.proto for element in app.get("download_button")}
    for key in ("report:html", "report:markdown"):
        assert offered[key].deferred_file_id
        assert not offered[key].url
    assert not offered["export:csv"].deferred_file_id
