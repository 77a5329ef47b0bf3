"""Sizes, times, beginnings and waits in words that people read at a glance; tables, and maps of damage."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from fmnist_fetch.download.backoff import FOREVER
from fmnist_fetch.events import DownloadStarted, NoSourceReady

GAP = "  "
GOOD, BAD = ".", "x"
FEW = 3
SOON = 2.0
"""Seconds of waiting before they are worth a word: a retry within a moment is not."""


def beginning(event: DownloadStarted) -> str:
    """What is there already, and what is to come."""
    total = sum(size for _, size, _ in event.files)
    missing = total - sum(good for _, _, good in event.files)
    if not event.good:
        return f"{counted(len(event.files), 'file')}, {size(total)} to fetch"
    return f"{event.good} of {counted(event.pieces, 'piece')} already good; {size(missing)} of {size(total)} to fetch"


def waiting(event: NoSourceReady) -> str:
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


def width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none, and lines may be as long as they like."""
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    return None


def wrapped(sentence: str) -> str:
    """SENTENCE as a person likes to have it on a terminal: cut between words, and never within a path or a URL."""
    columns = width()
    if columns is None or len(sentence) <= columns:
        return sentence
    import textwrap

    return textwrap.fill(sentence, columns, break_long_words=False, break_on_hyphens=False)


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), spare: Sequence[int] = (), width: int | None = None
) -> list[str]:
    """ROWS as lines with columns that line up, those RIGHT to the right; all rows have as many cells.

    Where a line would be longer than WIDTH, the columns SPARE are left out, one after the other.
    """
    columns = list(range(len(rows[0])))
    widths = [max(len(row[column]) for row in rows) for column in columns]
    for column in spare:
        if width is None or sum(widths[kept] for kept in columns) + len(GAP) * (len(columns) - 1) <= width:
            break
        columns.remove(column)
    adjust = [str.rjust if column in right else str.ljust for column in range(len(widths))]
    return [GAP.join(adjust[at](row[at], widths[at]) for at in columns).rstrip() for row in rows]


def damage(count: int, bad: Collection[int], most: int) -> tuple[str, int]:
    """COUNT pieces as a row of at most MOST cells, x where one of BAD is; and how many pieces a cell stands for."""
    group = -(-count // max(1, most))
    cells = [BAD if any(piece in bad for piece in range(at, at + group)) else GOOD for at in range(0, count, group)]
    return "".join(cells), group
