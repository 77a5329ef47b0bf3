"""The threads that receive from sources: each reads from its connections and gives what it received to the transfer."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf

from fmnist_fetch.concurrency import join_all
from fmnist_fetch.download.source_stats import Attempt, SourceStats
from fmnist_fetch.download.transfer import Transfer
from fmnist_fetch.errors import DiskError, SourceError
from fmnist_fetch.events import Message, Note
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Connection, Source, Tier

GRACE_S = 0.3
IDLE_S = 0.5
BURST_S = 0.1
MIN_RECEIVE_BYTES = 4096


class RateLimiter:
    """A token bucket for the bytes that all workers receive together; RATE_BPS None means no limit."""

    def __init__(self, rate_bps: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_bps = rate_bps or inf
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = clock()

    def next_span(self, span: Span) -> Span:
        """Return the beginning of SPAN that may be received at once."""
        return Span(span.start, int(min(span.stop, span.start + max(MIN_RECEIVE_BYTES, self._rate_bps * BURST_S))))

    def delay(self, count: int) -> float:
        """Note COUNT received bytes; return the seconds to wait before more are received."""
        with self._lock:
            now = self._clock()
            # Time in which nothing was received is not saved up for later, but for a moment's.
            self._paid_until = max(self._paid_until, now - BURST_S) + count / self._rate_bps
            return max(0.0, self._paid_until - now)


class WorkerPool:
    """The workers of TRANSFER and their connections."""

    def __init__(self, transfer: Transfer, limit_rate_bps: float | None) -> None:
        self._transfer = transfer
        self._limiter = RateLimiter(limit_rate_bps)
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
        self._threads.append(worker)
        worker.start()

    def look_after(self) -> None:
        """Replace the workers that are stuck, and note what is on its way."""
        with self._lock:
            reading = dict(self._reading)
        stages = {attempt: connection.stages for attempt, connection in reading.items()}
        self._transfer.note_activity(stages, sum(map(_pending, self._open_connections())))
        for _ in range(self._transfer.drop_stalled()):
            self.add_worker()

    def stop(self) -> None:
        """End all workers; one that is stuck is left alone, and ends with its connection."""
        self._transfer.close()
        self._stopping.set()
        for connection in self._open_connections():
            with suppress(Exception):
                connection.stop()
        join_all(self._threads, GRACE_S)

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
                        _close(connection)
                elif not self._transfer.end(attempt, *self._receive(attempt, connections)):
                    # Another worker has replaced this one.
                    break
        except BaseException as exc:
            # Whatever it is, the caller's thread must raise it: an error of the disk, or of this program.
            self._transfer.fail(exc)
        finally:
            for connection in connections.values():
                _close(connection)
                with self._lock:
                    self._connections.remove(connection)

    def _open(self, source: Source) -> Connection:
        with _failures_of(source):
            connection = source.open()
        with self._lock:
            self._connections.append(connection)
            announce = source.tier is Tier.PACKAGE and not self._announced
            self._announced = self._announced or announce
        if announce:
            # It takes a while before its first byte comes, and silence would look like a hang.
            self._transfer.listener(Message(f"no mirror can serve now; trying the {source.name}"))
        return connection

    def _receive(
        self, attempt: Attempt, connections: dict[SourceStats, Connection]
    ) -> tuple[SourceError | None, int | None]:
        """Receive the attempt's segment, or as much as comes.

        Returns:
            What the attempt failed with, if it did, and the status of the answer, if there was one.
        """
        stats, reached, error = attempt.stats, attempt.asked.start, None
        try:
            connection = connections[stats] = connections.get(stats) or self._open(stats.source)
        except SourceError as exc:
            return exc, None
        connection.timeout_s = attempt.timeout_s
        with self._lock:
            self._reading[attempt] = connection
        try:
            while (span := self._transfer.remaining(attempt)) is not None:
                # The first read requests the whole span, the others take some of the answer.
                wanted = span if span == attempt.asked else self._limiter.next_span(span)
                with _failures_of(stats.source):
                    data = connection.read(attempt.segment.file.data_file, wanted)
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
            _close(connection)
        return error, connection.status


@contextmanager
def _failures_of(source: Source) -> Iterator[None]:
    """Convert what the block raises to a SourceError: another source may still serve.

    An error of the own disk and the lack of memory end the run; no source is to blame for them.
    """
    try:
        yield
    except (SourceError, DiskError, MemoryError):
        raise
    except Exception as exc:
        # It loads requests, which a source of another kind does not need.
        from fmnist_fetch.sources.http.failures import translate

        raise translate(exc, source.name) from exc


def _close(connection: Connection) -> None:
    with suppress(Exception):
        connection.close()


def _pending(connection: Connection) -> int:
    with suppress(Exception):
        return connection.pending
    return 0
