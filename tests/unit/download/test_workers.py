"""The shared limit of the rate of the workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.download.workers import BURST_S, MIN_RECEIVE, RateLimiter
from fmnist_fetch.manifest.pieces import Span


class Clock:
    """A clock that the test sets."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 3)), min_size=1, max_size=50), st.floats(1e3, 1e7))
def test_whatever_is_received_and_when_the_rate_stays_below_its_limit(
    receives: list[tuple[int, float]], rate_bps: float
) -> None:
    clock = Clock()
    limiter, began, received = RateLimiter(rate_bps, clock), clock.now, 0
    for count, elsewhere_s in receives:
        clock.now += elsewhere_s
        received += count
        clock.now += limiter.delay(count)
        assert received <= rate_bps * (clock.now - began + BURST_S) * (1 + 1e-6)


def test_several_workers_share_one_limit() -> None:
    limiter = RateLimiter(1000.0, Clock())
    assert [round(limiter.delay(1000) + BURST_S, 6) for _ in range(3)] == [1.1, 2.1, 3.1]


def test_a_slow_rate_receives_a_little_at_a_time() -> None:
    assert RateLimiter(1e6, Clock()).next_span(Span(500, 10**9)) == Span(500, 500 + 100_000)
    assert RateLimiter(1.0, Clock()).next_span(Span(0, 10**9)) == Span(0, MIN_RECEIVE)
    assert RateLimiter(1e6, Clock()).next_span(Span(0, 10)) == Span(0, 10)


def test_without_a_limit_no_worker_waits() -> None:
    limiter = RateLimiter(None, Clock())
    assert limiter.next_span(Span(0, 10**9)) == Span(0, 10**9)
    assert [limiter.delay(10**9) for _ in range(3)] == [0.0] * 3
