"""What happens during a run, told as values to whoever listens: the progress display, the log, the report."""

from collections.abc import Callable
from typing import NamedTuple

from fmnist_fetch.manifest.pieces import Span


class DownloadStarted(NamedTuple):
    """A transfer begins: FILES with their sizes in bytes, and how many pieces and bytes are good already."""

    files: tuple[tuple[str, int, int], ...]
    """Name, size, and bytes already good of each."""
    pieces: int
    good: int


class Verified(NamedTuple):
    """LENGTH bytes more of FILE are verified and on the disk."""

    file: str
    length: int


class BytesInFlight(NamedTuple):
    """The files under way just now, some times a second: name, and bytes that have come and are not verified yet."""

    files: tuple[tuple[str, int], ...]


class Attempted(NamedTuple):
    """One attempt at a source has ended: what was asked, bytes received and kept, seconds, and what went wrong.

    `wrong` counts the pieces that came with another digest than the manifest's.
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
    """No source can serve just now: the reasons, the seconds of patience left, the bytes that are safe."""

    reasons: tuple[str, ...]
    patience: float
    safe: int


class Unpacked(NamedTuple):
    """The payload FILE has been unpacked."""

    file: str


class Message(NamedTuple):
    """Another step: a sentence for people."""

    sentence: str


class Note(NamedTuple):
    """A fact for the log, which is of no use on a screen."""

    sentence: str


class DownloadEnded(NamedTuple):
    """The transfer is over, well or not."""


Event = (
    DownloadStarted | Verified | BytesInFlight | Attempted | NoSourceReady | Unpacked | Message | Note | DownloadEnded
)
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""
