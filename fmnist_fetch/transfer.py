"""From sources to part files: the only room with threads. What to do next is the policy's business, not this room's.

Each worker reads from its source, and hands every piece that is whole to the part file, which checks it in memory and
then writes it. The caller's thread watches over the workers and gets each file as soon as it is complete.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from fmnist_fetch.backoff import Patience
from fmnist_fetch.errors import SourceError, WrongBytesError
from fmnist_fetch.events import Attempted, Ended, Listener, Verified, Waiting
from fmnist_fetch.manifest import DataFile
from fmnist_fetch.part import PartFile
from fmnist_fetch.plan import Plan
from fmnist_fetch.policy import Order, Policy
from fmnist_fetch.sources import Origin, Source
from fmnist_fetch.spans import Span
from fmnist_fetch.suspects import describe

GRACE = 0.3
TICK = 0.25
LEISURELY = 0.02
WORTH_HOLDING = 16 * 1024


def complete(
    parts: Sequence[PartFile],
    good: Sequence[set[int]],
    origins: Sequence[Origin],
    *,
    jobs: int,
    patience: float,
    listener: Listener,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[DataFile]:
    """Bring what PARTS lack (GOOD are the pieces they have) and yield each file as it gets its final name.

    Raises SourceError when PATIENCE seconds went by without a new good piece, IntegrityError when no source has the
    right bytes, DiskError. Everything verified is kept then, as it is when the caller stops.
    """
    plan = Plan([part.file for part in parts], good, [part.held() for part in parts])
    policy = Policy(plan, origins, jobs, Patience(patience, clock()), random.random)
    crew = Crew(policy, parts, listener, clock)
    try:
        for _ in range(jobs):
            crew.hire()
        yield from crew.watch()
    finally:
        crew.dismiss()
        listener(Ended())


class Crew:
    """The workers, and what they share; all of it is touched under one lock."""

    def __init__(
        self, policy: Policy, parts: Sequence[PartFile], listener: Listener, clock: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._parts = parts
        self._listener = listener
        self._clock = clock
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._sources: list[Source] = []
        self._finished = [False] * len(parts)
        self._fatal: BaseException | None = None
        self._over = False
        self._pending = 0
        self._replaced: set[Order] = set()

    def hire(self) -> None:
        """Start one worker. A daemon: one stuck in a name look-up must not keep the process alive."""
        worker = threading.Thread(target=self._work, name="fmnist-fetch", daemon=True)
        self._threads.append(worker)
        worker.start()

    def watch(self) -> Iterator[DataFile]:
        """Yield the files as they are completed; raise when nothing more can be hoped for."""
        while True:
            with self._changed:
                ready = self._newly_complete()
                if not ready:
                    if self._policy.plan.complete:
                        return
                    self._look_after()
                    self._changed.wait(TICK)
            for number in ready:
                self._parts[number].finish()
                yield self._parts[number].file

    def dismiss(self) -> None:
        """End all workers; one that is stuck is left to itself, and ends with its connection."""
        with self._changed:
            self._over = True
            sources = list(self._sources)
            self._changed.notify_all()
        for source in sources:
            source.stop()
        end = time.monotonic() + GRACE
        for worker in self._threads:
            worker.join(max(0.0, end - time.monotonic()))
        with self._changed:
            for task in self._policy.plan.held():
                self._parts[task.file].hold(self._policy.plan.index(task), task.held, task.stored)
        for part in self._parts:
            part.close()

    def _newly_complete(self) -> list[int]:
        plan = self._policy.plan
        ready = [n for n, finished in enumerate(self._finished) if not finished and plan.file_complete(n)]
        for number in ready:
            self._finished[number] = True
        return ready

    def _look_after(self) -> None:
        """Raise what ends the run, replace who is stuck, and say so when there is nothing to do but to wait."""
        now = self._clock()
        if self._fatal is not None:
            raise self._fatal
        for order in self._policy.silent(now):
            name = self._policy.origins[order.origin].name
            error = SourceError(f"{name} said nothing for {now - order.heard:.0f} s")
            self._end(order, error, order.task.span, None)
            self._replaced.add(order)
            self.hire()
        pending = sum(source.pending for source in self._sources)
        if pending > self._pending:
            self._policy.patience.progress(now)
        self._pending = pending
        if self._policy.patience.exhausted(now) or self._policy.hopeless():
            raise self._policy.verdict()
        if not self._policy.orders:
            reasons = tuple(standing.error.message for standing in self._policy.standings if standing.error)
            safe = sum(part.file.size for part in self._parts) - self._policy.plan.bytes_missing
            self._listener(Waiting(reasons, self._policy.patience.ends - now, safe))

    def _work(self) -> None:
        sources: dict[int, Source] = {}
        try:
            while (order := self._next_order()) is not None:
                if order.origin not in sources:
                    sources[order.origin] = self._open(order.origin)
                if not self._attempt(order, sources[order.origin]):
                    break
        except BaseException as exc:
            with self._changed:
                self._fatal = self._fatal or exc
        finally:
            for source in sources.values():
                with suppress(Exception):
                    source.close()
            with self._changed:
                self._sources = [source for source in self._sources if source not in sources.values()]
                self._changed.notify_all()

    def _open(self, origin: int) -> Source:
        source = self._policy.origins[origin].open()
        with self._changed:
            self._sources.append(source)
        return source

    def _next_order(self) -> Order | None:
        with self._changed:
            while not self._over and not self._policy.plan.complete:
                now = self._clock()
                if (order := self._policy.next(now)) is not None:
                    return order
                self._changed.wait(max(0.01, self._policy.wake(now) - now))
            return None

    def _attempt(self, order: Order, source: Source) -> bool:
        """Read until the order's task is done or the source fails; tell whether this worker is still counted on."""
        file, asked = self._parts[order.task.file].file, order.task.span
        error: SourceError | None = None
        try:
            while (span := self._going_on(order)) is not None:
                self._take_in(order, source.read(file, span))
        except SourceError as exc:
            error = exc
        if error is not None or order.task.at < asked.stop:
            # What is left of an answer must not go on filling buffers.
            source.close()
        with self._changed:
            self._end(order, error, asked, source.status)
            return order not in self._replaced

    def _going_on(self, order: Order) -> Span | None:
        with self._changed:
            wanted = not (self._over or order.over) and order.task.at < order.task.stop
            return order.task.span if wanted else None

    def _take_in(self, order: Order, data: bytes) -> None:
        """Take in DATA of the order's task, keep the pieces that are whole and right; raises SourceError, DiskError."""
        with self._changed:
            if order.over or self._over:
                return
            if not order.got:
                # The first byte tells something of the origin: others may now be of use there.
                self._changed.notify_all()
            whole = list(self._policy.plan.feed(order.task, data, order.origin))
            crawl = self._policy.arrived(order, len(data), self._clock())
        part = self._parts[order.task.file]
        for index, piece, givers in whole:
            if not part.put(index, piece):
                raise self._wrong(order, index, piece, givers)
            part.let_go(index)
            with self._changed:
                if self._policy.verified(order, index, self._clock()):
                    self._listener(Verified(part.file.name, len(piece)))
                    self._changed.notify_all()
        self._hold(order, fresh=bool(whole))
        if crawl is not None:
            raise crawl

    def _hold(self, order: Order, *, fresh: bool) -> None:
        """Keep the beginning of a piece that takes its time: a SIGKILL must not cost what has come of it."""
        now = self._clock()
        if fresh or not order.piece_since:
            order.piece_since = now
        elif now - order.piece_since > LEISURELY:
            with self._changed:
                task = order.task
                index, held, stored = self._policy.plan.index(task), bytes(task.held), task.stored
                if order.over or len(held) < stored + WORTH_HOLDING:
                    return
                task.stored = len(held)
            self._parts[task.file].hold(index, held, stored)

    def _wrong(self, order: Order, index: int, piece: bytearray, givers: set[int]) -> WrongBytesError:
        part, name = self._parts[order.task.file], self._policy.origins[order.origin].name
        part.let_go(index)
        with self._changed:
            self._policy.wrong(order, index, hashlib.sha256(piece).hexdigest(), givers)
        span = part.file.pieces[index].span
        what = describe(bytes(piece[:1024]), part.file) if span.start == 0 else None
        return WrongBytesError(
            f"{name}: {part.file.name}: wrong bytes from {span.start:,} to {span.stop:,}"
            + (f" ({what})" if what else "")
        )

    def _end(self, order: Order, error: SourceError | None, asked: Span, status: int | None) -> None:
        """Enter the end of an attempt, unless it was entered when the worker was found stuck."""
        if order in self._replaced:
            return
        now = self._clock()
        if error is None:
            self._policy.done(order, now)
        else:
            self._policy.failed(order, error, now)
        self._tell(order, error, asked, (error and error.status) or status)
        self._changed.notify_all()

    def _tell(self, order: Order, error: SourceError | None, asked: Span, status: int | None) -> None:
        self._listener(
            Attempted(
                source=self._policy.origins[order.origin].name,
                file=self._parts[order.task.file].file.name,
                span=asked,
                status=status,
                received=order.got,
                kept=order.kept,
                seconds=self._clock() - order.began,
                wrong=isinstance(error, WrongBytesError),
                error=error.message if error else None,
            )
        )
