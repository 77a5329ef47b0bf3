"""The statistics of one source: how long it is not asked after a failure."""

from __future__ import annotations

import pytest

from fmnist_fetch.download.backoff import FOREVER
from fmnist_fetch.download.source_stats import SourceStats
from fmnist_fetch.errors import SourceError
from fmnist_fetch.sources.base import Source, Tier
from fmnist_fetch.sources.http.source import HttpSource
from simulation import unread

FILE = unread("data", 1000)


def waited(failures: int, retry_after: float | None, random: float, patience_s: float = FOREVER) -> float:
    """Return for how many seconds a mirror is not asked after so many failures in a row."""
    source: Source = HttpSource("http://mirror.invalid/", Tier.USER)
    stats = SourceStats(source)
    for _ in range(failures):
        error = SourceError("busy", retry_after=retry_after, status=503)
        stats.note_failure(error, FILE, progress=False, now=0.0, patience_s=patience_s, random=lambda: random)
    return stats.ready_at


def test_without_retry_after_the_waits_grow() -> None:
    assert [waited(failures, None, 1.0) for failures in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, 30.0]


@pytest.mark.parametrize("failures", [1, 2, 20])
def test_retry_after_is_honoured_however_many_failures_there_were(failures: int) -> None:
    assert waited(failures, 1.0, 1.0) == 1.0
    assert waited(failures, 7.0, 0.5) == 7.0
    # Absurd values are capped, and 0 does not mean to ask without a pause.
    assert waited(failures, 1e9, 0.5) == 120.0
    assert waited(failures, 0.0, 0.5) == 0.5


@pytest.mark.parametrize(("patience_s", "wait_s"), [(60.0, 54.0), (8.0, 4.0), (1.0, 1.0)])
def test_retry_after_never_uses_up_what_is_left_of_patience(patience_s: float, wait_s: float) -> None:
    assert waited(1, 120.0, 1.0, patience_s) == wait_s


def test_the_most_telling_error_counts_until_its_file_arrives() -> None:
    stats, other = SourceStats(HttpSource("http://mirror.invalid/", Tier.USER)), unread("other", 1000)

    def fail(reason: str, telling: int) -> str:
        error = SourceError(reason, telling=telling)
        stats.note_failure(error, FILE, progress=False, now=0.0, patience_s=FOREVER, random=lambda: 0.0)
        assert stats.error
        return stats.error.message

    assert fail("it is the unpacked file", 2) == "it is the unpacked file"
    stats.note_success(other)
    assert fail("it looks cut off", 1) == "it is the unpacked file"
    stats.note_success(FILE)
    assert fail("it looks cut off", 1) == "it looks cut off"


def test_a_short_answer_never_shows_that_a_source_is_slower() -> None:
    stats = SourceStats(HttpSource("http://mirror.invalid/", Tier.USER))
    # It takes as long as an answer takes to come.
    for rate_bps, asked, known_bps in (
        (3e3, 61, 3e3),
        (5e3, 61, 5e3),
        (4e6, 2**20, 4e6),
        (3e3, 61, 4e6),
        (1e6, 2**20, 1e6),
    ):
        stats.note_rate(rate_bps, asked)
        assert stats.rate_bps == known_bps
