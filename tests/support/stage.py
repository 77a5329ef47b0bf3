"""Scenes with a misbehaving mirror, run several at a time before the tests, since most of their time is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from faults import Fault, Line, Lockstep, Mirror
from processes import Outcome, fetch
from worlds import World, dataset

AT_ONCE = 6


class Scene(NamedTuple):
    """The faults of the mirror, the bound of the bytes that it serves, and what the log says."""

    faults: tuple[Fault, ...]
    ratio: float = 1.05
    said: str = ""
    pace: float = 0  # bytes per second; 0 is in lockstep with the client, so that `served` is what it received


@dataclass
class Played:
    """The end of a scene."""

    scene: Scene
    outcome: Outcome
    ratio: float

    @property
    def verdicts(self) -> list[str]:
        """The verdict on each attempt in the log."""
        return self.outcome.verdicts


Play = Callable[[str], Played]


def play(scene: Scene, folder: Path) -> Played:
    """Fetch from a mirror with the faults of SCENE; assert that all files and all counters are right."""
    world = World(folder, dataset())
    pace = Line(scene.pace) if scene.pace else Lockstep()
    with Mirror(world.data.files, [pace, *scene.faults]) as mirror:
        outcome = fetch(world, mirror.url)
        served = mirror.served
    assert outcome.code == 0, outcome.err
    world.assert_complete()
    result, verdicts = outcome.result, outcome.verdicts
    assert sum(result["received"].values()) == sum(line["bytes"] for line in outcome.log)
    assert result["retries"] <= sum(verdict != "good" for verdict in verdicts)
    assert result["wrong_pieces"] == sum("wrong bytes from" in verdict for verdict in verdicts)
    return Played(scene, outcome, served / world.data.size)


def rehearse(request: pytest.FixtureRequest, scenes: Mapping[str, Scene], folder: Path) -> Iterator[Play]:
    """Run those of SCENES that the tests of this session name by the parameters `scene` and `scenes`."""
    called = dict.fromkeys(
        scene for item in request.session.items if item.path == request.path for scene in _scene(item)
    )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(play, scenes[name], folder / str(n)) for n, name in enumerate(called)}
        yield lambda name: futures[name].result()


def _scene(item: pytest.Item) -> Iterator[str]:
    """Yield the scenes of a test, if it has any."""
    call = getattr(item, "callspec", None)
    if call is not None and "scene" in call.params:
        yield str(call.params["scene"])
    if call is not None and "scenes" in call.params:
        yield from call.params["scenes"]
