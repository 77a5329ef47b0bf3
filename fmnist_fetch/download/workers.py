"""The threads that receive from sources. What to request next is decided by the scheduler.

Each worker reads from its connection and gives what it received to the transfer; consumers process complete pieces. The
caller's thread watches over all of them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf

from fmnist_fetch.download.consumers import FileConsumers, IncomingFile
from fmnist_fetch.download.segments import FileDownload
from fmnist_fetch.download.source_stats import Attempt, SourceStats
from fmnist_fetch.download.transfer import Transfer
from fmnist_fetch.errors import FetchError, SourceError
from fmnist_fetch.events import DownloadEnded, Listener, Message, Note
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Connection, FetchOptions, Source, Tier, failures_of

GRACE_S = 0.3
TICK_S = 0.25
IDLE_S = 0.5
BURST_S = 0.1
MIN_RECEIVE = 4096


def complete(
    files: Sequence[FileDownload],
    sources: Sequence[Source],
    options: FetchOptions,
    listener: Listener,
    consume: Callable[[IncomingFile], None],
) -> None:
    """Download what FILES lack; CONSUME gets each file as it arrives, in a thread of its own.

    Everything verified is kept in any case; what is complete is consumed first.

    Raises:
        SourceError: No new good piece for the seconds of patience, or no source that has what is missing.
        IntegrityError: The same, and a source sent wrong bytes.
        DiskError: The disk refuses the files.
        BaseException: Whatever CONSUME raises.
    """
    transfer = Transfer(files, sources, options, listener)
    pool, consumers = WorkerPool(transfer, RateLimiter(options.limit_rate)), FileConsumers(transfer, consume)
    try:
        consumers.start()
        for _ in range(options.jobs):
            pool.add_worker()
        while not consumers.done:
            transfer.wait(TICK_S)
            pool.look_after()
    except FetchError:
        transfer.close()
        consumers.join()
        raise
    finally:
        pool.stop()
        consumers.join(GRACE_S)
        transfer.save_partials()
        listener(DownloadEnded())


class RateLimiter:
    """A token bucket for the bytes that all workers receive together; RATE_BPS None means no limit."""

    def __init__(self, rate_bps: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_bps = rate_bps or inf
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = clock()

    def next_span(self, span: Span) -> Span:
        """Return the beginning of SPAN that may be received at once."""
        return Span(span.start, int(min(span.stop, span.start + max(MIN_RECEIVE, self._rate_bps * BURST_S))))

    def delay(self, count: int) -> float:
        """Note COUNT received bytes; return the seconds to wait before more are received."""
        with self._lock:
            now = self._clock()
            # Time in which nothing was received is not saved up for later, but for a moment's.
            self._paid_until = max(self._paid_until, now - BURST_S) + count / self._rate_bps
            return max(0.0, self._paid_until - now)


class WorkerPool:
    """The workers of TRANSFER and their connections."""

    def __init__(self, transfer: Transfer, limiter: RateLimiter) -> None:
        self._transfer = transfer
        self._limiter = limiter
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._connections: list[Connection] = []
        self._reading: dict[Attempt, Connection] = {}
        self._announced = False

    def add_worker(self) -> None:
        """Start one worker. A daemon: one that is stuck in a name look-up must not keep the process alive."""
        number = len(self._threads)
        worker = threading.Thread(target=self._work, args=(number,), name=f"fmnist-fetch {number}", daemon=True)
        worker.start()
        # Only now: an interrupt may come at any moment, and a thread that has not started can't be joined.
        self._threads.append(worker)

    def look_after(self) -> None:
        """Replace the workers that are stuck, and note what is on its way."""
        with self._lock:
            reading = dict(self._reading)
        stages = {attempt: connection.stages for attempt, connection in reading.items()}
        self._transfer.note_activity(stages, sum(connection.pending for connection in self._open_connections()))
        for _ in range(self._transfer.drop_stalled()):
            self.add_worker()

    def stop(self) -> None:
        """End all workers; one that is stuck is left alone, and ends with its connection."""
        self._transfer.close()
        self._stopping.set()
        for connection in self._open_connections():
            connection.stop()
        end = time.monotonic() + GRACE_S
        for worker in self._threads:
            worker.join(max(0.0, end - time.monotonic()))

    def _open_connections(self) -> list[Connection]:
        with self._lock:
            return list(self._connections)

    def _work(self, number: int) -> None:
        connections: dict[SourceStats, Connection] = {}
        try:
            while not self._transfer.over:
                if (attempt := self._transfer.next_attempt(number, IDLE_S)) is None:
                    # A server may serve few connections: one that is of no use now must not keep others out.
                    for connection in connections.values():
                        connection.close()
                    continue
                try:
                    if attempt.stats not in connections:
                        connections[attempt.stats] = self._open(attempt.stats.source)
                except SourceError as exc:
                    counts = self._transfer.end(attempt, exc, None)
                else:
                    counts = self._receive(attempt, connections[attempt.stats])
                if not counts:
                    break
        except BaseException as exc:
            # Whatever it is, the caller's thread must raise it: an error of the disk, or of this program.
            self._transfer.fail(exc)
        finally:
            for connection in connections.values():
                with suppress(Exception):
                    connection.close()
                with self._lock:
                    self._connections.remove(connection)

    def _open(self, source: Source) -> Connection:
        with failures_of(source):
            connection = source.open()
        with self._lock:
            self._connections.append(connection)
            announce = source.tier is Tier.PACKAGE and not self._announced
            self._announced = self._announced or announce
        if announce:
            # It takes a while before its first byte comes, and silence would look like a hang.
            self._transfer.listener(Message(f"no mirror can serve now; trying the {source.name}"))
        return connection

    def _receive(self, attempt: Attempt, connection: Connection) -> bool:
        """Receive the attempt's segment, or as much as comes; return whether this worker still counts."""
        file, reached = attempt.segment.file.data_file, attempt.asked.start
        error: SourceError | None = None
        connection.timeout_s = attempt.timeout_s
        with self._lock:
            self._reading[attempt] = connection
        try:
            while (span := self._transfer.remaining(attempt)) is not None:
                # The first read requests the whole span, the others take some of the answer.
                wanted = span if span == attempt.asked else self._limiter.next_span(span)
                with failures_of(attempt.stats.source):
                    data = connection.read(file, wanted)
                reached = span.start + len(data)
                self._transfer.receive(attempt, span.start, data, connection.oddity)
                if delay := self._limiter.delay(len(data)):
                    self._stopping.wait(delay)
        except SourceError as exc:
            error = exc
        finally:
            with self._lock:
                del self._reading[attempt]
        if connection.note is not None:
            self._transfer.listener(Note(connection.note))
            connection.note = None
        if error is not None or reached < attempt.asked.stop:
            # What is left of an answer must not go on filling buffers.
            connection.close()
        return self._transfer.end(attempt, error, connection.status)
