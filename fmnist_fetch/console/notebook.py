"""The output of a cell during a fetch: redrawn in place, with what every kernel has and without widgets."""

import sys
from html import escape
from importlib import import_module
from typing import Any

from fmnist_fetch.console.progress import ProgressState, sentence_for
from fmnist_fetch.errors import escaped, size
from fmnist_fetch.events import (
    BytesInFlight,
    DownloadEnded,
    DownloadStarted,
    Event,
    Message,
    NoSourceReady,
    Unpacked,
    Verified,
)

DRAW_PERIOD_S = 0.2


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this process, which can redraw the output of a cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


class Cell:
    """The display for a notebook: a bar with a line below it; where HTML is not shown, the same as text."""

    def __init__(self, state: ProgressState) -> None:
        self._state = state
        self._output: Any = None
        self._drawn_at = state.clock()

    def __call__(self, event: Event) -> None:
        """Redraw the output if an event is worth it."""
        state = self._state
        if isinstance(event, DownloadStarted | Unpacked | Message | DownloadEnded):
            self._draw(sentence_for(event))
        elif state.clock() - self._drawn_at < DRAW_PERIOD_S:
            return
        elif isinstance(event, Verified | BytesInFlight):
            rate = f"{size(state.rate)}/s" if state.rate else ""
            self._draw(", ".join(filter(None, (rate, state.time_left, state.origin))))
        elif isinstance(event, NoSourceReady) and state.waiting:
            self._draw(state.waiting)

    def _draw(self, note: str) -> None:
        state, note = self._state, escaped(note)
        self._drawn_at = state.clock()
        bar = text = ""
        if state.total:
            verified = f"{size(state.done)} of {size(state.total)} verified"
            text = f"{state.percent:3d}%  {verified}"
            bar = f'<progress value="{state.done}" max="{state.total}" style="width: 20em"></progress> {verified}'
        shown = {
            "text/plain": "\n".join(filter(None, (text, note))),
            "text/html": f"<div>{bar}<br>{escape(note)}</div>",
        }
        if self._output is None:
            self._output = import_module("IPython.display").display(shown, raw=True, display_id=True)
        else:
            self._output.update(shown, raw=True)
