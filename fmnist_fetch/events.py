"""The events of a run, as values for listeners: the display of progress, the log and the report."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fmnist_fetch.manifest.pieces import Span


class DownloadStarted(NamedTuple):
    """A download begins.

    Attributes:
        files: The name of each file, its size and how many of its bytes are good already.
        pieces: The number of pieces of all files.
        good: How many of the pieces are good already.
    """

    files: tuple[tuple[str, int, int], ...]
    pieces: int
    good: int


class Verified(NamedTuple):
    """Further bytes of a file are verified and on the disk.

    Both numbers are negative for a file without piece digests, such as a wheel, that is wrong as a whole.

    Attributes:
        file: The name of the file.
        length: The number of bytes.
        pieces: The number of pieces.
    """

    file: str
    length: int
    pieces: int = 1


class BytesInFlight(NamedTuple):
    """The files in transfer just now; reported some times a second.

    Attributes:
        files: The name of each file, and how many of its bytes have arrived and are not verified yet.
        sources: The names of the sources that deliver them.
    """

    files: tuple[tuple[str, int], ...]
    sources: tuple[str, ...] = ()


class Attempted(NamedTuple):
    """One request to a source has ended.

    Attributes:
        source: The name of the source.
        file: The name of the file.
        span: The bytes that were asked for.
        status: The HTTP status code of the answer, if there was one.
        received: The bytes that arrived.
        kept: Those of them that were verified and kept.
        seconds: The time that it took.
        wrong: The pieces that arrived with another digest than the manifest's.
        error: What went wrong, if anything did.
    """

    source: str
    file: str
    span: Span
    status: int | None
    received: int
    kept: int
    seconds: float
    wrong: int
    error: str | None


class NoSourceReady(NamedTuple):
    """No source can serve just now.

    Attributes:
        reasons: What the sources answered.
        patience: The seconds after which the run gives up.
        safe: The bytes that are verified and on the disk.
    """

    reasons: tuple[str, ...]
    patience: float
    safe: int


class Unpacked(NamedTuple):
    """A payload has been unpacked.

    Attributes:
        file: The name of the payload.
    """

    file: str


class Message(NamedTuple):
    """Another step of the run.

    Attributes:
        sentence: A sentence for people.
    """

    sentence: str


class Note(NamedTuple):
    """A fact for the log only.

    Attributes:
        sentence: A sentence for people.
    """

    sentence: str


class DownloadEnded(NamedTuple):
    """The download is over, successful or not."""


Event = (
    DownloadStarted | Verified | BytesInFlight | Attempted | NoSourceReady | Unpacked | Message | Note | DownloadEnded
)
Listener = Callable[[Event], None]


class Dispatcher:
    """Passes the events of all threads to several listeners, one event at a time.

    An exception of a listener is ignored: a display that fails must not end a download.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners: list[Listener] = []
        for listener in listeners:
            # One lock for all: the listeners of another dispatcher become those of this one.
            self._listeners += listener._listeners if isinstance(listener, Dispatcher) else [listener]
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        """Pass an event to each listener."""
        with self._lock:
            for listener in self._listeners:
                with suppress(Exception):
                    listener(event)


def silent(event: Event) -> None:
    """Ignore an event."""
