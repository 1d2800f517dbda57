"""The files of a report: HTML that needs nothing else, Markdown whose tables are tables, and nothing of a user's that becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest
from reported import MARKUP

from backend import charts
from backend.report import Report, to_html, to_markdown
from backend.report.document import Figure, Section

Made = Callable[[str], Report]
VOID = {"meta", "link", "img", "br", "hr", "input"}
EXPERIMENTS = ("demo", "single", MARKUP, "all failed", "queued", "empty")


class Page(HTMLParser):
    """What a browser sees of a page: elements with their attributes, and texts by the element that they stand in."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return " ".join(data for tag, data in self.texts if tag not in ("script", "style"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_page_is_whole_and_needs_nothing_else(made: Made, experiment):
    page = Page(to_html(made(experiment)))
    assert page.open == []
    assert not page.of("link")
    assert not page.of("img")
    assert not page.of("iframe")
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert "@import" not in str(page.texts)
    assert "url(" not in " ".join(data for tag, data in page.texts if tag == "style")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.of("a")} <= set(ids)


def test_plotly_stands_in_the_page_once_and_figures_as_data_with_words_for_those_who_cannot_see_them(made: Made):
    text = to_html(made("demo"))
    page = Page(text)
    scripts = [data for tag, data in page.texts if tag == "script"]
    assert sum(data.startswith("/**\n* plotly.js v") for data in scripts) == 1
    drawn = [attributes for attributes in page.of("script") if "data-figure" in attributes]
    figures = [block for part in made("demo").sections for block in part.blocks if isinstance(block, Figure)]
    assert len(drawn) == len(figures) > 8
    places = {attributes["id"]: attributes for attributes in page.of("div") if "id" in attributes}
    for attributes, figure in zip(drawn, figures, strict=True):
        place = places[attributes["data-figure"]]
        assert (place["role"], place["aria-label"]) == ("img", figure.alt)
    specs = re.findall(r"<script type='application/json' data-figure='[\w-]+'>(.*?)</script>", text, re.S)
    for spec, figure in zip(specs, figures, strict=True):
        read = json.loads(spec, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert len(read["data"]) == len(figure.figure.data)
        assert "template" not in read["layout"]


def test_a_page_without_figures_carries_no_plotly(made: Made):
    assert len(to_html(made("empty"))) < 20_000


def test_markup_in_names_and_reasons_is_text(made: Made):
    page = Page(to_html(made(MARKUP)))
    assert MARKUP in page.text()
    assert not any(name == "b" for name, _ in page.elements)
    assert not any(data.startswith("alert") for tag, data in page.texts if tag == "script")
    assert "the loss at step 4 is NaN <b>bold</b>" in Page(to_html(made("demo"))).text()
    heading = to_markdown(made(MARKUP)).splitlines()[0]
    assert heading == r"# Report: \<script\>alert(1)\</script\> \| \`x\` \*y\* & \<b\>"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_markdown_tables_have_as_many_cells_in_every_row(made: Made, experiment):
    lines = re.sub(r"```.*?```", "", to_markdown(made(experiment)), flags=re.S).splitlines()
    rules = [place for place, line in enumerate(lines) if re.fullmatch(r"\|( ---:? \|)+", line)]
    assert bool(rules) == (experiment != "empty")
    for rule in rules:
        end = next((place for place in range(rule, len(lines)) if not lines[place].startswith("|")), len(lines))
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[rule - 1 : end]}
        assert widths == {lines[rule].count("|")}
        assert lines[rule - 2] == ""


def test_both_files_have_the_same_tables(made: Made):
    report = made("demo")
    page, text = Page(to_html(report)), to_markdown(report)
    captions = [data for tag, data in page.texts if tag == "figcaption"]
    tables = len(page.of("table"))
    assert tables == len(re.findall(r"^\|( ---:? \|)+$", re.sub(r"```.*?```", "", text, flags=re.S), re.M))
    for title in ("Training", "Means over whole runs, of those that finished", "Runs: how they went"):
        assert title in captions
        assert f"**{title}**" in text


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        ("empty", "No run of this experiment trains and none was queued yet."),
        ("queued", "There is no ranking: no finished training of this experiment has an evaluation"),
        ("queued", "No run has finished a step yet."),
        ("all failed", "There is no ranking"),
        ("all failed", "1 run failed"),
        ("single", "One seed ranks nothing"),
        ("single", "occ-calibrated: 1 seed. Nothing can be said of the spread between trainings"),
        ("demo", "Not known of 1–11: the run folder, or the first event in it, is gone."),
        ("demo", "Not logged, or not averaged: detach; off."),
    ],
)
def test_what_is_not_there_is_said_in_words(made: Made, experiment, said):
    assert said in " ".join(Page(to_html(made(experiment))).text().split())
    assert said in to_markdown(made(experiment)).replace("\\", "")


def test_notes_stand_between_a_title_and_its_numbers_and_keep_their_code(made: Made):
    lines = to_markdown(made("single")).splitlines()
    [place] = [place for place, line in enumerate(lines) if line.startswith("**One seed ranks nothing")]
    assert lines[place].endswith("such as `--seeds 0,1,2`.**")
    assert "avg@" in lines[place - 2]
    assert lines[place + 2].startswith("| regime |")
    page = to_html(made("single"))
    caption = page.index("</figcaption><p class='strong'>One seed ranks nothing")
    assert page.index("<table>") > caption
    text = to_markdown(Report("r", ["a `b|c*` d* ``e` <f>"]))
    assert text == "# r\n\na `b|c*` d\\* \\`\\`e\\` \\<f\\>\n"


def test_no_text_in_a_figure_ends_the_script_that_holds_it():
    figure = Figure(charts.lines("</script><b>&amp;", [charts.Line("<!--", [1], [2.0], "#000000")]), "alt '><b>", "")
    text = to_html(Report("t", (), [Section("s", [figure])]))
    page = Page(text)
    assert page.open == []
    assert not page.of("b")
    [spec] = [data for tag, data in page.texts if tag == "script" and data.startswith("{")]
    assert not set(spec) & set("<>&")
    assert json.loads(spec)["layout"]["title"]["text"] == "</script><b>&amp;"
    assert "<!--" not in spec


def test_no_text_of_a_figure_ends_the_element_that_it_stands_in():
    figure = go.Figure(layout_title_text=f"</script>{MARKUP}")
    page = to_html(Report("r", sections=[Section("s", [Figure(figure, "alt", "")])]))
    [spec] = re.findall("<script type='application/json'[^>]*>(.*?)</script>", page)
    assert not set(spec) & set("<>&")
    assert json.loads(spec)["layout"]["title"]["text"] == f"</script>{MARKUP}"
