"""Scenes with a misbehaving mirror, run several at a time before the tests, since most of their time is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from faults import Fault, Line, Lockstep, Mirror
from processes import Outcome, fetch
from worlds import World, dataset

AT_ONCE = 6
Result = TypeVar("Result")


class Scene(NamedTuple):
    """The faults of the mirror, the bound of the bytes that it serves, and what the log says."""

    faults: tuple[Fault, ...]
    ratio: float = 1.05
    said: str = ""
    pace: float = 0  # bytes per second; 0 is no limit


class Played(NamedTuple):
    """The end of a scene: the run, and the bytes served in units of the size of the dataset."""

    outcome: Outcome
    ratio: float


def play(scene: Scene, folder: Path) -> Played:
    """Fetch from a mirror with the faults of SCENE; assert that all files and all counters are right."""
    world = World(folder, dataset())
    line = [Line(scene.pace)] if scene.pace else []
    # In lockstep, so that what is served is what the client received, and not what is on its way when it leaves.
    with Mirror(world.data.files, [Lockstep(), *line, *scene.faults]) as mirror:
        outcome = fetch(world, mirror.url, code=0)
        served = mirror.served
    result, verdicts = outcome.result, outcome.verdicts
    assert sum(result["received"].values()) == sum(line["bytes"] for line in outcome.log)
    assert result["retries"] <= sum(verdict != "good" for verdict in verdicts)
    assert result["wrong_pieces"] == sum("wrong bytes from" in verdict for verdict in verdicts)
    return Played(outcome, served / world.data.size)


def rehearse(
    request: pytest.FixtureRequest, run: Callable[[str, Path], Result], folder: Path
) -> Iterator[Callable[[str], Result]]:
    """Run what the tests of this session name by the parameters `scene` and `scenes`, and yield the results."""
    items = (item for item in request.session.items if item.path == request.path)
    mine = [item.callspec.params for item in items if hasattr(item, "callspec")]
    called = dict.fromkeys(scene for params in mine for scene in (params.get("scene"), *params.get("scenes", ())))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(run, name, folder / str(n)) for n, name in enumerate(called) if name is not None}
        yield lambda name: futures[name].result()
