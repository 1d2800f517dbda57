"""Completions on the run page: token by token, ordered, filtered, and the same prompt side by side."""

from __future__ import annotations

import csv
import io
import re

import synthetic
from pages import html, in_store, texts

from backend import store
from dashboard import completions_tab, token_markup
from dashboard.token_markup import Quantity, Token, heat, legend, level, title
from db import claims, ingest, reads, runs
from db.tokens import Tokens

TOKENS = Tokens(
    texts=["<b>", "", "é", "\n", "end"],
    log_probs=[-0.01, -6.5, None, -3.0, -2.0],
    mtp_log_probs=[None, -0.5, -1.0, -3.0, -8.0],
    agrees=[None, 1, 0, 1, 0],
)


def spans(markup: str) -> list[tuple[str, str]]:
    """(classes, text) of each token."""
    return re.findall(r'<span(?: class="([^"]*)")? title="[^"]*">(.*?)</span>', markup, flags=re.DOTALL)


def test_the_colour_of_a_token_is_the_chosen_quantity_and_a_rejected_draft_is_always_underlined():
    def classes(quantity: Quantity) -> list[str]:
        return [found for found, _ in spans(heat(TOKENS, quantity, 99))]

    assert classes(Quantity.LOG_PROB) == ["", "m-w6", "m-no", "m-w3", "m-w2 m-no"]
    assert classes(Quantity.MTP_LOG_PROB) == ["", "", "m-w1 m-no", "m-w3", "m-w6 m-no"]
    assert classes(Quantity.DIFFERENCE) == ["", "m-c6 m-above", "m-no", "", "m-w6 m-no"]
    assert classes(Quantity.DRAFT) == ["", "m-taken", "m-rejected m-no", "m-taken", "m-rejected m-no"]


def test_a_completion_is_escaped_and_parts_of_characters_and_line_ends_are_seen():
    markup = heat(TOKENS, Quantity.LOG_PROB, 99)
    assert [text for _, text in spans(markup)] == [
        "&lt;b&gt;",
        '<i class="m-whole">◦</i>',
        "é",
        '<i class="m-whole">↵</i>\n',
        "end",
    ]
    assert heat(TOKENS, Quantity.LOG_PROB, 0).endswith('tabindex="0">&lt;b&gt;é\nend</pre>')  # the others are plain


def test_the_title_of_a_token_holds_its_numbers_and_what_a_draft_would_come_to():
    assert title(Token("x", -2.0, -1.0, 0)) == (
        "log-prob -2, MTP -1, difference +1, drafted, kept with 37%, greedy draft rejected"
    )
    assert "kept with 100%" in title(Token("x", -1.0, -2.0, 1))
    assert title(Token("x", -0.5, None, None)) == "log-prob -0.5, no draft here"
    assert title(Token("x", None, -1.0, 1)) == "log-prob not finite, MTP -1, greedy draft taken"


def test_levels_go_from_nothing_to_the_strongest_and_the_legend_names_every_one():
    assert [level(value, 6.0) for value in (-1.0, 0.0, 0.4, 0.6, 5.4, 6.0, 60.0)] == [0, 0, 0, 1, 5, 6, 6]
    for quantity in Quantity:
        shown = legend(quantity)
        assert (shown == "") == (quantity == Quantity.NONE)
        assert set(re.findall(r"m-[wc]\d", shown)) <= set(re.findall(r"m-[wc]\d", token_markup.STYLE))


# --- the page --------------------------------------------------------------------------------------------


def completions_page(full_store, open_page, name: str = "occ", **query: str):
    return open_page("run", run=str(full_store.runs[name]), tab="Completions", **query)


def test_completions_of_a_step_are_shown_as_written_with_grade_and_reason(full_store, open_page):
    app = completions_page(full_store, open_page)
    assert app.select_slider(key="step").options == ["10", "newest"]
    shown = html(app)
    assert "equal to the right answer" in shown or "is not" in shown
    assert "step 10" in texts(app)
    assert shown.count("<span title=") + shown.count('<span class="m-') > 8 * 20
    app.selectbox(key="prompt").select_index(2).run()
    assert html(app) != shown
    app.segmented_control(key="colour").set_value(Quantity.NONE).run()
    assert "&lt;b&gt;sum&lt;/b&gt;" in html(app)
    assert "<span title=" not in html(app)


def test_completions_are_ordered_and_filtered_as_the_address_says(full_store, open_page):
    def rewards(app) -> list[str]:
        return re.findall(r"reward (\S+) ·", html(app))

    app = completions_page(full_store, open_page, order="lowest reward first")
    lowest = rewards(app)
    assert lowest == sorted(lowest, key=lambda value: float(value.replace("−", "-")))
    assert len(set(lowest)) == 2
    app.selectbox(key="order").select("highest reward first").run()
    assert rewards(app) == lowest[::-1]
    assert set(rewards(completions_page(full_store, open_page, graded="wrong"))) == {lowest[0]}
    assert "None of them is truncated" in texts(completions_page(full_store, open_page, graded="truncated"))


def test_the_same_prompt_of_another_run_stands_beside_it(full_store, open_page):
    app = completions_page(full_store, open_page, beside="another run", prompt="train-3 · 123+456=")
    others = app.selectbox(key="other_run").options
    assert f"{full_store.runs['occ again']} · occ-dapo-seed1" in others
    assert not [name for name in others if name.startswith(f"{full_store.runs['off']} ")]  # of another experiment
    app.selectbox(key="other_run").select(full_store.runs["occ again"]).run()
    assert not app.exception
    assert f"Run {full_store.runs['occ again']}, occ-dapo-seed1, step 10" in texts(app).replace("\\", "")
    assert html(app).count('class="m-card"') == 16


def test_where_the_prompt_is_nowhere_else_the_page_says_why(full_store, open_page):
    app = completions_page(full_store, open_page, beside="another step")
    assert "logged at no other step" in texts(app)
    assert html(app).count('class="m-card"') == 8
    app = completions_page(full_store, open_page, "off", beside="another run")
    assert "No other run of controls" in texts(app)


def test_the_same_prompt_at_another_step_stands_beside_it(full_store, open_page):
    run = full_store.runs["lost"]
    with store.writing() as connection:
        sink = synthetic.MemorySink()
        rng = synthetic.random.Random(0)
        for step in (3, 4, 5):
            synthetic._complete(sink, step, 0.5, rng)
        ingest.ingest(connection, run, sink.events, attempt=1, start=1, offset=2, torn_lines=0)
    app = completions_page(full_store, open_page, "lost", beside="another step", prompt="train-3 · 123+456=", step="3")
    assert app.select_slider(key="step").value == "3"
    assert app.selectbox(key="other_step").options == ["4", "5"]
    assert app.selectbox(key="other_step").value == 5
    assert html(app).count('class="m-card"') == 16


def test_completions_of_an_older_version_have_no_colour_and_the_page_says_so(full_store, open_page):
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE completions SET by_token = NULL")
    app = completions_page(full_store, open_page)
    assert "said nothing of single tokens" in texts(app)
    assert "&lt;b&gt;sum&lt;/b&gt;" in html(app)
    assert not app.get("download_button")[1:]


def test_a_long_group_is_coloured_as_far_as_the_page_can_bear_and_the_page_says_how_far(
    full_store, open_page, monkeypatch
):
    monkeypatch.setattr(completions_tab, "MOST_TOKENS", 80)
    monkeypatch.setattr(completions_tab, "MOST_SHOWN", 4)
    app = completions_page(full_store, open_page)
    assert "the first 4 of 8 in this order are shown" in texts(app)
    assert "the first 20 tokens of each have a colour" in texts(app)
    assert len(spans(html(app))) == 80


def test_the_tokens_are_at_hand_as_csv(full_store):
    run = full_store.runs["occ"]
    [prompt, *_] = in_store(reads.completions_at, run, 10)
    tokens = in_store(reads.tokens_at, run, 10, prompt.prompt_id)
    header, *rows = csv.reader(io.StringIO(completions_tab._csv(tokens)))
    assert header == ["sample", "place", "text", "log_prob", "mtp_log_prob", "agrees"]
    assert len(rows) == sum(len(one.texts) for one in tokens.values())
    assert rows[0] == ["0", "0", tokens[0].texts[0], str(tokens[0].log_probs[0]), "", ""]


def test_a_run_without_completions_says_when_they_come(empty_store, open_page):
    with store.writing() as connection:
        run = synthetic.add_run(connection, empty_store, "demo/occ", status=runs.Status.QUEUED, now=1.0)
        assert claims.claim_next(connection, host="here", devices=["cpu:0"], now=2.0)
    assert "logging.completions_every" in texts(open_page("run", run=str(run), tab="Completions"))
