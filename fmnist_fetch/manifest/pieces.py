"""Interval arithmetic: what a file consists of, and what of it is missing. Pure; opens nothing.

A span is half-open, ours; HTTP's inclusive ranges exist only in sources/.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """A half-open interval of byte offsets: start is in it, stop is not."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.stop - self.start


class Piece(NamedTuple):
    """A span of a file with the SHA-256 (lower-case hex) of its bytes: the smallest unit that can be verified."""

    span: Span
    sha256: str

    def matches(self, data: bytes | bytearray | memoryview) -> bool:
        """Return whether DATA is this piece."""
        return len(data) == self.span.length and hashlib.sha256(data).hexdigest() == self.sha256


class Splice(NamedTuple):
    """How another tool's copy (the donor) becomes upstream's file: HEAD, then the donor's bytes from offset SKIP on."""

    head: bytes
    skip: int

    def resolve(self, span: Span) -> tuple[bytes, Span]:
        """Split SPAN of the upstream file into literal bytes of the head and the donor's span that follows them."""
        literal = self.head[span.start : span.stop]
        shift = self.skip - len(self.head)
        start = max(span.start, len(self.head))
        return literal, Span(start + shift, max(start, span.stop) + shift)

    def donor_size(self, size: int) -> int:
        """Return the size in bytes of the donor of an upstream file of SIZE bytes."""
        return size - len(self.head) + self.skip


def cut(size: int, length: int) -> list[Span]:
    """Cut SIZE bytes into spans of LENGTH bytes, the last one as long as what is left."""
    # A stop is the next start, as an object too: files of gigabytes have many pieces.
    return list(map(Span._make, pairwise([*range(0, size, length), size])))


def missing(pieces: Sequence[Piece], good: Collection[int], limit: int) -> Iterator[Span]:
    """Yield the spans that complete a file: all that is not in GOOD, neighbours joined up to LIMIT bytes."""
    start = stop = 0
    for index, (span, _) in enumerate(pieces):
        if index in good:
            continue
        if span.start != stop or span.stop - start > limit:
            if start < stop:
                yield Span(start, stop)
            start = span.start
        stop = span.stop
    if start < stop:
        yield Span(start, stop)
