"""What the threads of a transfer share: the scheduler and its files, under one lock.

Only here is it decided, piece by piece, that bytes are kept: `receive` gives them to the part file, which checks them
and then writes them. Reading, hashing and writing happen outside of the lock.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from fmnist_fetch.download.backoff import Patience, Random
from fmnist_fetch.download.scheduler import Scheduler
from fmnist_fetch.download.segments import FileDownload, Givers, SegmentQueue, WholePiece
from fmnist_fetch.download.source_stats import Attempt, final_error
from fmnist_fetch.errors import SourceError, WrongBytesError
from fmnist_fetch.events import Attempted, BytesInFlight, Listener, Message, NoSourceReady, Verified
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import FetchOptions, Source
from fmnist_fetch.sources.diagnosis import wrong_bytes
from fmnist_fetch.storage.recorded_file import WrongFileError

SAVE_PARTIAL_AFTER_S = 0.01
SAVE_PARTIAL_BYTES = 8 * 1024
REPORT_EVERY_S = 0.2
MAX_PAUSE_S = 2.0
NAMES_SEPARATOR = ", "


class RunningClock:
    """The seconds in which the process ran, out of CLOCK's.

    It is read several times a second. Where it was not for MAX_PAUSE_S, the process was stopped, suspended or starved
    of the processor, and no source is to blame for that time. Not for several threads at once.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self._stopped_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        now = self._clock()
        if now - self._last > MAX_PAUSE_S:
            self._stopped_s += now - self._last
        self._last = now
        return now - self._stopped_s


class Transfer:
    """The monitor of a transfer: its methods are called from any thread, and all that they share changes in them only.

    An idle worker waits for `_changed`, the caller's thread for `_news`; who needs a piece waits for its event.
    """

    def __init__(
        self,
        files: Sequence[FileDownload],
        sources: Sequence[Source],
        options: FetchOptions,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        random: Random = random.random,
    ) -> None:
        self.files = tuple(files)
        self.listener = listener
        self._clock = RunningClock(clock)
        patience = Patience(options.patience, self._clock())
        self.scheduler = Scheduler(SegmentQueue(files), sources, options, patience, random)
        self._queue = self.scheduler.queue
        self._lock = threading.RLock()
        self._changed, self._news = threading.Condition(self._lock), threading.Event()
        self._closed = self._finished = False
        self._failure: BaseException | None = None
        self._awaited: dict[tuple[FileDownload, int], threading.Event] = {}
        self._unsettled = {file for file in files if not file.has_piece_digests}
        self._pending = 0
        self._reported_at = self._looked_at = self._clock()

    # --- for workers

    @property
    def over(self) -> bool:
        """Whether workers have nothing to do any more, whatever the whole files turn out to be."""
        with self._lock:
            return self._closed or (self._queue.complete and not self._unsettled)

    def next_attempt(self, worker: int, wait_s: float) -> Attempt | None:
        """Wait WAIT_S seconds at most for something for WORKER to do; return None where there is nothing."""
        with self._lock:
            end = self._clock() + wait_s
            while not self.over and (now := self._clock()) <= end:
                if (attempt := self.scheduler.next_attempt(now, worker)) is not None:
                    return attempt
                self._changed.wait(max(0.01, min(self.scheduler.next_look(now), end) - now))
            return None

    def remaining(self, attempt: Attempt) -> Span | None:
        """Return what ATTEMPT is still to receive; None where there is nothing."""
        with self._lock:
            attempt.note_stored(self._clock())
            wanted = not (self._closed or attempt.over) and attempt.segment.position < attempt.segment.stop
            return attempt.segment.span if wanted else None

    def receive(self, attempt: Attempt, start: int, data: bytes, oddity: str | None = None) -> None:
        """Keep the pieces that DATA, the bytes from START, completes and that are right.

        ODDITY is what the answer seems to be instead of the file, for the message if the bytes are wrong.

        Raises:
            WrongBytesError: The source of the attempt sent a whole piece that is wrong.
            SourceError: The source is too slow, and another one could serve.
            DiskError: The disk refuses a piece.
        """
        with self._lock:
            if attempt.over or self._closed:
                return
            if attempt.stats.last_worker is None:
                # Nobody knew before that it delivers: others may now be of use there.
                self._changed.notify_all()
            whole = list(self._queue.feed(attempt.segment, start, data, attempt.stats.source))
            error: SourceError | None = self.scheduler.note_received(attempt, len(data), self._clock())
        error = self._store(attempt, whole, oddity) or error
        self._save_partial(attempt, fresh=bool(whole))
        if error is not None:
            raise error

    def end(self, attempt: Attempt, error: SourceError | None, status: int | None) -> bool:
        """Note the end of ATTEMPT; return whether its worker still counts: one that has been replaced does not."""
        with self._lock:
            if attempt.over:
                return False
            now = self._clock()
            if self.over:
                # It was not needed any more: whatever happened to it, even a socket that we shut down, is no failure.
                error = None
            if error is None:
                self.scheduler.note_done(attempt, now)
            else:
                self.scheduler.note_failure(attempt, error, now)
                self.wake()
                # Not after a success: that is no news to those who wait, and they would delay who continues.
                self._changed.notify_all()
            self._report(attempt, error, error.status or status if error else status)
            return True

    # --- for the thread of the caller

    def wait(self, seconds: float) -> None:
        """Wait for news, SECONDS at most; report where all sources must be waited for.

        Raises what ended a thread, and the scheduler's final error when there is no hope or patience left.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            scheduler, now = self.scheduler, self._clock()
            scheduler.tick(now, now - self._looked_at)
            self._looked_at = now
            if not self._queue.complete:
                if scheduler.gives_up(now):
                    raise final_error(self._queue, scheduler.sources)
                if not scheduler.attempts:
                    reasons = tuple(stats.error.message for stats in scheduler.sources if stats.error)
                    safe = sum(file.size for file in self.files) - self._queue.bytes_missing
                    self.listener(NoSourceReady(reasons, max(0.0, scheduler.patience.ends - now), safe))
        self._news.wait(seconds)
        # Before the caller looks at anything again: what happens from now on is further news.
        self._news.clear()

    def drop_stalled(self) -> int:
        """End the attempts that receive nothing; return how many workers are to be replaced."""
        with self._lock:
            now = self._clock()
            stalled = self.scheduler.stalled(now)
            for attempt in stalled:
                silence = now - attempt.last_received
                error = SourceError(f"{attempt.stats.name} sent nothing for {silence:.0f} s")
                self.scheduler.note_lost(attempt, error, now)
                self._report(attempt, error, None)
            if stalled:
                self._changed.notify_all()
            return len(stalled)

    def note_activity(self, stages: Mapping[Attempt, int], pending: int) -> None:
        """Note how many STAGES each attempt has ended, and the PENDING bytes that nobody can read yet."""
        with self._lock:
            for attempt, count in stages.items():
                attempt.note_stages(count, self._clock())
            if pending > self._pending:
                self.scheduler.patience.progress(self._clock())
            self._pending = pending
            self._report_partials()

    def close(self) -> None:
        """Hand out no more attempts, and keep nothing more."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            for event in self._awaited.values():
                event.set()

    def save_partials(self) -> None:
        """Save the beginnings of all pieces under way, and close the part files, which nobody reads any more."""
        with self._lock:
            self._finished = True
            for segment in self._queue.partials():
                segment.file.part.save_partial(segment.index, segment.partial, segment.stored)
        for file in self.files:
            file.part.close()

    # --- for consumers

    def wait_for_piece(self, file: FileDownload, index: int) -> None:
        """Wait until this piece is good; raise SourceError where the transfer is closed before that."""
        with self._lock:
            if index in file.good:
                return
            event = self._awaited.setdefault((file, index), threading.Event())
            if self._closed:
                event.set()
        event.wait()
        with self._lock:
            if index not in file.good:
                raise SourceError("the transfer is over")

    def settle(self, file: FileDownload) -> None:
        """Note that FILE has its final name."""
        with self._lock:
            if file in self._unsettled:
                self._unsettled.remove(file)
                self._changed.notify_all()

    def reject(self, file: FileDownload, error: WrongFileError) -> None:
        """Request FILE again, which is complete and, as a whole, wrong; other sources come first."""
        with self._lock:
            givers = {name for names in error.givers for name in names.split(NAMES_SEPARATOR)}
            reason = WrongBytesError(error.message, hint=error.hint)
            self.scheduler.note_wrong_file(file, givers, reason, self._clock())
            self.listener(Message(f"{error.message}; it is downloaded again"))
            self.listener(Verified(file.name, -file.size, -len(file.pieces)))
            self._changed.notify_all()

    def check_open(self) -> None:
        """Raise SourceError where the part files are closed."""
        with self._lock:
            if self._finished:
                raise SourceError("the transfer has ended")

    # --- for any thread

    def fail(self, exc: BaseException) -> None:
        """Let the caller's thread raise EXC, which ended another one; the first one counts.

        After the transfer is closed, that a file is incomplete is no news.
        """
        with self._lock:
            if self._closed and isinstance(exc, SourceError):
                return
            self._failure = self._failure or exc
            self.wake()

    def wake(self) -> None:
        """Let the caller's thread look again."""
        self._news.set()

    def _store(self, attempt: Attempt, whole: Iterable[WholePiece], oddity: str | None) -> WrongBytesError | None:
        """Write those of the WHOLE pieces that are right; return an error for those that are wrong."""
        part, good = attempt.segment.file.part, list[int]()
        error = None
        try:
            for index, piece, givers in whole:
                if part.put(index, piece, _names(givers)):
                    good.append(index)
                else:
                    error = self._reject(attempt, index, piece, givers, oddity) or error
                part.discard_partial(index)
        finally:
            # All at once: who waits for them is woken once, and not in the middle of this.
            if good:
                self._note_good(attempt, good)
        return error

    def _note_good(self, attempt: Attempt, good: Iterable[int]) -> None:
        file = attempt.segment.file
        with self._lock:
            for index in good:
                if self.scheduler.note_verified(attempt, index, self._clock()):
                    self.listener(Verified(file.name, file.length(index)))
                    if event := self._awaited.pop((file, index), None):
                        event.set()

    def _reject(
        self, attempt: Attempt, index: int, piece: bytearray | memoryview, givers: Givers, oddity: str | None
    ) -> WrongBytesError | None:
        file = attempt.segment.file
        digest = hashlib.sha256(piece).hexdigest()
        with self._lock:
            if not self.scheduler.note_wrong(attempt, index, digest, givers):
                return None
        return wrong_bytes(attempt.stats.name, file.data_file, file.pieces[index].span, piece, oddity)

    def _save_partial(self, attempt: Attempt, *, fresh: bool) -> None:
        """Save the beginning of a piece that takes its time: a SIGKILL must not cost what has come of it."""
        with self._lock:
            now, segment = self._clock(), attempt.segment
            if fresh or attempt.piece_began is None:
                attempt.piece_began = now
                return
            length, stored = len(segment.partial), segment.stored
            is_slow = now - attempt.piece_began > SAVE_PARTIAL_AFTER_S
            if attempt.over or not is_slow or length < stored + SAVE_PARTIAL_BYTES:
                return
            index, partial = segment.index, bytes(segment.partial)
            segment.stored = length
        segment.file.part.save_partial(index, partial, stored)

    def _report_partials(self) -> None:
        """Report, a few times a second, what is under way: the next good piece of a slow line may take long."""
        if (now := self._clock()) < self._reported_at + REPORT_EVERY_S:
            return
        self._reported_at = now
        partials = {attempt.segment.file.name: 0 for attempt in self.scheduler.attempts}
        for segment in self._queue.partials():
            partials[segment.file.name] = partials.get(segment.file.name, 0) + len(segment.partial)
        sources = dict.fromkeys(attempt.stats.name for attempt in self.scheduler.attempts)
        self.listener(BytesInFlight(tuple(partials.items()), tuple(sources)))

    def _report(self, attempt: Attempt, error: SourceError | None, status: int | None) -> None:
        self.listener(
            Attempted(
                source=attempt.stats.name,
                file=attempt.segment.file.name,
                span=attempt.asked,
                status=status,
                received=attempt.received,
                kept=attempt.kept,
                seconds=self._clock() - attempt.began,
                wrong=attempt.wrong,
                error=error.message if error else None,
            )
        )


def _names(givers: Givers) -> str:
    """Return the names of the sources that sent a piece; an earlier run has none."""
    return NAMES_SEPARATOR.join(sorted(giver.name for giver in givers if giver is not None))
