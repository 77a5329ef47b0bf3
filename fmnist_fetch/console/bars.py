"""Bars on a terminal: one for all that is verified, and one for each file under way.

tqdm draws a bar; where the bars stand is decided here, since each picture has to be one write: an interrupt may come at
any moment, and must not leave half a line behind.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from fmnist_fetch.console.formatting import SOON, beginning, size, span_of_time, waiting
from fmnist_fetch.events import (
    BytesInFlight,
    DownloadEnded,
    DownloadStarted,
    Event,
    Message,
    NoSourceReady,
    Unpacked,
    Verified,
)

PERIOD = 0.1
MEMORY = 15.0
"""Seconds over which a rate is taken: long enough not to jump with every piece, short enough to tell what is."""
WIDEST = 100
ALL = "verified"
MOST_FILES = 8
MOST_LINES = 3
ROOM_FOR_TAIL = 60


class Bars:
    """The display for a terminal. Files that are not under way have no bar, however many there are."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._block = Block(stream)
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._verified: dict[str, int] = {}
        self._arriving: dict[str, int] = {}
        self._total = self._done = self._longest = 0
        self._pace = Pace()
        self._waiting: tuple[float, str] | None = None
        self._painted_at = -PERIOD
        self._unpacked = 0

    def __call__(self, event: Event) -> None:
        """Take note of EVENT, and repaint the bars where that is worth it."""
        match event:
            case DownloadStarted():
                self._sizes = {name: total for name, total, _ in event.files}
                self._verified = {name: good for name, _, good in event.files}
                self._total, self._done = sum(self._sizes.values()), sum(self._verified.values())
                self._longest = max(map(len, self._sizes), default=0)
                self._paint(beginning(event))
            case Verified():
                self._verified[event.file] += event.length
                self._done += event.length
                # The next BytesInFlight tells what is left under way; until then no byte counts twice.
                self._arriving[event.file] = max(0, self._arriving.get(event.file, 0) - event.length)
                self._advance()
            case BytesInFlight():
                before, self._arriving = sum(self._arriving.values()), dict(event.files)
                under_way = sum(self._arriving.values())
                self._pace.note(self._clock(), self._done + under_way)
                self._advance(moved=under_way > before)
            case NoSourceReady():
                self._wait(event)
            case Unpacked():
                self._unpack(event.file)
            case Message():
                self._paint(event.sentence)
            case DownloadEnded():
                self._sizes = {}
                self._paint()

    def _unpack(self, name: str) -> None:
        self._unpacked += 1
        if self._unpacked <= MOST_FILES:
            self._paint(f"{name} unpacked")

    def _wait(self, event: NoSourceReady) -> None:
        since = self._waiting[0] if self._waiting else self._clock()
        self._waiting = since, waiting(event)
        if self._clock() - since > SOON:
            # How long it stood still is no measure of how fast it goes when it goes.
            self._pace = Pace()
        self._advance(moved=False)

    def _advance(self, *, moved: bool = True) -> None:
        if moved:
            self._waiting = None
        if self._clock() - self._painted_at >= PERIOD or self._done == self._total:
            self._paint()

    def _paint(self, sentence: str = "") -> None:
        self._painted_at = self._clock()
        self._block.paint(self._lines() if self._sizes else [], sentence)

    def _lines(self) -> list[str]:
        """The bars: all first, so that it keeps its place while those of files come and go."""
        width, height = self._block.shape()
        under_way = [name for name in self._arriving if self._verified[name] < self._sizes[name]]
        shown = under_way[: max(0, min(MOST_FILES, height - 4 - MOST_LINES))]
        # As wide as any name, shown or not, lets the bars keep their place.
        column = max(len(ALL), min(self._longest, width * 27 // 100))
        tail = self._tail()
        lines = [_bar(ALL.ljust(column), self._done, self._total, tail, width, self._block.plain)]
        if width < ROOM_FOR_TAIL:
            lines.append(_shortened(" ".join(tail.split()), width))
        for name in shown:
            label = _shortened(name, column).ljust(column)
            count, whole = self._verified[name] + self._arriving[name], self._sizes[name]
            lines.append(_bar(label, min(count, whole), whole, size(whole), width, self._block.plain))
        if len(under_way) > len(shown):
            lines.append(f"and {len(under_way) - len(shown)} more files"[:width])
        if self._waiting and self._clock() - self._waiting[0] > SOON:
            import textwrap

            lines += textwrap.wrap(self._waiting[1], width)[:MOST_LINES]
        return lines

    def _tail(self) -> str:
        """The numbers for all: what is verified, how fast it goes, and how long it will take at that.

        Their columns stay where they are, and so does the end of the bar.
        """
        total, rate = size(self._total), self._pace.rate()
        tail = f"{size(self._done).rjust(max(8, len(total)))} of {total}"
        if rate is None:
            return tail
        left = self._total - self._done - sum(self._arriving.values())
        time_left = f"{span_of_time(left / rate)} left" if rate >= 1 and left > 0 else ""
        return f"{tail} {size(rate):>8}/s {time_left:>10}"


class Pace:
    """How fast it has gone lately."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, now: float, count: int) -> None:
        """COUNT bytes are there at the time NOW."""
        self._marks.append((now, count))
        while len(self._marks) > 2 and self._marks[1][0] <= now - MEMORY:
            self._marks.popleft()

    def rate(self) -> float | None:
        """Bytes per second; None where it is too early to tell."""
        if not self._marks:
            return None
        (began, first), (now, last) = self._marks[0], self._marks[-1]
        return max(0, last - first) / (now - began) if now - began >= 1 else None


class Block:
    """Lines at the end of a terminal that are painted over. The cursor waits below them, where a prompt may come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lengths: list[int] = []
        self.plain = not _can_say("█▏", stream)

    def shape(self) -> tuple[int, int]:
        """Columns that may be used, and lines."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, lines = 80, 24
        # The last column stays free: some terminals begin a new line as soon as it is written to.
        return min(max(columns or 80, 2) - 1, WIDEST), lines or 24

    def paint(self, lines: list[str], above: str = "") -> None:
        """Put LINES in the place of those painted before, and the sentence ABOVE over them, for good."""
        columns = self.shape()[0] + 1
        # A terminal that became narrower has wrapped what was there.
        rows = sum(-(-length // columns) or 1 for length in self._lengths)
        text = f"\x1b[{rows}A\r" if rows else ""
        for line in [*([above] if above else []), *lines]:
            text += f"{line}\x1b[K\n"
        self._lengths = [len(line) for line in lines]
        self._stream.write(f"{text}\x1b[J" if rows else text)
        self._stream.flush()


def _bar(label: str, count: int, total: int, tail: str, width: int, plain: bool) -> str:
    """One line of at most WIDTH columns; what there is no room for is left out from the right."""
    from tqdm import tqdm

    # 100 % is only what is all there.
    share = 1.0 if count == total else min(count / total, 0.994)
    line = "{desc} {percentage:3.0f}%|{bar}|" + (f" {tail}" if width >= ROOM_FOR_TAIL else "")
    return tqdm.format_meter(share, 1, 0, ncols=width, prefix=label, ascii=plain, bar_format=line)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."[:width]


def _can_say(text: str, stream: TextIO) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
