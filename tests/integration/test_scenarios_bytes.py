"""One mirror and the bytes on the disk: what is read, what is requested, how often, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults import (
    KIB,
    MIB,
    Busy,
    BusyUntil,
    CutAfter,
    CutSomewhere,
    Endless,
    Fault,
    First,
    IgnoreRange,
    Line,
    LoginPage,
    Mirror,
    On,
    Span,
    Status,
    When,
    payload,
)
from processes import fetch
from worlds import IMAGES, LABELS, PIECE, World, dataset

WIRE = 6 * MIB
FLAKY = 1.05


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, dataset())


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_every_byte_comes_exactly_once_over_several_connections(world: World, jobs: int) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        outcome = fetch(world, mirror.url, options=["--jobs", str(jobs)])
        assert mirror.served == world.data.size
        assert 1 <= mirror.connections <= jobs
    assert outcome.code == 0
    world.assert_complete()


# How much is read.


@pytest.mark.parametrize("chunked", [False, True], ids=["without a length", "in chunks"])
def test_of_an_endless_body_no_more_is_read_than_was_asked_for(world: World, chunked: bool) -> None:
    with Mirror(world.data.files, [Endless(chunked)]) as mirror:
        assert fetch(world, mirror.url).code == 0
        # When the client has enough, one block is on the way and one more is in its buffer.
        excess = [line.sent - (line.span.stop - line.span.start) for line in mirror.journal if line.span]
    assert max(excess) <= 32 * KIB
    world.assert_complete()


def test_of_an_endless_answer_to_no_range_no_more_is_read_than_the_file_has(world: World) -> None:
    with Mirror(world.data.files, [IgnoreRange(), Endless()]) as mirror:
        assert fetch(world, mirror.url).code == 0
        excess = [line.sent - len(world.data.files[line.name]) for line in mirror.journal]
    assert max(excess) <= 32 * KIB
    world.assert_complete()


def test_of_an_endless_login_page_next_to_nothing_is_read(world: World) -> None:
    with Mirror(world.data.files, [First(3, LoginPage() & Endless())]) as mirror:
        outcome = fetch(world, mirror.url)
        assert max(line.sent for line in mirror.journal[:3]) <= 128 * KIB
    assert outcome.code == 0
    world.assert_complete()


def test_ranges_that_are_ignored_cost_the_bytes_already_there_and_no_more(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), IgnoreRange(), On(IMAGES, First(1, CutAfter(MIB)))]) as mirror:
        outcome = fetch(world, mirror.url)
        assert mirror.served <= world.data.size + MIB + 64 * KIB
        assert len(mirror.of(IMAGES)) == 2
        assert all(line.ending == "complete" for line in mirror.journal[2:])
    assert outcome.code == 0
    world.assert_complete()


def test_that_ranges_are_ignored_is_remembered(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE), IgnoreRange()]) as mirror:
        outcome = fetch(world, mirror.url, options=["--jobs", "8"])
        assert [len(mirror.of(name)) for name in world.data.files] == [1, 1, 1, 1]
    assert outcome.code == 0
    world.assert_complete()


def test_a_server_that_ignores_ranges_and_cuts_is_made_use_of_as_long_as_it_gets_further(world: World) -> None:
    with Mirror(world.data.files, [IgnoreRange(), CutSomewhere(300 * KIB, 4 * MIB, seed=2)]) as mirror:
        outcome = fetch(world, mirror.url)
    assert outcome.code == 0
    world.assert_complete()


# How often requests are sent, and when.


@pytest.mark.parametrize("fault", [Busy("2"), Busy("2", 429), BusyUntil(2)], ids=["503", "429", "a date"])
def test_no_source_is_asked_before_its_retry_after_has_passed(world: World, fault: Fault) -> None:
    with Mirror(world.data.files, [First(1, fault)]) as mirror:
        assert fetch(world, mirror.url).code == 0
        first, second = mirror.journal[:2]
    assert second.when - first.when >= 1.9


def test_failures_in_a_row_are_not_hammered(world: World) -> None:
    with Mirror(world.data.files, [Status(500)]) as mirror:
        outcome = fetch(world, mirror.url, options=["--patience", "4"])
        asked = len(mirror.journal)
    assert outcome.code == 4
    assert 2 <= asked <= 20


def test_a_connection_is_used_for_many_requests(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        assert fetch(world, mirror.url).code == 0
        assert mirror.connections <= 4 < len(mirror.journal)


def test_the_request_is_honest_and_plain(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        assert fetch(world, mirror.url).code == 0
        for line in mirror.journal:
            assert line.method == "GET"
            assert line.headers["user-agent"].startswith("fmnist-fetch/")
            assert line.headers["accept-encoding"] == "identity"
            assert "if-range" not in line.headers


def test_a_second_fetch_of_a_complete_dataset_sends_no_request(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        assert fetch(world, mirror.url).code == 0
        served, connections = mirror.served, mirror.connections
        assert fetch(world, mirror.url).code == 0
        assert (mirror.served, mirror.connections) == (served, connections)
    world.assert_complete()


# Bytes that are on the disk already.


def test_what_hashes_right_in_a_part_file_is_not_asked_for_whoever_wrote_it(world: World) -> None:
    whole = world.data.files[IMAGES]
    world.raw.mkdir(parents=True)
    world.part(IMAGES).write_bytes(whole[: 10 * PIECE] + payload(5 * PIECE, 7) + whole[15 * PIECE : 20 * PIECE])
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        assert fetch(world, mirror.url).code == 0
        assert mirror.served == world.data.size - 15 * PIECE
        asked = [line.span for line in mirror.of(IMAGES) if line.span]
    assert not any(span.start < 10 * PIECE or 15 * PIECE <= span.start < 20 * PIECE for span in asked)
    world.assert_complete()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"and more",
        lambda data: payload(len(data), 8),
        lambda data: bytes(len(data) * 2),
        lambda _: b"",
    ],
    ids=["too long", "garbage", "zeros", "empty"],
)
def test_a_part_file_does_no_harm_that_is(world: World, damage: Callable[[bytes], bytes]) -> None:
    world.raw.mkdir(parents=True)
    world.part(IMAGES).write_bytes(damage(world.data.files[IMAGES]))
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        assert fetch(world, mirror.url).code == 0
        assert mirror.served <= world.data.size
    world.assert_complete()


def test_a_damaged_file_is_repaired_for_the_price_of_one_piece(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        assert fetch(world, mirror.url).code == 0
        whole, before = bytearray(world.data.files[IMAGES]), mirror.served
        whole[7 * PIECE + 5] ^= 1
        (world.raw / IMAGES).write_bytes(whole)
        outcome = fetch(world, mirror.url)
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
    world.assert_complete()


def test_a_truncated_file_is_not_taken_for_complete(world: World) -> None:
    with Mirror(world.data.files) as mirror:
        assert fetch(world, mirror.url).code == 0
        before = mirror.served
        (world.raw / IMAGES).write_bytes(world.data.files[IMAGES][: -PIECE // 2])
        assert fetch(world, mirror.url).code == 0
        assert mirror.served - before <= PIECE + len(world.data.files[IMAGES]) % PIECE
    world.assert_complete()


def test_a_resumed_download_is_not_a_full_one_in_disguise(world: World) -> None:
    with Mirror(world.data.files, [Line(WIRE)]) as mirror:
        mirror.faults.append(When(lambda request: request.served > MIB, Status(404)))
        assert fetch(world, mirror.url).code == 4
        kept, before = world.kept(), mirror.served
        world.assert_nothing_wrong()
        assert kept >= 10
        mirror.faults.pop()
        assert fetch(world, mirror.url).code == 0
        assert mirror.served <= FLAKY * world.data.size
        assert mirror.served - before <= world.data.size - kept * PIECE + PIECE
    world.assert_complete()


def test_labels_come_whole_even_a_few_bytes_at_a_time(world: World) -> None:
    with Mirror(world.data.files, [On(LABELS, CutAfter(30))]) as mirror:
        outcome = fetch(world, mirror.url)
        assert mirror.served == world.data.size
    assert outcome.code == 0
    world.assert_complete()
