"""The engine in a simulated world: a run always ends, does nothing wrong and requests nothing twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Attempted, Verified
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, Tier
from fmnist_fetch.storage.part_file import PartFile
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


def run(
    sizes: list[int],
    found: list[SimSource],
    *,
    jobs: int = 4,
    patience: float = 60.0,
    seed: int = 0,
    good: list[set[int]] | None = None,
    partials: list[dict[int, bytes]] | None = None,
    unverified: bool = False,
) -> tuple[World, FetchError | None]:
    """Run the world to its end; every invariant is checked at every step."""
    for source in found:
        source.asked = 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), sizes, found, jobs, patience, seed, good, partials, unverified=unverified)
        error = world.run()
        world.assert_right()
    return world, error


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
    world, error = run(sizes, [*others, right], jobs=jobs, patience=FOREVER, seed=seed)
    assert error is None
    assert world.queue.complete


@calm
@given(some_sizes, st.data(), st.integers(0, 2**32))
def test_a_run_completes_if_each_piece_is_right_somewhere(sizes: list[int], data: st.DataObject, seed: int) -> None:
    # Each of the two sources permanently lacks files that the other one has.
    found = [SimSource("one", [Mood()]), SimSource("two", [Mood()])]
    lost = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    for number, source in enumerate(found):
        source.lacks = {n for n in range(len(sizes)) if (n in lost) == bool(number)}
    _, error = run(sizes, found, patience=FOREVER, seed=seed)
    assert error is None


@calm
@given(some_sizes, st.data(), st.integers(1, 8), st.integers(0, 2**32))
def test_a_right_source_gives_what_is_missing_once_and_nothing_else(
    sizes: list[int], data: st.DataObject, jobs: int, seed: int
) -> None:
    counts = [-(-size // PIECE) for size in sizes]
    good = [data.draw(st.sets(st.integers(0, count - 1))) for count in counts]
    world, error = run(sizes, [SimSource("right", [Mood()])], jobs=jobs, seed=seed, good=good)
    assert error is None
    received = sum(event.received for event in world.events if isinstance(event, Attempted))
    there = sum(
        world.files[number].pieces[index].span.length for number, indices in enumerate(good) for index in indices
    )
    assert received == sum(sizes) - there


@calm
@given(some_sizes, st.integers(1, 8), st.sampled_from([1, 1000, 5000, 20_000]), st.integers(0, 2**32))
def test_cuts_cost_no_byte_twice(sizes: list[int], jobs: int, cut: int, seed: int) -> None:
    sizes = [min(size, 40 * cut) for size in sizes]
    world, error = run(sizes, [SimSource("cut", [Mood(cut=cut)])], jobs=jobs, patience=FOREVER, seed=seed)
    assert error is None
    received = sum(event.received for event in world.events if isinstance(event, Attempted))
    assert received == sum(sizes)


@calm
@given(some_sizes, honest_source, st.lists(any_source, max_size=3), st.integers(1, 8), st.integers(0, 2**32))
def test_a_file_without_piece_digests_completes_if_a_source_is_right(
    sizes: list[int], right: SimSource, others: list[SimSource], jobs: int, seed: int
) -> None:
    named = [*others, right]
    for number, source in enumerate(named):
        source.name = f"source {number}"
    world, error = run(sizes, named, jobs=jobs, patience=FOREVER, seed=seed, unverified=True)
    assert error is None
    assert len(world.settled) == len(sizes)


def test_a_source_that_sent_all_of_a_wrong_file_is_not_asked_for_it_again() -> None:
    wrong, right = SimSource("wrong", [Mood("same noise")]), SimSource("right", [Mood()], Tier.MIRROR)
    world, error = run([4 * PIECE], [wrong, right], unverified=True)
    assert error is None
    received = {source: sum(e.received for e in attempts(world) if e.source == source) for source in ("wrong", "right")}
    assert received == {"wrong": 4 * PIECE, "right": 4 * PIECE}


def test_a_file_that_came_wrong_once_from_its_only_source_is_requested_again() -> None:
    world, error = run([4 * PIECE], [SimSource("once", [Mood("noise"), Mood()])], jobs=1, unverified=True)
    assert error is None
    assert sum(event.received for event in attempts(world)) == 2 * 4 * PIECE


def test_a_file_that_is_wrong_everywhere_ends_a_run() -> None:
    found = [SimSource(name, [Mood("same noise")]) for name in ("one", "two")]
    world, error = run([40 * PIECE], found, patience=FOREVER, unverified=True)
    assert error is not None
    assert error.exit_code == 3
    assert sum(event.received for event in attempts(world)) <= (1 + 2 * 3) * 40 * PIECE


def attempts(world: World) -> list[Attempted]:
    return [event for event in world.events if isinstance(event, Attempted)]


def test_a_stuck_worker_is_replaced_and_its_work_done_by_others() -> None:
    found = [SimSource("stuck at first", [Mood("stuck")] * 3 + [Mood()])]
    world, error = run([20 * PIECE], found, jobs=2)
    assert error is None
    assert sum("sent nothing" in (event.error or "") for event in attempts(world)) >= 2
    assert world.workers > 2


@pytest.mark.parametrize("latency", [6.5, 8.0, 30.0])
def test_a_late_first_byte_is_waited_for_if_no_other_source_can_serve(latency: float) -> None:
    world, error = run([3 * PIECE], [SimSource("cold storage", [Mood(latency=latency)])], jobs=1, patience=120.0)
    assert error is None
    # The next attempt gets at once as much time as this one needed.
    failed = [event for event in attempts(world) if event.error]
    assert [event.received for event in failed] == [0] * len(failed)
    assert len(failed) <= 3


def test_a_source_that_was_slow_once_gets_that_time_at_once_for_every_other_file() -> None:
    world, error = run([PIECE] * 6, [SimSource("cold storage", [Mood(latency=8.0)])], jobs=1, patience=120.0)
    assert error is None
    assert sum(event.error is not None for event in attempts(world)) == 1


def test_a_source_that_is_slow_to_answer_is_not_asked_for_the_same_twice() -> None:
    source = SimSource("cold storage", [Mood(latency=4.0)])
    world, error = run([40 * PIECE], [source], patience=120.0)
    assert error is None
    assert sum(event.received for event in attempts(world)) == 40 * PIECE


def test_a_source_that_falls_silent_now_and_then_is_given_up_as_soon_every_time() -> None:
    moods = [Mood(cut=100), Mood("silence"), Mood()] * 4
    world, error = run([PIECE] * 12, [SimSource("falls silent", moods)], jobs=1, patience=120.0)
    assert error is None
    assert {event.seconds for event in attempts(world) if event.error and not event.received} == {STAGE_TIMEOUT_S}


def test_a_slow_source_is_left_as_soon_as_ever_where_another_one_can_serve() -> None:
    slow = SimSource("slow", [Mood(latency=30.0)], connections=1)
    world, error = run([30 * PIECE], [slow, SimSource("right", [Mood(rate=2 * PIECE)], connections=1)], patience=120.0)
    assert error is None
    assert all(event.seconds <= STAGE_TIMEOUT_S + 0.1 for event in attempts(world) if event.source == "slow")


def test_the_time_in_which_the_process_was_stopped_times_no_source_out() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), [30 * PIECE], [SimSource("right", [Mood(rate=2 * PIECE)])], patience=20.0)
        world.stops = [(1003.0, 3600.0), (1004.0, 15.0)]
        assert world.run() is None
    assert world.now > 1000 + 3615
    assert [event.error for event in attempts(world) if event.error] == []


def test_the_time_that_the_disk_took_times_no_source_out() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), [8 * PIECE], [SimSource("right", [Mood()])], jobs=1, patience=20.0)
        world.disk_s = 45.0
        assert world.run() is None
    assert world.now > 1000 + 2 * 45
    assert [event.error for event in attempts(world) if event.error] == []


def test_a_source_that_crawls_is_left_when_another_one_can_serve() -> None:
    found = [SimSource("crawls", [Mood(rate=10.0)]), SimSource("runs", [Mood()])]
    world, error = run([30 * PIECE], found, patience=FOREVER)
    assert error is None
    assert world.now - 1000 < 30


def test_the_last_piece_of_a_slow_connection_is_raced_for() -> None:
    found = [SimSource("slow once", [Mood(rate=10.0), *[Mood()] * 50])]
    world, error = run([30 * PIECE], found, patience=FOREVER)
    assert error is None
    assert world.now - 1000 < 30


def test_no_source_is_asked_while_its_retry_after_lasts() -> None:
    found = [SimSource("busy", [Mood("error", retry_after=50.0), Mood()])]
    world, error = run([PIECE], found)
    assert error is None
    assert world.now - 1000 >= 50


def test_a_retry_after_of_years_is_capped() -> None:
    found = [SimSource("busy", [Mood("error", retry_after=1e9), Mood()])]
    world, error = run([PIECE], found, patience=FOREVER)
    assert error is None
    assert 60 <= world.now - 1000 <= 600


def test_a_busy_source_does_not_keep_another_one_from_serving() -> None:
    found = [SimSource("busy", [Mood("error", retry_after=1e9)]), SimSource("right", [Mood()])]
    world, error = run([30 * PIECE], found)
    assert error is None
    assert world.now - 1000 < 10


def test_patience_is_reset_by_each_good_piece() -> None:
    # A piece takes longer than a second, and all of them thirty times the patience.
    found = [SimSource("slow", [Mood(rate=PIECE / 1.5)])]
    world, error = run([30 * PIECE], found, jobs=1, patience=3.0)
    assert error is None
    assert world.now - 1000 > 30


def test_bytes_that_never_make_a_good_piece_do_not_reset_patience() -> None:
    world, error = run([5 * PIECE], [SimSource("noise", [Mood("noise")])], patience=20.0)
    assert error is not None
    assert world.now - 1000 <= 20 + SLACK


def test_the_same_wrong_bytes_end_a_run_even_with_patience_for_ever() -> None:
    world, error = run([5 * PIECE], [SimSource("wrong", [Mood("same noise")])], patience=FOREVER)
    assert error is not None
    assert error.exit_code == 3
    assert found_asked(world) <= 5 * 5 + 10


def found_asked(world: World) -> int:
    return sum(source.asked for source in world.sources)


def test_wrong_bytes_from_one_are_asked_for_from_the_other() -> None:
    # The right source is slow, so that the wrong one is asked again and again.
    right = SimSource("right", [Mood(rate=4000.0)], connections=1)
    world, error = run([30 * PIECE], [SimSource("wrong", [Mood("same noise")]), right], patience=FOREVER)
    assert error is None
    # These bytes are wrong in the first piece of an attempt: no other attempt may ask this source for that piece again.
    starts = [event.span.start for event in attempts(world) if event.wrong]
    assert len(starts) == len(set(starts)) >= 2


def test_what_comes_after_wrong_bytes_in_the_same_answer_is_not_held_on_to() -> None:
    # One receive contains a piece and a half.
    world, error = run([10 * PIECE], [SimSource("wrong once", [Mood("same noise"), Mood()])], jobs=1)
    assert error is None
    assert sum(event.wrong for event in attempts(world)) == 1


def test_what_follows_a_wrong_beginning_of_an_earlier_run_is_kept() -> None:
    # The source continues where the earlier run stopped, and is not blamed.
    world, error = run([10 * PIECE], [SimSource("right", [Mood()])], jobs=1, partials=[{0: b"wrong"}])
    assert error is None
    first, then = attempts(world)
    assert (first.received, first.wrong, first.kept, first.error) == (10 * PIECE - 5, 1, 9, None)
    assert (then.received, then.wrong, then.kept, then.error) == (PIECE, 0, 1, None)


def test_a_final_refusal_everywhere_ends_a_run_at_once() -> None:
    found = [SimSource("gone", [Mood("gone")]), SimSource("gone too", [Mood("gone")])]
    world, error = run([5 * PIECE, 5 * PIECE], found, patience=FOREVER)
    assert error is not None
    assert world.now - 1000 <= 2
    assert found_asked(world) <= 2 * 2 * 4


def test_a_run_without_any_source_ends_at_once() -> None:
    world, error = run([PIECE], [], patience=FOREVER)
    assert error is not None
    assert world.now - 1000 <= SLACK


def test_wrong_bytes_never_reach_the_disk_not_even_over_what_is_there(tmp_path: Path) -> None:
    world = World(tmp_path, [2 * PIECE], [])
    right, path = world.contents[0], world.files[0].part.part
    assert world.files[0].part.put(0, right[:PIECE])
    before = path.read_bytes()
    # For example, another process fills the same part file from a bad mirror.
    other = PartFile(world.files[0].part.path, world.files[0].data_file)
    assert not other.put(0, right[1 : PIECE + 1])
    assert not other.put(1, right[:PIECE])
    assert not other.put(1, right[PIECE : PIECE + 5])
    assert path.read_bytes() == before
    for part in (other, world.files[0].part):
        part.close()
