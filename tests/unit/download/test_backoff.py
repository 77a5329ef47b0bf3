"""The arithmetic of waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.download.backoff import BASE_S, CAP_S, FOREVER, MIN_PATIENCE_S, Patience, full_jitter

RANDOM = st.floats(0, 1, exclude_max=True)
MOMENTS = st.floats(0, 1e9)


@given(failures=st.integers(1, 10**6), random=RANDOM)
def test_a_wait_is_between_nothing_and_its_bound(failures: int, random: float) -> None:
    bound = min(CAP_S, BASE_S * 2 ** min(failures, 100))
    assert 0 <= full_jitter(failures, lambda: random) <= bound


@given(failures=st.integers(1, 1000))
def test_the_bound_grows_up_to_the_cap_and_never_over_it(failures: int) -> None:
    wait, next_one = (full_jitter(count, lambda: 1.0) for count in (failures, failures + 1))
    assert wait <= next_one <= CAP_S
    assert next_one == min(CAP_S, 2 * wait)


def test_no_failure_means_no_wait() -> None:
    assert full_jitter(0, lambda: 0.99) == 0


def test_the_jitter_is_full_so_that_a_hundred_clients_do_not_come_back_together() -> None:
    waits = [full_jitter(3, lambda share=share: share / 100) for share in range(100)]  # type: ignore[misc]
    assert waits[0] == 0
    assert len(set(waits)) == 100


@given(seconds=st.floats(MIN_PATIENCE_S, 1e6), began=MOMENTS, later=st.floats(0, 1e6))
def test_patience_ends_after_its_seconds_without_progress(seconds: float, began: float, later: float) -> None:
    assert Patience(seconds, began).exhausted(began + later) == (began + later >= began + seconds)


@given(seconds=st.floats(1, 1e6), began=MOMENTS, at=st.floats(0, 1e6))
def test_progress_begins_patience_anew(seconds: float, began: float, at: float) -> None:
    patience = Patience(seconds, began)
    patience.progress(began + at)
    assert patience.ends == began + at + seconds
    assert not patience.exhausted(began + at)


@given(moment=MOMENTS)
def test_patience_forever_never_ends(moment: float) -> None:
    assert not Patience(FOREVER, 0.0).exhausted(moment)
