"""From sources to part files, with several threads. What to do next is the policy's business, not this room's.

Each worker reads from its source and hands what comes to the ledger; takers see to what has come. The caller's thread
watches over all of them.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from fmnist_fetch.download.arrivals import FileConsumers, IncomingFile
from fmnist_fetch.download.backoff import Patience
from fmnist_fetch.download.ledger import Transfer
from fmnist_fetch.download.order import Attempt
from fmnist_fetch.download.scheduler import Scheduler
from fmnist_fetch.download.segments import SegmentQueue
from fmnist_fetch.errors import FetchError, SourceError
from fmnist_fetch.events import DownloadEnded, Listener, Message
from fmnist_fetch.sources.base import Connection, Source, Tier
from fmnist_fetch.storage.part_file import PartFile, find_partials

GRACE = 0.3
TICK = 0.25
IDLE = 0.5


def complete(
    parts: Sequence[PartFile],
    good: Sequence[set[int]],
    origins: Sequence[Source],
    take: Callable[[IncomingFile], None],
    *,
    jobs: int,
    patience: float,
    listener: Listener,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Bring what PARTS lack (GOOD are the pieces they have); TAKE gets each file as it arrives, in a thread of its own.

    Raises SourceError when PATIENCE seconds went by without a new good piece, IntegrityError when no source has the
    right bytes, DiskError, and what TAKE raises. Everything verified is kept then; what is complete is taken first.
    """
    beginnings = {folder: find_partials(folder) for folder in {part.path.parent for part in parts}}
    held = [part.load_partials(beginnings[part.path.parent].get(part.path.name, ())) for part in parts]
    plan = SegmentQueue([part.file for part in parts], good, held)
    policy = Scheduler(plan, origins, jobs, Patience(patience, clock()), random.random)
    ledger = Transfer(policy, parts, listener, clock)
    crew, takers = WorkerPool(ledger), FileConsumers(ledger, take)
    try:
        takers.start()
        for _ in range(jobs):
            crew.hire()
        while not takers.done:
            ledger.look_around(TICK)
            crew.look_after()
    except FetchError:
        ledger.close()
        takers.join()
        raise
    finally:
        crew.dismiss()
        takers.join(GRACE)
        ledger.put_away()
        listener(DownloadEnded())


class WorkerPool:
    """The workers and their sources."""

    def __init__(self, ledger: Transfer) -> None:
        self._ledger = ledger
        self._threads: list[threading.Thread] = []
        self._sources: list[Connection] = []
        self._announced = False

    def hire(self) -> None:
        """Start one worker. A daemon: one stuck in a name look-up must not keep the process alive."""
        number = len(self._threads)
        worker = threading.Thread(target=self._work, args=(number,), name=f"fmnist-fetch {number}", daemon=True)
        worker.start()
        # Only now: an interrupt may come at any moment, and what has not started can't be waited for.
        self._threads.append(worker)

    def look_after(self) -> None:
        """Replace the workers who are stuck, and take note of what is on its way."""
        self._ledger.stir(list(self._sources))
        for _ in range(self._ledger.lose_silent()):
            self.hire()

    def dismiss(self) -> None:
        """End all workers; one that is stuck is left to itself, and ends with its connection."""
        self._ledger.close()
        for source in list(self._sources):
            source.stop()
        end = time.monotonic() + GRACE
        for worker in self._threads:
            worker.join(max(0.0, end - time.monotonic()))

    def _work(self, number: int) -> None:
        sources: dict[int, Connection] = {}
        try:
            while not self._ledger.over:
                if (order := self._ledger.next_order(number, IDLE)) is None:
                    # A server may bear few connections: one that is of no use now must not keep others out.
                    for source in sources.values():
                        source.close()
                    continue
                if order.origin not in sources:
                    sources[order.origin] = self._open(self._ledger.policy.origins[order.origin])
                if not self._attempt(order, sources[order.origin]):
                    break
        except BaseException as exc:
            # Whatever it is, the caller's thread must hear of it: an error of the disk, or of this program.
            self._ledger.fail(exc)
        finally:
            for source in sources.values():
                with suppress(Exception):
                    source.close()
                self._sources.remove(source)

    def _open(self, origin: Source) -> Connection:
        source = origin.open()
        self._sources.append(source)
        if origin.tier is Tier.PACKAGE and not self._announced:
            # It takes a while before its first byte comes, and silence would look like a hang.
            self._announced = True
            self._ledger.listener(Message(f"no mirror can serve just now; asking for the {origin.name}"))
        return source

    def _attempt(self, order: Attempt, source: Connection) -> bool:
        """Read until the order's task is done or the source fails; tell whether this worker is still counted on."""
        file, asked = self._ledger.parts[order.task.file].file, order.task.span
        error: SourceError | None = None
        try:
            while (span := self._ledger.still_wanted(order)) is not None:
                self._ledger.take_in(order, span.start, source.read(file, span), source.oddity)
        except SourceError as exc:
            error = exc
        if error is not None or order.task.at < asked.stop:
            # What is left of an answer must not go on filling buffers.
            source.close()
        return self._ledger.end(order, error, asked, source.status)
