"""The workers: the shared limit of their rate, and sources that raise other exceptions than SourceError."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import payload
from fmnist_fetch.download.engine import MAX_REPLACED, download
from fmnist_fetch.download.workers import BURST_S, MIN_RECEIVE_BYTES, RateLimiter
from fmnist_fetch.errors import DiskError, PartFileReplacedError
from fmnist_fetch.events import Attempted, DownloadEnded, Event
from fmnist_fetch.manifest.model import DataFile, Payload
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import FetchOptions, Tier
from fmnist_fetch.storage import part_file
from fmnist_fetch.storage.part_file import PartFile
from samples import PIECE, file_of, sha256

DATA = payload(4 * PIECE, seed=22)
FILE = file_of("data", DATA, Payload("data", len(DATA), sha256(DATA)), "train", "images")


@dataclass(eq=False)
class RaisingSource:
    """A source, and its connection, that serves SERVED bytes and then raises FAILURE from the methods in PLACES."""

    name: str
    failure: BaseException
    places: tuple[str, ...] = ("read",)
    served: int = 0
    tier: Tier = Tier.USER
    connections: int | None = 1
    status: int | None = None
    oddity: str | None = None
    note: str | None = None
    timeout_s: float = 1.0
    stages: int = 0

    def reach(self, place: str) -> None:
        """Raise the failure if it belongs here."""
        if place in self.places:
            raise self.failure

    @property
    def pending(self) -> int:
        """Nothing is on its way."""
        self.reach("pending")
        return 0

    def open(self) -> RaisingSource:
        """Be the connection, too."""
        self.reach("open")
        return self

    def read(self, file: DataFile, span: Span) -> bytes:
        """Return one byte at least, and none past those that are served."""
        assert file is FILE
        if span.start >= self.served:
            self.reach("read")
        return DATA[span.start : min(span.stop, self.served if "read" in self.places else span.stop)]

    def stop(self) -> None:
        """Nothing to end."""
        self.reach("stop")

    def close(self) -> None:
        """Nothing to close."""
        self.reach("close")


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
    assert RateLimiter(1.0, Clock()).next_span(Span(0, 10**9)) == Span(0, MIN_RECEIVE_BYTES)
    assert RateLimiter(1e6, Clock()).next_span(Span(0, 10)) == Span(0, 10)


def test_without_a_limit_no_worker_waits() -> None:
    limiter = RateLimiter(None, Clock())
    assert limiter.next_span(Span(0, 10**9)) == Span(0, 10**9)
    assert [limiter.delay(10**9) for _ in range(3)] == [0.0] * 3


def attempts(folder: Path, *sources: RaisingSource) -> list[Attempted]:
    """Download the file to FOLDER; return how the sources did."""
    events: list[Event] = []
    download([FILE], folder, sources, FetchOptions(jobs=1, patience=0.5), events.append)
    return [event for event in events if isinstance(event, Attempted)]


@pytest.mark.parametrize("place", ["open", "read"])
def test_whatever_a_source_raises_is_a_failed_attempt_of_that_source(tmp_path: Path, place: str) -> None:
    strange = RaisingSource("strange", ValueError("Exceeds the limit (4300 digits)"), (place,))
    ended = attempts(tmp_path, strange, RaisingSource("right", KeyError(), ()))
    assert {(attempt.source, attempt.error) for attempt in ended} == {
        ("strange", "strange: ValueError: Exceeds the limit (4300 digits)"),
        ("right", None),
    }
    assert (tmp_path / "data").read_bytes() == DATA


def test_what_a_source_raises_when_it_is_closed_stopped_or_watched_is_ignored(tmp_path: Path) -> None:
    places = ("close", "stop", "pending")
    assert [attempt.error for attempt in attempts(tmp_path, RaisingSource("odd", KeyError(), places))] == [None]
    assert (tmp_path / "data").read_bytes() == DATA


@pytest.mark.parametrize(
    "failure", [DiskError("the disk is full", hint="Free some."), MemoryError(), KeyboardInterrupt()]
)
def test_no_source_is_to_blame_for_this_machine_and_its_user(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)) as raised:
        attempts(
            tmp_path, RaisingSource("first", failure, served=2 * PIECE + 10), RaisingSource("second", KeyError(), ())
        )
    assert raised.value is failure
    assert not (tmp_path / "data").exists()
    stored = (tmp_path / "data.part").read_bytes()
    assert stored[: 2 * PIECE] == DATA[: 2 * PIECE]
    assert not stored[2 * PIECE :].strip(b"\0")


@dataclass(eq=False)
class Rival(RaisingSource):
    """A source during whose first reads another process removes the part file PART."""

    part: PartFile | None = None
    times: int = 0

    def read(self, file: DataFile, span: Span) -> bytes:
        """Return the bytes of SPAN."""
        if self.part and self.times:
            self.times -= 1
            self.part.part.unlink()
        return super().read(file, span)


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PartFile:
    """A part file that has the first piece; between two pieces it is closed, as where many files are open."""
    monkeypatch.setattr(part_file, "MOST_DESCRIPTORS", 0)
    return begin(tmp_path)


def begin(folder: Path) -> PartFile:
    """Put the first piece into the part file in FOLDER."""
    part = PartFile(folder / "data", FILE)
    assert part.put(0, DATA[:PIECE])
    part.close()
    return part


def test_a_file_whose_part_file_another_process_removes_is_completed_all_the_same(
    tmp_path: Path, part: PartFile
) -> None:
    ended = attempts(tmp_path, Rival("mirror", KeyError(), (), part=part, times=1))
    # The first piece is gone, too.
    assert [attempt.span for attempt in ended] == [Span(0, len(DATA))]
    assert part.path.read_bytes() == DATA


def test_a_part_file_that_is_removed_again_and_again_ends_the_download(tmp_path: Path, part: PartFile) -> None:
    rival = Rival("mirror", KeyError(), (), part=part, times=1)
    rounds = 0

    def begin_again(event: Event) -> None:
        nonlocal rounds
        if isinstance(event, DownloadEnded):
            begin(tmp_path)
            rounds, rival.times = rounds + 1, 1

    with pytest.raises(PartFileReplacedError):
        download([FILE], tmp_path, [rival], FetchOptions(jobs=1, patience=0.5), begin_again)
    assert rounds == MAX_REPLACED + 1
    assert not part.path.exists()
