"""Which source is asked next: how many connections are useful."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.scheduler import ENOUGH_BPS, ENOUGH_S, STALL_GRACE_S, Scheduler
from fmnist_fetch.download.segments import FileDownload, SegmentQueue
from fmnist_fetch.download.source_stats import (
    ARRIVING_TIMEOUT_S,
    RATE_AFTER_S,
    RATE_WINDOW_S,
    Attempt,
    final_error,
)
from fmnist_fetch.errors import SourceError, WrongBytesError
from fmnist_fetch.manifest.model import PIECE_BYTES
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import FetchOptions, Tier
from simulation import Mood, SimSource, unread

KIB, MIB = 1024, 1024 * 1024
SIZE = 64 * MIB
ENOUGH = SIZE / ENOUGH_S


def scheduler(*sources: SimSource, files: Sequence[FileDownload] | None = None) -> Scheduler:
    queue = SegmentQueue(files or [unread("data", SIZE)])
    return Scheduler(queue, sources, FetchOptions(), Patience(60.0, 0.0), lambda: 0.5)


def begin(ours: Scheduler, now: float, worker: int) -> Attempt:
    attempt = ours.next_attempt(now, worker)
    assert attempt is not None
    return attempt


def receive(ours: Scheduler, attempt: Attempt, rate: float, began: float) -> float:
    """Let ATTEMPT receive a MiB at RATE; return the time after it."""
    now = began
    for _ in range(16):
        now += 64 * KIB / rate
        attempt.segment.position += 64 * KIB
        assert ours.note_received(attempt, 64 * KIB, now) is None
    return now


def test_a_second_connection_waits_a_moment_until_the_first_one_shows_its_pace() -> None:
    ours = scheduler(SimSource("one", [Mood()]))
    begin(ours, 0.0, 0)
    assert ours.next_attempt(RATE_AFTER_S / 2, 1) is None
    assert ours.next_look(RATE_AFTER_S / 2) == RATE_AFTER_S
    begin(ours, RATE_AFTER_S, 1)


def test_a_connection_that_delivers_everything_at_once_stays_alone() -> None:
    ours = scheduler(SimSource("one", [Mood()]))
    now = receive(ours, begin(ours, 0.0, 0), 2 * ENOUGH, 0.0)
    assert ours.next_attempt(now, 1) is None


def test_slower_connections_get_company_until_they_are_fast_enough_together() -> None:
    ours = scheduler(SimSource("one", [Mood()]))
    first = begin(ours, 0.0, 0)
    now = receive(ours, first, ENOUGH / 2.5, 0.0)
    ours.note_done(first, now)
    for worker in range(3):
        begin(ours, now, worker)
    assert ours.next_attempt(now, 3) is None


@pytest.mark.parametrize(("share", "company"), [(0.9, True), (1.1, False)])
def test_a_connection_faster_than_the_disk_stays_alone_however_much_is_missing(share: float, company: bool) -> None:
    ours = scheduler(SimSource("one", [Mood()]), files=[unread("large", 1024 * MIB)])
    first = begin(ours, 0.0, 0)
    now = receive(ours, first, share * ENOUGH_BPS, 0.0)
    ours.note_done(first, now)
    begin(ours, now, 0)
    assert (ours.next_attempt(now, 1) is not None) == company


def test_a_connection_that_was_fast_and_crawls_now_gets_company() -> None:
    ours = scheduler(SimSource("one", [Mood()]))
    first = begin(ours, 0.0, 0)
    now = receive(ours, first, 2 * ENOUGH, 0.0)
    ours.note_done(first, now)
    begin(ours, now, 0)
    assert ours.next_attempt(now + RATE_AFTER_S / 2, 1) is None
    begin(ours, now + RATE_AFTER_S, 1)


def test_a_connection_that_becomes_slow_halfway_gets_company() -> None:
    ours = scheduler(SimSource("one", [Mood()]))
    now = receive(ours, begin(ours, 0.0, 0), 2 * ENOUGH, 0.0)
    assert ours.next_attempt(now, 1) is None
    begin(ours, now + 2.0, 1)


def test_a_fast_mirror_does_not_keep_workers_from_another_one() -> None:
    ours = scheduler(SimSource("one", [Mood()]), SimSource("two", [Mood()]))
    now = receive(ours, begin(ours, 0.0, 0), 2 * ENOUGH, 0.0)
    assert begin(ours, now, 1).stats is ours.sources[1]


@pytest.mark.parametrize(("count", "company"), [(2000, True), (10, False)])
def test_small_files_get_company_where_waiting_for_answers_would_take_long(count: int, company: bool) -> None:
    # Each is complete before anything is known of its connection.
    seconds, size = RATE_AFTER_S / 2, 100 * KIB
    ours = scheduler(SimSource("one", [Mood()]), files=[unread(f"file {number}", size) for number in range(count)])
    first = begin(ours, 0.0, 0)
    first.segment.position += size
    assert ours.note_received(first, size, seconds) is None
    assert ours.note_verified(first, 0, seconds)
    ours.note_done(first, seconds)
    begin(ours, seconds, 0)
    assert (ours.next_attempt(seconds, 1) is not None) == company


def test_small_files_get_company_also_behind_a_large_one_that_came_fast() -> None:
    seconds, size = RATE_AFTER_S / 2, 100 * KIB
    ours = scheduler(
        SimSource("one", [Mood()]), files=[unread("large", MIB), *(unread(f"{n}", size) for n in range(2000))]
    )
    large = begin(ours, 0.0, 0)
    now = receive(ours, large, 2 * ENOUGH_BPS, 0.0)
    assert all(ours.note_verified(large, index, now) for index in range(4))
    ours.note_done(large, now)
    first = begin(ours, now, 0)
    assert ours.next_attempt(now, 1) is None
    first.segment.position += size
    assert ours.note_received(first, size, now + seconds) is None
    assert ours.note_verified(first, 0, now + seconds)
    ours.note_done(first, now + seconds)
    begin(ours, now + seconds, 0)
    begin(ours, now + seconds, 1)


def test_under_a_limit_requests_are_short_and_slowness_is_not_the_sources_fault() -> None:
    options = FetchOptions(jobs=1, limit_rate=1000.0)
    sources = SimSource("one", [Mood()]), SimSource("two", [Mood()])
    ours = Scheduler(SegmentQueue([unread("data", SIZE)]), sources, options, Patience(60.0, 0.0), lambda: 0.5)
    attempt = begin(ours, 0.0, 0)
    assert attempt.asked.length == PIECE_BYTES
    assert ours.note_received(attempt, 5000, 2 * RATE_WINDOW_S) is None
    assert ours.note_received(attempt, 5000, 60 * RATE_WINDOW_S) is not None


def test_each_stage_of_a_connection_has_its_own_time() -> None:
    # Two addresses do not answer, the third one does.
    ours = scheduler(SimSource("one", [Mood()]))
    attempt = begin(ours, 0.0, 0)
    for stages in range(3):
        attempt.note_stages(stages, stages * attempt.timeout_s)
        assert ours.stalled(stages * attempt.timeout_s + attempt.timeout_s) == []
    assert ours.stalled(3 * attempt.timeout_s + STALL_GRACE_S) == []
    assert ours.stalled(3 * attempt.timeout_s + 2 * STALL_GRACE_S) == [attempt]


def test_a_mirror_is_asked_for_what_it_gave_wrong_only_when_nothing_else_is_left() -> None:
    pieces = Span(0, 256 * KIB), Span(256 * KIB, 512 * KIB)
    ours = scheduler(SimSource("one", [Mood()]), SimSource("two", [Mood()]), files=[unread("data", 512 * KIB)])
    attempts = begin(ours, 0.0, 0), begin(ours, 0.0, 1)
    assert [(attempt.stats.name, attempt.segment.span) for attempt in attempts] == list(
        zip(("one", "two"), pieces, strict=True)
    )
    for number, (attempt, now) in enumerate(zip(attempts, (0.0, 60.0), strict=True)):
        attempt.segment.position = attempt.segment.stop
        assert ours.note_wrong(attempt, number, "f" * 64, {attempt.stats.source})
        ours.note_failure(attempt, WrongBytesError(f"wrong bytes from {number}"), now)
    # The second one still waits, and may never come back.
    attempt = begin(ours, 60.0, 0)
    assert (attempt.stats.name, attempt.segment.span) == ("one", pieces[1])
    attempt = begin(ours, 60.0 + 2 * RATE_AFTER_S, 1)
    assert (attempt.stats.name, attempt.segment.span) == ("one", pieces[0])


def test_unverified_bytes_of_a_source_that_sent_a_wrong_piece_are_no_progress() -> None:
    """A server that sends 17 kB of garbage and closes the connection is not asked again without a wait."""
    ours, now, failures = scheduler(SimSource("garbage", [Mood()])), 0.0, []
    for wrong in (False, True, False, False):
        attempt = begin(ours, now, 0)
        ours.note_received(attempt, 17 * KIB, now)
        if wrong:
            assert ours.note_wrong(attempt, attempt.segment.start // PIECE_BYTES, "f" * 64, {attempt.stats.source})
        ours.note_failure(attempt, SourceError("hung up"), now)
        failures.append(attempt.stats.failures)
        now += 40.0
    assert failures == [0, 1, 2, 3]


def test_where_patience_is_over_a_run_still_waits_for_each_source_to_be_asked_once() -> None:
    ours, late = scheduler(SimSource("silent", [Mood()]), SimSource("other", [Mood()])), 1e6
    first = begin(ours, late, 0)
    second = begin(ours, late, 1)
    ours.note_failure(first, SourceError("sent nothing"), late)
    assert not ours.gives_up(late)
    ours.note_received(second, KIB, late)
    assert ours.gives_up(late)


def test_a_limit_of_this_machine_costs_connections_and_ends_a_run_only_where_none_is_left() -> None:
    ours = scheduler(SimSource("one", [Mood()], connections=None))
    limit = SourceError("too many are open", hint="Raise the limit.", permanent=True, is_local=True)
    first = begin(ours, 0.0, 0)
    second = begin(ours, RATE_AFTER_S, 1)
    ours.note_failure(second, limit, RATE_AFTER_S)
    assert not ours.gives_up(RATE_AFTER_S)
    ours.note_failure(first, limit, RATE_AFTER_S)
    assert ours.gives_up(RATE_AFTER_S)
    error = final_error(ours.queue, ours.sources)
    assert (error.exit_code, error.hint) == (5, "Raise the limit.")


def test_a_source_under_way_is_not_said_to_be_unasked() -> None:
    ours = scheduler(SimSource("one", [Mood()]), SimSource("other", [Mood()]))
    begin(ours, 0.0, 0)
    lines = final_error(ours.queue, ours.sources).message.splitlines()[1:]
    assert sorted(lines) == ["  one: asked, without a result so far", "  other: not asked"]


ARRIVING = SourceError("one is still downloading", retry_after=1.0, arriving=True)


def test_a_source_that_is_itself_downloading_is_waited_for_before_a_later_tier_is_asked() -> None:
    ours = scheduler(SimSource("near", [Mood()]), SimSource("far", [Mood()], Tier.MIRROR))
    ours.note_failure(begin(ours, 0.0, 0), ARRIVING, 0.0)
    assert ours.next_attempt(0.5, 0) is None
    attempt = begin(ours, 2.0, 0)
    assert attempt.stats.name == "near"
    ours.note_verified(attempt, attempt.segment.index, 20.0)
    ours.note_failure(attempt, ARRIVING, 20.0)
    assert ours.next_attempt(20.5, 0) is None
    # It says so again and again, and no piece comes.
    now = 22.0
    while now < 20.0 + ARRIVING_TIMEOUT_S:
        ours.note_failure(begin(ours, now, 0), ARRIVING, now)
        assert ours.next_attempt(now + 0.5, 0) is None
        now += 2.0
    ours.note_failure(begin(ours, now, 0), ARRIVING, now)
    assert begin(ours, now + 0.5, 0).stats.name == "far"


def test_a_copy_on_this_machine_is_not_held_back_by_a_source_that_is_itself_downloading() -> None:
    ours = scheduler(SimSource("near", [Mood()]), SimSource("copy", [Mood()], Tier.LOCAL))
    ours.note_failure(begin(ours, 0.0, 0), ARRIVING, 0.0)
    assert begin(ours, 0.5, 0).stats.name == "copy"


def test_a_source_that_is_itself_downloading_uses_up_half_of_patience_at_most() -> None:
    ours = scheduler(SimSource("near", [Mood()]), SimSource("far", [Mood()], Tier.MIRROR))
    ours.patience = Patience(6.0, 0.0)
    ours.note_failure(begin(ours, 0.0, 0), ARRIVING, 0.0)
    ours.note_failure(begin(ours, 2.9, 0), ARRIVING, 2.9)
    assert ours.next_attempt(2.95, 0) is None
    assert begin(ours, 3.0, 0).stats.name == "far"


def test_a_source_that_was_downloading_and_fails_is_not_waited_for() -> None:
    ours = scheduler(SimSource("near", [Mood()]), SimSource("far", [Mood()], Tier.MIRROR))
    ours.note_failure(begin(ours, 0.0, 0), ARRIVING, 0.0)
    ours.note_failure(begin(ours, 2.0, 0), SourceError("near hung up"), 2.0)
    assert begin(ours, 2.0, 0).stats.name == "far"
