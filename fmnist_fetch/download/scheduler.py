"""Who is asked next, for what, and when it is time to wait or to give up. Pure: the clock and the dice are passed in.

- Tiers in order; a later one's turn comes when no origin of an earlier one can serve just now.
- Within a tier, one that is well, with the fewest workers, the fastest; what it is given is the allotment's business.
- A failure without progress: full jitter, or what Retry-After asks for. A permanent answer: never again for that file.
- A refusal while other connections to the same origin deliver: fewer connections, not a failure.
- Wrong bytes: that piece from others first, from here last of all. The same wrong bytes five times: never again.
- Further connections to an origin only where those that it has bring neither the rest in a moment nor all one can use.
- Patience is measured in progress: every new good piece resets it.
"""

from collections.abc import Callable, Sequence

from fmnist_fetch.download.allotment import Allotment
from fmnist_fetch.download.backoff import Patience, full_jitter
from fmnist_fetch.download.order import SOON, Attempt
from fmnist_fetch.download.segments import Accepts, Segment, SegmentQueue
from fmnist_fetch.download.source_stats import SUFFICIENT, SourceStats
from fmnist_fetch.errors import SourceError, WrongBytesError
from fmnist_fetch.sources.base import Source, Tier

SILENCE = 6.0
CRAWL = 4 * 1024
CRAWL_WINDOW = 5.0
STUBBORN = 2
MOMENT = 0.3
PLENTY = 200e6
LOOK = 0.25


class Scheduler:
    """Hands out orders against PLAN and takes note of how they went."""

    def __init__(
        self, plan: SegmentQueue, origins: Sequence[Source], jobs: int, patience: Patience, dice: Callable[[], float]
    ) -> None:
        self.plan = plan
        self.origins = origins
        self.standings = [SourceStats(origin) for origin in origins]
        self.orders: list[Attempt] = []
        self.patience = patience
        self._allotment = Allotment(plan, self.standings, self.orders, jobs)
        self._dice = dice
        self._tiers = sorted({origin.tier for origin in origins})
        self._suspect: set[tuple[int, int]] = set()

    def next(self, now: float, worker: int = 0) -> Attempt | None:
        """The next order for an idle WORKER, or None: there is nothing for it to do just now."""
        for tier in self._tiers:
            ready = self._ready(tier, now)
            free = [number for number in ready if self._open_to(number, worker) and not self._fast(number, now)]
            for number in sorted(free, key=self._burden):
                if task := self._task(number, now):
                    return self._order(number, task, now, worker)
            if any(self.plan.wanted(self._accepts(number)) for number in set(ready) - set(free)):
                return None
        return None

    def arrived(self, order: Attempt, count: int, now: float) -> SourceError | None:
        """COUNT bytes have come. Returns the reason to let the origin go: it crawls while another one could serve."""
        order.got, order.heard = order.got + count, now
        standing = self.standings[order.origin]
        standing.keeper, standing.flow = order.worker, order.flow(count, now) or standing.flow
        since, before = order.window
        if now - since < CRAWL_WINDOW or order.task.at >= order.task.stop:
            return None
        order.window = (now, order.got)
        rate = (order.got - before) / (now - since)
        if rate < CRAWL and self._alternative(order, now):
            return SourceError(f"{self.origins[order.origin].name} crawls at {rate:.0f} bytes/s")
        return None

    def verified(self, order: Attempt, index: int, now: float) -> bool:
        """Piece INDEX of the order's file is good and kept; tell whether that is news."""
        news = self.plan.keep(order.task, index)
        if news:
            order.kept += 1
            self.patience.progress(now)
        return news

    def wrong(self, order: Attempt, index: int, digest: str, givers: set[int]) -> bool:
        """Piece INDEX of the order's file came with another DIGEST than the manifest's; tell whether by its origin."""
        key, ours = (order.task.file, index), givers == {order.origin}
        order.wrong += 1
        if ours:
            self.standings[order.origin].came_wrong(*key, digest)
            # What came after it in the same answer is no better.
            order.task.forget()
        else:
            # Which of several gave wrong bytes can't be told: from now on this piece is to come from one of them.
            self._suspect.add(key)
        self.plan.reject(order.task, index)
        return ours

    def failed(self, order: Attempt, error: SourceError, now: float) -> None:
        """The order came to an end before its task did."""
        if order.over:
            return
        progress = bool(order.kept) or (order.got >= SUFFICIENT and not isinstance(error, WrongBytesError))
        standing = self.standings[order.origin]
        if not (order.got or error.permanent or error.retry_after) and self._crowded(order):
            standing.crowded(now + full_jitter(1, self._dice))
        else:
            standing.failed(error, order.task.file, progress=progress, now=now, dice=self._dice)
        # Bytes that can't be had must not keep the others waiting.
        self._end(order, now, last=not progress)

    def lost(self, order: Attempt, error: SourceError, now: float) -> None:
        """The order's worker is stuck, and counted on no longer."""
        self.failed(order, error, now)
        for standing in self.standings:
            if standing.keeper == order.worker:
                standing.keeper = None

    def done(self, order: Attempt, now: float) -> None:
        """The order's task is done, by its worker or by others."""
        if not order.over:
            if order.got:
                self.standings[order.origin].served()
            self._end(order, now)

    def silent(self, now: float) -> list[Attempt]:
        """The orders that brought nothing for SILENCE seconds; a package takes its time before its first byte."""
        return [
            order
            for order in self.orders
            if now - order.heard > SILENCE and self.origins[order.origin].tier is not Tier.PACKAGE
        ]

    def wake(self, now: float) -> float:
        """When to look again at the latest, if nothing happens before."""
        moments = [standing.ready for standing in self.standings] + [order.began + SOON for order in self.orders]
        return min([*(moment for moment in moments if moment > now), self.patience.ends, now + LOOK])

    def hopeless(self) -> bool:
        """Whether nothing is under way and no origin will ever serve any of what is missing."""
        return not self.orders and not any(self.plan.wanted(standing.ever) for standing in self.standings)

    def _ready(self, tier: Tier, now: float) -> list[int]:
        """The origins of TIER that may be asked now; a package only after all others have failed repeatedly."""
        if tier is Tier.PACKAGE and any(
            standing.failures < STUBBORN and self.plan.wanted(standing.ever)
            for standing in self.standings
            if standing.origin.tier < Tier.PACKAGE
        ):
            return []
        return [
            number
            for number, origin in enumerate(self.origins)
            if origin.tier is tier and self.standings[number].ready <= now
        ]

    def _crowded(self, order: Attempt) -> bool:
        """Whether another worker reads from the same origin, or may still have a connection to it."""
        keeper = self.standings[order.origin].keeper
        delivering = any(other.got for other in self.orders if other.origin == order.origin and other is not order)
        return delivering or keeper not in (None, order.worker)

    def _burden(self, number: int) -> tuple[bool, int, int, float]:
        """What speaks against asking this origin rather than another of its tier."""
        standing = self.standings[number]
        return standing.failures > 0, standing.workers, standing.failures, -(standing.rate or 0.0)

    def _open_to(self, number: int, worker: int) -> bool:
        """Whether this origin has room for WORKER.

        Where there is room for one connection only, the one that is open belongs to the worker who read last.
        """
        standing = self.standings[number]
        if not standing.has_room or (self.origins[number].connections is None and standing.room >= 2):
            return standing.has_room
        busy = {order.worker for order in self.orders}
        return standing.keeper in (None, worker) or standing.keeper in busy

    def _fast(self, number: int, now: float) -> bool:
        """Whether one more worker would only be in the way of those that this origin has; or may be.

        They bring what is missing in a moment, or as fast as it can be hashed, unpacked and written.
        """
        standing = self.standings[number]
        # What counts with small files is the wait for each answer, which others can fill.
        pace = sum(
            order.pace(now, standing.rate if order.small else standing.flow or standing.rate)
            for order in self.orders
            if order.origin == number
        )
        return pace > min(PLENTY, self.plan.bytes_missing / MOMENT)

    def _accepts(self, number: int) -> Accepts:
        """Whether this origin should be asked for a piece now: not if it gave wrong bytes and a better one is well."""
        standing = self.standings[number]

        def accepts(file: int, piece: int) -> bool:
            faults = standing.faults(file, piece)
            return standing.ever(file, piece) and not any(
                rival.failures == 0 and rival.ever(file, piece) and rival.faults(file, piece) < faults
                for rival in (self.standings if faults else ())
            )

        return accepts

    def _task(self, number: int, now: float) -> Segment | None:
        """What this origin is to bring; what it gave wrong before comes last.

        To meet that again and again would make it wait, and with it all the pieces that only this origin has right.
        """
        standing = self.standings[number]
        task = self._allotment.next(number, standing.trusted, now)
        if task is None and standing.wrong:
            task = self._allotment.next(number, self._accepts(number), now)
        return task

    def _alternative(self, order: Attempt, now: float) -> bool:
        """Whether another origin could bring what this order is to bring."""
        task = order.task
        return any(
            number != order.origin
            and self.standings[number].has_room
            and self._accepts(number)(task.file, self.plan.pieces(task)[0])
            for tier in self._tiers
            for number in self._ready(tier, now)
        )

    def _order(self, number: int, task: Segment, now: float, worker: int) -> Attempt:
        key = (task.file, self.plan.pieces(task)[0])
        if key in self._suspect and task.givers - {number}:
            task.forget()
        self.standings[number].workers += 1
        order = Attempt(number, task, worker, now)
        self.orders.append(order)
        return order

    def _end(self, order: Attempt, now: float, *, last: bool = False) -> None:
        order.over = True
        self.orders.remove(order)
        standing = self.standings[order.origin]
        standing.workers -= 1
        if order.got:
            standing.rate = order.rate(now)
        self.plan.release(order.task, last=last)
