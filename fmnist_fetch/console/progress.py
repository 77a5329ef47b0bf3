"""The progress of a run: one state that is derived from its events, and the displays that draw it.

A display is bars on a terminal, a line now and then elsewhere, or the output of a cell in a notebook.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from fmnist_fetch.console.formatting import beginning, counted, span_of_time, waiting
from fmnist_fetch.console.output import write
from fmnist_fetch.errors import AGAIN, DiskError, escaped, reason, size
from fmnist_fetch.events import (
    Attempted,
    BytesInFlight,
    Dispatcher,
    DownloadEnded,
    DownloadStarted,
    Event,
    Listener,
    Message,
    NoSourceReady,
    Note,
    Unpacked,
    Verified,
)

SHORT_WAIT_S = 2.0
"""A shorter wait is not reported: most retries succeed within it."""
RATE_WINDOW_S = 15.0
"""The time over which a rate is taken: long enough not to jump with every piece, short enough to follow changes."""
LINE_PERIOD_S = 10.0
LINE_PERCENT = 10
MAX_FILES_NAMED = 8
KINDS = ("auto", "bar", "log", "none")


class ProgressState:
    """What a run has done so far, derived from its events. It is a listener.

    Attributes:
        sizes: The size of each file of the download in progress, in bytes; empty when there is none.
        verified: How many of the bytes of each file are verified.
        in_flight: How many bytes of each file in transfer have arrived and are not verified yet.
        sources: The names of the sources that deliver just now.
        total: The size of all files of the latest download, in bytes.
        done: How many of these bytes are verified.
        pieces: The number of pieces of all files.
        good: How many of the pieces are verified.
        unpacked: The number of files that have been unpacked.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.sizes: dict[str, int] = {}
        self.verified: dict[str, int] = {}
        self.in_flight: dict[str, int] = {}
        self.sources: tuple[str, ...] = ()
        self.total = self.done = self.pieces = self.good = self.unpacked = 0
        self._marks: deque[tuple[float, int]] = deque()
        self._waiting: tuple[float, NoSourceReady] | None = None

    def __call__(self, event: Event) -> None:
        """Derive the new state from an event."""
        match event:
            case DownloadStarted():
                self.sizes = {name: size for name, size, _ in event.files}
                self.verified = {name: good for name, _, good in event.files}
                self.total, self.done = sum(self.sizes.values()), sum(self.verified.values())
                self.pieces, self.good = event.pieces, event.good
                self.in_flight, self._waiting = {}, None
                self._marks.clear()
            case Verified():
                # Whatever the events say, never less than nothing and never more than there is.
                self.verified[event.file] = max(0, self.verified[event.file] + event.length)
                self.done = max(0, min(self.done + event.length, self.total))
                self.good = max(0, min(self.good + event.pieces, self.pieces))
                # The next BytesInFlight counts what is left in flight; until then no byte counts twice.
                self.in_flight[event.file] = max(0, self.in_flight.get(event.file, 0) - event.length)
                self._waiting = None
            case BytesInFlight():
                before, self.in_flight = self.arrived, dict(event.files)
                self.sources = event.sources
                self._marks.append((now := self.clock(), self.done + self.arrived))
                while len(self._marks) > 2 and self._marks[1][0] <= now - RATE_WINDOW_S:
                    self._marks.popleft()
                if self.arrived > before:
                    self._waiting = None
            case NoSourceReady():
                self._waiting = (self._waiting[0] if self._waiting else self.clock()), event
                if self.waiting:
                    # The time of a standstill is no part of the rate.
                    self._marks.clear()
            case Unpacked():
                self.unpacked += 1
            case DownloadEnded():
                self.sizes = {}

    @property
    def arrived(self) -> int:
        """The bytes that have arrived and are not verified yet."""
        return sum(self.in_flight.values())

    @property
    def percent(self) -> int:
        """The verified share of all bytes, rounded down: 100 only when all are verified."""
        return 100 * self.done // self.total if self.total else 100

    @property
    def rate(self) -> float | None:
        """The bytes per second of the last seconds; None while it is too early to say."""
        if not self._marks:
            return None
        (began, first), (now, last) = self._marks[0], self._marks[-1]
        return max(0, last - first) / (now - began) if now - began >= 1 else None

    @property
    def time_left(self) -> str:
        """The time that the rest takes at the present rate, such as "12 s left"; empty while it is unknown."""
        rate, left = self.rate, self.total - self.done - self.arrived
        return f"{span_of_time(left / rate)} left" if rate is not None and rate >= 1 and left > 0 else ""

    @property
    def origin(self) -> str:
        """The first of the sources by its name, and the number of others; empty where none delivers."""
        others = len(self.sources) - 1
        more = f" and {counted(others, 'other')}" if others > 0 else ""
        return f"from {self.sources[0]}{more}" if self.sources else ""

    @property
    def waiting(self) -> str:
        """What the run waits for, if it has waited for longer than a retry takes; else empty."""
        if self._waiting is None or self.clock() - self._waiting[0] <= SHORT_WAIT_S:
            return ""
        return waiting(self._waiting[1])

    def kept(self) -> str:
        """Return a hint for an interrupted run: what is kept, and how to continue."""
        if not self.pieces:
            return f"Nothing is lost. {AGAIN}"
        others = f" and {size(self.arrived)} more" if self.arrived else ""
        return f"Kept: {self.good} of {self.pieces} pieces{others}. {AGAIN}"


def sentence_for(event: Event) -> str:
    """Return what every display says about an event at once; empty for one that only changes numbers."""
    match event:
        case DownloadStarted():
            return beginning(event)
        case Unpacked():
            return f"{event.file} unpacked"
        case Message():
            return event.sentence
    return ""


def listener(kind: str, stream: TextIO | None, state: ProgressState | None = None) -> Dispatcher:
    """Return a listener that displays progress, and in which no failure of the display matters.

    Args:
        kind: One of KINDS. `auto` is a cell's output in a notebook, bars on a terminal and lines elsewhere.
        stream: The stream for the display: any object with a method `write`, or None for no display.
        state: The state that is displayed; None for a new one.
    """
    state = state or ProgressState()
    display = _display(kind, stream, state)
    return Dispatcher(state, display) if display else Dispatcher(state)


def _display(kind: str, stream: TextIO | None, state: ProgressState) -> Listener | None:
    if kind == "auto" and "IPython" in sys.modules:
        from fmnist_fetch.console.notebook import Cell, in_notebook

        if in_notebook():
            return Cell(state)
    if kind == "none" or stream is None:
        return None
    if kind == "bar" or (kind == "auto" and _can_repaint(stream)):
        # Here, since most runs have nothing to draw bars for.
        from fmnist_fetch.console.bars import Bars

        return Bars(state, stream)
    return Lines(state, stream)


def _can_repaint(stream: TextIO) -> bool:
    """Return whether a stream is a terminal whose cursor can go back to lines that are painted over.

    A stream may be any object: a logger without `isatty`, or IDLE's, which claims to be a terminal and has no number.
    """
    with suppress(Exception):
        return os.isatty(stream.fileno()) and os.environ.get("TERM") != "dumb" and os.name != "nt"
    return False


class Lines:
    """The display for everything but terminals and notebooks: a line for every 10 % or 10 s, and for each step."""

    def __init__(self, state: ProgressState, stream: TextIO) -> None:
        self._state = state
        self._stream = stream
        self._printed_at, self._printed_percent = state.clock(), 0
        self._printed_arrived = 0
        self._printed_origin = ""
        self._printed_wait_at: float | None = None

    def __call__(self, event: Event) -> None:
        """Print a line if an event is worth one."""
        match event:
            case DownloadStarted():
                self._printed_percent = self._state.percent
                self._print(sentence_for(event))
            case Verified():
                self._advance()
            case BytesInFlight():
                self._arrive()
            case NoSourceReady():
                self._wait()
            case Unpacked() if self._state.unpacked > MAX_FILES_NAMED:
                # Of many files, a count now and then is enough.
                if self._due(self._printed_at):
                    self._print(f"{counted(self._state.unpacked, 'file')} unpacked")
            case Unpacked() | Message():
                self._print(sentence_for(event))

    def _due(self, since: float) -> bool:
        return self._state.clock() - since >= LINE_PERIOD_S

    def _advance(self) -> None:
        percent = self._state.percent
        self._printed_percent = min(self._printed_percent, percent)
        if percent - self._printed_percent >= LINE_PERCENT or self._due(self._printed_at) or percent == 100:
            self._printed_percent = percent
            self._print_progress()
        self._printed_wait_at = None

    def _arrive(self) -> None:
        """Report bytes that are not verified yet: on a slow line a piece may take minutes."""
        arrived = self._state.arrived
        if arrived > self._printed_arrived and self._due(self._printed_at):
            self._printed_arrived = arrived
            self._print_progress(f", {size(arrived)} more have arrived")
        self._printed_arrived = min(self._printed_arrived, arrived)

    def _print_progress(self, more: str = "") -> None:
        state = self._state
        if state.origin and state.origin != self._printed_origin:
            self._printed_origin = state.origin
            more += f", {state.origin}"
        self._print(f"{state.percent:3d}%  {size(state.done)} of {size(state.total)} verified{more}")

    def _wait(self) -> None:
        text = self._state.waiting
        if text and (self._printed_wait_at is None or self._due(self._printed_wait_at)):
            self._printed_wait_at = self._state.clock()
            self._print(text)

    def _print(self, sentence: str) -> None:
        self._printed_at = self._state.clock()
        write(self._stream, escaped(sentence) + "\n")


class Log:
    """A file with a JSON line for each attempt. Raises DiskError where it can't be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.open("a").close()
        except OSError as exc:
            raise DiskError(f"{path}: {reason(exc)}", hint="Choose another file for the log.") from exc

    def __call__(self, event: Event) -> None:
        """Append the line of an attempt or of a note."""
        if isinstance(event, Note):
            self._append(note=event.sentence)
        if isinstance(event, Attempted):
            self._append(
                source=event.source,
                file=event.file,
                span=list(event.span),
                status=event.status,
                bytes=event.received,
                kept=event.kept,
                seconds=round(event.seconds, 3),
                verdict=event.error or "good",
            )

    def note_failure(self, exc: BaseException) -> None:
        """Append the traceback of an exception."""
        import traceback  # here, since a run that ends well has no use for it

        self._append(traceback="".join(traceback.format_exception(exc)))

    def _append(self, **entry: Any) -> None:
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
