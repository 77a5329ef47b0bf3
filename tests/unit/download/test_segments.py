"""What is missing, and in which order it is asked for."""

from __future__ import annotations

from itertools import pairwise

from fmnist_fetch.download.segments import Segment, SegmentQueue
from fmnist_fetch.manifest.pieces import Span
from samples import PIECE, make


def everything(_file: int, _piece: int) -> bool:
    return True


def plan() -> SegmentQueue:
    """A plan for the images of the usual sample, of which nothing is there."""
    file = make().file()
    return SegmentQueue([file], [set()])


def take(whole: SegmentQueue, pieces: int) -> Segment:
    task = whole.take(everything, pieces * PIECE)
    assert task is not None
    return task


def waiting(whole: SegmentQueue) -> list[Span]:
    return [task.span for task in whole.todo]


def test_what_is_given_back_is_the_next_to_be_taken() -> None:
    whole = plan()
    whole.release(take(whole, 3))
    assert take(whole, 3).span == Span(0, 3 * PIECE)


def test_of_what_could_not_be_had_the_first_piece_waits_behind_all_others() -> None:
    whole, size = plan(), make().file().size
    whole.release(take(whole, 3), last=True)
    assert waiting(whole) == [Span(PIECE, 3 * PIECE), Span(3 * PIECE, size), Span(0, PIECE)]


def test_neighbours_that_wait_behind_the_others_are_joined_again() -> None:
    whole, size = plan(), make().file().size
    for _ in range(3):
        whole.release(take(whole, 1), last=True)
    assert waiting(whole) == [Span(3 * PIECE, size), Span(0, 3 * PIECE)]


def test_what_is_held_of_a_piece_goes_with_it() -> None:
    whole, size = plan(), make().file().size
    task = take(whole, 2)
    assert list(whole.feed(task, task.at, b"x" * 400, 0)) == []
    whole.release(task, last=True)
    assert waiting(whole) == [Span(PIECE, 2 * PIECE), Span(2 * PIECE, size), Span(400, PIECE)]
    assert [bytes(held.held) for held in whole.held()] == [b"x" * 400]


def test_a_piece_that_comes_whole_is_not_copied_and_one_that_comes_in_parts_has_all_of_them() -> None:
    whole, data = plan(), next(iter(make().files.values()))
    task = take(whole, 3)
    parts = data[: PIECE - 100], data[PIECE - 100 : 2 * PIECE], data[2 * PIECE : 3 * PIECE]
    fed = [list(whole.feed(task, task.at, part, giver)) for giver, part in enumerate(parts)]
    assert [[(index, bytes(piece), givers) for index, piece, givers in pieces] for pieces in fed] == [
        [],
        [(0, data[:PIECE], {0, 1}), (1, data[PIECE : 2 * PIECE], {1})],
        [(2, data[2 * PIECE : 3 * PIECE], {2})],
    ]
    copied = [[isinstance(piece, bytearray) for _, piece, _ in pieces] for pieces in fed]
    assert copied == [[], [True, False], [False]]
    assert task.at == 3 * PIECE
    assert not whole.held()


def test_every_missing_byte_waits_exactly_once_whatever_could_not_be_had() -> None:
    whole, size = plan(), make().file().size
    for turn in range(40):
        whole.release(take(whole, 1 + turn % 5), last=turn % 3 > 0)
        spans = sorted(waiting(whole))
        assert spans[0].start == 0
        assert spans[-1].stop == size
        assert all(left.stop == right.start for left, right in pairwise(spans))
