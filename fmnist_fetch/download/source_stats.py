"""What is known of one source, and of one attempt to receive a segment from it; why a run failed.

Pure: the time is passed in. Times are seconds on the clock of the transfer, rates are bytes per second.
"""

from collections import Counter
from collections.abc import Sequence
from math import inf

from fmnist_fetch.download.backoff import Random, full_jitter
from fmnist_fetch.download.segments import FileDownload, Segment, SegmentQueue
from fmnist_fetch.errors import (
    AGAIN,
    CHECK_NETWORK,
    DiskError,
    FetchError,
    IntegrityError,
    SourceError,
    WrongBytesError,
    size,
)
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, Source, Tier

SUFFICIENT_BYTES = 16 * 1024
"""An attempt that received as many made progress, even if no piece is whole."""
MAX_RETRY_AFTER_S = 120.0
RETRY_MARGIN_S = 6.0
"""What Retry-After leaves of patience, so that the source can still answer in it."""
MAX_SAME_WRONG = 5
"""How often a mirror may send the same wrong bytes for a piece until it is no longer asked for it."""
MAX_WRONG_FILES = 3
ARRIVING_TIMEOUT_S = 30.0
"""How long a source that is itself downloading is waited for without a good piece from it."""
CAPACITY_STEP = 1 / 16
MAX_STAGE_TIMEOUT_S = 120.0
SLOW_MARGIN = 1.5
"""The time-out for a source that was slow, over the longest time after which its bytes came."""
STEAL_AFTER_S = 1.0
RATE_AFTER_S = 0.05
RATE_WINDOW_S = 5.0
_NAMED_FILES = 3


class SourceStats:
    """How one source performs, and what it can still be asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.workers = 0  # attempts under way
        self.failures = 0  # failed attempts in a row
        self.ready_at = 0.0  # when it may be asked again
        self.error: SourceError | None = None  # its most telling one, of those about files that are still incomplete
        self.failed_file: FileDownload | None = None  # the file that this is about; None if it has served that since
        self.arriving_since: float | None = None  # the last good piece, if it is itself downloading what is missing
        self.capacity = inf  # how many connections it serves, as far as is known
        self.last_worker: int | None = None  # the one that received from it last
        self.rate_bps: float | None = None  # of the last attempt that shows it, over one connection
        self.timeout_s = STAGE_TIMEOUT_S  # what each stage of a connection to it may take
        self.longest_wait_s = 0.0  # after which bytes did come
        self.refused_files: set[FileDownload] = set()  # which it will never serve
        self.wrong_digests: dict[tuple[FileDownload, int], Counter[str]] = {}  # of each piece that it sent wrong
        self.last_piece_wrong = False  # of those that it completed
        # For files without piece digests: how often it sent all of one wrong, and was the only one that was asked.
        self.wrong_files: Counter[FileDownload] = Counter()
        self.asked_alone: Counter[FileDownload] = Counter()

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return self.source.name

    @property
    def is_local(self) -> bool:
        """Whether it is a folder: to ask it again costs nothing, and changes nothing."""
        return self.source.tier in (Tier.OWN, Tier.LOCAL)

    @property
    def is_untried(self) -> bool:
        """Whether neither bytes nor an error have come from it so far."""
        return self.error is None and self.last_worker is None

    @property
    def has_capacity(self) -> bool:
        """Whether one more worker is of use there."""
        limit = self.source.connections
        return self.workers + 1 <= (self.capacity if limit is None else limit)

    def can_serve(self, file: FileDownload, piece: int) -> bool:
        """Return whether it may serve this piece, now or later."""
        if file in self.refused_files or file.only_source not in (None, self.source):
            return False
        digests = self.wrong_digests.get((file, piece))
        return digests is None or max(digests.values()) < (1 if self.is_local else MAX_SAME_WRONG)

    def wrong_count(self, file: FileDownload, piece: int) -> int:
        """Return how often it sent this piece wrong."""
        digests = self.wrong_digests.get((file, piece))
        return digests.total() if digests else 0

    def is_arriving(self, now: float, patience_s: float) -> bool:
        """Return whether it is itself downloading what is missing, and worth waiting for: not for most of patience."""
        limit_s = min(ARRIVING_TIMEOUT_S, patience_s / 2)
        return self.arriving_since is not None and now - self.arriving_since < limit_s

    def note_piece(self, now: float) -> None:
        """Note a new good piece: a source that is itself downloading makes progress."""
        if self.arriving_since is not None:
            self.arriving_since = now

    def sent_wrong(self, file: FileDownload, piece: int) -> bool:
        """Return whether it sent this piece wrong before."""
        return (file, piece) in self.wrong_digests

    def is_trusted(self, file: FileDownload, piece: int) -> bool:
        """Return whether it may serve this piece and never sent it wrong."""
        return self.can_serve(file, piece) and not self.sent_wrong(file, piece)

    def note_wrong(self, file: FileDownload, piece: int, digest: str) -> None:
        """Note that it sent this piece with DIGEST, which is not the manifest's."""
        self.wrong_digests.setdefault((file, piece), Counter())[digest] += 1
        self.last_piece_wrong = True

    def note_wait(self, wait_s: float) -> None:
        """Note that bytes came after WAIT_S seconds; it gets that time from now on, and no more than it needs."""
        self.longest_wait_s = max(self.longest_wait_s, wait_s)
        self.timeout_s = max(STAGE_TIMEOUT_S, min(SLOW_MARGIN * self.longest_wait_s, MAX_STAGE_TIMEOUT_S))

    def note_timeout(self, timeout_s: float, patience_s: float) -> None:
        """Note that TIMEOUT_S seconds were too few; the next attempt gets twice as many, but not more than patience."""
        self.timeout_s = max(self.timeout_s, min(2 * timeout_s, MAX_STAGE_TIMEOUT_S, patience_s))

    def note_wrong_file(self, file: FileDownload, error: SourceError) -> None:
        """Note that it sent all of FILE, and that the whole is wrong."""
        self.error, self.failed_file = error, file
        self.wrong_files[file] += 1
        if self.wrong_files[file] >= MAX_WRONG_FILES:
            self.refused_files.add(file)

    def note_rate(self, rate_bps: float, asked: int) -> None:
        """Note the rate of an attempt that asked for ASKED bytes.

        A short answer takes its latency rather than its bytes: it does not show that the source is slower than it was.
        """
        if asked >= SUFFICIENT_BYTES or rate_bps > (self.rate_bps or 0.0):
            self.rate_bps = rate_bps

    def note_success(self, file: FileDownload) -> None:
        """Note that an attempt to receive from FILE succeeded; it may serve more connections than it did."""
        self.failures = 0
        self.capacity += CAPACITY_STEP
        if self.failed_file is file:
            self.failed_file = None

    def note_refusal(self, ready_at: float) -> None:
        """Note that it refused a connection while it served others; it is left alone until READY_AT."""
        self.ready_at = ready_at
        self.capacity = max(1.0, self.workers - 1.0)

    def note_failure(
        self, error: SourceError, file: FileDownload, *, progress: bool, now: float, patience_s: float, random: Random
    ) -> None:
        """Note that an attempt for FILE failed, and whether it made PROGRESS.

        Of PATIENCE_S, what is left of patience, Retry-After uses up a part only.
        """
        outdated = self.failed_file is None or self.failed_file.complete
        if self.error is None or outdated or error.telling >= self.error.telling:
            # A more specific message is not replaced by a less specific one.
            self.error, self.failed_file = error, file
        if not error.arriving or self.arriving_since is None:
            self.arriving_since = now if error.arriving else None
        if error.permanent:
            # A clear answer, which says nothing against a request for another file at once.
            self.refused_files.add(file)
            return
        self.failures = 0 if progress else self.failures + 1
        # A source that says when to come again needs no guess, however often that was.
        wait_s = full_jitter(self.failures if error.retry_after is None else 1, random)
        if error.retry_after is not None:
            limit_s = max(patience_s - RETRY_MARGIN_S, patience_s / 2)
            wait_s = max(wait_s, min(error.retry_after, MAX_RETRY_AFTER_S, limit_s))
        if not self.is_local:
            self.ready_at = now + wait_s


class Attempt:
    """One worker receives one segment from one source; each stage of its connection may take TIMEOUT_S seconds."""

    def __init__(self, stats: SourceStats, segment: Segment, worker: int, now: float, timeout_s: float) -> None:
        self.stats, self.segment, self.worker, self.timeout_s = stats, segment, worker, timeout_s
        self.asked = segment.span  # what was requested; the segment has what is left of it
        self.began = now
        self.last_received = now  # when bytes came and were stored
        self.last_progress = now  # the same, or when a stage of the connection ended
        self.storing_since: float | None = None  # None while it receives
        self.received = 0  # bytes
        self.kept = self.wrong = 0  # pieces of them that were good and new, and that were wrong
        self.over = False  # for its worker, or for the scheduler, which no longer waits for it
        self.piece_began: float | None = None
        self._stages: int | None = None
        self._rate_window = (now, 0)

    def note_received(self, count: int, now: float) -> None:
        """Note that COUNT bytes have come."""
        self.received += count
        self.last_received = self.last_progress = self.storing_since = now

    def note_stored(self, now: float) -> None:
        """Note that what was received is stored: only from now on is the source waited for."""
        if self.storing_since is not None:
            self.last_received = self.last_progress = now
            self.storing_since = None

    def note_stages(self, stages: int, now: float) -> None:
        """Note how many stages of its connection have ended so far: one more is progress."""
        if self._stages not in (None, stages):
            self.last_progress = now
        self._stages = stages

    def window_rate_bps(self, now: float) -> float | None:
        """Return the rate of the last RATE_WINDOW_S seconds; None until they are over, and the next ones begin."""
        began, before = self._rate_window
        if now - began < RATE_WINDOW_S or self.segment.position >= self.segment.stop:
            return None
        self._rate_window = (now, self.received)
        return (self.received - before) / (now - began)

    def rate_bps(self, now: float) -> float:
        """Return the rate so far."""
        return self.received / max(now - self.began, 1e-3)

    def is_young(self, now: float) -> bool:
        """Return whether too little time has passed to estimate its end."""
        return now - self.began < STEAL_AFTER_S

    def seconds_left(self, now: float) -> float:
        """Return how long the rest of its segment takes at this rate; 0 while it is young."""
        return 0.0 if self.is_young(now) else self.segment.span.length / max(self.rate_bps(now), 1e-3)


def final_error(queue: SegmentQueue, sources: Sequence[SourceStats]) -> FetchError:
    """Return the error of a run that ends without its files: the facts, and a line for each source.

    It is an IntegrityError where a source sent wrong bytes, a DiskError where a limit of this machine is the only
    reason, else a SourceError.
    """
    lines = "".join(f"\n  {_outcome(stats)}" for stats in sources)
    lacking = [file.name for file in queue.files if not file.complete]
    more = f" and {len(lacking) - _NAMED_FILES} more" if len(lacking) > _NAMED_FILES else ""
    names = ", ".join(lacking[:_NAMED_FILES]) + more
    facts = f"could not download {names} ({size(queue.bytes_missing)}) from any source"
    facts += f":{lines}" if lines else "; there is none to ask"
    errors = [stats.error for stats in sources if stats.error]
    if any(isinstance(error, WrongBytesError) for error in errors):
        return IntegrityError(facts, hint="Name a mirror that has the right files: --mirror URL or --mirror FOLDER.")
    if errors and all(error.is_local for error in errors):
        return DiskError(facts, hint=errors[0].hint)
    hints = {error.hint for error in errors if error.hint not in (AGAIN, CHECK_NETWORK)}
    # Where all sources have the same cause (a certificate, a login page, a wrong address), the hint is about it.
    advice = hints.pop() if len(hints) == 1 else CHECK_NETWORK
    if all(stats.is_local for stats in sources):
        advice = "Only this machine was looked at: leave out --offline (and FMNIST_OFFLINE)."
    return SourceError(facts, hint=f"{advice} What arrived is kept. Another source: --mirror URL or --mirror FOLDER.")


def _outcome(stats: SourceStats) -> str:
    """Return what came of a source, on one line."""
    if stats.error is not None:
        return stats.error.message
    return f"{stats.name}: " + ("asked, without a result so far" if stats.workers else "not asked")
