"""A device to test on: the processor, where the same tests show that they work at all, and a GPU where there is one."""

import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from devices import choose

sys.path.insert(0, str(Path(__file__).parents[1] / "update"))  # their phases and golden numbers are used here, too
sys.path.insert(0, str(Path(__file__).parents[1] / "objectives"))

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.fixture(params=["cpu", GPU])
def device(request):
    """A kind of device, which runs take."""
    choose(request.param)
    yield request.param
    AcceleratorState._reset_state(reset_partial_state=True)
