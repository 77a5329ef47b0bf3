"""Bars on a terminal: one for all that is verified, and one for each file in transfer.

tqdm draws a bar; where the bars are is decided here, since each picture has to be one write: an interrupt may come at
any moment, and must not leave half a line.
"""

import os
from typing import TextIO

from fmnist_fetch.console.formatting import encodable
from fmnist_fetch.console.output import write
from fmnist_fetch.console.progress import MAX_FILES_NAMED, ProgressState, sentence_for
from fmnist_fetch.errors import escaped, size
from fmnist_fetch.events import DownloadEnded, Event, Unpacked, Verified

PAINT_PERIOD_S = 0.1
MAX_COLUMNS = 100
DEFAULT_SHAPE = 80, 24
LABEL = "verified"
LABEL_SHARE = 0.27
"""The part of a line that the names of files may take."""
MAX_WAIT_LINES = 3
MIN_COLUMNS_FOR_SIZES = 60


class Bars:
    """The display for a terminal. Only files in transfer have a bar, however many files there are."""

    def __init__(self, state: ProgressState, stream: TextIO) -> None:
        self._state = state
        self._block = Block(stream)
        self._painted_at = -PAINT_PERIOD_S

    def __call__(self, event: Event) -> None:
        """Repaint the bars if an event is worth it."""
        state, sentence = self._state, sentence_for(event)
        if isinstance(event, Unpacked) and state.unpacked > MAX_FILES_NAMED:
            sentence = ""
        ended = isinstance(event, DownloadEnded) or (isinstance(event, Verified) and state.done == state.total)
        if sentence or ended or state.clock() - self._painted_at >= PAINT_PERIOD_S:
            self._painted_at = state.clock()
            self._block.paint(self._lines() if state.sizes else [], sentence)

    def _lines(self) -> list[str]:
        """Return the lines: all first, so that it keeps its place while the bars of files come and go."""
        state, (width, height) = self._state, self._block.shape()
        in_transfer = [name for name in state.in_flight if state.verified[name] < state.sizes[name]]
        shown = in_transfer[: max(0, min(MAX_FILES_NAMED, height - 4 - MAX_WAIT_LINES))]
        # As wide as any name, shown or not, lets the bars keep their place.
        longest = max(map(len, state.sizes), default=0)
        column = max(len(LABEL), min(longest, int(width * LABEL_SHARE)))
        lines = [_bar(LABEL.ljust(column), state.done, state.total, "", width, self._block.plain)]
        lines.append(_shortened(self._numbers(), width))
        for name in shown:
            label = _shortened(name, column).ljust(column)
            whole = state.sizes[name]
            tail = f" {size(whole):>8}" if width >= MIN_COLUMNS_FOR_SIZES else ""
            count = min(state.verified[name] + state.in_flight[name], whole)
            lines.append(_bar(label, count, whole, tail, width, self._block.plain))
        if len(in_transfer) > len(shown):
            lines.append(_shortened(f"and {len(in_transfer) - len(shown)} more files", width))
        if state.waiting:
            import textwrap

            lines += textwrap.wrap(escaped(state.waiting), width)[:MAX_WAIT_LINES]
        return lines

    def _numbers(self) -> str:
        """Return what is verified, the rate, the time left and the source, in columns that keep their places."""
        state, total = self._state, size(self._state.total)
        numbers = f"{size(state.done).rjust(max(8, len(total)))} of {total}"
        if state.rate is not None:
            numbers += f" {size(state.rate):>8}/s {state.time_left:>10}"
        return numbers + (f"  {state.origin}" if state.origin else "")


class Block:
    """Lines at the end of a terminal that are painted over. The cursor stays below them, where a prompt may come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lengths: list[int] = []
        self.plain = encodable("█▏", getattr(stream, "encoding", None) or "ascii") != "█▏"

    def shape(self) -> tuple[int, int]:
        """Return the columns that may be used, and the lines."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            columns, lines = DEFAULT_SHAPE
        # The last column stays free: some terminals begin a new line as soon as it is written to.
        return min(max(columns or DEFAULT_SHAPE[0], 2) - 1, MAX_COLUMNS), lines or DEFAULT_SHAPE[1]

    def paint(self, lines: list[str], above: str = "") -> None:
        """Replace the lines painted before, with a sentence that stays above the new ones."""
        columns = self.shape()[0] + 1
        # A terminal that became narrower has wrapped what was there.
        rows = sum(-(-length // columns) or 1 for length in self._lengths)
        text = f"\x1b[{rows}A\r" if rows else ""
        for line in map(escaped, [*([above] if above else []), *lines]):
            text += f"{line}\x1b[K\n"
        self._lengths = [len(line) for line in lines]
        write(self._stream, f"{text}\x1b[J" if rows else text)


def _bar(label: str, count: int, total: int, tail: str, width: int, plain: bool) -> str:
    """Return one line of at most `width` columns; what has no place is left out from the right."""
    from tqdm import tqdm

    # 100 % only when all is there.
    share = 1.0 if count == total else min(count / total, 0.994)
    line = "{desc} {percentage:3.0f}%|{bar}|" + tail
    return tqdm.format_meter(share, 1, 0, ncols=width, prefix=escaped(label), ascii=plain, bar_format=line)


def _shortened(text: str, width: int) -> str:
    text = escaped(text)
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."[:width]
