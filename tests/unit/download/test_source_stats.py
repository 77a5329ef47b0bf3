"""What is known of one origin: here, how long it is left alone after a failure."""

from __future__ import annotations

import pytest

from fmnist_fetch.download.source_stats import SourceStats
from fmnist_fetch.errors import SourceError
from fmnist_fetch.sources.base import Source, Tier
from fmnist_fetch.sources.http import HttpSource


def waited(failures: int, retry_after: float | None, dice: float) -> float:
    """The seconds for which a mirror is left alone after so many failures in a row."""
    origin: Source = HttpSource("http://mirror.invalid/", Tier.USER)
    standing = SourceStats(origin)
    for _ in range(failures):
        error = SourceError("busy", retry_after=retry_after, status=503)
        standing.failed(error, 0, progress=False, now=0.0, dice=lambda: dice)
    return standing.ready


def test_who_is_not_told_when_to_come_again_guesses_ever_longer_waits() -> None:
    assert [waited(failures, None, 1.0) for failures in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, 30.0]


@pytest.mark.parametrize("failures", [1, 2, 20])
def test_who_is_told_when_to_come_again_comes_then_however_often_that_was(failures: int) -> None:
    assert waited(failures, 1.0, 1.0) == 1.0
    assert waited(failures, 7.0, 0.5) == 7.0
    # A cap holds for what is absurd, and 0 does not mean to hammer.
    assert waited(failures, 1e9, 0.5) == 120.0
    assert waited(failures, 0.0, 0.5) == 0.5
