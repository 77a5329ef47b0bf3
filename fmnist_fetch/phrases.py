"""What happens and what is there, in words that people read at a glance: sizes, times, beginnings, waits, ends."""

from collections.abc import Mapping

from fmnist_fetch.backoff import FOREVER
from fmnist_fetch.events import Began, Waiting

FEW = 3
SOON = 2.0
"""Seconds of waiting before they are worth a word: a retry within a moment is not."""


def beginning(event: Began) -> str:
    """What is there already, and what is to come."""
    total = sum(size for _, size, _ in event.files)
    missing = total - sum(good for _, _, good in event.files)
    if not event.good:
        return f"{counted(len(event.files), 'file')}, {size(total)} to fetch"
    return f"{event.good} of {counted(event.pieces, 'piece')} already good; {size(missing)} of {size(total)} to fetch"


def waiting(event: Waiting) -> str:
    """What is waited for, until when, and what is safe."""
    reason = event.reasons[-1] if event.reasons else "no source can serve just now"
    return f"waiting, {span_of_time(event.patience)} left ({size(event.safe)} are safe): {reason}"


def origin_of_bytes(received: Mapping[str, int]) -> str:
    """Where the RECEIVED bytes (by source) came from; many sources are only counted."""
    if len(received) > FEW:
        return f"{size(sum(received.values()))} from {len(received)} sources"
    return " and ".join(f"{size(count)} from {source}" for source, count in received.items())


def size(count: float) -> str:
    """COUNT bytes for people: 26.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        # Not 1000: from 999.95 on it would be written as 1000.0.
        if count < (1000 if unit == "bytes" else 999.95) or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def span_of_time(seconds: float) -> str:
    """SECONDS for people: 90 s, 5 min, 3.5 h, or "as long as it takes" where there is no end."""
    if seconds == FOREVER:
        return "as long as it takes"
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """1 file, 2 files."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
