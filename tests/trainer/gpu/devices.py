"""Which kind of device runs of this process take."""

from accelerate import PartialState
from accelerate.state import AcceleratorState


def choose(device: str) -> None:
    """Let runs of this process take a kind of device. Accelerate keeps the first that it met."""
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=device == "cpu")
