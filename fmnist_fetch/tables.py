"""Tables and maps of text: columns that line up, and a row of cells that shows where a file is damaged."""

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress

GAP = "  "
GOOD, BAD = ".", "x"


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
