"""What an origin is given to bring, so that all of them end at about the same time. Pure.

- Of what waits, a share by its rate.
- Nothing that the others would bring sooner, all that is missing included.
- What would come later than all the rest is taken over from who has it in hand; the last piece of it as a race.
- Where nothing waits, something is taken over from the slowest.
"""

from collections.abc import Sequence
from math import inf

from fmnist_fetch.download.order import WORTH_A_TAKEOVER, Attempt
from fmnist_fetch.download.segments import Accepts, Segment, SegmentQueue
from fmnist_fetch.download.source_stats import SourceStats

FIRST_SPAN = 1024 * 1024
LARGEST_SPAN = 64 * 1024 * 1024
WORTH_ASKING = 0.1
"""Seconds: of many shorter tasks at the end, more would be waiting for answers than reading."""


class Allotment:
    """Gives out the tasks of PLAN, of which the ORDERS under way have some in hand, by what the STANDINGS tell."""

    def __init__(
        self, plan: SegmentQueue, standings: Sequence[SourceStats], orders: Sequence[Attempt], jobs: int
    ) -> None:
        self._plan = plan
        self._standings = standings
        self._orders = orders
        self._jobs = jobs

    def next(self, number: int, accepts: Accepts, now: float) -> Segment | None:
        """The next task for origin NUMBER, which ACCEPTS some pieces only; None: it would be of no use."""
        standing = self._standings[number]
        enough = self._enough(number, now)

        def in_time(file: int, piece: int) -> bool:
            return self._plan.length(file, piece) <= enough and accepts(file, piece)

        late = max((order.left(now) for order in self._orders), default=0.0)
        if late > self._rest(number, now) and (task := self._take_over(number, in_time, now)):
            return task
        # Where a piece came wrong, what follows in the same answer is lost: then it is asked for by itself.
        task = self._plan.take(in_time, self._share(number, now), standing.gave_wrong)
        return task or self._take_over(number, in_time, now)

    def _enough(self, number: int, now: float) -> float:
        """How many bytes this origin brings while the others bring all that is missing."""
        own = [order.rate(now) for order in self._orders if order.origin == number]
        rate = self._standings[number].rate or max(own, default=None)
        others = self._pace([order for order in self._orders if order.origin != number], now)
        return inf if rate is None or not others else rate * self._plan.bytes_missing / others

    def _rest(self, number: int, now: float) -> float:
        """In how many seconds all that is missing will have come, this origin working along."""
        pace = self._pace(self._orders, now) + (self._standings[number].rate or 0.0)
        return self._plan.bytes_missing / max(pace, 1.0)

    def _pace(self, orders: Sequence[Attempt], now: float) -> float:
        """Good bytes per second to be hoped for from ORDERS together.

        An origin's earlier rate tells more than an order's first moments; one that failed last is not counted on.
        """
        found = [(order, self._standings[order.origin]) for order in orders]
        return sum(
            standing.rate if standing.rate and order.young(now) else order.rate(now)
            for order, standing in found
            if not standing.failures
        )

    def _share(self, number: int, now: float) -> int:
        """How many bytes this origin's next task should have."""
        standing = self._standings[number]
        if self._jobs == 1 or (standing.origin.connections == 1 and standing.rate):
            return LARGEST_SPAN
        if standing.rate is None:
            return min(FIRST_SPAN, self._plan.bytes_missing // (2 * self._jobs))
        others = sum(self._standings[order.origin].rate or order.rate(now) for order in self._orders)
        share = self._plan.bytes_missing * standing.rate / (standing.rate + others) / 2
        return min(LARGEST_SPAN, int(max(share, standing.rate * WORTH_ASKING)))

    def _take_over(self, number: int, accepts: Accepts, now: float) -> Segment | None:
        """Pieces from the slowest order, where this origin would bring them sooner; the last one as a race."""
        standing = self._standings[number]
        if not self._orders or standing.failures:
            return None
        slowest = max(self._orders, key=lambda order: order.left(now))
        task, theirs = slowest.task, slowest.rate(now)
        ours = standing.rate or max(order.rate(now) for order in self._orders)
        if slowest.left(now) - task.span.length / max(ours + theirs, 1.0) < WORTH_A_TAKEOVER:
            return None
        pieces = self._plan.pieces(task)
        # Never its first piece: an answer that is only slow to begin would be thrown away when it comes, for ever.
        count = min(round(len(pieces) * ours / (ours + theirs or 1.0)), len(pieces) - 1)
        if count >= 1 and all(accepts(task.file, piece) for piece in pieces[-count:]):
            return self._plan.split(task, pieces[-count])
        if len(pieces) == 1 and accepts(task.file, pieces[0]):
            return self._plan.race(task)
        return None
