"""Hundreds of SIGKILLs: whenever a run is killed, no wrong bytes have a final name, and little is lost."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from faults import (
    KIB,
    MIB,
    CutSomewhere,
    Fault,
    FlipSomewhere,
    Line,
    Lockstep,
    LoginPage,
    Mirror,
    Randomly,
    Status,
)
from processes import fetch, start
from worlds import World, dataset

SEED = 20171126
KILLS = 200
FLAKY: list[Fault] = [
    CutSomewhere(20 * KIB, 300 * KIB),
    Randomly(0.1, FlipSomewhere()),
    Randomly(0.05, Status(500)),
    Randomly(0.05, LoginPage()),
]


@pytest.mark.parametrize("number", range(4))
def test_no_kill_ever_leaves_a_wrong_byte_under_a_final_name(tmp_path: Path, number: int) -> None:
    rng = random.Random(SEED + number)
    world = World(tmp_path, dataset(1500, 400, seed=1000 * number, name=f"storm{number}"))
    kills = 0
    with Mirror(world.data.files, [Line(2.5 * MIB), *FLAKY]) as mirror:
        while kills < KILLS // 4:
            with ExitStack() as stack:
                runs = [stack.enter_context(start(world, mirror.url)) for _ in range(1 + kills % 4)]
                # Few kills at the start of the interpreter, but some.
                time.sleep(0.15 if rng.random() < 0.85 else 0.0)
                for run in rng.sample(runs, len(runs)):
                    time.sleep(0.35 * rng.random())
                    kills += run.running
                    run.process.kill()
                    run.process.wait()
                    world.assert_nothing_wrong()
            if world.tensors.exists() and rng.random() < 0.8:
                damage(world, rng)
        mirror.faults = []
        fetch(world, mirror.url, code=0)
    assert kills >= KILLS // 4


def damage(world: World, rng: random.Random) -> None:
    """Remove something from a complete dataset, so that there is work again."""
    world.tensors.unlink()
    for name in rng.sample(sorted(world.data.files), 2):
        title = name.removesuffix(".gz")
        for path in (world.raw / name, world.raw / title):
            path.unlink(missing_ok=True)


def test_twenty_kills_at_random_moments_cost_at_most_five_percent(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    # The sizes of the real files: the number of unfinished bytes at a kill does not depend on the size of the rest.
    world = World(tmp_path, dataset(30_000, 5_000, piece=256 * KIB, name="large"))
    # Small blocks: each kill costs the block on its way to each connection, which is not what is measured here.
    with Mirror(world.data.files, [Lockstep(4 * KIB), Line(4 * MIB)]) as mirror:
        for number in range(20):
            # A time during the transfer at any speed of the machine: between two counts of served bytes.
            mark = int(world.data.size * (number + rng.random()) / 21)
            with start(world, mirror.url) as run:
                run.until(lambda mark=mark: mirror.served >= mark)  # type: ignore[misc]
                run.process.kill()
                run.process.wait()
            world.assert_nothing_wrong()
        fetch(world, mirror.url, code=0)
        ratio = mirror.served / world.data.size
    assert ratio <= 1.05
