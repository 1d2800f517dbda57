"""How a run is asked to stop, and how it ended: in words, and as the program's exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Literal, NamedTuple

from trainer.errors import MtprlError, PeerLostError
from trainer.work import Work

INTERRUPTED = "interrupted; the same command goes on from what was saved"


class End(NamedTuple):
    """How a run ended."""

    outcome: Literal["finished", "stopped", "failed"]
    message: str
    is_consequence: bool = False
    """Whether it failed only because another process was gone."""

    @property
    def exit_code(self) -> int:
        """The program's: 0 finished, 3 stopped, 1 failed."""
        return {"finished": os.EX_OK, "stopped": 3}.get(self.outcome, 1)


class StopRequest:
    """Set by SIGTERM or SIGINT. A second SIGINT ends the program at once."""

    def __init__(self, *, is_announced: bool = True) -> None:
        self.requested = False
        self._is_announced = is_announced
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._is_announced:
            print("Stopping after this step; what is done is saved first.", file=sys.stderr, flush=True)


def to_its_end(do: Callable[[], str], work: Work) -> End:
    """Call `do`, which does the work and returns "finished" or "stopped", and say how it ended, whatever happens."""
    try:
        if do() == "finished":
            return End("finished", work.finished)
        return End("stopped", work.stopped)
    except MtprlError as error:
        return End("failed", str(error), isinstance(error, PeerLostError))
    except MemoryError:
        return End("failed", f"out of memory; {work.out_of_memory}")
    except KeyboardInterrupt:
        return End("stopped", INTERRUPTED)
    except Exception as error:  # whatever it is, the run must end with a reason; the log has the whole story
        traceback.print_exc()
        if _is_out_of_memory(error):
            return End("failed", f"out of memory; {work.out_of_memory}")
        return End("failed", f"{type(error).__name__}: {error}")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or torch on the processor, had no room; torch says so by a RuntimeError."""
    from accelerate.utils.memory import should_reduce_batch_size  # takes seconds: only where something failed

    return bool(should_reduce_batch_size(error))
