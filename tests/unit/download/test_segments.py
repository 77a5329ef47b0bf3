"""What is missing, and in which order it is requested."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from fmnist_fetch.download.segments import FileDownload, Segment, SegmentQueue
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Source
from fmnist_fetch.storage.part_file import PartFile
from samples import PIECE, make
from simulation import Mood, SimSource

GIVERS: list[Source] = [SimSource(f"{number}", [Mood()]) for number in range(3)]


def everything(_file: FileDownload, _piece: int) -> bool:
    return True


def new_queue() -> SegmentQueue:
    """Return a queue for the images of the usual sample, without any good piece."""
    return SegmentQueue([FileDownload(PartFile(Path("nowhere"), make().file()))])


def checkout(queue: SegmentQueue, pieces: int) -> Segment:
    segment = queue.checkout(everything, pieces * PIECE)
    assert segment is not None
    return segment


def waiting(queue: SegmentQueue) -> list[Span]:
    return [segment.span for segment in queue.waiting]


def test_a_cancelled_segment_is_the_next_to_be_checked_out() -> None:
    queue = new_queue()
    queue.cancel(checkout(queue, 3))
    assert checkout(queue, 3).span == Span(0, 3 * PIECE)


def test_after_a_failure_the_first_piece_waits_behind_all_others() -> None:
    queue, size = new_queue(), make().file().size
    queue.cancel(checkout(queue, 3), last=True)
    assert waiting(queue) == [Span(PIECE, 3 * PIECE), Span(3 * PIECE, size), Span(0, PIECE)]


def test_neighbours_that_wait_behind_the_others_are_joined_again() -> None:
    queue, size = new_queue(), make().file().size
    for _ in range(3):
        queue.cancel(checkout(queue, 1), last=True)
    assert waiting(queue) == [Span(3 * PIECE, size), Span(0, 3 * PIECE)]


def test_a_partial_piece_stays_with_its_segment() -> None:
    queue, size = new_queue(), make().file().size
    segment = checkout(queue, 2)
    assert list(queue.feed(segment, segment.position, b"x" * 400, GIVERS[0])) == []
    queue.cancel(segment, last=True)
    assert waiting(queue) == [Span(PIECE, 2 * PIECE), Span(2 * PIECE, size), Span(400, PIECE)]
    assert [bytes(segment.partial) for segment in queue.partials()] == [b"x" * 400]


def test_a_piece_that_comes_whole_is_not_copied_and_one_that_comes_in_parts_has_all_of_them() -> None:
    queue, data = new_queue(), next(iter(make().files.values()))
    segment = checkout(queue, 3)
    parts = data[: PIECE - 100], data[PIECE - 100 : 2 * PIECE], data[2 * PIECE : 3 * PIECE]
    fed = [list(queue.feed(segment, segment.position, *these)) for these in zip(parts, GIVERS, strict=True)]
    assert [[(index, bytes(piece), givers) for index, piece, givers in pieces] for pieces in fed] == [
        [],
        [(0, data[:PIECE], {GIVERS[0], GIVERS[1]}), (1, data[PIECE : 2 * PIECE], {GIVERS[1]})],
        [(2, data[2 * PIECE : 3 * PIECE], {GIVERS[2]})],
    ]
    copied = [[isinstance(piece, bytearray) for _, piece, _ in pieces] for pieces in fed]
    assert copied == [[], [True, False], [False]]
    assert segment.position == 3 * PIECE
    assert not queue.partials()


def test_every_missing_byte_waits_exactly_once_whatever_failed() -> None:
    queue, size = new_queue(), make().file().size
    for turn in range(40):
        queue.cancel(checkout(queue, 1 + turn % 5), last=turn % 3 > 0)
        spans = sorted(waiting(queue))
        assert spans[0].start == 0
        assert spans[-1].stop == size
        assert all(left.stop == right.start for left, right in pairwise(spans))
