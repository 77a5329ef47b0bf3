"""Peers of other makers: nginx in several configurations, and a real link that fails and recovers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from faults import KIB, MIB
from nginx import free_port, nginx
from processes import Run, command, environment_of, fetch
from samples import PROJECT_FOLDER, fill
from two_machines import SERVER, two_machines
from worlds import World

# What is in its configuration, the status of each answer, and the most bytes served over the bytes needed.
CONFIGURATIONS = {
    "as it comes": ("", "206", 1.0),
    "at a limited rate": ("limit_rate 1m; limit_rate_after 100k;", "206", 1.05),
    "without ranges": ("max_ranges 0;", "200", 1.0),
    "without ranges at a limited rate": ("max_ranges 0; limit_rate 3m;", "200", 1.0),
    "with a connection for each request": ("keepalive_timeout 0;", "206", 1.0),
    "that compresses once more": ("gzip on; gzip_types *; gzip_min_length 1;", "206", 1.0),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_all_comes_from_an_nginx(world: World, tmp_path: Path, name: str) -> None:
    more, wanted, ratio = CONFIGURATIONS[name]
    www, log, port = fill(tmp_path / "www", world.data.files), tmp_path / "lines.log", free_port()
    server = f"server {{ listen 127.0.0.1:{port}; root {www}; access_log {log} lines; {more} }}"
    with nginx(tmp_path / "nginx", server, port) as url:
        fetch(world, url, code=0)
    statuses, sizes = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    assert set(statuses) == {wanted}
    assert world.data.size <= sum(map(int, sizes)) <= ratio * world.data.size


# A real link.

MIRROR = """
import sys
from contextlib import ExitStack
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mirror import Mirror
files = {path.name: path.read_bytes() for path in Path(sys.argv[2]).iterdir()}
with Mirror(files, host=sys.argv[3]) as mirror:
    print(mirror.url, flush=True)
    for line in sys.stdin:
        print(mirror.served, flush=True)
"""


class Link:
    """A cable between a mirror of the dataset of WORLD and a client."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self.world = world
        self.server, self.client = stack.enter_context(two_machines(rate="12mbit"))
        www = fill(world.folder / "www", world.data.files)
        support = str(PROJECT_FOLDER / "tests" / "support")
        self.process = stack.enter_context(self.server.start(sys.executable, "-c", MIRROR, support, str(www), SERVER))
        stack.callback(self.process.kill)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()

    @property
    def served(self) -> int:
        """The bytes that the mirror has served so far."""
        assert self.process.stdin
        assert self.process.stdout
        print(file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, *options: str) -> Run:
        """Fetch the dataset at the end of the client."""
        line = self.client.words(command(self.world, [self.url], options))
        return Run(line, self.world, environment_of(self.world))


@pytest.fixture
def link(world: World) -> Iterator[Link]:
    """Yield a link of 12 Mbit/s, slow enough to be cut in mid-transfer."""
    with ExitStack() as stack:
        yield Link(world, stack)


def test_a_cable_that_is_pulled_for_a_moment_costs_next_to_nothing(link: Link, world: World) -> None:
    with link.start() as run:
        run.until(lambda: link.served >= MIB)
        link.server.plug("down")
        time.sleep(1.0)
        link.server.plug("up")
        run.wait(code=0)
    # The bytes on the way are lost with their connections: at most one window for each.
    assert link.served <= world.data.size + 4 * 256 * KIB


def test_a_cable_that_stays_unplugged_ends_the_run_and_what_came_is_kept(link: Link, world: World) -> None:
    with link.start("--patience", "8") as run:
        run.until(lambda: link.served >= MIB)
        link.server.plug("down")
        outcome = run.wait(code=4)
    assert len(outcome.reasons) == 1
    assert world.kept() >= 8
    link.server.plug("up")
    with link.start() as run:
        run.wait(code=0)
