"""What people see while it runs: bars on a terminal, a calm line now and then elsewhere. It can never raise."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fmnist_fetch.backoff import FOREVER
from fmnist_fetch.events import Attempted, Began, Ended, Event, Listener, Stepped, Verified, Waiting

if TYPE_CHECKING:
    from tqdm import tqdm

EVERY_SECONDS = 10.0
EVERY_SHARE = 0.10
SOON = 2.0
KINDS = ("auto", "bar", "log", "none")


def listener(kind: str, stream: TextIO) -> Listener:
    """The listener for KIND: auto takes bars on a terminal and lines elsewhere. What goes wrong in it is swallowed."""
    if kind == "auto":
        kind = "bar" if stream.isatty() else "log"
    show: Listener = {"bar": Bars, "log": Lines, "none": _Nothing}[kind](stream)
    return never_raising(show)


def never_raising(listen: Listener) -> Listener:
    """LISTEN, but for its failures: a display must not cost a download."""

    def guarded(event: Event) -> None:
        with suppress(Exception):
            listen(event)

    return guarded


class _Nothing:
    def __init__(self, stream: TextIO) -> None:
        pass

    def __call__(self, event: Event) -> None:
        """Show nothing."""


class Lines:
    """A calm line every 10 % or 10 s."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._total = self._done = 0
        self._said_at, self._said_share = clock(), 0.0
        self._waiting_said: float | None = None

    def __call__(self, event: Event) -> None:
        """Say what is worth a line."""
        match event:
            case Began():
                self._total = sum(size for _, size, _ in event.files)
                self._done = sum(good for _, _, good in event.files)
                self._said_at, self._said_share = self._clock(), self._done / self._total
                self._say(beginning(event))
            case Verified():
                self._done += event.count
                self._advance()
            case Waiting():
                self._wait(event)
            case Stepped():
                self._say(event.sentence)

    def _advance(self) -> None:
        now, share = self._clock(), self._done / self._total
        if share - self._said_share >= EVERY_SHARE or now - self._said_at >= EVERY_SECONDS or share == 1:
            self._said_at, self._said_share = now, share
            self._say(f"{share:4.0%}  {size(self._done)} of {size(self._total)} verified")
        self._waiting_said = None

    def _wait(self, event: Waiting) -> None:
        now = self._clock()
        if self._waiting_said is None:
            # A retry within a moment is not worth a word.
            self._waiting_said = now + SOON
        if now >= self._waiting_said:
            self._waiting_said = now + EVERY_SECONDS
            self._say(waiting(event))

    def _say(self, sentence: str) -> None:
        print(sentence, file=self._stream, flush=True)


class Bars:
    """A tqdm bar for the whole transfer, with what happens beside it above."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: tqdm[Any] | None = None
        self._waiting_since: float | None = None

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        from tqdm import tqdm

        match event:
            case Began():
                tqdm.write(beginning(event), file=self._stream)
                self._bar = tqdm(
                    total=sum(size for _, size, _ in event.files),
                    initial=sum(good for _, _, good in event.files),
                    unit="B",
                    unit_scale=True,
                    file=self._stream,
                    dynamic_ncols=True,
                )
            case Verified() if self._bar is not None:
                self._bar.set_postfix_str("")
                self._bar.update(event.count)
                self._waiting_since = None
            case Waiting() if self._bar is not None:
                self._waiting_since = self._waiting_since or time.monotonic()
                if time.monotonic() - self._waiting_since > SOON:
                    self._bar.set_postfix_str(f"waiting for the network, {span_of_time(event.patience)} left")
            case Stepped():
                tqdm.write(event.sentence, file=self._stream)
            case Ended() if self._bar is not None:
                self._bar.close()
                self._bar = None


class Log:
    """A file with every attempt as one JSON line, for those who want to know exactly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def __call__(self, event: Event) -> None:
        """Write the line of an attempt."""
        if isinstance(event, Attempted):
            entry = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "source": event.source,
                "file": event.file,
                "span": list(event.span),
                "status": event.status,
                "bytes": event.received,
                "kept": event.kept,
                "seconds": round(event.seconds, 3),
                "verdict": event.error or "good",
            }
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def beginning(event: Began) -> str:
    """What is there already, and what is to come."""
    total = sum(size for _, size, _ in event.files)
    missing = total - sum(good for _, _, good in event.files)
    files = "1 file" if len(event.files) == 1 else f"{len(event.files)} files"
    if not event.good:
        return f"{files}, {size(total)} to fetch"
    return f"{event.good} of {event.pieces} pieces already good; {size(missing)} of {size(total)} to fetch"


def waiting(event: Waiting) -> str:
    """What is waited for, until when, and what is safe."""
    reason = event.reasons[-1] if event.reasons else "no source can serve just now"
    return f"waiting, {span_of_time(event.patience)} left ({size(event.safe)} are safe): {reason}"


def size(count: float) -> str:
    """COUNT bytes for people: 26.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def span_of_time(seconds: float) -> str:
    """SECONDS for people: 90 s, or "as long as it takes" where there is no end."""
    return "as long as it takes" if seconds == FOREVER else f"{max(0.0, seconds):.0f} s"
