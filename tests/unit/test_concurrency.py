"""Work on several cores."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from fmnist_fetch.concurrency import cores, join_all, prefetch, run_parallel


def test_results_come_in_the_order_of_their_jobs() -> None:
    assert run_parallel([partial(pow, number, 2) for number in range(50)]) == [number * number for number in range(50)]


def test_without_jobs_there_are_no_results() -> None:
    assert run_parallel([]) == []


@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_two_jobs_run_at_once() -> None:
    both = threading.Barrier(2)
    assert sorted(run_parallel([lambda: both.wait(30), lambda: both.wait(30)])) == [0, 1]


@pytest.mark.parametrize("number", range(4))
def test_what_a_job_raises_is_raised_and_its_threads_are_gone(number: int) -> None:
    def fail() -> int:
        raise ValueError(number)

    before = threading.active_count()
    with pytest.raises(ValueError, match=str(number)):
        run_parallel([fail if place == number else lambda: 0 for place in range(4)])
    assert threading.active_count() == before


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that allows no more threads."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_where_no_thread_starts_the_caller_does_all_the_work() -> None:
    assert run_parallel([partial(pow, number, 2) for number in range(9)]) == [number * number for number in range(9)]
    assert list(prefetch(iter(range(9)))) == list(range(9))


def test_prefetched_items_come_in_order_and_complete() -> None:
    assert list(prefetch(iter(range(1000)))) == list(range(1000))


def test_the_next_is_made_while_the_caller_is_at_work_on_one() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    for number in prefetch(items()):
        assert number == 2 or made.wait(30)


def test_what_making_raises_is_raised_after_what_was_made_before() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("no third one")

    coming = prefetch(items())
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(ValueError, match="no third one"):
        next(coming)


def test_no_more_is_made_for_a_caller_who_has_given_up() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    before = threading.active_count()
    for number in prefetch(items()):
        if number == 3:
            break
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert len(made) < 20


def test_threads_are_joined_that_have_started_and_for_no_longer_than_all_may_take() -> None:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(3)]
    threads[0].start()
    join_all(threads, 0.01)
    assert threads[0].is_alive()
    end.set()
    join_all(threads)
    assert not threads[0].is_alive()
