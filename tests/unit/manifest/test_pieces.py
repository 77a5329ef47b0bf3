"""The laws of the arithmetic of spans."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from faults import payload
from fmnist_fetch.manifest.pieces import Piece, Span, Splice, cut, missing

SIZES = st.integers(0, 300)
LENGTHS = st.integers(1, 40)
GOOD = st.sets(st.integers(0, 60))


def pieces_of(size: int, length: int) -> list[Piece]:
    return [Piece(span, "") for span in cut(size, length)]


@given(size=SIZES, length=LENGTHS)
def test_a_cut_covers_every_byte_exactly_once_and_in_order(size: int, length: int) -> None:
    assert [byte for span in cut(size, length) for byte in range(*span)] == list(range(size))


@given(size=SIZES, length=LENGTHS)
def test_all_spans_of_a_cut_have_the_length_but_the_last_which_is_not_empty(size: int, length: int) -> None:
    spans = cut(size, length)
    assert all(span.length == length for span in spans[:-1])
    assert all(0 < span.length <= length for span in spans[-1:])


@given(size=SIZES, length=LENGTHS, good=GOOD, limit=st.integers(1, 100))
def test_every_missing_byte_is_asked_for_exactly_once(size: int, length: int, good: set[int], limit: int) -> None:
    asked = [byte for span in missing(pieces_of(size, length), good, limit) for byte in range(*span)]
    assert asked == [byte for byte in range(size) if byte // length not in good]


@given(size=SIZES, length=LENGTHS, good=GOOD, limit=st.integers(1, 100))
def test_missing_spans_are_whole_pieces_within_the_limit(size: int, length: int, good: set[int], limit: int) -> None:
    pieces = pieces_of(size, length)
    edges = {edge for span, _ in pieces for edge in span}
    for span in missing(pieces, good, limit):
        assert {span.start, span.stop} <= edges
        # A piece that is longer than the limit is still one request: a part of it cannot be verified.
        assert 0 < span.length <= max(limit, length)


@given(size=SIZES, length=LENGTHS, good=GOOD)
def test_neighbours_are_joined_where_the_limit_allows(size: int, length: int, good: set[int]) -> None:
    spans = list(missing(pieces_of(size, length), good, size + 1))
    assert all(one.stop < other.start for one, other in pairwise(spans))


@given(
    head=st.binary(max_size=50),
    skip=st.integers(0, 30),
    body=st.integers(1, 200),
    start=st.integers(0, 249),
    length=st.integers(1, 250),
)
def test_a_splice_gives_upstreams_bytes_out_of_the_donors(
    head: bytes, skip: int, body: int, start: int, length: int
) -> None:
    donor = payload(skip + body, seed=3)
    upstream = head + donor[skip:]
    start = min(start, len(upstream) - 1)
    span = Span(start, min(start + length, len(upstream)))
    splice = Splice(head, skip)
    literal, rest = splice.resolve(span)
    assert literal + donor[rest.start : rest.stop] == upstream[span.start : span.stop]
    assert len(literal) + rest.length == span.length
    assert splice.donor_size(len(upstream)) == len(donor)
