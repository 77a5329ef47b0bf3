"""alongside: work on several cores."""

import threading
from functools import partial

import pytest

from fmnist_fetch.alongside import cores, together


def test_results_come_in_the_order_of_their_jobs() -> None:
    assert together([partial(pow, number, 2) for number in range(50)]) == [number * number for number in range(50)]


def test_nothing_to_do_is_done() -> None:
    assert together([]) == []


@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_two_jobs_run_at_once() -> None:
    both = threading.Barrier(2)
    assert sorted(together([lambda: both.wait(30), lambda: both.wait(30)])) == [0, 1]


@pytest.mark.parametrize("number", range(4))
def test_what_a_job_raises_is_raised_and_its_threads_are_gone(number: int) -> None:
    def fail() -> int:
        raise ValueError(number)

    before = threading.active_count()
    with pytest.raises(ValueError, match=str(number)):
        together([fail if place == number else lambda: 0 for place in range(4)])
    assert threading.active_count() == before
