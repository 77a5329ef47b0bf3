"""The real command line in a process of its own: started, watched, interrupted, and what it left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import fmnist_fetch
from worlds import World

# The folder that holds the package under test: a copy of it, where somebody tests a copy.
PROJECT = Path(fmnist_fetch.__file__).parents[1]
PROXIES = re.compile(r"(https?|all|no|ftp)_proxy|requests_ca_bundle|curl_ca_bundle|ssl_cert_.*", re.IGNORECASE)
HANG = 90.0


# Taken once: threads may run commands while another test changes the environment.
SURROUNDINGS = dict(os.environ)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment without whatever of it could reach the program, and MORE."""
    kept = {
        name: value
        for name, value in SURROUNDINGS.items()
        if not name.startswith(("FMNIST_", "XDG_", "PYTHON", "COV_")) and not PROXIES.fullmatch(name)
    }
    return {**kept, "HOME": str(home), "PYTHONPATH": str(PROJECT), **more}


@dataclass
class Outcome:
    """How a run ended."""

    code: int
    out: str
    err: str
    peak: int  # bytes of memory
    log: list[dict[str, Any]] = field(repr=False)

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        found: dict[str, Any] = json.loads(lines[0])
        assert found["exit_code"] == self.code
        return found

    @property
    def message(self) -> str:
        """What stands after `error:`, up to the hint."""
        match = re.search(r"^error: (.*)\nhint: (.+)\n\Z", self.err, re.MULTILINE | re.DOTALL)
        assert match is not None, self.err
        return match[1]

    @property
    def hint(self) -> str:
        """What stands after `hint:`."""
        return self.err.rpartition("\nhint: ")[2].strip()

    @property
    def reasons(self) -> list[str]:
        """The message's lines for the single sources."""
        return [line.strip() for line in self.message.splitlines()[1:]]

    @property
    def verdicts(self) -> list[str]:
        """What the log says of each attempt."""
        return [line["verdict"] for line in self.log]


class Run:
    """A process under way; use it in a `with` block, which ends it."""

    def __init__(self, command: Sequence[str], world: World, env: Mapping[str, str], stdin: int | None = None) -> None:
        self.world = world
        number = len(list(world.folder.glob("*.out")))
        self._out, self._err = (world.folder / f"{number}.{kind}" for kind in ("out", "err"))
        self._lines_before = len(_lines(world.log))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=stdin or subprocess.DEVNULL, env=env, cwd=world.folder
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def err(self) -> str:
        """What was said on stderr so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; not by the process object, which would clear away one that has ended before `wait` asks."""
        os.kill(self.process.pid, number)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until CONDITION is true, which it must become while the process runs."""
        end = time.monotonic() + HANG
        while not condition():
            assert self.running, f"ended too soon:\n{self.err}"
            assert time.monotonic() < end, f"waited in vain:\n{self.err}"
            time.sleep(0.005)

    def wait(self, timeout: float = HANG) -> Outcome:
        """Wait for its end; a process that takes longer than TIMEOUT hangs."""
        end = time.monotonic() + timeout
        while True:
            number, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if number:
                break
            if time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"it hangs:\n{self.err}")
            time.sleep(0.01)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        out = self._out.read_text(encoding="utf-8")
        log = [json.loads(line) for line in _lines(self.world.log)[self._lines_before :]]
        outcome = Outcome(self.process.returncode, out, self.err, usage.ru_maxrss * 1024, log)
        assert "Traceback" not in outcome.err, outcome.err
        if outcome.code > 0:
            assert outcome.message
            assert outcome.hint
        return outcome


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def command(world: World, mirrors: Sequence[str], options: Sequence[str] = (), verb: str = "fetch") -> list[str]:
    """The command line for WORLD's dataset, from nobody but MIRRORS."""
    line = [sys.executable, "-m", "fmnist_fetch", verb, str(world.manifest), "--root", str(world.root), "--json"]
    if verb == "fetch":
        line += ["--only-mirrors", "--log", str(world.log)]
    for mirror in mirrors:
        line += ["--mirror", mirror]
    return line + list(options)


def start(world: World, *mirrors: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Run:
    """Begin to fetch WORLD's dataset from MIRRORS."""
    return Run(command(world, mirrors, options), world, environment(world.home, **(env or {})))


def fetch(world: World, *mirrors: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Outcome:
    """Fetch WORLD's dataset from MIRRORS and tell how it ended."""
    with start(world, *mirrors, options=options, env=env) as run:
        return run.wait()


def verify(world: World) -> Outcome:
    """Let the program itself look at what is there."""
    with Run(command(world, [], verb="verify"), world, environment(world.home)) as run:
        return run.wait()


@contextlib.contextmanager
def several(runs: Sequence[Run]) -> Iterator[None]:
    """All RUNS, which are ended with the block."""
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(run)
        yield
