"""What a source is asked for, so that all sources end at about the same time."""

from __future__ import annotations

from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.scheduler import FIRST_LENGTH_BYTES, WORTH_REQUESTING_S, Scheduler
from fmnist_fetch.download.segments import SegmentQueue
from fmnist_fetch.download.source_stats import STEAL_AFTER_S, Attempt
from fmnist_fetch.manifest.model import PIECE_BYTES
from fmnist_fetch.sources.base import FetchOptions
from simulation import Mood, SimSource, World, unread

KIB, MIB = 1024, 1024 * 1024
SLOW, FAST = 0, 1


class Desk:
    """Two sources of known rates, slow and fast, and their attempts."""

    def __init__(self, sizes: list[int], slow: float | None, fast: float | None) -> None:
        self.queue = SegmentQueue([unread(f"file {size}", size) for size in sizes])
        found = [SimSource(name, [Mood()]) for name in ("slow", "fast")]
        self.scheduler = Scheduler(self.queue, found, FetchOptions(), Patience(inf, 0.0), lambda: 0.5)
        self.sources = self.scheduler.sources
        self.sources[SLOW].rate_bps, self.sources[FAST].rate_bps = slow, fast

    def next(self, source: int, now: float) -> Attempt | None:
        """Return the next attempt for this source, as if the other one were not ready."""
        self.sources[SLOW].ready_at = self.sources[FAST].ready_at = inf
        self.sources[source].ready_at = 0.0
        return self.scheduler.next_attempt(now, source)

    def begin(self, source: int, now: float) -> Attempt:
        attempt = self.next(source, now)
        assert attempt is not None
        return attempt


def test_who_is_asked_for_the_first_time_gets_a_small_share() -> None:
    desk = Desk([64 * MIB], None, None)
    assert desk.begin(FAST, 0.0).segment.span.length == FIRST_LENGTH_BYTES


def test_shares_are_as_large_as_rates() -> None:
    desk = Desk([64 * MIB], 1e6, 3e6)
    fast = desk.begin(FAST, 0.0).segment.span.length
    assert 0.2 < desk.begin(SLOW, 0.0).segment.span.length / fast < 0.35


def test_a_share_is_worth_the_asking_also_near_the_end() -> None:
    desk = Desk([2 * MIB], None, 10 * MIB / WORTH_REQUESTING_S)
    assert desk.begin(FAST, 0.0).segment.span.length == 2 * MIB


def test_a_source_gets_nothing_that_the_others_would_bring_sooner() -> None:
    desk = Desk([4 * MIB], PIECE_BYTES / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0)
    assert desk.next(SLOW, 0.0) is None


def test_a_slow_source_gets_the_small_piece_that_it_can_deliver_in_time() -> None:
    desk = Desk([4 * MIB, 8 * KIB], PIECE_BYTES / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0)
    assert desk.begin(SLOW, 0.0).segment.file is desk.queue.files[1]


def test_nor_does_a_further_connection_to_a_slow_one_whose_first_task_is_not_done() -> None:
    desk = Desk([4 * MIB], None, 4 * MIB)
    desk.begin(SLOW, 0.0).received = 4 * KIB
    desk.begin(FAST, 0.0)
    assert desk.next(SLOW, 0.5) is None


def test_who_failed_last_is_not_counted_on_to_bring_anything_sooner() -> None:
    desk = Desk([4 * MIB], PIECE_BYTES / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0).received = 4 * MIB
    desk.sources[FAST].failures = 1
    desk.begin(SLOW, 0.0)


def test_a_slow_origin_gets_its_share_while_the_others_are_busy_for_long() -> None:
    desk = Desk([64 * MIB], PIECE_BYTES / 2.0, 4 * MIB)
    desk.begin(FAST, 0.0)
    desk.begin(SLOW, 0.0)


def test_what_would_come_after_all_the_rest_is_stolen_at_once() -> None:
    desk = Desk([64 * MIB], None, 8 * MIB)
    crawling = desk.begin(SLOW, 0.0)
    end = crawling.segment.stop
    crawling.received = 4 * KIB
    taken = desk.begin(FAST, 2 * STEAL_AFTER_S).segment
    assert (taken.file.name, taken.start, taken.stop) == (f"file {64 * MIB}", PIECE_BYTES, end)
    assert crawling.segment.stop == PIECE_BYTES
    assert desk.queue.waiting, "other pieces wait, and may wait"


def test_what_comes_in_time_is_left_to_who_has_it_in_hand() -> None:
    desk = Desk([64 * MIB], None, 8 * MIB)
    steady = desk.begin(SLOW, 0.0)
    steady.received = MIB
    assert desk.begin(FAST, 2 * STEAL_AFTER_S).segment.start == steady.segment.stop == FIRST_LENGTH_BYTES


@given(rate=st.one_of(st.none(), st.floats(1, 1e10)), size=st.integers(1, 3 * PIECE_BYTES), now=st.floats(0, 1e6))
def test_while_no_other_worker_is_active_every_source_gets_what_waits(
    rate: float | None, size: int, now: float
) -> None:
    assert Desk([size], rate, 1e9).next(SLOW, now) is not None


@pytest.mark.parametrize("rates", [(400e3, 200e3, 40e3, 400.0), (400.0, 40e3, 200e3, 400e3), (300e3, 200e3, 100e3)])
@pytest.mark.parametrize("sizes", [[2 * MIB], [1800 * KIB, 10 * KIB, 290 * KIB, 4 * KIB]], ids=["one", "four"])
def test_unequal_sources_bring_nearly_the_sum_of_their_rates(rates: tuple[float, ...], sizes: list[int]) -> None:
    with TemporaryDirectory() as folder:
        sources = [SimSource(f"{rate}", [Mood(rate=rate, latency=0.01)]) for rate in rates]
        world = World(Path(folder), sizes, sources, jobs=len(rates))
        began = world.now
        assert world.run() is None
        assert sum(sizes) / (world.now - began) > 0.9 * sum(rates)
