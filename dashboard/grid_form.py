"""The part of the form that makes a grid of methods out of one budget, and the table of the runs that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from backend import grid, words
from backend.grid import BASELINE, LR_CONTROLS, OWN, Cell, Grid
from dashboard import fields, markup
from dashboard.fields import Problems
from dashboard.forms import Methods
from trainer.presets import regimes

ONE, SEVERAL = "One method", "Grid of methods"
_MODE, _REGIMES, _ALGORITHMS = "form:mode", "form:grid:regimes", "form:grid:algorithms"
_CONTROLS, _SKIP = "form:grid:controls", "form:grid:skip"
_FIRST = [BASELINE, "ce", "policy", "occ-calibrated"]
_HEIGHT, _MOST_ROWS = 360, 6
_WHY_CONTROLS = (
    "Detach again with 1.5 and 2 times the learning rate. A method may end above detach only because its updates are larger; whether that is all of "
    "it shows beside detach at a higher rate (docs/method.md)."
)


def mode() -> bool:
    """Draw the switch; whether a grid is asked for."""
    st.session_state.setdefault(_MODE, ONE)
    chosen = st.segmented_control(
        "Runs to make",
        (ONE, SEVERAL),
        key=_MODE,
        required=True,
        persist_state="session",
        help="One method, with one run per seed; or several regimes and algorithms, each with all seeds, on the budget below.",
    )
    return chosen == SEVERAL


def is_on() -> bool:
    """Whether a grid is asked for."""
    return st.session_state.get(_MODE) == SEVERAL


def turn_off() -> None:
    """One method from now on; what was chosen for a grid is still there when it is asked for again."""
    st.session_state[_MODE] = ONE


def methods() -> Methods | None:
    """What the fields hold; None where no grid is asked for."""
    if not is_on():
        return None
    return Methods(
        tuple(st.session_state.get(_REGIMES, _FIRST)),
        tuple(st.session_state.get(_ALGORITHMS, (_own_algorithm(),))),
        LR_CONTROLS if st.session_state.get(_CONTROLS) else (),
        bool(st.session_state.get(_SKIP)),
    )


def draw(problems: Problems) -> None:
    """The fields of a grid, in the place of one method's."""
    st.session_state.setdefault(_REGIMES, _FIRST)
    st.session_state.setdefault(_ALGORITHMS, [_own_algorithm()])
    known = regimes()
    st.multiselect(
        "Regimes",
        (*known, OWN),
        key=_REGIMES,
        persist_state="session",
        format_func=lambda name: known[name].title if name in known else "as set under One method (own)",
        help="How the MTP heads are trained together with the policy: one row of runs each, with the settings of its preset.",
    )
    fields.refuse(problems.get("regimes", ()))
    st.multiselect(
        "Algorithms",
        grid.ALGORITHMS,
        key=_ALGORITHMS,
        persist_state="session",
        help="The RL algorithm of the main head: every regime with each. The one set under One method keeps its settings.",
    )
    fields.refuse(problems.get("algorithms", ()))
    st.checkbox(
        "Learning-rate controls of detach (1.5×, 2×)", key=_CONTROLS, persist_state="session", help=_WHY_CONTROLS
    )


def plan(values: dict[str, Any], seeds: Sequence[int], asked: Methods) -> Grid:
    """The grid that was asked for.

    Raises:
        ConfigError: nothing was chosen, or there are too many runs.
    """
    return grid.plan(values, asked.regimes, asked.algorithms, seeds, asked.lr_controls)


def table(planned: Grid) -> None:
    """The runs that will be made, and the combinations that are refused."""
    if planned.hint:
        st.info(f"{planned.hint[0].upper()}{planned.hint[1:]}.", icon=":material/balance:")
    columns = [
        markup.Column("Method"),
        markup.Column("Runs", number=True),
        markup.Column("Settings of its own"),
    ]
    rows = [_row(cell, len(planned.seeds)) for cell in planned.cells]
    # A long one is of a bounded height, because the panel stays in sight while the form is scrolled.
    with st.container(height=_HEIGHT if len(rows) > _MOST_ROWS else "content", border=False):
        st.html(markup.table(columns, rows, label="Runs that will be made"))
    if planned.refused and planned.good:
        count = len(planned.refused)
        them = "it" if count == 1 else "them"
        st.checkbox(
            f"Leave the {words.plural(count, 'refused combination')} out and launch the others",
            key=_SKIP,
            persist_state="session",
            help=f"Without this, nothing is launched as long as one of {them} is refused.",
        )


def _row(cell: Cell, seeds: int) -> list[str]:
    kind = (cell.values.get("regime") or {}).get("kind", cell.regime)
    called = cell.algorithm if cell.method == kind else f"{cell.method} · {cell.algorithm}"
    name = markup.regime(str(kind)) + f'<div class="m-sub">{escape(called)}</div>'
    if cell.config is None:
        why = "; ".join(map(str, cell.problems))
        return [
            name,
            "0",
            f'<span class="m-mark">✗ refused</span><div class="m-sub">{escape(why)}</div>',
        ]
    return [name, str(seeds), escape(settings(cell)) or "–"]


def settings(cell: Cell) -> str:
    """The coefficient of a cell that has a fixed one, settings of its method that are not the usual ones, and the learning rate of a control."""
    if cell.config is None:
        return ""
    fixed = getattr(cell.config.regime, "coefficient", None)
    said = [] if fixed is None else [f"coefficient {fixed:g}"]
    said += [
        f"{name} {_plain(value)}"
        for section in (cell.config.regime, cell.config.mtp, cell.config.algorithm)
        for name, value in section.model_dump(mode="json", exclude_defaults=True).items()
        if name not in ("kind", "coefficient")
    ]
    if cell.lr_factor != 1:
        said.append(f"lr {cell.config.optimizer.lr:g}")
    return ", ".join(said).replace("_", " ")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _own_algorithm() -> str:
    return str(st.session_state.get(fields.state_key("algorithm.kind")) or grid.ALGORITHMS[0])
