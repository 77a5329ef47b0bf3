"""Selectors: faults that decide for which requests another fault applies. They can be nested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from wire import Fault, Request


class Selector(Fault):
    """The base class of selectors by a property of the request."""

    fault: Fault

    def applies(self, request: Request) -> bool:
        """Return whether the fault applies to REQUEST."""
        raise NotImplementedError

    def picked(self, request: Request) -> Iterator[Fault]:
        if self.applies(request):
            yield from self.fault.picked(request)


@dataclass(frozen=True)
class When(Selector):
    """A fault for the requests for which TEST is true."""

    test: Callable[[Request], bool]
    fault: Fault

    def applies(self, request: Request) -> bool:
        return self.test(request)


@dataclass(frozen=True)
class First(Selector):
    """A fault for the first COUNT requests."""

    count: int
    fault: Fault

    def applies(self, request: Request) -> bool:
        return request.number < self.count


@dataclass(frozen=True)
class After(Selector):
    """A fault for all requests but the first COUNT."""

    count: int
    fault: Fault

    def applies(self, request: Request) -> bool:
        return request.number >= self.count


@dataclass(frozen=True)
class AfterServed(Selector):
    """A fault for the requests that come after SIZE bytes of bodies were served."""

    size: int
    fault: Fault

    def applies(self, request: Request) -> bool:
        return request.served >= self.size


@dataclass(frozen=True)
class Every(Selector):
    """A fault for each NTH request, beginning with request number N."""

    nth: int
    fault: Fault

    def applies(self, request: Request) -> bool:
        return request.number % self.nth == self.nth - 1


@dataclass(frozen=True)
class During(Selector):
    """A fault for the requests between two times, in seconds since the mirror was started."""

    start: float
    stop: float
    fault: Fault

    def applies(self, request: Request) -> bool:
        return self.start <= request.when < self.stop


@dataclass(frozen=True)
class Randomly(Selector):
    """A fault for a share of the requests, chosen by SEED, the kind of the fault and the number of the request."""

    share: float
    fault: Fault
    seed: int = 0

    def applies(self, request: Request) -> bool:
        return Random(f"{self.seed}/{type(self.fault).__name__}/{request.number}").random() < self.share


@dataclass(frozen=True)
class On(Fault):
    """A fault for one file; selectors inside it count the requests for this file only."""

    name: str
    fault: Fault

    def picked(self, request: Request) -> Iterator[Fault]:
        if request.name == self.name:
            yield from self.fault.picked(replace(request, number=request.turn))


@dataclass(frozen=True)
class AtMost(Selector):
    """A fault for the connections beyond a number of simultaneous ones."""

    connections: int
    fault: Fault

    def applies(self, request: Request) -> bool:
        return request.crowd >= self.connections
