"""Tables: rows that were measured by turns, and the targets that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.measure import Peer, Race, race
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.storage.layout import Layout

Value = TypeVar("Value")
FASHION = find("fashion-mnist")


@dataclass(frozen=True)
class Bench:
    """What all tables are made with: a complete ROOT of Fashion-MNIST, and a WORK folder on the same file system.

    QUICK asks for fewer rounds and smaller files, to see that everything works, not for figures.
    """

    root: Path
    work: Path
    quick: bool = False

    def pick(self, full: Value, quick: Value) -> Value:
        """Return one value for a full run, another for a quick one."""
        return quick if self.quick else full

    def race(self, peers: Sequence[Peer], rounds: int, *, warm: bool = True) -> Race:
        """Measure PEERS by turns; in a quick run once, and without a round to warm up."""
        return race(peers, self.work, 1 if self.quick else rounds, warm=warm and not self.quick)

    @property
    def raw(self) -> Path:
        """The folder of the published files."""
        return Layout(self.root, FASHION).raw


@dataclass(frozen=True)
class Target:
    """A sentence, the bound in it, and what was measured (None: not measured).

    REASON is printed if the bound is not met.
    """

    words: str
    value: float | None
    at_most: float | None = None
    at_least: float | None = None
    unit: str = " x"
    reason: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value is within the bound, or None if nothing was measured."""
        if self.value is None:
            return None
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.value >= (self.at_least or 0)

    @property
    def bound(self) -> str:
        """The bound in words."""
        words, number = ("at least", self.at_least) if self.at_most is None else ("at most", self.at_most)
        return f"{words} {number:g}{self.unit}"


@dataclass(frozen=True)
class Table:
    """A numbered table: what was done, its rows, and the targets. OURS names the row that the
    others are compared with ("": none).
    """

    number: int
    title: str
    words: str
    race: Race
    ours: str
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    megabytes: float | Mapping[str, float] | None = None
    """What each row moved, for a column of MB/s."""
    draw: Callable[[Path], None] | None = None
    """Draws a picture of it into a file."""


Maker = Callable[[Bench], Table]
