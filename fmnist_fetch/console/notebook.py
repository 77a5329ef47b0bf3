"""What a notebook shows while a fetch runs: one output, redrawn in place, with what every kernel has and no widgets."""

import sys
import time
from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import Any

from fmnist_fetch.console.bars import Pace
from fmnist_fetch.console.formatting import SOON, beginning, size, span_of_time, waiting
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

EVERY_SECONDS = 0.2


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process, which can redraw a cell's output."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


class Cell:
    """A bar with a line below it in the output of a cell; where HTML is not shown, the same in text."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._output: Any = None
        self._total = self._done = 0
        self._pace = Pace()
        self._moved = self._drawn = clock()
        self._note = ""

    def __call__(self, event: Event) -> None:
        """Redraw, as often as an eye can follow."""
        match event:
            case DownloadStarted():
                self._total = sum(size for _, size, _ in event.files)
                self._done = sum(good for _, _, good in event.files)
                self._draw(beginning(event))
            case Verified():
                self._done += event.length
                self._move(0)
            case BytesInFlight():
                self._move(sum(count for _, count in event.files))
            case NoSourceReady():
                # A retry within a moment is not worth a word.
                if self._clock() - self._moved > SOON and self._due():
                    self._draw(waiting(event))
            case Unpacked():
                self._draw(f"{event.file} unpacked")
            case Message():
                self._draw(event.sentence)
            case DownloadEnded():
                self._draw("")

    def _move(self, under_way: int) -> None:
        self._moved = self._clock()
        if under_way:
            self._pace.note(self._moved, self._done + under_way)
        if self._due():
            rate, left = self._pace.rate(), self._total - self._done - under_way
            self._draw(f"{size(rate)}/s, {span_of_time(left / rate)} left" if rate else "")

    def _due(self) -> bool:
        return self._clock() - self._drawn >= EVERY_SECONDS

    def _draw(self, note: str) -> None:
        self._drawn = self._clock()
        bar = text = ""
        if self._total:
            told = f"{size(self._done)} of {size(self._total)} verified"
            # Rounded down: 100 % is only what is all there.
            text = f"{100 * self._done // self._total:3d}%  {told}"
            bar = f'<progress value="{self._done}" max="{self._total}" style="width: 20em"></progress> {told}'
        shown = {
            "text/plain": "\n".join(filter(None, (text, note))),
            "text/html": f"<div>{bar}<br>{escape(note)}</div>",
        }
        if self._output is None:
            self._output = import_module("IPython.display").display(shown, raw=True, display_id=True)
        else:
            self._output.update(shown, raw=True)
