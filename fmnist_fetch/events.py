"""What happens during a run, told as values to whoever listens: the progress display, the log, the report."""

from collections.abc import Callable
from dataclasses import dataclass

from fmnist_fetch.spans import Span


@dataclass(frozen=True, slots=True)
class Began:
    """A transfer begins: FILES with their sizes in bytes, and how many pieces and bytes are good already."""

    files: tuple[tuple[str, int, int], ...]
    """Name, size, and bytes already good of each."""
    pieces: int
    good: int


@dataclass(frozen=True, slots=True)
class Verified:
    """COUNT bytes more of FILE are verified and on the disk."""

    file: str
    count: int


@dataclass(frozen=True, slots=True)
class Arriving:
    """The files under way just now, some times a second: name, and bytes that have come and are not verified yet."""

    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Attempted:
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """No source can serve just now: the reasons, the seconds of patience left, the bytes that are safe."""

    reasons: tuple[str, ...]
    patience: float
    safe: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The payload FILE has been unpacked."""

    file: str


@dataclass(frozen=True, slots=True)
class Stepped:
    """Another step: a sentence for people."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The transfer is over, well or not."""


Event = Began | Verified | Arriving | Attempted | Waiting | Unpacked | Stepped | Ended
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""
