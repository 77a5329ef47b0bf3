"""One attempt: an origin is to bring a task's bytes, through one worker. Pure."""

from math import inf

from fmnist_fetch.download.segments import Segment

WORTH_A_TAKEOVER = 1.0
TELLING = 512 * 1024
SOON = 0.05


class Attempt:
    """One attempt: an origin is to bring a task's bytes."""

    def __init__(self, origin: int, task: Segment, worker: int, now: float) -> None:
        self.origin = origin
        self.task = task
        self.worker = worker
        self.began = self.heard = now
        self.window = (now, 0)
        self.got = self.kept = self.wrong = 0
        self.piece_since = 0.0
        self.first: tuple[float, int] | None = None
        self.over = False

    def rate(self, now: float) -> float:
        """Bytes per second so far."""
        return self.got / max(now - self.began, 1e-3)

    def flow(self, count: int, now: float) -> float | None:
        """Bytes per second since the first COUNT of them came; None while that says little."""
        self.first = self.first or (now, count)
        since, before = self.first
        return (self.got - before) / max(now - since, 1e-3) if self.got - before >= TELLING else None

    @property
    def small(self) -> bool:
        """Whether all of it is too little to tell of a flow."""
        return self.got + self.task.span.length < TELLING

    def pace(self, now: float, expected: float | None) -> float:
        """Bytes per second to be expected of it; just begun, EXPECTED is, by the origin's earlier orders."""
        if now - self.began >= SOON:
            return self.rate(now)
        return inf if expected is None else expected

    def young(self, now: float) -> bool:
        """Whether too little time has passed to say how long it will take."""
        return now - self.began < WORTH_A_TAKEOVER

    def left(self, now: float) -> float:
        """Seconds that its task will take it at this rate; nothing can be said in the first moments."""
        if self.young(now):
            return 0.0
        return self.task.span.length / max(self.rate(now), 1e-3)
