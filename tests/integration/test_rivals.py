"""Several processes at one file without a lock: no order of their steps gives wrong bytes the final name."""

from __future__ import annotations

import builtins
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from faults import payload
from fmnist_fetch.errors import PartFileReplacedError
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.storage import atomic, part_file
from fmnist_fetch.storage.atomic import sweep
from fmnist_fetch.storage.part_file import PartFile
from processes import environment
from samples import file_of, sha256

DATA = payload(4500, seed=11)
FILE = file_of("data", DATA, Payload("data", len(DATA), sha256(DATA)), "train", "images")
ROUNDS, PROCESSES, MOST_KILLS = 300, 3, 2
SYSTEM_CALLS = ("open", "fsync", "stat", "rename", "replace", "unlink", "pread", "ftruncate", "mkdir", "listdir")


class KilledError(BaseException):
    """Ends the process at this step."""


class Process(threading.Thread):
    """One of several processes at the same file, which stops before each of its system calls until it may continue."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._rng = rng
        self._turn, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = self._over = False
        self._parts: list[PartFile] = []
        self.failure: BaseException | None = None

    def step(self, *, kill: bool = False) -> bool:
        """Run it up to its next system call, or KILL it there; return whether it is still alive."""
        self._killed = kill
        if self.ident is None:
            self.start()
        else:
            self._turn.release()
        self._stopped.acquire()
        return self.failure is None

    def pause(self) -> None:
        """Stop before a system call until the next step."""
        if self._over:
            return
        self._stopped.release()
        self._turn.acquire()
        if self._killed:
            raise KilledError

    def run(self) -> None:
        try:
            self._fetch()
            self.failure = SystemExit(0)
        except BaseException as exc:
            self.failure = exc
        self._over = True
        for mine in self._parts:
            mine.close()
        self._stopped.release()

    def _fetch(self) -> None:
        sweep(self._path.parent)
        for _ in range(10):
            self._parts.append(mine := PartFile(self._path, FILE))
            missing = sorted(set(range(len(FILE.pieces))) - mine.scan())
            self._rng.shuffle(missing)
            with suppress(PartFileReplacedError):
                for index in missing:
                    assert mine.put(index, DATA[slice(*FILE.pieces[index].span)])
                    if self._rng.random() < 0.2:
                        # So it is with more files than a process may have open.
                        mine.close()
                mine.finish()
                return
        raise AssertionError("replaced again and again")


@pytest.fixture
def stepwise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each system call of a Process wait for its turn."""

    def paused(call: Callable[..., Any]) -> Callable[..., Any]:
        def pausing(*args: Any, **options: Any) -> Any:
            if isinstance(process := threading.current_thread(), Process):
                process.pause()
            return call(*args, **options)

        return pausing

    for name in SYSTEM_CALLS:
        monkeypatch.setattr(os, name, paused(getattr(os, name)))
    monkeypatch.setattr(builtins, "open", paused(open))
    for module in (atomic, part_file):
        monkeypatch.setattr(module, "write_all", paused(atomic.write_all))
    yield
    monkeypatch.undo()


def play(path: Path, rng: random.Random) -> None:
    """Run the processes in a random order, kill some of them, and check the final name after each step."""
    allowed = {DATA, path.read_bytes() if path.exists() else DATA}
    living, kills = [Process(path, rng) for _ in range(PROCESSES)], MOST_KILLS
    while living:
        process = rng.choice(living)
        # Some run for long while the others are stopped.
        for _ in range(rng.choice((1, 1, 1, 5, 40))):
            alive = process.step(kill=kills > 0 and rng.random() < 0.01)
            assert not path.exists() or path.read_bytes() in allowed
            if not alive:
                break
        if process.failure is not None:
            living.remove(process)
            if isinstance(process.failure, KilledError):
                kills -= 1
                living.append(Process(path, rng))
            elif not isinstance(process.failure, SystemExit):
                raise process.failure


def close_and_rename(file: BinaryIO, source: Path, target: Path) -> None:
    """Rename like a system that refuses to rename an open file."""
    file.close()
    source.replace(target)


@pytest.mark.usefixtures("stepwise")
@pytest.mark.parametrize("closing", [False, True])
def test_no_order_of_steps_gives_wrong_bytes_the_final_name(
    closing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if closing:
        monkeypatch.setattr(atomic, "_rename", close_and_rename)
    for seed in range(ROUNDS // 2):
        path = tmp_path / str(seed) / "data"
        path.parent.mkdir()
        rng = random.Random(seed)
        match rng.randrange(4):
            case 0:
                path.with_name("data.part").write_bytes(DATA)
            case 1:
                path.with_name("data.part").write_bytes(DATA[:2500])
            case 2:
                path.write_bytes(DATA[:1200] + bytes(3300))
        play(path, rng)
        assert path.read_bytes() == DATA, f"seed {seed}"
        sweep(path.parent)
        assert {entry.name for entry in path.parent.iterdir()} <= {"data", "data.part"}, f"seed {seed}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_that_are_stopped_continued_and_killed_leave_only_right_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rivals", str(tmp_path), "60", str(random.randrange(10**6))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "60 rounds\n"), done.stderr
