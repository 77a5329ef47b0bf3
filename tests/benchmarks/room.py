"""Table 12: the machines of a room behind one uplink; one of them serves what it is fetching."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.materials import Served, fashion
from benchmarks.measure import Peer
from benchmarks.servers import Room, address, switch
from benchmarks.table import FASHION, Bench, Table, Target
from fmnist_fetch.manifest.toml import dumps

ALONE, LAN, URL = "one machine alone", "fetch --lan", "fetch --mirror http://SERVER:8000/"
PORT = 8000


def room(bench: Bench) -> Table:
    """Table 12."""
    count, megabits = bench.pick(8, 2), bench.pick(20, 200)
    served = fashion(bench)
    with switch(served.folder, megabits, count + 1) as machines:
        manifest = FASHION._replace(mirrors=(machines.upstream,), local=(), debian=None, caches={})
        path = str(served.write("room.toml", [dumps(manifest)]))
        argv = ("ip", "netns", "exec", machines.names[0], sys.executable, "-m", "fmnist_fetch", "fetch", path)
        names = machines.names
        url = f"http://{address(0)}:{PORT}/"
        rows = [
            Peer(ALONE, (*argv, "--root", names[0]), _check(served, machines, ALONE, names[:1])),
            _together(path, names, LAN, _check(served, machines, LAN, names), "--lan"),
            _together(path, names, URL, _check(served, machines, URL, names), "--mirror", url),
        ]
        done = bench.race(rows, 3, warm=False)
        carried = {name: statistics.median(counts) / 1e6 for name, counts in machines.carried.items() if counts}

    def share(name: str) -> float | None:
        return carried[name] / served.megabytes if name in carried else None

    return Table(
        12, f"A room: {count + 1} machines on one bridge, an uplink of {megabits} Mbit/s",
        f"One machine serves what it is fetching; {count} others begin when it has begun, find it by multicast"
        " DNS or have its URL, and may ask the upstream too. The time is that until all are complete.",
        done, LAN,
        (
            Target("with --lan, beside one machine alone", done.ratio(LAN, ALONE), at_most=1.5),
            Target("with the URL, beside one machine alone", done.ratio(URL, ALONE), at_most=1.5),
            Target("with --lan, the uplink carries, of the data", share(LAN), at_most=1.1),
            Target("with the URL, the uplink carries, of the data", share(URL), at_most=1.1),
        ),
        tuple(f"{name}: the uplink carries {count:.1f} MB, headers included." for name, count in carried.items()),
    )  # fmt: skip


def _together(dataset: str, names: Sequence[str], name: str, check: Callable[[Path], None], *options: str) -> Peer:
    """Return a row in which the machines NAMES fetch at once and the first one serves; the others have OPTIONS."""
    server, *clients = names
    needs = ("import aiohttp", *(["import zeroconf"] if "--lan" in options else []))
    words = (dataset, server, ",".join(clients), *options)
    return peers.script(name, "in_a_room.py", *words, check=check, needs=needs, timed=True)


def _check(served: Served, machines: Room, row: str, names: Sequence[str]) -> Callable[[Path], None]:
    """Return a check that each of the machines NAMES has everything; it notes what the uplink has carried for ROW."""
    right = peers.right(served, unpacked=True, tensors=True)

    def check(folder: Path) -> None:
        machines.note(row)
        for name in names:
            right(folder / name)

    return check
