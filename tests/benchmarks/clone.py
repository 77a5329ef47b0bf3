"""Table 11: from a fresh clone to the data, from the data to a model, and the same commands on a finished clone."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from urllib.parse import quote

from benchmarks.materials import demand, fashion
from benchmarks.measure import Peer, PeerError, Race, Run, UnavailableError, clean_environment, measure, missing, turns
from benchmarks.peers import SCRIPTS, right
from benchmarks.servers import nginx
from benchmarks.table import FASHION, Bench, Table, Target
from fmnist_fetch.environment.lock import STORE, Lock

PROJECT = Path(__file__).parents[2]
BEFORE, BEFORE_WORDS = "def99a8", ", before the lock"
"""The last commit whose environment pip made from its index, and how its rows are named."""
DATA, TRAIN = "make data", "make train"
DATA_AGAIN, TRAIN_AGAIN = "make data, again", "make train of one epoch, again"
PIP = "venv; pip install torch numpy; the download as torchvision does it"
IPYTHON = "IPython, which was not installed then, and what it needs are a quarter of the files"
ROUND_BYTES = 4_000_000_000
"""What the two clones and the environment of pip take on the disk."""
AGAIN_S = 0.05
"""Seconds that a command on a finished clone may take longer than before the lock."""


@dataclass
class Measured:
    """The measurements so far, row by row; a row that failed once is not run again."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def run(self, peer: Peer, folder: Path) -> None:
        """Measure PEER in FOLDER, unless it failed before. Each folder has a home, whose caches are its own."""
        if peer.name in self.absent:
            return
        home = folder.with_name(f"{folder.name}-home")
        home.mkdir(exist_ok=True)
        try:
            run = measure(replace(peer, environment={**peer.environment, "HOME": str(home)}), folder)
            peer.check(folder)
        except (PeerError, subprocess.TimeoutExpired) as error:
            self.absent[peer.name] = f"failed: {error}"
            self.runs.pop(peer.name, None)
        else:
            self.runs.setdefault(peer.name, []).append(run)

    def cpu(self, name: str, other: str) -> float | None:
        """Return the median over the rounds of a row's processor seconds by another's."""
        pairs = self._pairs(name, other)
        return statistics.median(one.cpu / two.cpu for one, two in pairs) if pairs else None

    def longer(self, name: str, other: str) -> float | None:
        """Return the median over the rounds of a row's seconds less another's."""
        pairs = self._pairs(name, other)
        return statistics.median(one.wall - two.wall for one, two in pairs) if pairs else None

    def _pairs(self, name: str, other: str) -> list[tuple[Run, Run]]:
        if name in self.absent or other in self.absent:
            return []
        return list(zip(self.runs[name], self.runs[other], strict=True))


def from_clone(bench: Bench) -> Table:
    """Table 11. The clones are of what is committed, and share no file with this one."""
    if reason := missing(("git", "make")):
        raise UnavailableError(reason)
    measured, clones, rounds = Measured(), {}, bench.pick(2, 1)
    demand(bench.work, rounds * ROUND_BYTES)
    with nginx(index(bench)) as url:
        for number, sides in enumerate(turns(("", BEFORE_WORDS), rounds)):
            for side in sides:
                folder = clones[side] = bench.work / f"clones-{number}" / ("before" if side else "now")
                check_out(folder, BEFORE if side else "HEAD")
                for peer in _fresh(bench, url, side):
                    measured.run(peer, folder)
            folder = bench.work / f"clones-{number}" / "pip"
            folder.mkdir()
            measured.run(_pip(bench, url), folder)
        for sides in turns(("", BEFORE_WORDS), bench.pick(9, 1)):
            for side in sides:
                for peer in _finished(bench, url, side):
                    measured.run(peer, clones[side])
    rows = [name + side for name in (DATA, TRAIN, DATA_AGAIN, TRAIN_AGAIN) for side in ("", BEFORE_WORDS)]
    done = Race((*rows[:4], PIP, *rows[4:]), measured.runs, measured.absent)
    return Table(
        11, "From a fresh clone to the data, and from the data to a model",
        "Whole commands. The packages come from an index on this machine, with an empty cache of pip; the data from a"
        f" folder. The rows before the lock are those of commit {BEFORE}, which let pip download and install. The row"
        " of pip ends with the data, and trains nothing.",
        done, "",
        (
            *(Target(f"CPU of `{name}`, beside the set-up by pip", measured.cpu(name, name + BEFORE_WORDS), at_most=0.5,
                     reason=reason)
              for name, reason in ((DATA, ""), (TRAIN, IPYTHON))),
            *(Target(f"`{name}` on a finished clone, longer than before the lock by",
                     measured.longer(name, name + BEFORE_WORDS), at_most=AGAIN_S, unit=" s")
              for name in (DATA_AGAIN, TRAIN_AGAIN)),
        ),
    )  # fmt: skip


def _fresh(bench: Bench, url: str, side: str) -> Sequence[Peer]:
    processed = "data/FashionMNIST/processed/fashion-mnist.safetensors"
    return (
        _make(bench, url, DATA + side, (), processed),
        _make(bench, url, TRAIN + side, (), "runs/fashion-mnist/summary.json"),
    )


def _finished(bench: Bench, url: str, side: str) -> Sequence[Peer]:
    return (
        _make(bench, url, DATA_AGAIN + side, ()),
        _make(bench, url, TRAIN_AGAIN + side, ("RUN=again", "EPOCHS=1"), "again/summary.json"),
    )


def _make(bench: Bench, url: str, name: str, words: Sequence[str], leaves: str = "") -> Peer:
    def check(folder: Path) -> None:
        if not (folder / leaves).exists():
            raise PeerError(f"it left no {leaves}")

    argv = ("make", name.split()[1].rstrip(","), "TORCH_INDEX=", *words)
    return Peer(name, argv, check, environment=_environment(bench, url))


def _pip(bench: Bench, url: str) -> Peer:
    """The way without this project: torchvision's wheels need a CUDA build of torch, so a script replaces its download.

    The digests are those of the files on the disk.
    """
    words = [f"{file.name}:{_digest(bench.raw / file.name, 'md5')}" for file in FASHION.files]
    fetch = " ".join(["env/bin/python", str(SCRIPTS / "urllib_fetch.py"), f"file://{quote(str(bench.raw))}/", *words])
    steps = (f"{sys.executable} -m venv env", "env/bin/pip install --quiet torch numpy", fetch)
    check = right(fashion(bench), unpacked=True)
    return Peer(PIP, ("sh", "-c", " && ".join(steps)), check, environment=_environment(bench, url))


def check_out(folder: Path, commit: str) -> None:
    """Clone this project at COMMIT; raise UnavailableError if that fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Without --no-hardlinks the clone would share its objects with this project.
    for words in (
        ["clone", "--quiet", "--no-hardlinks", str(PROJECT), str(folder)],
        ["-C", str(folder), "checkout", "--quiet", commit],
    ):
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, env=clean_environment({}))
        if done.returncode:
            raise UnavailableError(f"`git {words[0]}` failed: {done.stderr.strip()}")


def index(bench: Bench) -> Path:
    """Make a package index (PEP 503) of the wheels that the set-ups need; raise UnavailableError without them."""
    lock, folder = Lock.read(PROJECT / "pylock.toml"), bench.work / "index"
    wheels = {wheel.name: wheel for wheel in lock.select("train")}
    wheels |= {wheel.name: wheel for wheel in lock.select("dev") if wheel.package == "setuptools"}
    for wheel in wheels.values():
        source = PROJECT / STORE / wheel.name
        if not source.exists():
            raise UnavailableError(f"{wheel.name} is not in {STORE}/; run make train first")
        target = folder / "files" / wheel.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        page = folder / "simple" / wheel.package / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a") as file:
            file.write(f'<a href="/files/{quote(wheel.name)}#sha256={_digest(target)}">{wheel.name}</a><br>\n')
    return folder


def _digest(path: Path, algorithm: str = "sha256") -> str:
    with path.open("rb") as file:
        return file_digest(file, algorithm).hexdigest()


def _environment(bench: Bench, url: str) -> dict[str, str]:
    return {
        "PIP_INDEX_URL": f"{url}simple/",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_NO_CACHE_DIR": "1",
        "FMNIST_MIRRORS": str(bench.raw),
    }
