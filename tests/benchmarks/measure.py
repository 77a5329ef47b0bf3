"""Whole processes, measured from outside, by turns. Timers inside them would miss the start and the teardown.

Rows should differ in nothing but the program: they run by turns, forwards and backwards, so that drift affects all
of them; each starts in an empty folder, with nothing left to write from the previous one; and its output is checked
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
FAILED = "failed"
LIMIT = 300.0
"""Seconds after which a process is taken for stuck."""
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
STRANGE = ("PYTHON", "FMNIST_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_", "OMP_", "GOMP_", "MKL_")
"""Beginnings of the environment's names that would make one row another one than a newcomer's."""


class PeerError(Exception):
    """A process failed, or its output is wrong."""


class UnavailableError(Exception):
    """This machine lacks something that is needed."""


@dataclass(frozen=True)
class Run:
    """One process from start to exit: seconds of wall time, seconds of processors, peak memory in bytes."""

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Peer:
    """A row: a command line that runs in an empty folder.

    `check` gets that folder afterwards and raises PeerError. `needs` are programs, and modules as "import NAME".
    `timed` means that the process prints the seconds that count, without its start.
    """

    name: str
    argv: tuple[str, ...]
    check: Callable[[Path], None] = lambda _folder: None
    needs: tuple[str, ...] = ()
    timed: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Race:
    """The runs of each row, in the order of the rounds; and for a row without runs, the reason."""

    names: tuple[str, ...]
    runs: dict[str, list[Run]]
    absent: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether a row ran and failed. A program that is not installed is no failure."""
        return any(reason.startswith(FAILED) for reason in self.absent.values())

    def wall(self, name: str) -> float | None:
        """Return the median of the wall time of a row in seconds; None without a run."""
        runs = self.runs.get(name)
        return statistics.median(run.wall for run in runs) if runs else None

    def cpu(self, name: str) -> float | None:
        """Return the median of the processor time of a row in seconds."""
        runs = self.runs.get(name)
        return statistics.median(run.cpu for run in runs) if runs else None

    def ratio(self, name: str, other: str) -> float | None:
        """Return the median over the rounds of the wall time of a row divided by that of another."""
        runs, others = self.runs.get(name), self.runs.get(other)
        if not runs or not others:
            return None
        return statistics.median(run.wall / other.wall for run, other in zip(runs, others, strict=True))

    def peak(self, name: str) -> float | None:
        """Return the largest memory of a row in MB."""
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
                absent[peer.name] = f"{FAILED}: {exc}"
                del runs[peer.name]
                continue
            if number >= warm:
                runs[peer.name].append(run)
    shutil.rmtree(spent(folder), ignore_errors=True)
    return Race(tuple(peer.name for peer in peers), runs, absent)


def turns(peers: Sequence[T], rounds: int) -> Iterator[Sequence[T]]:
    """Yield the order of each round: forwards, then backwards, so that a steady drift cancels."""
    for number in range(rounds):
        yield peers if number % 2 == 0 else peers[::-1]


def once(peer: Peer, folder: Path) -> Run:
    """Run PEER in an empty FOLDER, check its output, and put it away; raise PeerError."""
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
    """Return where FOLDER is put away."""
    return folder.with_name(f"{folder.name}-spent")


def put_away(folder: Path) -> None:
    """Empty the files of FOLDER, and keep their names until the race is over.

    ext4 does not reuse the number of a deleted file for a minute, and looks through all of them for each new file: the
    more files the last row left, the slower the next one would be. A file with another name is removed and not emptied,
    since its content belongs to that name too. Links are never followed.
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
    """Empty the file PATH if that is its only name, else remove this name; raise OSError."""
    # One descriptor for both steps: no other file can get the name between them.
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
    """Run one process of PEER in FOLDER; the peak is that of the largest of its processes. Raise PeerError."""
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
    """Return the environment without what would change a row: Python writes its .pyc files, no proxy is used."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(STRANGE)}
    return {**kept, "PATH": PATH, "LC_ALL": "C", **more}


def missing(needs: Sequence[str]) -> str:
    """Return why NEEDS are not met, or "" if they are."""
    modules = {need: need.removeprefix("import ") for need in needs if need.startswith("import ")}
    wanting = [module for module in modules.values() if find_spec(module) is None]
    wanting += [need for need in needs if need not in modules and shutil.which(need, path=PATH) is None]
    return f"{' and '.join(wanting)} not installed" if wanting else ""
