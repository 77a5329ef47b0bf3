"""Whole processes, measured from outside, by turns. In-process timers would miss the start and the teardown.

What differs between two rows is meant to be the rows: they run in turns, forwards and backwards, so that drift falls
on both; each begins in a fresh folder with nothing left to write from the one before; and what it left is checked
after the clock has stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
STOPWATCH = Path(__file__).parent / "stopwatch.py"
LIMIT = 300.0
"""Seconds after which a process is taken for stuck."""
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
STRANGE = ("PYTHON", "FMNIST_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_", "OMP_", "GOMP_", "MKL_")
"""Beginnings of the environment's names that would make one row another one than a newcomer's."""


class PeerError(Exception):
    """A process failed, or left other bytes than it should have."""


class UnavailableError(Exception):
    """Something that is needed is not to be had on this machine."""


@dataclass(frozen=True)
class Run:
    """One process from start to exit: seconds by the clock, seconds of processors, peak memory in bytes."""

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Peer:
    """Something to be measured: a command line that runs in a fresh folder.

    `check` gets that folder afterwards and raises PeerError. `needs` are programs, and modules as "import NAME".
    `timed` says that the process itself prints the seconds that count, where its start is not meant to count.
    """

    name: str
    argv: tuple[str, ...]
    check: Callable[[Path], None] = lambda _folder: None
    needs: tuple[str, ...] = ()
    timed: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Race:
    """The runs of each row, in the order of the rounds; and for a row that could not run, why."""

    names: tuple[str, ...]
    runs: dict[str, list[Run]]
    absent: dict[str, str]

    def wall(self, name: str) -> float | None:
        """The median of the seconds of a row, or None where there is none."""
        runs = self.runs.get(name)
        return statistics.median(run.wall for run in runs) if runs else None

    def cpu(self, name: str) -> float | None:
        """The median of the processor seconds of a row."""
        runs = self.runs.get(name)
        return statistics.median(run.cpu for run in runs) if runs else None

    def ratio(self, name: str, other: str) -> float | None:
        """The median over the rounds of a row's seconds by another's in the same round."""
        runs, others = self.runs.get(name), self.runs.get(other)
        if not runs or not others:
            return None
        return statistics.median(run.wall / other.wall for run, other in zip(runs, others, strict=True))

    def peak(self, name: str) -> float | None:
        """The largest memory of a row, in MB."""
        runs = self.runs.get(name)
        return max(run.peak for run in runs) / 1e6 if runs else None


def race(peers: Sequence[Peer], work: Path, rounds: int, *, warm: bool = True) -> Race:
    """Run PEERS by turns, ROUNDS times each, after one round that does not count (WARM)."""
    absent = {peer.name: reason for peer in peers if (reason := missing(peer.needs))}
    runs: dict[str, list[Run]] = {peer.name: [] for peer in peers if peer.name not in absent}
    folder = work / "out"
    for number, order in enumerate(turns([peer for peer in peers if peer.name in runs], rounds + warm)):
        for peer in order:
            if peer.name in absent:
                continue
            try:
                run = once(peer, folder)
            except (PeerError, subprocess.TimeoutExpired) as exc:
                absent[peer.name] = f"failed: {exc}"
                del runs[peer.name]
                continue
            if number >= warm:
                runs[peer.name].append(run)
    shutil.rmtree(spent(folder), ignore_errors=True)
    return Race(tuple(peer.name for peer in peers), runs, absent)


def turns(peers: Sequence[T], rounds: int) -> Iterator[Sequence[T]]:
    """The order of each round: forwards, then backwards, so that a steady drift cancels."""
    for number in range(rounds):
        yield peers if number % 2 == 0 else peers[::-1]


def once(peer: Peer, folder: Path) -> Run:
    """Run PEER in a fresh FOLDER, check what it left, and put it away. Raises PeerError."""
    put_away(folder)
    folder.mkdir(parents=True)
    os.sync()
    try:
        run = measure(peer, folder)
        peer.check(folder)
    finally:
        put_away(folder)
    return run


def spent(folder: Path) -> Path:
    """Where FOLDER is put away."""
    return folder.with_name(f"{folder.name}-spent")


def put_away(folder: Path) -> None:
    """Empty the files of FOLDER, and keep their names until the race is over.

    ext4 gives the number of a file that was deleted to no other one for a minute, and looks through all of them for
    each new file: the more files the last row left, the slower the next one would be. A file with another name is
    removed and not emptied: what it holds belongs to that name too. Links are never followed.
    """
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and what it leads to is not the benchmark's")
    if folder.exists():
        for place, _, names in os.walk(folder, followlinks=False):
            for name in names:
                with suppress(OSError):
                    _empty(Path(place, name))
        spent(folder).mkdir(exist_ok=True)
        folder.rename(tempfile.mkdtemp(dir=spent(folder)))


def _empty(path: Path) -> None:
    """Empty the file PATH if that is its only name, else remove this name. Raises OSError."""
    # One descriptor for the look and the cut: no other file can come under the name in between.
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return
        if about.st_nlink > 1:
            path.unlink()
        else:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def measure(peer: Peer, folder: Path) -> Run:
    """One process of PEER in FOLDER; the peak is that of the largest of its processes. Raises PeerError."""
    said, complaints, result = (folder.parent / name for name in ("stdout", "stderr", "result"))
    argv = (sys.executable, "-I", "-S", str(STOPWATCH), str(result), *peer.argv)
    with said.open("wb") as stdout, complaints.open("wb") as stderr:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=clean_environment(peer.environment),
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            code = process.wait(LIMIT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if code:
        words = complaints.read_text(errors="replace").strip().splitlines()[-2:]
        raise PeerError(f"exit code {code}: {' '.join(words)}")
    wall, cpu, peak = map(float, result.read_text().split())
    return Run(float(said.read_text().split()[-1]) if peer.timed else wall, cpu, int(peak))


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change a row: Python writes its .pyc files, nobody finds a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(STRANGE)}
    return {**kept, "PATH": PATH, "LC_ALL": "C", **more}


def missing(needs: Sequence[str]) -> str:
    """Why NEEDS are not met, or "" if they are."""
    modules = {need: need.removeprefix("import ") for need in needs if need.startswith("import ")}
    wanting = [module for module in modules.values() if find_spec(module) is None]
    wanting += [need for need in needs if need not in modules and shutil.which(need, path=PATH) is None]
    return f"{' and '.join(wanting)} not installed" if wanting else ""
