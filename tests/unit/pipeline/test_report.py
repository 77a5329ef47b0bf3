"""The sums of a run, from its events."""

from __future__ import annotations

from pathlib import Path

from fmnist_fetch.events import Attempted, DownloadEnded, DownloadStarted, Verified
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.pipeline.report import Report


def attempt(source: str, received: int, *, error: str | None = None, wrong: int = 0) -> Attempted:
    return Attempted(source, "x.gz", Span(0, 100), 206, received, received // 10, 0.5, wrong, error)


def test_bytes_are_added_up_by_source_and_failures_counted() -> None:
    report = Report("mine", Path("root"), Path("tensors"))
    report.note(DownloadStarted((("x.gz", 100, 20),), pieces=10, good=2))
    for event in (
        attempt("one", 100),
        attempt("other", 30, error="hung up"),
        attempt("one", 50, error="wrong bytes", wrong=1),
        attempt("silent", 0, error="said nothing"),
        Verified("x.gz", 10),
        DownloadEnded(),
    ):
        report.note(event)
    assert report.received == {"one": 150, "other": 30}
    assert (report.pieces, report.good, report.retries, report.wrong_pieces) == (10, 2, 3, 1)


def test_a_wrong_piece_counts_also_in_an_attempt_that_went_on() -> None:
    report = Report("mine", Path("root"), Path("tensors"))
    report.note(attempt("one", 100, wrong=1))
    assert (report.retries, report.wrong_pieces) == (0, 1)


def test_a_run_without_a_transfer_received_nothing() -> None:
    report = Report("mine", Path("root"), Path("tensors"))
    assert (report.received, report.retries, report.pieces) == ({}, 0, 0)


def test_a_report_shows_all_that_it_knows() -> None:
    report = Report("mine", Path("root"), Path("tensors"), also={"keras": Path("cache")})
    report.note(attempt("one", 100))
    assert repr(report) == (
        f"Report(dataset='mine', root={Path('root')!r}, tensors={Path('tensors')!r}, seconds=0.0, pieces=0, good=0,"
        f" received={{'one': 100}}, retries=0, wrong_pieces=0, also={{'keras': {Path('cache')!r}}})"
    )
