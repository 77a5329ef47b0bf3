"""When a fault takes part: selectors around a fault, themselves faults, which may be nested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from wire import Fault, Request


@dataclass(frozen=True)
class When(Fault):
    """A fault for those requests that a test of one's own picks."""

    test: Callable[[Request], bool]
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if self.test(request):
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class First(Fault):
    """A fault for the first COUNT requests."""

    count: int
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.number < self.count:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class After(Fault):
    """A fault for all requests but the first COUNT."""

    count: int
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.number >= self.count:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class AfterServed(Fault):
    """A fault for the requests that come when SIZE body bytes were served."""

    size: int
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.served >= self.size:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class Every(Fault):
    """A fault for each NTH request, beginning with request number N."""

    nth: int
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.number % self.nth == self.nth - 1:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class During(Fault):
    """A fault for the requests between two moments, in seconds since the mirror came up."""

    start: float
    stop: float
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if self.start <= request.when < self.stop:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class Randomly(Fault):
    """A fault for a share of the requests, drawn from seed, kind of fault and request number."""

    share: float
    fault: Fault
    seed: int = 0

    def picked(self, request: Request) -> Iterator[Fault]:
        dice = Random(f"{self.seed}/{type(self.fault).__name__}/{request.number}")
        if dice.random() < self.share:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class On(Fault):
    """A fault for one file, whose requests are counted by themselves within."""

    name: str
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.name == self.name:
            yield from self.fault.picked(replace(request, number=request.turn))


@dataclass(frozen=True)
class AtMost(Fault):
    """A fault for the connections beyond so many at once."""

    connections: int
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.crowd >= self.connections:
            yield from self.fault.picked(request)
