"""What an origin is given to bring, so that all of them end at about the same time."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.download.allotment import FIRST_SPAN, WORTH_ASKING, Allotment
from fmnist_fetch.download.order import WORTH_A_TAKEOVER, Attempt
from fmnist_fetch.download.segments import Segment, SegmentQueue
from fmnist_fetch.download.source_stats import SourceStats
from fmnist_fetch.manifest.model import PIECE_LENGTH
from simulation import Mood, SimOrigin, World, unread

KIB, MIB = 1024, 1024 * 1024
SLOW, FAST = 0, 1


class Desk:
    """Two origins, slow and fast, of known rates, and what is under way."""

    def __init__(self, sizes: list[int], slow: float | None, fast: float | None) -> None:
        self.plan = SegmentQueue([unread(f"file {size}", size) for size in sizes], [set() for _ in sizes])
        self.standings = [SourceStats(SimOrigin(name, [Mood()])) for name in ("slow", "fast")]
        self.standings[0].rate, self.standings[1].rate = slow, fast
        self.orders: list[Attempt] = []
        self.allotment = Allotment(self.plan, self.standings, self.orders, 4)

    def next(self, origin: int, now: float) -> Segment | None:
        return self.allotment.next(origin, lambda _file, _piece: True, now)

    def begin(self, origin: int, now: float) -> Attempt:
        task = self.next(origin, now)
        assert task is not None
        order = Attempt(origin, task, origin, now)
        self.orders.append(order)
        return order


def test_who_is_asked_for_the_first_time_gets_a_small_share() -> None:
    desk = Desk([64 * MIB], None, None)
    assert desk.begin(FAST, 0.0).task.span.length == FIRST_SPAN


def test_shares_are_as_large_as_rates() -> None:
    desk = Desk([64 * MIB], 1e6, 3e6)
    fast = desk.begin(FAST, 0.0).task.span.length
    assert 0.2 < desk.begin(SLOW, 0.0).task.span.length / fast < 0.35


def test_a_share_is_worth_the_asking_also_near_the_end() -> None:
    desk = Desk([2 * MIB], None, 10 * MIB / WORTH_ASKING)
    assert desk.begin(FAST, 0.0).task.span.length == 2 * MIB


def test_an_origin_gets_nothing_that_the_others_would_bring_sooner() -> None:
    desk = Desk([4 * MIB], PIECE_LENGTH / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0)
    assert desk.next(SLOW, 0.0) is None


def test_a_slow_origin_gets_the_small_piece_that_it_brings_in_time() -> None:
    desk = Desk([4 * MIB, 8 * KIB], PIECE_LENGTH / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0)
    assert desk.begin(SLOW, 0.0).task.file == 1


def test_nor_does_a_further_connection_to_a_slow_one_whose_first_task_is_not_done() -> None:
    desk = Desk([4 * MIB], None, 4 * MIB)
    desk.begin(SLOW, 0.0).got = 4 * KIB
    desk.begin(FAST, 0.0)
    assert desk.next(SLOW, 0.5) is None


def test_who_failed_last_is_not_counted_on_to_bring_anything_sooner() -> None:
    desk = Desk([4 * MIB], PIECE_LENGTH / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0).got = 4 * MIB
    desk.standings[FAST].failures = 1
    desk.begin(SLOW, 0.0)


def test_a_slow_origin_gets_its_share_while_the_others_are_busy_for_long() -> None:
    desk = Desk([64 * MIB], PIECE_LENGTH / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0)
    desk.begin(SLOW, 0.0)


def test_what_would_come_after_all_the_rest_is_taken_over_at_once() -> None:
    desk = Desk([64 * MIB], None, 8 * MIB)
    crawling = desk.begin(SLOW, 0.0)
    end = crawling.task.stop
    crawling.got = 4 * KIB
    taken = desk.begin(FAST, 2 * WORTH_A_TAKEOVER).task
    assert (taken.file, taken.start, taken.stop) == (0, PIECE_LENGTH, end)
    assert crawling.task.stop == PIECE_LENGTH
    assert desk.plan.todo, "other pieces wait, and may wait"


def test_what_comes_in_time_is_left_to_who_has_it_in_hand() -> None:
    desk = Desk([64 * MIB], None, 8 * MIB)
    steady = desk.begin(SLOW, 0.0)
    steady.got = MIB
    assert desk.begin(FAST, 2 * WORTH_A_TAKEOVER).task.start == steady.task.stop == FIRST_SPAN


@given(rate=st.one_of(st.none(), st.floats(1, 1e10)), size=st.integers(1, 3 * PIECE_LENGTH), now=st.floats(0, 1e6))
def test_while_nobody_else_is_at_work_every_origin_gets_what_waits(rate: float | None, size: int, now: float) -> None:
    assert Desk([size], rate, 1e9).next(SLOW, now) is not None


@pytest.mark.parametrize("rates", [(400e3, 200e3, 40e3, 400.0), (400.0, 40e3, 200e3, 400e3), (300e3, 200e3, 100e3)])
@pytest.mark.parametrize("sizes", [[2 * MIB], [1800 * KIB, 10 * KIB, 290 * KIB, 4 * KIB]], ids=["one", "four"])
def test_unequal_origins_bring_nearly_the_sum_of_their_rates(rates: tuple[float, ...], sizes: list[int]) -> None:
    with TemporaryDirectory() as folder:
        origins = [SimOrigin(f"{rate}", [Mood(rate=rate, latency=0.01)]) for rate in rates]
        world = World(Path(folder), sizes, origins, jobs=len(rates))
        began = world.now
        assert world.run() is None
        assert sum(sizes) / (world.now - began) > 0.9 * sum(rates)
