"""Which source is asked next and for what, and when it is time to wait or to give up.

Pure: the time and the random numbers are passed in.

- Tiers in order; a later one is asked when no source of an earlier one can serve now. Where one is itself downloading
  what is missing, only copies on this machine are asked meanwhile.
- Within a tier, a source without failures, with the fewest workers, the fastest. All sources should end at the same
  time: each gets a share of what waits by its rate, and nothing that the others would serve sooner. Segments of one
  fixed length would need more requests, and unequal sources would end later.
- A worker for which nothing waits steals from the slowest attempt; the last piece is requested twice (endgame).
- A failure without progress: full jitter, or what Retry-After asks for. A permanent answer: never again for that file.
- A refusal while other connections to the same source deliver: fewer connections, not a failure.
- Wrong bytes: that piece from others first, from this source last. The same wrong bytes five times: never again.
- More connections to a source only while those that it has are neither done in a moment nor as fast as the disk.
- A file without piece digests that is wrong as a whole: all of it from one source, first those that did not send it.
  A source that sent all of it wrong three times: never again.
- A silent source is left soon where another one can serve. Where none can, it gets the time that a stage of its
  connection may take, and twice as much the next time. Time that the own disk takes is not counted.
- Patience is measured in progress: every new good piece resets it.
"""

from collections.abc import Collection, Iterable, Sequence
from math import inf

from fmnist_fetch.download.backoff import Patience, Random, full_jitter
from fmnist_fetch.download.segments import Accepts, FileDownload, Givers, Segment, SegmentQueue
from fmnist_fetch.download.source_stats import RATE_AFTER_S, STEAL_AFTER_S, SUFFICIENT_BYTES, Attempt, SourceStats
from fmnist_fetch.errors import SourceError, WrongBytesError
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, FetchOptions, Source, Tier

STALL_TIMEOUT_S = 6.0
"""How long a source may send nothing while another one could serve."""
STALL_GRACE_S = 1.0
"""How much longer than a stage may take a connection may need to end it itself; after that, its worker is stuck."""
MIN_RATE_BPS = 4 * 1024
PACKAGE_AFTER_FAILURES = 2
ENOUGH_S = 0.3
ENOUGH_BPS = 200e6
LOOK_AGAIN_S = 0.25
FIRST_LENGTH_BYTES = 1024 * 1024
MAX_LENGTH_BYTES = 64 * 1024 * 1024
MAX_LIMITED_S = 1.0
"""What one request takes at most at the limit of the rate."""
WORTH_REQUESTING_S = 0.1
"""Of many shorter segments at the end, more would wait for answers than receive."""


class Scheduler:
    """Hands out attempts against QUEUE and notes how they went."""

    def __init__(
        self,
        queue: SegmentQueue,
        sources: Sequence[Source],
        options: FetchOptions,
        patience: Patience,
        random: Random,
    ) -> None:
        self.queue = queue
        self.sources = tuple(map(SourceStats, sources))
        self.attempts: list[Attempt] = []
        self.patience = patience
        self._jobs = options.jobs
        limit_bps = options.limit_rate or inf
        # What a limit delays is not the sources' fault, and an answer should not be left unread for long.
        self._min_rate_bps = min(MIN_RATE_BPS, limit_bps / (2 * options.jobs))
        self._max_length = int(min(MAX_LENGTH_BYTES, limit_bps * MAX_LIMITED_S))
        self._random = random
        self._tiers = sorted({source.tier for source in sources})
        self._suspect: set[tuple[FileDownload, int]] = set()

    def next_attempt(self, now: float, worker: int = 0) -> Attempt | None:
        """Return the next attempt for an idle WORKER; None where it has nothing to do now."""
        awaited = False
        for tier in self._tiers:
            if awaited and tier > Tier.LOCAL:
                return None
            ready = self._ready(tier, now)
            free = [stats for stats in ready if self._is_open_to(stats, worker) and not self._is_fast(stats, now)]
            for stats in sorted(free, key=_burden):
                if segment := self._segment(stats, now):
                    return self._begin(stats, segment, worker, now)
            if any(self.queue.wanted(self._accepts(stats)) for stats in ready if stats not in free):
                return None
            arriving = [one for one in self.sources if one.is_arriving(now, self.patience.seconds)]
            awaited = any(self.queue.wanted(self._accepts(one)) for one in arriving if one.source.tier <= tier)
        return None

    def note_received(self, attempt: Attempt, count: int, now: float) -> SourceError | None:
        """Note COUNT bytes. Return why to leave the source: it is very slow, and another one could serve."""
        stats = attempt.stats
        stats.note_wait(now - attempt.last_progress)
        attempt.note_received(count, now)
        stats.last_worker = attempt.worker
        rate_bps = attempt.window_rate_bps(now)
        if rate_bps is None or rate_bps >= self._min_rate_bps:
            return None
        self._replace_only(stats, attempt.segment.file, [one for one in self.sources if not one.failures])
        if self._alternatives(attempt, now):
            return SourceError(f"{stats.name} is too slow: {rate_bps:.0f} bytes/s")
        return None

    def note_verified(self, attempt: Attempt, index: int, now: float) -> bool:
        """Note that piece INDEX of the attempt's file is good and stored; return whether that is new."""
        is_new = self.queue.complete_piece(attempt.segment, index)
        attempt.stats.last_piece_wrong = False
        if is_new:
            attempt.stats.note_piece(now)
            attempt.kept += 1
            self.patience.progress(now)
        return is_new

    def note_wrong(self, attempt: Attempt, index: int, digest: str, givers: Givers) -> bool:
        """Note that piece INDEX came with DIGEST, which is wrong; return whether the source sent all of it."""
        file, stats = attempt.segment.file, attempt.stats
        is_known = givers == {stats.source}
        attempt.wrong += 1
        if is_known:
            stats.note_wrong(file, index, digest)
            # What followed in the same answer is no better.
            attempt.segment.discard()
        else:
            # Which of several sent wrong bytes is unknown: from now on this piece comes from one of them.
            self._suspect.add((file, index))
        self.queue.requeue(attempt.segment, index)
        return is_known

    def note_failure(self, attempt: Attempt, error: SourceError, now: float) -> None:
        """Note that the attempt ended before its segment."""
        stats = attempt.stats
        # Bytes that nobody has verified are progress only from a source that may be expected to send right ones.
        received_enough = attempt.received >= SUFFICIENT_BYTES and not stats.last_piece_wrong
        progress = bool(attempt.kept) or (received_enough and not isinstance(error, WrongBytesError))
        if now - attempt.last_progress >= 0.9 * attempt.timeout_s:
            stats.note_timeout(attempt.timeout_s, self.patience.seconds)
        others_go_on = self._serves_others(attempt) or (error.is_local and len(self._attempts_of(stats)) > 1)
        lasting = error.permanent and not error.is_local
        if not (attempt.received or lasting or error.retry_after) and others_go_on:
            stats.note_refusal(now + full_jitter(1, self._random))
        else:
            left_s = self.patience.ends - now
            stats.note_failure(
                error, attempt.segment.file, progress=progress, now=now, patience_s=left_s, random=self._random
            )
        if not progress and (stats.failures > 1 or error.permanent):
            self._replace_only(stats, attempt.segment.file, self.sources)
        # Bytes that no source can serve must not keep the others waiting.
        self._end(attempt, now, last=not progress)

    def note_wrong_file(self, file: FileDownload, givers: Collection[str], error: SourceError, now: float) -> None:
        """Request all of FILE again: its pieces have no digests, and what GIVERS, by name, sent is wrong as a whole."""
        if len(givers) == 1:
            for stats in self.sources:
                if stats.name in givers:
                    stats.note_wrong_file(file, error)
        self._request_alone(file)
        self.queue.restart(file)
        self.patience.progress(now)

    def note_lost(self, attempt: Attempt, error: SourceError, now: float) -> None:
        """Note that the worker of the attempt is stuck and has been replaced."""
        self.note_failure(attempt, error, now)
        for stats in self.sources:
            if stats.last_worker == attempt.worker:
                stats.last_worker = None

    def note_done(self, attempt: Attempt, now: float) -> None:
        """Note that the segment of the attempt is complete, by its worker or by others."""
        if attempt.received:
            attempt.stats.note_success(attempt.segment.file)
        self._end(attempt, now)

    def stalled(self, now: float) -> list[Attempt]:
        """Return the attempts that received nothing for too long."""
        return [attempt for attempt in self.attempts if self._is_stalled(attempt, now)]

    def tick(self, now: float, elapsed_s: float) -> None:
        """Note that ELAPSED_S seconds passed; what an attempt spent storing does not count as a lack of progress."""
        before = now - elapsed_s
        if any(attempt.storing_since is not None and attempt.storing_since <= before for attempt in self.attempts):
            self.patience.extend(elapsed_s)

    def next_look(self, now: float) -> float:
        """Return when an idle worker asks again at the latest, if nothing happens before."""
        moments = [stats.ready_at for stats in self.sources]
        moments += [attempt.began + RATE_AFTER_S for attempt in self.attempts]
        return min([*(moment for moment in moments if moment > now), self.patience.ends, now + LOOK_AGAIN_S])

    def gives_up(self, now: float) -> bool:
        """Return whether no source will ever serve what is missing, or patience is over and each has been asked once.

        Not a package: nobody who has little patience wants to wait for all of it.
        """
        able = [stats for stats in self.sources if stats.workers or self.queue.wanted(stats.can_serve)]
        to_try = any(stats.is_untried and stats.source.tier < Tier.PACKAGE for stats in able)
        return not able or (self.patience.exhausted(now) and not to_try)

    def _ready(self, tier: Tier, now: float) -> list[SourceStats]:
        """Return the sources of TIER that may be asked now; a package only after all others have failed repeatedly."""
        if tier is Tier.PACKAGE and any(
            stats.failures < PACKAGE_AFTER_FAILURES and self.queue.wanted(stats.can_serve)
            for stats in self.sources
            if stats.source.tier < Tier.PACKAGE
        ):
            return []
        return [stats for stats in self.sources if stats.source.tier is tier and stats.ready_at <= now]

    def _serves_others(self, attempt: Attempt) -> bool:
        """Return whether another worker receives from the same source, or may still have a connection to it."""
        receiving = any(other.received for other in self._attempts_of(attempt.stats) if other is not attempt)
        return receiving or attempt.stats.last_worker not in (None, attempt.worker)

    def _is_open_to(self, stats: SourceStats, worker: int) -> bool:
        """Return whether the source has capacity for WORKER.

        A source that serves one connection only keeps the one that is open, which belongs to its last worker.
        """
        if not stats.has_capacity or (stats.source.connections is None and stats.capacity >= 2):
            return stats.has_capacity
        busy = {attempt.worker for attempt in self.attempts}
        return stats.last_worker in (None, worker) or stats.last_worker in busy

    def _is_fast(self, stats: SourceStats, now: float) -> bool:
        """Return whether one more worker would, or may, only be in the way of those that receive from the source.

        They complete what is missing in a moment, or receive as fast as it can be hashed, unpacked and written.
        """
        attempts = self._attempts_of(stats)
        rates = [attempt.rate_bps(now) for attempt in attempts if now - attempt.began >= RATE_AFTER_S]
        # Those that just began are expected to be as fast as the others.
        rates += [stats.rate_bps or max(rates, default=inf)] * (len(attempts) - len(rates))
        return sum(rates) > min(ENOUGH_BPS, self.queue.bytes_missing / ENOUGH_S)

    def _accepts(self, stats: SourceStats) -> Accepts:
        """Return whether to ask the source for a piece now: not if it sent it wrong and a better source works."""

        def accepts(file: FileDownload, piece: int) -> bool:
            wrong = stats.wrong_count(file, piece)
            return stats.can_serve(file, piece) and not any(
                other.failures == 0 and other.can_serve(file, piece) and other.wrong_count(file, piece) < wrong
                for other in (self.sources if wrong else ())
            )

        return accepts

    def _is_stalled(self, attempt: Attempt, now: float) -> bool:
        """Return whether ATTEMPT received nothing for too long; a package takes its time before its first byte."""
        if attempt.stats.source.tier is Tier.PACKAGE or attempt.storing_since is not None:
            return False
        if now - attempt.last_progress > attempt.timeout_s + STALL_GRACE_S:
            return True
        return now - attempt.last_received > STALL_TIMEOUT_S and self._has_working_alternative(attempt, now)

    def _has_working_alternative(self, attempt: Attempt, now: float) -> bool:
        """Return whether another source, whose last attempt did not fail, could serve the segment of ATTEMPT."""
        return any(not stats.failures for stats in self._alternatives(attempt, now))

    def _alternatives(self, attempt: Attempt, now: float) -> list[SourceStats]:
        """Return the other sources that could serve the segment of ATTEMPT."""
        file, piece = attempt.segment.file, attempt.segment.index
        return [
            stats
            for tier in self._tiers
            for stats in self._ready(tier, now)
            if stats is not attempt.stats and stats.has_capacity and self._accepts(stats)(file, piece)
        ]

    def _segment(self, stats: SourceStats, now: float) -> Segment | None:
        """Return what the source is to serve; what it sent wrong before comes last.

        Meeting that again and again would make it wait, and with it all the pieces that only this source has right.
        """
        segment = self._useful_segment(stats, stats.is_trusted, now)
        if segment is None and stats.wrong_digests:
            segment = self._useful_segment(stats, self._accepts(stats), now)
        return segment

    def _useful_segment(self, stats: SourceStats, accepts: Accepts, now: float) -> Segment | None:
        """Return the next segment for the source, out of pieces that it ACCEPTS; None where it would be of no use."""
        limit = self._bytes_before_others(stats, now)

        def in_time(file: FileDownload, piece: int) -> bool:
            return file.length(piece) <= limit and accepts(file, piece)

        latest_s = max((attempt.seconds_left(now) for attempt in self.attempts), default=0.0)
        if latest_s > self._seconds_to_end(stats, now) and (segment := self._steal(stats, in_time, now)):
            return segment
        # A piece that came wrong is requested by itself: what follows it in the same answer is lost.
        segment = self.queue.checkout(in_time, self._share(stats, now), stats.sent_wrong)
        return segment or self._steal(stats, in_time, now)

    def _bytes_before_others(self, stats: SourceStats, now: float) -> float:
        """Return how many bytes this source serves while the others serve all that is missing."""
        own = [attempt.rate_bps(now) for attempt in self._attempts_of(stats)]
        rate_bps = stats.rate_bps or max(own, default=None)
        others_bps = _total_rate_bps((other for other in self.attempts if other.stats is not stats), now)
        return inf if rate_bps is None or not others_bps else rate_bps * self.queue.bytes_missing / others_bps

    def _seconds_to_end(self, stats: SourceStats, now: float) -> float:
        """Return in how many seconds all that is missing will have come, if this source works too."""
        rate_bps = _total_rate_bps(self.attempts, now) + (stats.rate_bps or 0.0)
        return self.queue.bytes_missing / max(rate_bps, 1.0)

    def _share(self, stats: SourceStats, now: float) -> int:
        """Return how many bytes the next segment for this source should have."""
        if self._jobs == 1 or (stats.source.connections == 1 and stats.rate_bps):
            return self._max_length
        if stats.rate_bps is None:
            return min(FIRST_LENGTH_BYTES, self._max_length, self.queue.bytes_missing // (2 * self._jobs))
        others_bps = _total_rate_bps(self.attempts, now)
        share = self.queue.bytes_missing * stats.rate_bps / (stats.rate_bps + others_bps) / 2
        return min(self._max_length, int(max(share, stats.rate_bps * WORTH_REQUESTING_S)))

    def _steal(self, stats: SourceStats, accepts: Accepts, now: float) -> Segment | None:
        """Return pieces of the slowest attempt that this source would serve sooner; the last one for both."""
        if not self.attempts or stats.failures:
            return None
        slowest = max(self.attempts, key=lambda attempt: attempt.seconds_left(now))
        if slowest.stats is stats and not slowest.received and now - slowest.began <= stats.longest_wait_s:
            # A source that is slow to answer is as slow on one more connection.
            return None
        segment, theirs_bps = slowest.segment, slowest.rate_bps(now)
        ours_bps = stats.rate_bps or max(attempt.rate_bps(now) for attempt in self.attempts)
        if slowest.seconds_left(now) - segment.span.length / max(ours_bps + theirs_bps, 1.0) < STEAL_AFTER_S:
            return None
        pieces = segment.pieces
        # Never its first piece: an answer that is only slow to begin would be thrown away when it comes, every time.
        count = min(round(len(pieces) * ours_bps / (ours_bps + theirs_bps or 1.0)), len(pieces) - 1)
        if count >= 1 and all(accepts(segment.file, piece) for piece in pieces[-count:]):
            return self.queue.steal(segment, pieces[-count])
        if len(pieces) == 1 and accepts(segment.file, pieces[0]):
            return self.queue.endgame(segment)
        return None

    def _attempts_of(self, stats: SourceStats) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.stats is stats]

    def _request_alone(self, file: FileDownload) -> None:
        """Request all of FILE from one source: of those that may serve it, one that sent it wrong least often."""
        able = [stats for stats in self.sources if file not in stats.refused_files]
        if able:
            chosen = min(able, key=lambda stats: (stats.wrong_files[file], stats.asked_alone[file], *_burden(stats)))
            chosen.asked_alone[file] += 1
            file.only_source = chosen.source

    def _replace_only(self, stats: SourceStats, file: FileDownload, others: Iterable[SourceStats]) -> None:
        """Let one of OTHERS continue with FILE, if it comes from this source only.

        None that sent it wrong more often takes over: their bytes would be mixed again.
        """
        if file.only_source is not stats.source:
            return
        able = [one for one in others if one is not stats and file not in one.refused_files]
        able = [one for one in able if one.wrong_files[file] <= stats.wrong_files[file]]
        if able:
            file.only_source = min(able, key=_burden).source

    def _begin(self, stats: SourceStats, segment: Segment, worker: int, now: float) -> Attempt:
        if (segment.file, segment.index) in self._suspect and segment.givers - {stats.source}:
            segment.discard()
        stats.workers += 1
        attempt = Attempt(stats, segment, worker, now, stats.timeout_s)
        if self._has_working_alternative(attempt, now):
            attempt.timeout_s = STAGE_TIMEOUT_S
        self.attempts.append(attempt)
        return attempt

    def _end(self, attempt: Attempt, now: float, *, last: bool = False) -> None:
        attempt.over = True
        self.attempts.remove(attempt)
        attempt.stats.workers -= 1
        if attempt.received:
            attempt.stats.note_rate(attempt.rate_bps(now), attempt.asked.length)
        self.queue.cancel(attempt.segment, last=last)


def _burden(stats: SourceStats) -> tuple[bool, int, int, float]:
    """Return what speaks against asking this source rather than another one of its tier."""
    return stats.failures > 0, stats.workers, stats.failures, -(stats.rate_bps or 0.0)


def _total_rate_bps(attempts: Iterable[Attempt], now: float) -> float:
    """Return the good bytes per second to expect from ATTEMPTS together.

    A source's earlier rate says more than the first moments of an attempt; one that failed last is not counted on.
    """
    return sum(
        attempt.stats.rate_bps if attempt.stats.rate_bps and attempt.is_young(now) else attempt.rate_bps(now)
        for attempt in attempts
        if not attempt.stats.failures
    )
