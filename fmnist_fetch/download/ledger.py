"""What the workers of a transfer share: the policy, the part files, and the lock under which both are touched.

Only here is it decided, piece by piece, that bytes are kept: `take_in` gives them to the part file, which checks them
and then writes them. Reading, hashing and writing happen outside of the lock.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence

from fmnist_fetch.download.order import Attempt
from fmnist_fetch.download.scheduler import Scheduler
from fmnist_fetch.download.verdict import verdict
from fmnist_fetch.errors import SourceError, WrongBytesError
from fmnist_fetch.events import Attempted, BytesInFlight, Listener, NoSourceReady, Verified
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Connection
from fmnist_fetch.sources.diagnosis import wrong_bytes
from fmnist_fetch.storage.part_file import PartFile

LEISURELY = 0.01
TELLING = 0.2
WORTH_HOLDING = 8 * 1024


class Transfer:
    """Orders given out, bytes taken in. An idle worker waits for `changed`, the caller's thread for `settled`."""

    def __init__(
        self, policy: Scheduler, parts: Sequence[PartFile], listener: Listener, clock: Callable[[], float]
    ) -> None:
        self.policy = policy
        self.parts = parts
        self.listener = listener
        self.clock = clock
        lock = threading.RLock()
        self.changed, self.settled = threading.Condition(lock), threading.Condition(lock)
        self.fatal: BaseException | None = None
        self.closed = self.dropped = False
        self._awaited: dict[tuple[int, int], threading.Event] = {}
        self._lost: set[Attempt] = set()
        self._pending = 0
        self._told = clock()

    @property
    def over(self) -> bool:
        """Whether there will be nothing to do any more."""
        with self.changed:
            return self.closed or self.policy.plan.complete

    def next_order(self, worker: int, wait: float) -> Attempt | None:
        """Wait for something for WORKER to do, WAIT seconds at the most; None when there is nothing."""
        with self.changed:
            end = self.clock() + wait
            while not self.over and (now := self.clock()) <= end:
                if (order := self.policy.next(now, worker)) is not None:
                    return order
                self.changed.wait(max(0.01, min(self.policy.wake(now), end) - now))
            return None

    def look_around(self, wait: float) -> None:
        """Wait for something to change, WAIT seconds at the most; say so where there is nothing to do but to wait.

        Raises what ended a thread, and the policy's verdict when nothing more is to be hoped for.
        """
        with self.changed:
            if self.fatal is not None:
                raise self.fatal
            policy, now = self.policy, self.clock()
            if not policy.plan.complete:
                if policy.patience.exhausted(now) or policy.hopeless():
                    raise verdict(policy.plan, policy.standings)
                if not policy.orders:
                    reasons = tuple(standing.error.message for standing in policy.standings if standing.error)
                    safe = sum(part.file.size for part in self.parts) - policy.plan.bytes_missing
                    self.listener(NoSourceReady(reasons, policy.patience.ends - now, safe))
            self.settled.wait(wait)

    def wait_for(self, file: int, piece: int) -> None:
        """Wait until this piece is good; raises SourceError when the ledger is closed before that."""
        with self.changed:
            if piece in self.policy.plan.good[file]:
                return
            good = self._awaited.setdefault((file, piece), threading.Event())
            if self.closed:
                good.set()
        good.wait()
        if piece not in self.policy.plan.good[file]:
            raise SourceError("the transfer is over")

    def fail(self, exc: BaseException) -> None:
        """Let the caller's thread hear of EXC, which ended another one; the first of them counts."""
        with self.changed:
            self.fatal = self.fatal or exc
            self.settled.notify_all()

    def still_wanted(self, order: Attempt) -> Span | None:
        """What is still to be read for ORDER, if anything."""
        with self.changed:
            wanted = not (self.closed or order.over) and order.task.at < order.task.stop
            return order.task.span if wanted else None

    def take_in(self, order: Attempt, start: int, data: bytes, oddity: str | None = None) -> None:
        """Take in DATA from START on of ORDER's file and keep the pieces that are whole and right.

        ODDITY is what the answer they came in seems to be instead, for the message if they are wrong.
        Raises WrongBytesError where the origin alone gave those that are not, SourceError where it crawls, DiskError.
        """
        with self.changed:
            if order.over or self.closed:
                return
            if self.policy.standings[order.origin].keeper is None:
                # It delivers, which nobody knew before: others may now be of use there.
                self.changed.notify_all()
            whole = list(self.policy.plan.feed(order.task, start, data, order.origin))
            error: SourceError | None = self.policy.arrived(order, len(data), self.clock())
        part, good = self.parts[order.task.file], list[int]()
        try:
            for index, piece, givers in whole:
                if part.put(index, piece, self._names(givers)):
                    good.append(index)
                else:
                    error = self._reject(order, index, piece, givers, oddity) or error
                part.discard_partial(index)
        finally:
            # All at once: who waits for them is woken once, and not in the middle of this.
            if good:
                self._keep(order, good)
        self._hold(order, fresh=bool(whole))
        if error is not None:
            raise error

    def end(self, order: Attempt, error: SourceError | None, asked: Span, status: int | None) -> bool:
        """Enter the end of ORDER, which had ASKED for a span; tell whether its worker is still counted on."""
        with self.changed:
            if order in self._lost:
                return False
            now = self.clock()
            if self.over:
                # It was no longer needed: what it met with, a socket shut down by ourselves even, is no failure.
                error = None
            if error is None:
                self.policy.done(order, now)
            else:
                self.policy.failed(order, error, now)
                self.settled.notify_all()
                # Only now: what goes well is no news to those who wait, and they would be in the way of who goes on.
                self.changed.notify_all()
            self._tell(order, error, asked, error.status or status if error else status)
            return True

    def lose_silent(self) -> int:
        """Count on those workers no longer whose order has brought nothing for long; tell how many they were."""
        with self.changed:
            now = self.clock()
            silent = self.policy.silent(now)
            for order in silent:
                name = self.policy.origins[order.origin].name
                error = SourceError(f"{name} said nothing for {now - order.heard:.0f} s")
                self.policy.lost(order, error, now)
                self._tell(order, error, order.task.span, None)
                self._lost.add(order)
            if silent:
                self.changed.notify_all()
            return len(silent)

    def stir(self, sources: Sequence[Connection]) -> None:
        """Bytes that are on their way to SOURCES but can't be read yet are progress too."""
        pending = sum(source.pending for source in sources)
        with self.changed:
            if pending > self._pending:
                self.policy.patience.progress(self.clock())
            self._pending = pending
            self._tell_arriving()

    def close(self) -> None:
        """Give out no more orders and take in nothing more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
            for good in self._awaited.values():
                good.set()

    def put_away(self) -> None:
        """Keep the beginnings of all pieces that were under way, and close the part files, which nobody reads now."""
        with self.changed:
            self.dropped = True
            for task in self.policy.plan.held():
                self.parts[task.file].save_partial(self.policy.plan.index(task), task.held, task.stored)
        for part in self.parts:
            part.close()

    def _tell_arriving(self) -> None:
        """Tell, some times a second, what is under way: the next good piece of a slow line may be long in coming."""
        if (now := self.clock()) < self._told + TELLING:
            return
        self._told = now
        held = {self.parts[order.task.file].file.name: 0 for order in self.policy.orders}
        for task in self.policy.plan.held():
            name = self.parts[task.file].file.name
            held[name] = held.get(name, 0) + len(task.held)
        self.listener(BytesInFlight(tuple(held.items())))

    def _keep(self, order: Attempt, good: Sequence[int]) -> None:
        file = self.parts[order.task.file].file
        with self.changed:
            for index in good:
                if self.policy.verified(order, index, self.clock()):
                    self.listener(Verified(file.name, file.pieces[index].span.length))
                    if awaited := self._awaited.pop((order.task.file, index), None):
                        awaited.set()

    def _names(self, givers: set[int]) -> str:
        """The sources that gave a piece; what an earlier run held has none."""
        return ", ".join(sorted(self.policy.origins[giver].name for giver in givers if giver >= 0))

    def _reject(
        self, order: Attempt, index: int, piece: bytearray | memoryview, givers: set[int], oddity: str | None
    ) -> WrongBytesError | None:
        file, name = self.parts[order.task.file].file, self.policy.origins[order.origin].name
        with self.changed:
            if not self.policy.wrong(order, index, hashlib.sha256(piece).hexdigest(), givers):
                return None
        return wrong_bytes(name, file, file.pieces[index].span, piece, oddity)

    def _hold(self, order: Attempt, *, fresh: bool) -> None:
        """Keep the beginning of a piece that takes its time: a SIGKILL must not cost what has come of it."""
        now, task = self.clock(), order.task
        if fresh or not order.piece_since:
            order.piece_since = now
        elif now - order.piece_since > LEISURELY:
            with self.changed:
                index, held, stored = self.policy.plan.index(task), bytes(task.held), task.stored
                if order.over or len(held) < stored + WORTH_HOLDING:
                    return
                task.stored = len(held)
            self.parts[task.file].save_partial(index, held, stored)

    def _tell(self, order: Attempt, error: SourceError | None, asked: Span, status: int | None) -> None:
        self.listener(
            Attempted(
                source=self.policy.origins[order.origin].name,
                file=self.parts[order.task.file].file.name,
                span=asked,
                status=status,
                received=order.got,
                kept=order.kept,
                seconds=self.clock() - order.began,
                wrong=order.wrong,
                error=error.message if error else None,
            )
        )
