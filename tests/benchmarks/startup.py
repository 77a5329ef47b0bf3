"""PYTHONPATH=tests python -m benchmarks.startup: what is imported before the first request, in milliseconds.

The table is that of docs/architecture.md. It needs an environment with the requirements of fetch and nothing else.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter

from benchmarks.measure import clean_environment
from benchmarks.peers import SCRIPTS
from benchmarks.report import grid

ROUNDS = 15
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
"""A line of -X importtime: the microseconds of a module without what it imports, and its name."""


def main() -> None:
    """Print the table: for each top-level package the median of its milliseconds, and how many modules it has."""
    rounds = [imported() for _ in range(ROUNDS)]
    packages = [total(found) for found in rounds]
    counts = Counter(label(name) for name in rounds[0])
    medians = {name: statistics.median(package[name] for package in packages) / 1000 for name in counts}
    rows = [
        [f"`{name}`" if name.isidentifier() else name, str(counts[name]), f"{medians[name]:.1f}"]
        for name in sorted(medians, key=lambda name: -medians[name])
    ]
    whole = statistics.median(sum(found.values()) for found in rounds) / 1000
    print(grid(["package", "modules", "ms"], [*rows, ["all", str(sum(counts.values())), f"{whole:.1f}"]]))


def imported() -> dict[str, int]:
    """Return the microseconds of each module that is imported before the first request."""
    with tempfile.TemporaryDirectory() as root:
        argv = [sys.executable, "-X", "importtime", str(SCRIPTS / "first_request.py"), root]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=clean_environment({}))
    return {name: int(spent) for spent, name in LINE.findall(done.stderr)}


def total(modules: dict[str, int]) -> Counter[str]:
    """Add up the modules of each package."""
    found: Counter[str] = Counter()
    for name, spent in modules.items():
        found[label(name)] += spent
    return found


def label(name: str) -> str:
    """Return the top-level package of a module, or that it is of Python's standard library."""
    package = name.partition(".")[0]
    return "Python's standard library" if package in sys.stdlib_module_names else package


if __name__ == "__main__":
    main()
