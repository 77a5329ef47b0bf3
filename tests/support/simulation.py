"""A world without sockets, threads or time: origins that fail as they like, workers that are steps, a clock by hand.

The workers do what those of transfer.py do, one step at a time, against the real ledger, policy, plan and part files.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from faults import payload
from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.ledger import Transfer
from fmnist_fetch.download.order import Attempt
from fmnist_fetch.download.scheduler import Scheduler
from fmnist_fetch.download.segments import Segment, SegmentQueue
from fmnist_fetch.errors import FetchError, SourceError
from fmnist_fetch.events import Event
from fmnist_fetch.manifest.model import PIECE_LENGTH, DataFile, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, cut
from fmnist_fetch.sources.base import Connection, Tier
from fmnist_fetch.storage.part_file import PartFile
from worlds import sha256

PIECE = 4096
TICK = 0.5
READ_TIMEOUT = 5.0
Kind = Literal["serve", "error", "gone", "silence", "stuck", "noise", "same noise"]


@dataclass(frozen=True)
class Mood:
    """How an origin takes one request: at which pace, how far, and whether it is right."""

    kind: Kind = "serve"
    rate: float = 1e6
    latency: float = 0.0
    cut: int | None = None
    retry_after: float | None = None


@dataclass
class SimOrigin:
    """An origin that is in one mood after the other, and stays in the last one."""

    name: str
    moods: list[Mood]
    tier: Tier = Tier.USER
    connections: int | None = None
    asked: int = 0
    lacks: set[int] = field(default_factory=set)

    def open(self) -> Connection:
        """Nothing is opened here: the simulation asks for moods."""
        raise AssertionError

    def mood(self) -> Mood:
        """How the next request is taken."""
        self.asked += 1
        return self.moods[min(self.asked, len(self.moods)) - 1]


@dataclass
class Answer:
    """What an origin says to one request: a wait, then bytes or an error, again and again."""

    mood: Mood
    dice: random.Random
    given: int = 0

    def wait(self, span: Span) -> float:
        """Seconds until the next receive is over."""
        first = self.mood.latency if not self.given else 0.0
        if self.mood.kind == "silence":
            return READ_TIMEOUT
        return first + self._count(span) / self.mood.rate

    def read(self, right: bytes, span: Span) -> bytes:
        """One receive; raises SourceError."""
        count = self._count(span)
        if self.mood.kind in ("error", "silence") or (self.mood.kind != "gone" and not count):
            raise SourceError("it broke", retry_after=self.mood.retry_after)
        if self.mood.kind == "gone":
            raise SourceError("404", permanent=True)
        data = right[span.start : span.start + count]
        self.given += count
        if self.mood.kind == "noise":
            return self.dice.randbytes(len(data))
        if self.mood.kind == "same noise":
            return bytes(byte ^ 0x55 for byte in data)
        return data

    def _count(self, span: Span) -> int:
        left = span.length if self.mood.cut is None else self.mood.cut - self.given
        # A slow line brings a little at a time.
        return max(0, min(span.length, left, int(self.mood.rate), 6000))


@dataclass
class World:
    """One transfer of FILES (sizes) from ORIGINS in FOLDER."""

    folder: Path
    sizes: list[int]
    origins: list[SimOrigin]
    jobs: int = 4
    patience: float = 60.0
    seed: int = 0
    good: list[set[int]] | None = None
    held: list[dict[int, bytes]] | None = None
    now: float = 1000.0
    last_progress: float = 1000.0
    events: list[Event] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.contents = [payload(size, 100 + number) for number, size in enumerate(self.sizes)]
        self.files = [_file(number, data) for number, data in enumerate(self.contents)]
        self.parts = [PartFile(self.folder / file.name, file) for file in self.files]
        good = self.good or [set() for _ in self.files]
        for part, indices, data in zip(self.parts, good, self.contents, strict=True):
            for index in indices:
                start, stop = part.file.pieces[index].span
                assert part.put(index, data[start:stop])
        self.plan = SegmentQueue(self.files, good, self.held)
        patience = Patience(self.patience, self.now)
        self.policy = Scheduler(self.plan, self.origins, self.jobs, patience, self.dice.random)
        self.ledger = Transfer(self.policy, self.parts, self.events.append, lambda: self.now)
        self.queue: list[tuple[float, int, Iterator[float]]] = []
        self.idle: list[int] = []
        self.workers = 0

    def run(self, most_steps: int = 8_000) -> FetchError | None:
        """Let time pass until the run ends; returns what it ended with, None where it is complete."""
        for _ in range(self.jobs):
            self._hire()
        try:
            for _ in range(most_steps):
                if self.plan.complete:
                    return None
                self.ledger.look_around(0)
                for _ in range(self.ledger.lose_silent()):
                    self._hire()
                self._give_out()
                self.check()
                self._step()
        except FetchError as error:
            return error
        finally:
            self.ledger.close()
            for part in self.parts:
                part.close()
        raise AssertionError(f"no end after {self.now - 1000:.0f} s of its time")

    def check(self) -> None:
        """Every missing piece is in one task, or raced for by two workers; what is good is in none that waits."""
        waiting, in_hand = (Counter(self._covered(tasks)) for tasks in (self.plan.todo, self.plan.in_hand))
        for number, file in enumerate(self.files):
            for index in range(len(file.pieces)):
                place = (number, index)
                if index in self.plan.good[number]:
                    assert not waiting[place], f"piece {place} is good and waits to be asked for"
                elif waiting[place] + in_hand[place] != 1:
                    assert (waiting[place], in_hand[place]) == (0, 2), f"piece {place} is in no task, or in too many"

    def assert_right(self) -> None:
        """What is called good is right on the disk, with our own eyes; and of what is not good nothing was written."""
        for number, part in enumerate(self.parts):
            stored = part.part.read_bytes() if part.part.exists() else b""
            for index, (span, _) in enumerate(part.file.pieces):
                there = stored[span.start : span.stop]
                if index in self.plan.good[number]:
                    assert there == self.contents[number][span.start : span.stop]
                else:
                    assert not there.strip(b"\0"), f"piece {index} of {part.file.name} was written and is not good"

    def _covered(self, tasks: list[Segment]) -> list[tuple[int, int]]:
        return [(task.file, index) for task in tasks for index in range(task.start // PIECE, -(-task.stop // PIECE))]

    def _hire(self) -> None:
        self.idle.append(self.workers)
        self.workers += 1

    def _give_out(self) -> None:
        """Let every idle worker ask for an order."""
        for worker in list(self.idle):
            if self.plan.complete:
                return
            order = self.policy.next(self.now, worker)
            if order is None:
                continue
            self.idle.remove(worker)
            pieces = self.plan.pieces(order.task)
            assert not self.plan.good[order.task.file] & set(pieces), "asked for what is good"
            self._push(0.0, self._work(worker, order))

    def _push(self, wait: float, steps: Iterator[float]) -> None:
        heapq.heappush(self.queue, (self.now + wait, self.dice.getrandbits(40), steps))

    def _step(self) -> None:
        """Go to the next moment at which something happens, and let it happen."""
        moment = self.queue[0][0] if self.queue else float("inf")
        if moment > (look := max(self.now + 0.01, min(self.policy.wake(self.now), self.now + TICK))):
            self.now = look
            return
        moment, _, steps = heapq.heappop(self.queue)
        self.now = max(self.now, moment)
        before = self.plan.bytes_missing
        wait = next(steps, None)
        if self.plan.bytes_missing < before:
            self.last_progress = self.now
        assert self.plan.bytes_missing <= before
        if wait is not None:
            self._push(wait, steps)

    def _work(self, worker: int, order: Attempt) -> Iterator[float]:
        """One attempt, as transfer.py makes it; yields the seconds that each read takes."""
        origin, number = self.origins[order.origin], order.task.file
        mood = Mood("gone") if number in origin.lacks else origin.mood()
        answer, asked = Answer(mood, self.dice), order.task.span
        error: SourceError | None = None
        if answer.mood.kind == "stuck":
            return
        try:
            while (span := self.ledger.still_wanted(order)) is not None:
                yield answer.wait(span)
                self.ledger.take_in(order, span.start, answer.read(self.contents[number], span))
        except SourceError as exc:
            error = exc
        if self.ledger.end(order, error, asked, None):
            self.idle.append(worker)


def unread(name: str, size: int) -> DataFile:
    """A file of SIZE bytes in pieces of 256 KiB, for decisions that are made before any byte is looked at."""
    pieces = tuple(Piece(span, "0" * 64) for span in cut(size, PIECE_LENGTH))
    return DataFile(name, size, "0" * 64, pieces, "train", "images", Payload(name, size, "0" * 64))


def _file(number: int, data: bytes) -> DataFile:
    pieces = tuple(Piece(span, sha256(data[span.start : span.stop])) for span in cut(len(data), PIECE))
    name = f"file-{number}"
    return DataFile(name, len(data), sha256(data), pieces, "train", "images", Payload(name, len(data), sha256(data)))
