"""What people see while it runs: bars on a terminal, a calm line now and then elsewhere. It can never raise."""

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from fmnist_fetch.console.formatting import SOON, beginning, counted, size, waiting
from fmnist_fetch.events import (
    Attempted,
    BytesInFlight,
    DownloadStarted,
    Event,
    Listener,
    Message,
    NoSourceReady,
    Note,
    Unpacked,
    Verified,
    silent,
)

EVERY_SECONDS = 10.0
EVERY_SHARE = 0.10
MOST_NAMES = 8
KINDS = ("auto", "bar", "log", "none")


def listener(kind: str, stream: TextIO | None) -> Listener:
    """The listener for KIND: auto takes bars on a terminal and lines elsewhere. What goes wrong in it is swallowed.

    STREAM may be None (pythonw has no stderr), or any object with a method write (IDLE, a logger).
    """
    if stream is None:
        return silent
    if kind == "auto":
        kind = "bar" if _can_paint(stream) else "log"
    return never_raising(_KINDS[kind](stream))


def never_raising(listen: Listener) -> Listener:
    """LISTEN, but for its failures: a display must not cost a download. Events reach it one at a time."""
    turn = threading.RLock()

    def guarded(event: Event) -> None:
        with suppress(Exception), turn:
            listen(event)

    return guarded


def _can_paint(stream: TextIO) -> bool:
    """Whether STREAM is a terminal on which the cursor can be sent back to what is to be painted over."""
    # IDLE's stream says that it is a terminal; it has no descriptor.
    is_terminal = hasattr(stream, "isatty") and hasattr(stream, "fileno") and stream.isatty()
    return is_terminal and os.environ.get("TERM") != "dumb" and os.name != "nt"


def _bars(stream: TextIO) -> Listener:
    from fmnist_fetch.console.bars import Bars

    return Bars(stream)


class Lines:
    """A calm line every 10 % or 10 s."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._total = self._done = self._arriving = 0
        self._said_at, self._said_share = clock(), 0.0
        self._waiting_said: float | None = None
        self._unpacked = 0

    def __call__(self, event: Event) -> None:
        """Say what is worth a line."""
        match event:
            case DownloadStarted():
                self._total = sum(size for _, size, _ in event.files)
                self._done = sum(good for _, _, good in event.files)
                self._said_at, self._said_share = self._clock(), self._done / self._total
                self._say(beginning(event))
            case Verified():
                self._done += event.length
                self._advance()
            case BytesInFlight():
                self._arrive(sum(count for _, count in event.files))
            case NoSourceReady():
                self._wait(event)
            case Unpacked():
                self._unpack(event.file)
            case Message():
                self._say(event.sentence)

    def _unpack(self, name: str) -> None:
        """Name the first; of many more, a count now and then is enough."""
        self._unpacked += 1
        now = self._clock()
        if self._unpacked <= MOST_NAMES:
            self._say(f"{name} unpacked")
        elif now - self._said_at >= EVERY_SECONDS:
            self._said_at = now
            self._say(f"{counted(self._unpacked, 'file')} unpacked")

    def _advance(self) -> None:
        now, share = self._clock(), self._done / self._total
        if share - self._said_share >= EVERY_SHARE or now - self._said_at >= EVERY_SECONDS or share == 1:
            self._said_at, self._said_share = now, share
            self._say(self._standing())
        self._waiting_said = None

    def _arrive(self, count: int) -> None:
        """On a slow line a piece may take minutes: COUNT bytes of some have come."""
        now = self._clock()
        if count > self._arriving and now - self._said_at >= EVERY_SECONDS:
            self._said_at, self._arriving = now, count
            self._say(f"{self._standing()}, {size(count)} more have come")
        self._arriving = min(self._arriving, count)

    def _standing(self) -> str:
        # Rounded down: 100 % is only what is all there.
        return f"{100 * self._done // self._total:3d}%  {size(self._done)} of {size(self._total)} verified"

    def _wait(self, event: NoSourceReady) -> None:
        now = self._clock()
        if self._waiting_said is None:
            # A retry within a moment is not worth a word.
            self._waiting_said = now + SOON
        if now >= self._waiting_said:
            self._waiting_said = now + EVERY_SECONDS
            self._say(waiting(event))

    def _say(self, sentence: str) -> None:
        print(sentence, file=self._stream, flush=True)


class Log:
    """A file with every attempt as one JSON line, for those who want to know exactly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def __call__(self, event: Event) -> None:
        """Write the line of an attempt, or of a note."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if isinstance(event, Note):
            self._write({"time": moment, "note": event.sentence})
        if isinstance(event, Attempted):
            entry = {
                "time": moment,
                "source": event.source,
                "file": event.file,
                "span": list(event.span),
                "status": event.status,
                "bytes": event.received,
                "kept": event.kept,
                "seconds": round(event.seconds, 3),
                "verdict": event.error or "good",
            }
            self._write(entry)

    def _write(self, entry: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


_KINDS: dict[str, Callable[[TextIO], Listener]] = {"bar": _bars, "log": Lines, "none": lambda _: silent}
