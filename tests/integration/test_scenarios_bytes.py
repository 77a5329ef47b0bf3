"""One mirror and the bytes on the disk: what is read, what is requested, how often, and what is kept."""

from __future__ import annotations

import pytest

import faults
from faults import KIB, MIB, CutAfter, Fault, First, IgnoreRange, Line, Mirror, On, Span, Status, payload
from processes import fetch
from wire import flipped
from worlds import IMAGES, PIECE, World

WIRE = 6 * MIB


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_every_byte_comes_exactly_once_over_several_connections(world: World, jobs: int) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        fetch(world, mirror.url, options=["--jobs", str(jobs)], code=0)
        assert mirror.served == world.data.size
        assert 1 <= mirror.connections <= jobs


# How much is read.


@pytest.mark.parametrize(
    "wrong",
    [[faults.Endless()], [faults.Endless(chunked=True)], [IgnoreRange(), faults.Endless()]],
    ids=["without a length", "in chunks", "to no range"],
)
def test_of_an_endless_body_no_more_is_read_than_was_asked_for(world: World, wrong: list[Fault]) -> None:
    with Mirror(world.data.files, wrong) as mirror:
        fetch(world, mirror.url, code=0)
        # When the client has enough, one block is on the way and one more is in its buffer.
        for line in mirror.journal:
            wanted = line.span.stop - line.span.start if line.span and len(wrong) == 1 else mirror.size(line.name)
            assert line.sent <= wanted + 32 * KIB


def test_of_an_endless_login_page_next_to_nothing_is_read(world: World) -> None:
    with Mirror(world.data.files, [First(3, faults.LoginPage() & faults.Endless())]) as mirror:
        fetch(world, mirror.url, code=0)
        assert max(line.sent for line in mirror.journal[:3]) <= 128 * KIB


def test_that_ranges_are_ignored_is_remembered_and_costs_the_bytes_already_there_and_no_more(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), IgnoreRange(), On(IMAGES, First(1, CutAfter(MIB)))]) as mirror:
        fetch(world, mirror.url, options=["--jobs", "8"], code=0)
        assert mirror.served <= world.data.size + MIB + 64 * KIB
        assert sorted(len(mirror.of(name)) for name in world.data.files) == [1, 1, 1, 2]
        assert all(line.ending == "complete" for line in mirror.journal[2:])


def test_a_server_that_ignores_ranges_and_cuts_is_made_use_of_as_long_as_it_gets_further(world: World) -> None:
    with Mirror(world.data.files, [IgnoreRange(), faults.CutSomewhere(300 * KIB, 4 * MIB, seed=2)]) as mirror:
        fetch(world, mirror.url, code=0)


# How often requests are sent.


def test_failures_in_a_row_are_not_hammered(world: World) -> None:
    with Mirror(world.data.files, [Status(500)]) as mirror:
        fetch(world, mirror.url, options=["--patience", "4"], code=4)
        assert 2 <= len(mirror.journal) <= 20


# Bytes that are on the disk already.


def test_what_hashes_right_in_a_part_file_is_not_asked_for_whoever_wrote_it(world: World) -> None:
    whole = world.data.files[IMAGES]
    world.raw.mkdir(parents=True)
    world.part(IMAGES).write_bytes(whole[: 10 * PIECE] + payload(5 * PIECE, 7) + whole[15 * PIECE : 20 * PIECE])
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        fetch(world, mirror.url, code=0)
        assert mirror.served == world.data.size - 15 * PIECE
        asked = [line.span for line in mirror.of(IMAGES) if line.span]
    assert not any(span.start < 10 * PIECE or 15 * PIECE <= span.start < 20 * PIECE for span in asked)


def test_a_damaged_file_is_repaired_for_the_price_of_one_piece(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        fetch(world, mirror.url, code=0)
        whole, before = world.data.files[IMAGES], mirror.served
        (world.raw / IMAGES).write_bytes(flipped(whole, 7 * PIECE + 5))
        outcome = fetch(world, mirror.url, code=0)
        assert mirror.served - before == PIECE
        assert mirror.asked[-1] == Span(7 * PIECE, 8 * PIECE)
    # Its only report is the one piece, too.
    count = -(-len(whole) // PIECE)
    assert outcome.err.startswith(
        f"{world.raw / IMAGES} is damaged; its good pieces are kept\n"
        f"{count - 1} of {count} pieces already good; 65.5 kB of "
    )
    assert outcome.result["received"] == {mirror.url: PIECE}
    assert outcome.result["retries"] == outcome.result["wrong_pieces"] == 0
