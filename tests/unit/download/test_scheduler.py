"""Who is asked next: how many connections are of use."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.order import SOON, Attempt
from fmnist_fetch.download.scheduler import MOMENT, PLENTY, Scheduler
from fmnist_fetch.download.segments import SegmentQueue
from fmnist_fetch.errors import WrongBytesError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from simulation import Mood, SimOrigin, unread

KIB, MIB = 1024, 1024 * 1024
SIZE = 64 * MIB
ENOUGH = SIZE / MOMENT


def policy(*origins: SimOrigin, files: Sequence[DataFile] = (unread("data", SIZE),)) -> Scheduler:
    return Scheduler(SegmentQueue(files, [set() for _ in files]), origins, 4, Patience(60.0, 0.0), lambda: 0.5)


def begun(policy: Scheduler, now: float, worker: int) -> Attempt:
    order = policy.next(now, worker)
    assert order is not None
    return order


def bring(policy: Scheduler, order: Attempt, rate: float, began: float) -> float:
    """ORDER brings a MiB at RATE; returns when it was there."""
    now = began
    for _ in range(16):
        now += 64 * KIB / rate
        order.task.at += 64 * KIB
        assert policy.arrived(order, 64 * KIB, now) is None
    return now


def test_a_second_connection_waits_a_moment_until_the_first_one_shows_its_pace() -> None:
    ours = policy(SimOrigin("one", [Mood()]))
    begun(ours, 0.0, 0)
    assert ours.next(SOON / 2, 1) is None
    assert ours.wake(SOON / 2) == SOON
    begun(ours, SOON, 1)


def test_a_connection_that_brings_everything_in_a_moment_stays_alone() -> None:
    ours = policy(SimOrigin("one", [Mood()]))
    now = bring(ours, begun(ours, 0.0, 0), 2 * ENOUGH, 0.0)
    assert ours.next(now, 1) is None


def test_slower_connections_get_company_until_they_are_fast_enough_together() -> None:
    ours = policy(SimOrigin("one", [Mood()]))
    now = bring(ours, begun(ours, 0.0, 0), ENOUGH / 2.5, 0.0)
    for worker in (1, 2):
        begun(ours, now, worker)
    assert ours.next(now, 3) is None


@pytest.mark.parametrize(("share", "company"), [(0.9, True), (1.1, False)])
def test_a_connection_that_brings_more_than_can_be_used_stays_alone_however_much_is_missing(
    share: float, company: bool
) -> None:
    ours = policy(SimOrigin("one", [Mood()]), files=[unread("large", 1024 * MIB)])
    now = bring(ours, begun(ours, 0.0, 0), share * PLENTY, 0.0)
    assert (ours.next(now, 1) is not None) == company


def test_a_connection_that_was_fast_and_crawls_now_gets_company() -> None:
    ours = policy(SimOrigin("one", [Mood()]))
    first = begun(ours, 0.0, 0)
    now = bring(ours, first, 2 * ENOUGH, 0.0)
    ours.done(first, now)
    begun(ours, now, 0)
    assert ours.next(now + SOON / 2, 1) is None
    begun(ours, now + SOON, 1)


def test_a_connection_that_becomes_slow_halfway_gets_company() -> None:
    ours = policy(SimOrigin("one", [Mood()]))
    now = bring(ours, begun(ours, 0.0, 0), 2 * ENOUGH, 0.0)
    assert ours.next(now, 1) is None
    begun(ours, now + 2.0, 1)


def test_a_fast_mirror_does_not_keep_workers_from_another_one() -> None:
    ours = policy(SimOrigin("one", [Mood()]), SimOrigin("two", [Mood()]))
    now = bring(ours, begun(ours, 0.0, 0), 2 * ENOUGH, 0.0)
    assert begun(ours, now, 1).origin == 1


@pytest.mark.parametrize(("count", "company"), [(2000, True), (10, False)])
def test_small_files_get_company_where_waiting_for_answers_would_take_long(count: int, company: bool) -> None:
    # Each is there before anything can be said of the connection that brings it.
    seconds, size = SOON / 2, 100 * KIB
    ours = policy(SimOrigin("one", [Mood()]), files=[unread(f"file {number}", size) for number in range(count)])
    first = begun(ours, 0.0, 0)
    first.task.at += size
    assert ours.arrived(first, size, seconds) is None
    assert ours.verified(first, 0, seconds)
    ours.done(first, seconds)
    begun(ours, seconds, 0)
    assert (ours.next(seconds, 1) is not None) == company


def test_small_files_get_company_also_behind_a_large_one_that_came_fast() -> None:
    seconds, size = SOON / 2, 100 * KIB
    ours = policy(
        SimOrigin("one", [Mood()]), files=[unread("large", MIB), *(unread(f"{n}", size) for n in range(2000))]
    )
    large = begun(ours, 0.0, 0)
    now = bring(ours, large, 2 * PLENTY, 0.0)
    assert all(ours.verified(large, index, now) for index in range(4))
    ours.done(large, now)
    first = begun(ours, now, 0)
    assert ours.next(now, 1) is None
    first.task.at += size
    assert ours.arrived(first, size, now + seconds) is None
    assert ours.verified(first, 0, now + seconds)
    ours.done(first, now + seconds)
    begun(ours, now + seconds, 0)
    begun(ours, now + seconds, 1)


def test_a_mirror_is_asked_for_what_it_gave_wrong_only_when_nothing_else_is_left() -> None:
    pieces = Span(0, 256 * KIB), Span(256 * KIB, 512 * KIB)
    ours = policy(SimOrigin("one", [Mood()]), SimOrigin("two", [Mood()]), files=[unread("data", 512 * KIB)])
    orders = begun(ours, 0.0, 0), begun(ours, 0.0, 1)
    assert [(order.origin, order.task.span) for order in orders] == list(enumerate(pieces))
    for number, (order, now) in enumerate(zip(orders, (0.0, 60.0), strict=True)):
        order.task.at = order.task.stop
        assert ours.wrong(order, number, "f" * 64, {number})
        ours.failed(order, WrongBytesError(f"wrong bytes from {number}"), now)
    # The second one is still kept waiting, and may be gone for good.
    order = begun(ours, 60.0, 0)
    assert (order.origin, order.task.span) == (0, pieces[1])
    order = begun(ours, 60.0 + 2 * SOON, 1)
    assert (order.origin, order.task.span) == (0, pieces[0])
