"""The output of a cell during a fetch: redrawn in place, with what every kernel has and without widgets."""

import sys
from html import escape
from importlib import import_module
from typing import Any

from fmnist_fetch.console.formatting import beginning, span_of_time, waiting
from fmnist_fetch.console.progress import ProgressState, named
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
        match event:
            case DownloadStarted():
                self._draw(beginning(event))
            case Unpacked():
                self._draw(f"{event.file} unpacked")
            case Message():
                self._draw(event.sentence)
            case DownloadEnded():
                self._draw("")
            case Verified() | BytesInFlight() if self._due():
                self._draw(self._pace())
            case NoSourceReady() if self._due() and (wait := self._state.waiting):
                self._draw(waiting(wait))

    def _due(self) -> bool:
        return self._state.clock() - self._drawn_at >= DRAW_PERIOD_S

    def _pace(self) -> str:
        state = self._state
        rate = [f"{size(state.rate)}/s"] if state.rate else []
        left = [f"{span_of_time(state.seconds_left)} left"] if state.seconds_left is not None else []
        return ", ".join(rate + left + ([f"from {named(state.sources)}"] if state.sources else []))

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
