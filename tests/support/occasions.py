"""Selectors: faults that decide for which requests another fault applies. They can be nested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from wire import Fault, Request


@dataclass(frozen=True)
class When(Fault):
    """A fault for the requests for which TEST is true."""

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
    """A fault for the requests that come after SIZE bytes of bodies were served."""

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
    """A fault for the requests between two times, in seconds since the mirror was started."""

    start: float
    stop: float
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if self.start <= request.when < self.stop:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class Randomly(Fault):
    """A fault for a share of the requests, chosen by SEED, the kind of the fault and the number of the request."""

    share: float
    fault: Fault
    seed: int = 0

    def picked(self, request: Request) -> Iterator[Fault]:
        random = Random(f"{self.seed}/{type(self.fault).__name__}/{request.number}")
        if random.random() < self.share:
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class On(Fault):
    """A fault for one file; selectors inside it count the requests for this file only."""

    name: str
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.name == self.name:
            yield from self.fault.picked(replace(request, number=request.turn))


@dataclass(frozen=True)
class AtMost(Fault):
    """A fault for the connections beyond a number of simultaneous ones."""

    connections: int
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.crowd >= self.connections:
            yield from self.fault.picked(request)
