"""The display of a set-up: one line that is redrawn on a terminal, or a line every few seconds."""

import sys
import time
from typing import TextIO

from fmnist_fetch.errors import escaped
from fmnist_fetch.events import BytesInFlight, DownloadEnded, DownloadStarted, Event, Message, NoSourceReady, Verified

LINE_PERIOD_S = 10.0
REDRAW_PERIOD_S = 0.2
COLUMNS = 78


class Display:
    """A listener that shows downloads by package: "torch 2.13.0: 120.0 of 191.8 MB"."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._arriving: dict[str, int] = {}
        self._shown_at = time.monotonic()
        self._painted = False
        self._waiting_since: float | None = None

    def __call__(self, event: Event) -> None:
        """Update the display."""
        match event:
            case DownloadStarted():
                self._sizes = {name: size for name, size, _ in event.files}
                self._done = {name: good for name, _, good in event.files}
            case Verified():
                self._waiting_since = None
                self._done[event.file] = self._done.get(event.file, 0) + event.length
                self._refresh()
            case BytesInFlight():
                self._arriving = dict(event.files)
                self._refresh()
            case NoSourceReady():
                self._wait(event)
            case Message():
                self._print(event.sentence)
            case DownloadEnded():
                self._clear()

    def _print(self, sentence: str) -> None:
        """Print a sentence on a line of its own."""
        self._clear()
        print(escaped(sentence), file=self._stream, flush=True)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._shown_at < (REDRAW_PERIOD_S if self._terminal else LINE_PERIOD_S):
            return
        self._shown_at = now
        line = self._line()
        if not self._terminal:
            print(line, file=self._stream, flush=True)
            return
        self._painted = True
        print("\r" + line[:COLUMNS].ljust(COLUMNS), end="", file=self._stream, flush=True)

    def _line(self) -> str:
        """Return the progress of the largest file that is not complete, and of all files."""
        open_files = [name for name, size in self._sizes.items() if self._done.get(name, 0) < size]
        name = max(open_files or self._sizes, key=lambda one: self._sizes[one])
        here = self._done.get(name, 0) + self._arriving.get(name, 0)
        line = f"{_title(name)}: {_of(min(here, self._sizes[name]), self._sizes[name])}"
        if len(self._sizes) > 1:
            line += f"; {len(self._sizes)} packages: {_of(sum(self._done.values()), sum(self._sizes.values()))}"
        return line

    def _wait(self, event: NoSourceReady) -> None:
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now + 1  # Most retries succeed within a second.
        elif now >= self._waiting_since:
            self._waiting_since = now + LINE_PERIOD_S
            reason = event.reasons[0] if event.reasons else "no source answers"
            self._print(f"waiting: {reason} (gives up in {event.patience:.0f} s)")

    def _clear(self) -> None:
        if self._painted:
            print("\r" + " " * COLUMNS + "\r", end="", file=self._stream, flush=True)
        self._painted = False


def _title(name: str) -> str:
    """Return the package and version of a wheel, by its name: "torch 2.13.0"."""
    package, _, rest = name.partition("-")
    return f"{package.replace('_', '-')} {rest.partition('-')[0].partition('+')[0]}"


def _of(done: int, size: int) -> str:
    return f"{done / 1e6:.1f} of {size / 1e6:.1f} MB"
