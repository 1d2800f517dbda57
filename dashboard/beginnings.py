"""What the form of a new run begins with, where its address names a run or a model."""

from __future__ import annotations

from backend import registry
from backend.again import clone_of
from backend.controls import matched_control
from backend.warming import EXPERIMENT, warming_values
from dashboard import navigation, store
from dashboard.forms import Start
from db import reads


def of_model(name: str) -> tuple[Start, str]:
    """What a training of the heads of a registered model begins with, and its experiment."""
    with store.reading():
        values = warming_values(registry.model_path(name))
    said = f"The MTP heads of {name} alone learn what the model itself says, before a training: regime warm. It needs data, for their prompts."
    return Start(("warm-heads", name), values, said), EXPERIMENT


def of_run(way: str, run: str) -> tuple[Start, str]:
    """What a clone or the matched control of a run begins with, and its experiment."""
    with store.reading() as connection:
        run_id = reads.find_run(connection, run)
        parent = reads.get_run(connection, run_id).config
        if way == navigation.CLONE_OF:
            clone = clone_of(connection, run_id)
            start = Start(("clone", str(run_id)), clone.values, clone.words, clone.preset, run_id, parent)
            return start, clone.experiment
        control = matched_control(connection, run_id)
        values = control.config.model_dump(mode="json")
        start = Start(("submit", "--control-of", str(run_id)), values, control.words, None, run_id, parent)
        return start, control.experiment
