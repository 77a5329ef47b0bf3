"""Simulated transfers without sockets, threads or real time: sources fail as told, and the clock is a number.

The workers do what those of workers.py do, one step at a time, with the real transfer, scheduler and part files.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from faults import payload
from fmnist_fetch.download.segments import FileDownload, Segment
from fmnist_fetch.download.source_stats import Attempt
from fmnist_fetch.download.transfer import Transfer
from fmnist_fetch.errors import FetchError, SourceError
from fmnist_fetch.events import Event
from fmnist_fetch.manifest.model import PIECE_BYTES, DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, cut
from fmnist_fetch.sources.base import Connection, FetchOptions, Tier
from fmnist_fetch.storage.part_file import PartFile
from fmnist_fetch.storage.recorded_file import WrongFileError, part_file
from samples import sha256

PIECE = 4096
TICK = 0.5
Kind = Literal["serve", "error", "gone", "silence", "stuck", "noise", "same noise"]


@dataclass(frozen=True)
class Mood:
    """The answer of a source to one request: its rate, its length, and whether it is right."""

    kind: Kind = "serve"
    rate: float = 1e6
    latency: float = 0.0
    cut: int | None = None
    retry_after: float | None = None


@dataclass(eq=False)
class SimSource:
    """A source that goes through MOODS, one for each request, and stays in the last one."""

    name: str
    moods: list[Mood]
    tier: Tier = Tier.USER
    connections: int | None = None
    asked: int = 0
    lacks: set[int] = field(default_factory=set)

    def open(self) -> Connection:
        """Do nothing: the simulation calls `mood` instead."""
        raise AssertionError

    def mood(self) -> Mood:
        """Return the answer to the next request."""
        self.asked += 1
        return self.moods[min(self.asked, len(self.moods)) - 1]


@dataclass
class Answer:
    """The reads of one request: a wait, then bytes or an error, repeatedly."""

    mood: Mood
    random: Random
    timeout: float
    given: int = 0

    def wait(self, span: Span) -> float:
        """Return the seconds until the next read ends."""
        return min(self._needed(span), self.timeout)

    def read(self, right: bytes, span: Span) -> bytes:
        """Return the bytes of one read; raise SourceError."""
        count = self._count(span)
        if self._needed(span) > self.timeout:
            raise SourceError("timed out")
        if self.mood.kind == "error" or (self.mood.kind != "gone" and not count):
            raise SourceError("it broke", retry_after=self.mood.retry_after)
        if self.mood.kind == "gone":
            raise SourceError("404", permanent=True)
        data = right[span.start : span.start + count]
        self.given += count
        if self.mood.kind == "noise":
            return self.random.randbytes(len(data))
        if self.mood.kind == "same noise":
            return bytes(byte ^ 0x55 for byte in data)
        return data

    def _needed(self, span: Span) -> float:
        if self.mood.kind == "silence":
            return float("inf")
        first = self.mood.latency if not self.given else 0.0
        return first + self._count(span) / self.mood.rate

    def _count(self, span: Span) -> int:
        left = span.length if self.mood.cut is None else self.mood.cut - self.given
        # A slow connection delivers a little at a time.
        return max(0, min(span.length, left, int(self.mood.rate), 6000))


@dataclass
class World:
    """One transfer of files with these SIZES from SOURCES to FOLDER."""

    folder: Path
    sizes: list[int]
    sources: list[SimSource]
    jobs: int = 4
    patience: float = 60.0
    seed: int = 0
    good: list[set[int]] | None = None
    partials: list[dict[int, bytes]] | None = None
    stops: list[tuple[float, float]] = field(default_factory=list)
    """When the process is stopped, and for how many seconds."""
    unverified: bool = False
    """Whether pieces have no digests."""
    disk_s: float = 0.0
    """How long the disk takes for each receive."""
    now: float = 1000.0
    last_progress: float = 1000.0
    events: list[Event] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.contents = [payload(size, 100 + number) for number, size in enumerate(self.sizes)]
        data_files = [_file(number, data, verified=not self.unverified) for number, data in enumerate(self.contents)]
        good = self.good or [set() for _ in data_files]
        partials = self.partials or [{} for _ in data_files]
        self.files = [
            FileDownload(part_file(self.folder / data_file.name, data_file), pieces, beginnings)
            for data_file, pieces, beginnings in zip(data_files, good, partials, strict=True)
        ]
        for file, data in zip(self.files, self.contents, strict=True):
            for index in file.good:
                start, stop = file.pieces[index].span
                assert file.part.put(index, data[start:stop])
        options = FetchOptions(jobs=self.jobs, patience=self.patience)
        self.transfer = Transfer(
            self.files, self.sources, options, self.events.append, lambda: self.now, self.random.random
        )
        self.scheduler = self.transfer.scheduler
        self.queue = self.scheduler.queue
        self.steps: list[tuple[float, int, Iterator[float]]] = []
        self.idle: list[int] = []
        self.settled: set[FileDownload] = set()
        self.workers = 0

    def run(self, most_steps: int = 8_000) -> FetchError | None:
        """Run to the end; return the error, or None for a complete transfer."""
        for _ in range(self.jobs):
            self._add_worker()
        try:
            for _ in range(most_steps):
                self._settle()
                if self.queue.complete:
                    return None
                self.transfer.wait(0)
                for _ in range(self.transfer.drop_stalled()):
                    self._add_worker()
                self._give_out()
                self.check()
                self._step()
        except FetchError as error:
            return error
        finally:
            self.transfer.close()
            for file in self.files:
                file.part.close()
        raise AssertionError(f"no end after {self.now - 1000:.0f} s of its time")

    def _settle(self) -> None:
        """Verify complete files without piece digests, as their consumers do."""
        for file in self.files:
            if self.unverified and file.complete and file not in self.settled:
                try:
                    file.part.finish()
                    self.settled.add(file)
                    self.transfer.settle(file)
                except WrongFileError as error:
                    self.transfer.reject(file, error)

    def check(self) -> None:
        """Assert that each missing piece is in one segment or with two workers, and that no good piece waits."""
        waiting, active = (Counter(self._covered(segments)) for segments in (self.queue.waiting, self.queue.active))
        for file in self.files:
            for index in range(len(file.pieces)):
                place = (file.name, index)
                if index in file.good:
                    assert not waiting[place], f"piece {place} is good and waits"
                elif waiting[place] + active[place] != 1:
                    assert (waiting[place], active[place]) == (0, 2), f"piece {place} is in no segment, or in too many"

    def assert_right(self) -> None:
        """Assert that good pieces are right on the disk, and that nothing of the others was written."""
        for number, file in enumerate(self.files):
            if self.unverified:
                path = file.part.path
                assert path.exists() == (file in self.settled)
                assert not path.exists() or path.read_bytes() == self.contents[number]
                continue
            path = file.part.part
            stored = path.read_bytes() if path.exists() else b""
            for index, (span, _) in enumerate(file.pieces):
                there = stored[span.start : span.stop]
                if index in file.good:
                    assert there == self.contents[number][span.start : span.stop]
                else:
                    assert not there.strip(b"\0"), f"piece {index} of {file.name} was written and is not good"

    def _covered(self, segments: list[Segment]) -> list[tuple[str, int]]:
        return [
            (segment.file.name, index)
            for segment in segments
            if segment.position < segment.stop
            for index in range(segment.start // PIECE, -(-segment.stop // PIECE))
        ]

    def _add_worker(self) -> None:
        self.idle.append(self.workers)
        self.workers += 1

    def _give_out(self) -> None:
        """Let every idle worker ask for an attempt."""
        for worker in list(self.idle):
            if self.queue.complete:
                return
            attempt = self.scheduler.next_attempt(self.now, worker)
            if attempt is None:
                continue
            self.idle.remove(worker)
            assert not attempt.segment.file.good & set(attempt.segment.pieces), "asked for what is good"
            self._push(0.0, self._work(worker, attempt))

    def _push(self, wait: float, steps: Iterator[float]) -> None:
        heapq.heappush(self.steps, (self.now + wait, self.random.getrandbits(40), steps))

    def _step(self) -> None:
        """Advance the clock to the next step, and run that."""
        moment = self.steps[0][0] if self.steps else float("inf")
        if moment > (look := max(self.now + 0.01, min(self.scheduler.next_look(self.now), self.now + TICK))):
            self.now = look
            return
        moment, _, steps = heapq.heappop(self.steps)
        self.now = max(self.now, moment)
        if self.stops and self.now >= self.stops[0][0]:
            self.now += self.stops.pop(0)[1]
        before = self.queue.bytes_missing
        wait = next(steps, None)
        if self.queue.bytes_missing < before:
            self.last_progress = self.now
        assert self.queue.bytes_missing <= before
        if wait is not None:
            self._push(wait, steps)

    def _work(self, worker: int, attempt: Attempt) -> Iterator[float]:
        """Run one attempt as workers.py does; yield the seconds that each read takes."""
        source, number = attempt.stats.source, self.files.index(attempt.segment.file)
        assert isinstance(source, SimSource)
        mood = Mood("gone") if number in source.lacks else source.mood()
        answer = Answer(mood, self.random, attempt.timeout_s)
        error: SourceError | None = None
        if answer.mood.kind == "stuck":
            return
        try:
            while (span := self.transfer.remaining(attempt)) is not None:
                yield answer.wait(span)
                self.transfer.receive(attempt, span.start, answer.read(self.contents[number], span))
                if self.disk_s:
                    yield self.disk_s
        except SourceError as exc:
            error = exc
        if self.transfer.end(attempt, error, None):
            self.idle.append(worker)


def unread(name: str, size: int) -> FileDownload:
    """Return a file of SIZE bytes in pieces of 256 KiB, for decisions that need no content."""
    pieces = tuple(Piece(span, "0" * 64) for span in cut(size, PIECE_BYTES))
    data_file = DataFile(name, size, "0" * 64, pieces, "train", "images", Payload(name, size, "0" * 64))
    return FileDownload(PartFile(Path("nowhere") / name, data_file))


def _file(number: int, data: bytes, *, verified: bool) -> DataFile:
    pieces = tuple(
        Piece(span, sha256(data[span.start : span.stop]) if verified else "") for span in cut(len(data), PIECE)
    )
    name = f"file-{number}"
    return DataFile(name, len(data), sha256(data), pieces, "train", "images", Payload(name, len(data), sha256(data)))
