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
class Stepped:
    """A step other than the transfer: a sentence for people ("train-images-idx3-ubyte unpacked")."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The transfer is over, well or not."""


Event = Began | Verified | Attempted | Waiting | Stepped | Ended
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""
