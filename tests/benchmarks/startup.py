"""PYTHONPATH=tests python -m benchmarks.startup: what is imported before the first request, in milliseconds.

This is the table of docs/architecture.md, from an environment with nothing but what fetch needs. A module of the
standard library counts for the package that imports it first.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from typing import NamedTuple

from benchmarks.measure import clean_environment
from benchmarks.peers import SCRIPTS
from benchmarks.report import grid

ROUNDS = 15
SHOWN_MS = 0.3
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| ( *)(\S+)")
"""A line of -X importtime: the microseconds of a module without what it imports, its depth, and its name."""
PYTHON = "Python itself"


class Module(NamedTuple):
    """A module that is imported: its name, the package that it counts for, and its own microseconds."""

    name: str
    package: str
    spent: int


def main() -> None:
    """Print the table: for each package the smallest time of all rounds in milliseconds, and its number of modules."""
    rounds = [imported() for _ in range(ROUNDS)]
    sums = [Counter[str]() for _ in rounds]
    for found, modules in zip(sums, rounds, strict=True):
        for module in modules:
            found[module.package] += module.spent
    counts = Counter(module.package for module in rounds[0])
    least = {name: min(found[name] for found in sums) / 1000 for name in counts}
    rows = [
        [name if name == PYTHON else f"`{name}`", str(counts[name]), f"{least[name]:.1f}"]
        for name in sorted(least, key=lambda name: -least[name])
        if least[name] >= SHOWN_MS
    ]
    whole = min(found.total() for found in sums) / 1000
    print(grid(["package", "modules", "ms"], [*rows, ["all", str(sum(counts.values())), f"{whole:.1f}"]]))


def imported() -> list[Module]:
    """Return what is imported before the first request."""
    with tempfile.TemporaryDirectory() as root:
        argv = [sys.executable, "-X", "importtime", str(SCRIPTS / "first_request.py"), root]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=clean_environment({}))
    found = []
    packages: list[str] = []
    # In reverse order, a module precedes those that it imports, which are deeper.
    for spent, depth, name in reversed(LINE.findall(done.stderr)):
        del packages[len(depth) // 2 :]
        top = name.partition(".")[0]
        owner = packages[-1] if packages else PYTHON
        packages.append(owner if top in sys.stdlib_module_names else top)
        found.append(Module(name, packages[-1], int(spent)))
    return found


if __name__ == "__main__":
    main()
