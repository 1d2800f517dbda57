"""New run: a form made from the schema that the trainer validates with, and the command that does the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from backend import grid, registry, runs, settings, words
from backend import store as stored
from backend.advice import advice
from backend.grid import Grid
from backend.planning.check import Check, is_bad
from dashboard import (
    beginnings,
    contamination,
    fields,
    forms,
    grid_form,
    launched_panel,
    markup,
    navigation,
    preflight_panel,
    registered_choice,
    store,
)
from dashboard.forms import Start
from trainer.config import RunConfig, dump, parse, resolve
from trainer.config.continuing import shown
from trainer.config.rules import experiment_problems, name_problems
from trainer.errors import ConfigError, Problem, StoreError
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


@dataclass(frozen=True)
class Judged:
    """What the form holds, judged."""

    values: Mapping[str, Any]
    """With what registered names stand for."""
    configs: tuple[RunConfig, ...]
    """One per method, of the first seed; empty where a value is refused."""
    grid: Grid | None
    """None where no grid is asked for."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Beside the fields, including what the last launch was refused for."""
    checks: tuple[Check, ...] = ()

    @property
    def seeds(self) -> list[int]:
        """Those of the form, where they are good."""
        return forms.parse_seeds(st.session_state[_SEEDS])

    @property
    def can_launch(self) -> bool:
        """Whether nothing speaks against it."""
        skipped = self.grid is None or not self.grid.refused or (grid_form.methods() or _NO_METHODS).skip_refused
        wrong = any(self.problems.get(name) for name in _BESIDE)
        return bool(self.configs) and skipped and not wrong and not is_bad(self.checks)


_NO_METHODS = forms.Methods((), ())
_BEGINNINGS = (navigation.CLONE_OF, navigation.CONTROL_OF, navigation.WARM)
"""Ways of beginning with a run or a model, as the address names them."""
_BESIDE = ("seeds", "experiment", "regimes", "algorithms")
"""Fields of the page that are none of the configuration."""


def main() -> None:
    """Draw the page. `/new?clone_of=RUN` and `/new?control_of=RUN` begin with a run, and with the matched control of one, `?warm=MODEL` with
    a training of that model's heads; `?model=NAME` and `?data=NAME` put what is registered under that name into the form."""
    st.title("New run", anchor=False)
    asked = _asked_for()
    if asked is not None and asked != st.session_state.get(_ORIGIN):
        _begin_with_another(*asked)
    elif _START not in st.session_state:
        st.session_state[_PRESET], st.session_state[_SEEDS], st.session_state[_EXPERIMENT] = (
            _FIRST_PRESET,
            "0",
            "default",
        )
        _begin_with_preset()
    registered_choice.take_from_address()
    texts = fields.texts()
    judged = _judged(texts)

    form, side = st.columns([3, 2], gap="large")
    with form:
        _form(texts, judged.problems)
    with side, st.container(key="launch-panel"):
        _side(texts, judged)


def _begin_with_preset() -> None:
    """Set every field as the chosen preset says; seeds and experiment stay."""
    preset = presets()[st.session_state[_PRESET]]
    _begin(Start(("submit", preset.name), preset.values, preset.description, preset.name))
    st.session_state.pop(_ORIGIN, None)
    for name in _BEGINNINGS:
        st.query_params.pop(name, None)


def _asked_for() -> tuple[str, str] | None:
    """Which way of beginning with a run or a model the address names, and that run or model."""
    for name in _BEGINNINGS:
        if st.query_params.get(name):
            return name, st.query_params[name]
    return None


def _begin_with_another(way: str, named: str) -> None:
    """Set every field, seeds and experiment too, as a clone or the matched control of a run has them, or a training of a model's heads
    alone; an error ends the page in words."""
    start, experiment = beginnings.of_model(named) if way == navigation.WARM else beginnings.of_run(way, named)
    _begin(start)
    grid_form.turn_off()
    st.session_state[_PRESET], st.session_state[_ORIGIN] = None, (way, named)
    st.session_state[_SEEDS], st.session_state[_EXPERIMENT] = str(start.values.get("seed", 0)), experiment


def _begin(start: Start) -> None:
    """Set every field; what came of an earlier launch is said no longer."""
    st.session_state[_START], st.session_state[_OUTCOME] = start, {}
    fields.load(forms.texts_of(start.values))


def _judged(texts: dict[str, str]) -> Judged:
    found: list[Problem] = []
    values, seeds = forms.values_of(texts), [0]
    configs: tuple[RunConfig, ...] = ()
    planned: Grid | None = None
    try:
        values = _resolved(values)
    except ConfigError as error:
        found += error.problems
    try:
        seeds = forms.parse_seeds(st.session_state[_SEEDS])
    except ConfigError as error:
        found += error.problems
    try:
        asked = grid_form.methods()
        if asked is None:
            configs = (parse({**values, "seed": seeds[0]}),)
        else:
            planned = grid_form.plan(values, seeds, asked)
            configs = tuple(cell.config for cell in planned.good if cell.config is not None)
            # A refused name has another ending in every cell; here it is said once, as it was typed.
            found += name_problems(str(values.get("name") or ""))
            found += [problem for problem in grid.common_problems(planned) if problem.field != "name"]
    except ConfigError as error:
        found += error.problems
    found += _experiment_problems(st.session_state[_EXPERIMENT].strip())
    found += registered_choice.named_in_path(values)
    outcome = st.session_state.get(_OUTCOME, {})
    if not found and outcome.get("texts") == texts:
        found += outcome["problems"]
    beside = forms.beside_fields([problem for problem in found if problem.field not in _BESIDE], texts)
    for problem in found:
        if problem.field in _BESIDE:
            beside.setdefault(problem.field, []).append(problem.message)
    checks = tuple(preflight_panel.found(configs, len(seeds))) if configs else ()
    return Judged(values, configs, planned, beside, checks)


def _experiment_problems(name: str) -> list[Problem]:
    """What is wrong with the name of the experiment; without a store there is none yet that could have it."""
    if not (problems := experiment_problems(name)):
        return []
    try:
        with stored.reading() as connection:
            runs.check_experiment(connection, name)
    except ConfigError as error:
        return list(error.problems)
    except (StoreError, SQLAlchemyError):
        return problems
    return []


def _resolved(values: dict[str, Any]) -> dict[str, Any]:
    """The values with what registered names stand for; without a store, names stay names.

    Raises:
        ConfigError: a name stands for nothing.
    """
    try:
        return registry.resolved(values)
    except (StoreError, SQLAlchemyError):
        return values


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
        if grid_form.mode():
            grid_form.draw(problems)
        else:
            for name in ("regime", "algorithm"):
                kind, *rest = sections[name].shown(texts)
                fields.draw(kind, problems)
                fields.grid(rest, problems)
            fields.grid(sections["mtp"].shown(texts), problems)
    with st.container(border=True):
        st.markdown("**Model and data**")
        registered_choice.draw()
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


def _side(texts: dict[str, str], judged: Judged) -> None:
    fields.refuse(judged.problems.get("", ()))
    wrong = sum(map(len, judged.problems.values()))
    if judged.configs and "seeds" not in judged.problems:
        st.html(_summary(judged))
    st.button(
        "Launch",
        type="primary",
        icon=":material/rocket_launch:",
        width="stretch",
        disabled=not judged.can_launch,
        on_click=_launch,
    )
    if wrong:
        paths = {field.key: field.path for field in forms.shown_fields(texts)}
        named = ", ".join(f"`{paths.get(key, key)}`" for key in judged.problems if key)
        st.markdown(
            f":red[{words.plural(wrong, 'value')} refused{': ' + named if named else ''}]. Why stands below each field."
        )
    launched_panel.draw(st.session_state.get(_OUTCOME, {}), st.session_state[_EXPERIMENT].strip())
    if judged.grid is not None:
        grid_form.table(judged.grid)
    if not judged.configs:
        return
    _difference(judged)
    preflight_panel.draw(judged.checks)
    contamination.draw(judged.configs[0])
    if not wrong:
        st.markdown("**The same from a shell**")
        st.code(
            forms.command(
                st.session_state[_START],
                texts,
                seeds=judged.seeds,
                experiment=st.session_state[_EXPERIMENT].strip(),
                methods=grid_form.methods(),
            ),
            language="bash",
            wrap_lines=True,
        )
    first = judged.configs[0]
    of = f"{first.regime.kind} with {first.algorithm.kind}, seed {first.seed}" if judged.grid else f"seed {first.seed}"
    st.markdown(f"**Complete configuration**, of {of}")
    st.code(dump(first), language="yaml", height=520)


def _summary(judged: Judged) -> str:
    """What will be made, in a line."""
    first, seeds = judged.configs[0], len(judged.seeds)
    count = len(judged.configs) * seeds
    budget = f"{words.plural(first.steps, 'step')} each, {words.plural(first.steps * first.updates_per_step, 'update')}"
    if judged.grid is not None:
        what = f"<span>{words.plural(len(judged.configs), 'method')} × {words.plural(seeds, 'seed')}</span>"
    else:
        what = f"{markup.regime(first.regime.kind)}<span>{first.algorithm.kind}</span>"
    return f'<div class="m-head">{what}<span>{words.plural(count, "run")}</span><span>{budget}</span></div>'


def _difference(judged: Judged) -> None:
    """In what the runs differ from the one that the form began with; of a grid, the budget's part of it."""
    start: Start = st.session_state[_START]
    if start.parent is None:
        return
    here = judged.configs[0].model_dump(mode="json")
    try:
        before = parse(start.parent).model_dump(mode="json")
    except ConfigError:  # of another version
        before = dict(start.parent)
    changes = [
        (name, old, new)
        for name, old, new in runs.difference(before, here)
        if judged.grid is None or name.partition(".")[0] not in ("regime", "mtp", "algorithm")
    ]
    st.markdown(f"**In what it differs from run {start.origin}**" + (", methods apart" if judged.grid else ""))
    if not changes:
        st.caption("In nothing yet: it would be the same run once more.")
        return
    columns = [markup.Column("Setting"), markup.Column(f"Run {start.origin}"), markup.Column("Here")]
    rows = [[markup.text(name), markup.text(shown(old)), markup.text(shown(new))] for name, old, new in changes]
    st.html(markup.table(columns, rows, label=f"Differences to run {start.origin}"))


def _launch() -> None:
    """Submit all runs or none; what came of it is kept for the page that is drawn next. The second click of a double click is none."""
    texts = fields.texts()
    methods = grid_form.methods()
    asked = (texts, st.session_state[_SEEDS], st.session_state[_EXPERIMENT], methods)
    last, when = st.session_state.get(_ASKED, (None, 0.0))
    st.session_state[_ASKED] = (asked, time.monotonic())
    if asked == last and time.monotonic() - when < _DOUBLE_CLICK:
        return
    try:
        with store.errors_as_problems():
            values = resolve(registry.resolved(forms.values_of(texts)), variables=settings.variables())
            seeds, start = forms.parse_seeds(st.session_state[_SEEDS]), st.session_state[_START]
            about = {
                "experiment": st.session_state[_EXPERIMENT].strip(),
                "preset": start.preset,
                "cloned_from": start.origin,
            }
            if methods is None:
                first, ids = parse(values), runs.submit_many(values, seeds, **about)
            else:
                planned = grid_form.plan(values, seeds, methods)
                ids = grid.submit(planned, skip_refused=methods.skip_refused, **about)
                first = next(cell.config for cell in planned.good if cell.config is not None)
            st.session_state[_OUTCOME] = {"ids": ids, "notice": runs.notice(ids), "advice": advice(first)}
    except ConfigError as error:
        st.session_state[_OUTCOME] = {"texts": texts, "problems": error.problems}


main()
