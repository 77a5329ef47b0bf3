"""The sums of a run, from its events."""

from __future__ import annotations

from pathlib import Path

from fmnist_fetch.events import Attempted, DownloadEnded, DownloadStarted, Verified
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.pipeline.report import Report


def attempt(source: str, received: int, *, error: str | None = None, wrong: int = 0) -> Attempted:
    return Attempted(source, "x.gz", Span(0, 100), 206, received, received // 10, 0.5, wrong, error)


def test_bytes_are_added_up_by_source_and_failures_and_wrong_pieces_counted() -> None:
    report = Report("mine", Path("root"), Path("tensors"), also={"keras": Path("cache")})
    assert (report.received, report.retries, report.pieces) == ({}, 0, 0)
    for event in (
        DownloadStarted((("x.gz", 100, 20),), pieces=10, good=2),
        attempt("one", 100, wrong=1),
        attempt("other", 30, error="hung up"),
        attempt("one", 50, error="wrong bytes", wrong=1),
        attempt("silent", 0, error="said nothing"),
        Verified("x.gz", 10),
        DownloadEnded(),
    ):
        report.note(event)
    assert repr(report) == (
        f"Report(dataset='mine', root={Path('root')!r}, tensors={Path('tensors')!r}, seconds=0.0, pieces=10, good=2,"
        f" received={{'one': 150, 'other': 30}}, retries=3, wrong_pieces=2, also={{'keras': {Path('cache')!r}}})"
    )
