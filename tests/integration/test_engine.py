"""The engine in a simulated world: a run always ends, does nothing wrong and requests nothing twice."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Attempted, Verified
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, Tier
from simulation import PIECE, TICK, Kind, Mood, SimSource, World

FOREVER = float("inf")
SLACK = 2 * TICK + 0.02

KINDS: list[Kind] = ["serve", "error", "gone", "silence", "stuck", "noise", "same noise"]
# Temporary failures: after one the source may be asked for anything again.
PASSING: list[Kind] = ["serve", "error", "silence", "stuck", "noise"]


def moods(kinds: list[Kind]) -> st.SearchStrategy[Mood]:
    return st.builds(
        Mood,
        kind=st.sampled_from(kinds),
        rate=st.sampled_from([10.0, 3_000.0, 50_000.0, 1e6]),
        latency=st.sampled_from([0.0, 0.2, 3.0]),
        cut=st.none() | st.sampled_from([0, 1, 5_000, 20_000]),
        retry_after=st.none() | st.sampled_from([0.0, 2.0, 1e9]),
    )


def sources(last: st.SearchStrategy[Mood], before: st.SearchStrategy[Mood]) -> st.SearchStrategy[SimSource]:
    return st.builds(
        lambda first, then, tier, connections: SimSource("a source", [*first, then], tier, connections),
        st.lists(before, max_size=6),
        last,
        st.sampled_from([Tier.USER, Tier.MIRROR]),
        st.sampled_from([None, None, 1, 2]),
    )


any_mood = moods(KINDS)
any_source = sources(any_mood, any_mood)
# A source that is right and fast enough in the end, whatever it did before.
right_mood = st.builds(Mood, rate=st.sampled_from([20_000.0, 1e6]), latency=st.sampled_from([0.0, 0.3, 8.0, 25.0]))
right_source = sources(right_mood, moods(PASSING))
honest_source = sources(right_mood, moods(["serve", "error", "silence", "stuck"]))
some_sizes = st.lists(st.integers(1, 8 * PIECE), min_size=1, max_size=3)
EAGER = Mood("error", latency=3.0, retry_after=0.0)
FALSE = Mood("noise")
calm = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def run(sizes: list[int], found: list[SimSource], **options: Any) -> tuple[World, FetchError | None]:
    """Run the world to its end; every invariant is checked at every step."""
    for source in found:
        source.asked = 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), sizes, found, **options)
        error = world.run()
        world.assert_right()
    return world, error


def complete(sizes: list[int], *found: SimSource, **options: Any) -> World:
    """Run the world to its end, where all must be there."""
    world, error = run(sizes, list(found), **options)
    assert error is None
    assert world.queue.complete
    return world


def attempts(world: World) -> list[Attempted]:
    return [event for event in world.events if isinstance(event, Attempted)]


def received(world: World, source: str = "") -> int:
    """Return how many bytes came from SOURCE, or from all."""
    return sum(event.received for event in attempts(world) if source in ("", event.source))


@calm
@given(some_sizes, st.lists(any_source, max_size=4), st.integers(1, 8), st.integers(0, 2**32))
def test_every_run_ends_within_its_patience_and_keeps_nothing_wrong(
    sizes: list[int], found: list[SimSource], jobs: int, seed: int
) -> None:
    world, error = run(sizes, found, jobs=jobs, patience=30.0, seed=seed)
    assert world.now <= world.last_progress + 30.0 + SLACK
    assert (error is None) == world.queue.complete
    pieces = [event for event in world.events if isinstance(event, Verified)]
    assert len(pieces) == sum(len(file.good) for file in world.files)
    if error is not None:
        assert error.exit_code in (3, 4)
        # One line for each source, whatever it did.
        assert len(error.message.splitlines()) == 1 + len(found)


@calm
@given(some_sizes, right_source, st.lists(any_source, max_size=3), st.integers(1, 8), st.integers(0, 2**32))
@example([3 * PIECE], SimSource("right", [Mood()]), [SimSource("stuck", [Mood("stuck")])], 4, 0)
@example([727], SimSource("slow to begin", [Mood(latency=3.0)]), [], 4, 0)
@example([3 * PIECE], SimSource("right", [Mood()]), [SimSource("wrong", [Mood("same noise")])], 4, 0)
@example([9], SimSource("failed once", [Mood("error"), Mood()]), [SimSource("again!", [EAGER]) for _ in range(2)], 1, 0)
@example([6 * PIECE], SimSource("slow once", [Mood(rate=10.0, cut=9), Mood()]), [SimSource("fast", [FALSE])], 2, 0)
def test_a_run_completes_if_a_source_is_right_in_the_end(
    sizes: list[int], right: SimSource, others: list[SimSource], jobs: int, seed: int
) -> None:
    complete(sizes, *others, right, jobs=jobs, patience=FOREVER, seed=seed)


@calm
@given(some_sizes, st.data(), st.integers(0, 2**32))
def test_a_run_completes_if_each_piece_is_right_somewhere(sizes: list[int], data: st.DataObject, seed: int) -> None:
    # Each of the two sources permanently lacks files that the other one has.
    found = [SimSource("one", [Mood()]), SimSource("two", [Mood()])]
    lost = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    for number, source in enumerate(found):
        source.lacks = {n for n in range(len(sizes)) if (n in lost) == bool(number)}
    complete(sizes, *found, patience=FOREVER, seed=seed)


@calm
@given(some_sizes, st.data(), st.integers(1, 8), st.integers(0, 2**32))
def test_a_right_source_gives_what_is_missing_once_and_nothing_else(
    sizes: list[int], data: st.DataObject, jobs: int, seed: int
) -> None:
    counts = [-(-size // PIECE) for size in sizes]
    good = [data.draw(st.sets(st.integers(0, count - 1))) for count in counts]
    world = complete(sizes, SimSource("right", [Mood()]), jobs=jobs, seed=seed, good=good)
    there = sum(
        world.files[number].pieces[index].span.length for number, indices in enumerate(good) for index in indices
    )
    assert received(world) == sum(sizes) - there


@calm
@given(some_sizes, st.integers(1, 8), st.sampled_from([1, 1000, 5000, 20_000]), st.integers(0, 2**32))
def test_cuts_cost_no_byte_twice(sizes: list[int], jobs: int, cut: int, seed: int) -> None:
    sizes = [min(size, 40 * cut) for size in sizes]
    world = complete(sizes, SimSource("cut", [Mood(cut=cut)]), jobs=jobs, patience=FOREVER, seed=seed)
    assert received(world) == sum(sizes)


@calm
@given(some_sizes, honest_source, st.lists(any_source, max_size=3), st.integers(1, 8), st.integers(0, 2**32))
# A right source that is slow to begin must not share the file with one that sends a wrong byte before each failure.
@example(
    [11_297], SimSource("", [Mood(rate=20_000.0, latency=25.0)]), [SimSource("", [Mood("noise", 10.0, cut=1)])], 1, 0
)
@example([11_297], SimSource("", [Mood(rate=200.0)]), [SimSource("", [Mood("noise", 1e6)])], 1, 0)
def test_a_file_without_piece_digests_completes_if_a_source_is_right(
    sizes: list[int], right: SimSource, others: list[SimSource], jobs: int, seed: int
) -> None:
    named = [*others, right]
    for number, source in enumerate(named):
        source.name = f"source {number}"
    world = complete(sizes, *named, jobs=jobs, patience=FOREVER, seed=seed, unverified=True)
    assert len(world.settled) == len(sizes)


def test_a_source_that_sent_all_of_a_wrong_file_is_not_asked_for_it_again() -> None:
    wrong, right = SimSource("wrong", [Mood("same noise")]), SimSource("right", [Mood()], Tier.MIRROR)
    world = complete([4 * PIECE], wrong, right, unverified=True)
    assert received(world, "wrong") == received(world, "right") == 4 * PIECE


def test_a_file_that_came_wrong_once_from_its_only_source_is_requested_again() -> None:
    world = complete([4 * PIECE], SimSource("once", [Mood("noise"), Mood()]), jobs=1, unverified=True)
    assert received(world) == 2 * 4 * PIECE


def test_a_stuck_worker_is_replaced_and_its_work_done_by_others() -> None:
    world = complete([20 * PIECE], SimSource("stuck at first", [Mood("stuck")] * 3 + [Mood()]), jobs=2)
    assert sum("sent nothing" in (event.error or "") for event in attempts(world)) >= 2
    assert world.workers > 2


def source(*moods: Mood) -> SimSource:
    return SimSource("a source", list(moods))


CRAWL, RUN, WRONG, GONE = Mood(rate=10.0), Mood(), Mood("same noise"), Mood("gone")
BUSY, BUSY_FOR_YEARS = Mood("error", retry_after=50.0), Mood("error", retry_after=1e9)
LONG = {"patience": FOREVER}
# The files, the sources, what else is set, and the least and the most seconds of a run.
TIMES: dict[str, tuple[list[int], list[SimSource], dict[str, float], float, float]] = {
    "a source that crawls is left when another one can serve": (
        [30 * PIECE],
        [source(CRAWL), source(RUN)],
        LONG,
        0,
        30,
    ),
    "the last piece of a slow connection is raced for": ([30 * PIECE], [source(CRAWL, *[RUN] * 50)], LONG, 0, 30),
    "no source is asked while its Retry-After lasts": ([PIECE], [source(BUSY, RUN)], {}, 50, FOREVER),
    "a Retry-After of years is capped": ([PIECE], [source(BUSY_FOR_YEARS, RUN)], LONG, 60, 600),
    "a busy source keeps no other one from serving": ([30 * PIECE], [source(BUSY_FOR_YEARS), source(RUN)], {}, 0, 10),
    # A piece takes longer than a second, and all of them thirty times the patience.
    "patience is reset by each good piece": (
        [30 * PIECE],
        [source(Mood(rate=PIECE / 1.5))],
        {"jobs": 1, "patience": 3.0},
        30,
        FOREVER,
    ),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_run_takes_its_time_and_no_more(name: str) -> None:
    sizes, found, options, least, most = TIMES[name]
    assert least <= complete(sizes, *found, **options).now - 1000 <= most


@pytest.mark.parametrize("latency", [6.5, 8.0, 30.0])
def test_a_late_first_byte_is_waited_for_if_no_other_source_can_serve(latency: float) -> None:
    world = complete([3 * PIECE], SimSource("cold storage", [Mood(latency=latency)]), jobs=1, patience=120.0)
    # The next attempt gets at once as much time as this one needed.
    failed = [event for event in attempts(world) if event.error]
    assert [event.received for event in failed] == [0] * len(failed)
    assert len(failed) <= 3


def test_a_source_that_was_slow_once_gets_that_time_at_once_for_every_other_file() -> None:
    world = complete([PIECE] * 6, SimSource("cold storage", [Mood(latency=8.0)]), jobs=1, patience=120.0)
    assert sum(event.error is not None for event in attempts(world)) == 1


def test_a_source_that_is_slow_to_answer_is_not_asked_for_the_same_twice() -> None:
    world = complete([40 * PIECE], SimSource("cold storage", [Mood(latency=4.0)]), patience=120.0)
    assert received(world) == 40 * PIECE


def test_a_source_that_falls_silent_now_and_then_is_given_up_as_soon_every_time() -> None:
    silent = SimSource("falls silent", [Mood(cut=100), Mood("silence"), Mood()] * 4)
    world = complete([PIECE] * 12, silent, jobs=1, patience=120.0)
    assert {event.seconds for event in attempts(world) if event.error and not event.received} == {STAGE_TIMEOUT_S}


def test_a_slow_source_is_left_as_soon_as_ever_where_another_one_can_serve() -> None:
    slow = SimSource("slow", [Mood(latency=30.0)], connections=1)
    world = complete([30 * PIECE], slow, SimSource("right", [Mood(rate=2 * PIECE)], connections=1), patience=120.0)
    assert all(event.seconds <= STAGE_TIMEOUT_S + 0.1 for event in attempts(world) if event.source == "slow")


def test_the_time_in_which_the_process_was_stopped_times_no_source_out() -> None:
    stops = [(1003.0, 3600.0), (1004.0, 15.0)]
    world = complete([30 * PIECE], SimSource("right", [Mood(rate=2 * PIECE)]), patience=20.0, stops=stops)
    assert world.now > 1000 + 3615
    assert [event.error for event in attempts(world) if event.error] == []


def test_the_time_that_the_disk_took_times_no_source_out() -> None:
    world = complete([8 * PIECE], SimSource("right", [Mood()]), jobs=1, patience=20.0, disk_s=45.0)
    assert world.now > 1000 + 2 * 45
    assert [event.error for event in attempts(world) if event.error] == []


# Wrong bytes.


def test_wrong_bytes_from_one_are_asked_for_from_the_other() -> None:
    # The right source is slow, so that the wrong one is asked again and again.
    right = SimSource("right", [Mood(rate=4000.0)], connections=1)
    world = complete([30 * PIECE], SimSource("wrong", [Mood("same noise")]), right, patience=FOREVER)
    # These bytes are wrong in the first piece of an attempt: no other attempt may ask this source for that piece again.
    starts = [event.span.start for event in attempts(world) if event.wrong]
    assert len(starts) == len(set(starts)) >= 2


def test_what_comes_after_wrong_bytes_in_the_same_answer_is_not_held_on_to() -> None:
    # One receive contains a piece and a half.
    world = complete([10 * PIECE], SimSource("wrong once", [Mood("same noise"), Mood()]), jobs=1)
    assert sum(event.wrong for event in attempts(world)) == 1


def test_what_follows_a_wrong_beginning_of_an_earlier_run_is_kept() -> None:
    # The source continues where the earlier run stopped, and is not blamed.
    world = complete([10 * PIECE], SimSource("right", [Mood()]), jobs=1, partials=[{0: b"wrong"}])
    first, then = attempts(world)
    assert (first.received, first.wrong, first.kept, first.error) == (10 * PIECE - 5, 1, 9, None)
    assert (then.received, then.wrong, then.kept, then.error) == (PIECE, 0, 1, None)


# The files, the sources, what else is set, the exit code, and the most seconds, requests and bytes.
FAILURES: dict[str, tuple[list[int], list[SimSource], dict[str, float], int, float, float, float]] = {
    "the same wrong bytes each time": ([5 * PIECE], [source(WRONG)], LONG, 3, FOREVER, 5 * 5 + 10, FOREVER),
    "a file without piece digests that is wrong everywhere": (
        [40 * PIECE],
        [source(WRONG), source(WRONG)],
        LONG | {"unverified": True},
        *(3, FOREVER, FOREVER, (1 + 2 * 3) * 40 * PIECE),
    ),
    "bytes that never make a good piece": ([5 * PIECE], [source(FALSE)], {"patience": 20.0}, 3, 20 + SLACK, 999, 9e9),
    "a final refusal everywhere": ([5 * PIECE] * 2, [source(GONE), source(GONE)], LONG, 4, 2, 2 * 2 * 4, 0),
    "no source": ([PIECE], [], LONG, 4, SLACK, 0, 0),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_run_ends_with(name: str) -> None:
    sizes, found, options, code, seconds, requests, most = FAILURES[name]
    world, error = run(sizes, found, **options)
    assert error is not None
    assert error.exit_code == code
    assert world.now - 1000 <= seconds
    assert sum(source.asked for source in found) <= requests
    assert received(world) <= most
