"""New run: a form made from the schema that the trainer validates with, and the command that does the same."""

from __future__ import annotations

import time

import streamlit as st

from backend import runs, settings, words
from backend.advice import advice
from backend.again import clone_of
from backend.controls import matched_control
from dashboard import contamination, fields, forms, markup, navigation, store
from dashboard.forms import Start
from db import reads
from trainer.config import RunConfig, dump, parse, resolve
from trainer.errors import ConfigError, Problem
from trainer.presets import presets

_FIRST_PRESET = "demo/occ-calibrated"
_PRESET, _SEEDS, _EXPERIMENT = "form:preset", "form:seeds", "form:experiment"
_START, _ORIGIN = "form:start", "form:origin"
_OUTCOME, _ASKED = "form:outcome", "form:asked"
_DOUBLE_CLICK = 2.0
"""Seconds within which the same launch again is a slip of the finger."""
_OPEN = {"run", "model", "regime", "algorithm", "mtp", "data"}
"""Sections at the top of the form; all others are folded below."""
_TITLES = {
    "optimizer": "Optimiser",
    "checkpoint": "Checkpoints",
    "logging": "Logged completions",
    "launch": "Queue and devices",
}


def main() -> None:
    """Draw the page. `/new?clone_of=RUN` and `/new?control_of=RUN` begin with a run, and with the matched control of one."""
    st.title("New run")
    asked = _asked_for()
    if asked is not None and asked != st.session_state.get(_ORIGIN):
        _begin_with_run(*asked)
    elif _START not in st.session_state:
        st.session_state[_PRESET], st.session_state[_SEEDS], st.session_state[_EXPERIMENT] = (
            _FIRST_PRESET,
            "0",
            "default",
        )
        _begin_with_preset()
    texts = fields.texts()
    config, problems = _judged(texts)

    form, side = st.columns([3, 2], gap="large")
    with form:
        _form(texts, problems)
    with side, st.container(key="launch-panel"):
        _side(texts, config, problems)


def _begin_with_preset() -> None:
    """Set every field as the chosen preset says; seeds and experiment stay."""
    preset = presets()[st.session_state[_PRESET]]
    _begin(Start(("submit", preset.name), preset.values, preset.description, preset.name))
    st.session_state.pop(_ORIGIN, None)
    for name in (navigation.CLONE_OF, navigation.CONTROL_OF):
        st.query_params.pop(name, None)


def _asked_for() -> tuple[str, str] | None:
    """Which way of making a run from another one the address names, and that run."""
    for name in (navigation.CLONE_OF, navigation.CONTROL_OF):
        if st.query_params.get(name):
            return name, st.query_params[name]
    return None


def _begin_with_run(way: str, run: str) -> None:
    """Set every field, seeds and experiment too, as a clone or the matched control of a run has them; an error ends the page in words."""
    with store.reading() as connection:
        run_id = reads.find_run(connection, run)
        if way == navigation.CLONE_OF:
            clone = clone_of(connection, run_id)
            start = Start(("clone", str(run_id)), clone.values, clone.words, clone.preset, run_id)
            experiment = clone.experiment
        else:
            control = matched_control(connection, run_id)
            values = control.config.model_dump(mode="json")
            start = Start(("submit", "--control-of", str(run_id)), values, control.words, None, run_id)
            experiment = control.experiment
    _begin(start)
    st.session_state[_PRESET], st.session_state[_ORIGIN] = None, (way, run)
    st.session_state[_SEEDS], st.session_state[_EXPERIMENT] = str(start.values["seed"]), experiment


def _begin(start: Start) -> None:
    st.session_state[_START] = start
    fields.load(forms.texts_of(start.values))


def _judged(texts: dict[str, str]) -> tuple[RunConfig | None, dict[str, list[str]]]:
    """The configuration, if every value is good; and what is wrong, beside its field, including what the last launch was refused for."""
    config: RunConfig | None = None
    found: list[Problem] = []
    seed = 0
    try:
        seed = forms.parse_seeds(st.session_state[_SEEDS])[0]
    except ConfigError as error:
        found += error.problems
    try:
        config = parse({**forms.values_of(texts), "seed": seed})
    except ConfigError as error:
        found += error.problems
    if not st.session_state[_EXPERIMENT].strip():
        found.append(Problem("experiment", "is empty; give the experiment a name, such as default"))
    outcome = st.session_state.get(_OUTCOME, {})
    if not found and outcome.get("texts") == texts:
        found += outcome["problems"]
    beside = forms.beside_fields([problem for problem in found if problem.field not in ("seeds", "experiment")], texts)
    for problem in found:
        if problem.field in ("seeds", "experiment"):
            beside.setdefault(problem.field, []).append(problem.message)
    return config, beside


def _form(texts: dict[str, str], problems: dict[str, list[str]]) -> None:
    sections, available = forms.sections(), presets()
    st.selectbox(
        "Preset",
        list(available),
        key=_PRESET,
        format_func=lambda name: available[name].title,
        on_change=_begin_with_preset,
        persist_state="session",
        placeholder=st.session_state[_START].description.partition(":")[0],
        help="A complete configuration to start from. Choosing one sets every field below; seeds and experiment stay.",
    )
    st.caption(st.session_state[_START].description)
    with st.container(border=True):
        st.markdown("**Method**")
        for name in ("regime", "algorithm"):
            kind, *rest = sections[name].shown(texts)
            fields.draw(kind, problems)
            fields.grid(rest, problems)
        fields.grid(sections["mtp"].shown(texts), problems)
    with st.container(border=True):
        st.markdown("**Model and data**")
        fields.grid(sections["model"].shown(texts), problems)
        kind, *rest = sections["data"].shown(texts)
        fields.draw(kind, problems)
        fields.grid(rest, problems)
    with st.container(border=True):
        st.markdown("**Budget**")
        left, right = st.columns(2)
        with left:
            st.text_input(
                "Seeds",
                key=_SEEDS,
                persist_state="session",
                help="One seed, such as 0, or several, such as 0,1,2: each makes a run of its own. Fewer than three rank nothing.",
            )
            fields.refuse(problems.get("seeds", ()))
        with right:
            st.text_input(
                "Experiment",
                key=_EXPERIMENT,
                persist_state="session",
                help="Runs of one experiment are listed and compared together.",
            )
            fields.refuse(problems.get("experiment", ()))
        fields.grid(sections["run"].shown(texts), problems)
    for name in [name for name in sections if name not in _OPEN]:
        title, shown = _TITLES.get(name, name.capitalize()), sections[name].shown(texts)
        wrong = sum(len(problems.get(field.key, ())) for field in shown)
        with st.expander(
            f"{title} — :red[{words.plural(wrong, 'problem')}]" if wrong else title,
            expanded=bool(wrong),
            key=f"section:{name}",
        ):
            st.caption(sections[name].help)
            fields.grid(shown, problems)


def _side(texts: dict[str, str], config: RunConfig | None, problems: dict[str, list[str]]) -> None:
    fields.refuse(problems.get("", ()))
    wrong = sum(map(len, problems.values()))
    if config is not None and "seeds" not in problems:
        seeds = forms.parse_seeds(st.session_state[_SEEDS])
        updates = config.steps * config.updates_per_step
        st.html(
            f'<div class="m-head">{markup.regime(config.regime.kind)}<span>{config.algorithm.kind}</span>'
            f"<span>{words.plural(len(seeds), 'run')}</span><span>{words.plural(config.steps, 'step')} each, {words.plural(updates, 'update')}</span></div>"
        )
    st.button(
        "Launch",
        type="primary",
        icon=":material/rocket_launch:",
        width="stretch",
        disabled=config is None or bool(problems.get("seeds") or problems.get("experiment")),
        on_click=_launch,
    )
    if wrong:
        paths = {field.key: field.path for field in forms.shown_fields(texts)}
        named = ", ".join(f"`{paths.get(key, key)}`" for key in problems if key)
        st.markdown(
            f":red[{words.plural(wrong, 'value')} refused{': ' + named if named else ''}]. Why stands below each field."
        )
    _launched()
    if config is None:
        return
    contamination.draw(config)
    if not wrong:
        st.markdown("**The same from a shell**")
        st.code(
            forms.command(
                st.session_state[_START],
                texts,
                seeds=forms.parse_seeds(st.session_state[_SEEDS]),
                experiment=st.session_state[_EXPERIMENT].strip(),
            ),
            language="bash",
            wrap_lines=True,
        )
    st.markdown(f"**Complete configuration**, of seed {config.seed}")
    st.code(dump(config), language="yaml", height=520)


def _launch() -> None:
    """Submit all runs or none; what came of it is kept for the page that is drawn next. The second click of a double click is none."""
    texts = fields.texts()
    asked = (texts, st.session_state[_SEEDS], st.session_state[_EXPERIMENT])
    last, when = st.session_state.get(_ASKED, (None, 0.0))
    st.session_state[_ASKED] = (asked, time.monotonic())
    if asked == last and time.monotonic() - when < _DOUBLE_CLICK:
        return
    try:
        with store.errors_as_problems():
            values = resolve(forms.values_of(texts), variables=settings.variables())
            ids = runs.submit_many(
                values,
                forms.parse_seeds(st.session_state[_SEEDS]),
                experiment=st.session_state[_EXPERIMENT].strip(),
                preset=st.session_state[_START].preset,
                cloned_from=st.session_state[_START].origin,
            )
            st.session_state[_OUTCOME] = {"ids": ids, "notice": runs.notice(ids), "advice": advice(parse(values))}
    except ConfigError as error:
        st.session_state[_OUTCOME] = {"texts": texts, "problems": error.problems}


def _launched() -> None:
    outcome = st.session_state.get(_OUTCOME, {})
    ids = outcome.get("ids", ())
    if not ids:
        return
    if outcome["notice"]:
        st.warning(outcome["notice"], icon=":material/power_off:")
    for sentence in outcome["advice"]:
        st.warning(words.literal(sentence), icon=":material/warning:")
    st.success(f"{words.plural(len(ids), 'run')} submitted.", icon=":material/check_circle:")
    for run_id in ids:
        st.page_link(
            navigation.run(),
            label=f"Watch run {run_id}",
            query_params={"run": str(run_id)},
            icon=":material/show_chart:",
        )
    if len(ids) > 1:
        st.page_link(
            navigation.compare(),
            label="Compare them",
            query_params={"runs": ",".join(map(str, ids))},
            icon=":material/stacked_line_chart:",
        )


main()
