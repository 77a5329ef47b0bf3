"""The command line and other programs in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from samples import PROJECT_FOLDER
from worlds import World

PYTHONPATH = os.pathsep.join((str(PROJECT_FOLDER), str(Path(__file__).parent)))
# Settings that could reach the program from outside the test.
SETTINGS = re.compile(
    r"(FMNIST_|XDG_|PYTHON|COV_).*|(https?|all|no|ftp)_proxy|requests_ca_bundle|curl_ca_bundle|ssl_cert_.*",
    re.IGNORECASE,
)
# Copied once, for worlds: threads run them while other tests change the environment.
SURROUNDINGS = dict(os.environ)
HANG_S = 90.0
PROGRAM = (sys.executable, "-m", "fmnist_fetch")
Done = subprocess.CompletedProcess[str]


def environment(base: Mapping[str, str] = os.environ, /, **more: str) -> dict[str, str]:
    """Return the variables for a process of its own: BASE (os.environ) without settings, and MORE."""
    kept = {name: value for name, value in base.items() if not SETTINGS.fullmatch(name)}
    return {**kept, "PYTHONPATH": PYTHONPATH, **more}


def environment_of(world: World, **more: str) -> dict[str, str]:
    """Return the variables for a process in WORLD, and MORE."""
    return environment(SURROUNDINGS, HOME=str(world.home), **more)


def run(command: Sequence[str | Path], **more: str) -> Done:
    """Run COMMAND to its end, with the variables MORE, and return what it printed."""
    return subprocess.run(command, capture_output=True, text=True, env=environment(**more), timeout=120, check=False)


def python(code: str, *words: str, **more: str) -> Done:
    """Run CODE in a Python of its own, with the arguments WORDS and the variables MORE."""
    return run([sys.executable, "-c", code, *words], **more)


def command_line(*words: str, **more: str) -> Done:
    """Run the command line with the arguments WORDS and the variables MORE."""
    return run([*PROGRAM, *words], **more)


def started(*words: str) -> subprocess.Popen[str]:
    """Start the command line."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*PROGRAM, *words], stdout=pipe, stderr=pipe, text=True, env=environment())


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send the signal; return the exit code and what was printed on stderr."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


WATCHED = """
import sys
seen = set()
sys.addaudithook(lambda event, arguments: seen.add(event) if event.startswith("socket.") else None)
from fmnist_fetch.cli import run
code = run(sys.argv[1:])
heavy = sorted({"requests", "urllib3", "numpy", "tqdm", "filelock", "ssl", "html"} & sys.modules.keys())
print("exit", code, "sockets", sorted(seen), "heavy", heavy)
"""


def watched(*words: str, **more: str) -> str:
    """Return a line with the socket events of a run of the command line and the heavy libraries that it imported."""
    done = python(WATCHED, *words, "--json", **more)
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[-1]


def peak_memory() -> int:
    """Return the largest size of this process in bytes; getrusage counts its parent before the exec too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@dataclass
class Outcome:
    """The end of a run."""

    code: int
    out: str
    err: str
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
        """The text between `error:` and `hint:`."""
        match = re.search(r"^error: (.*)\nhint: (.+)\n\Z", self.err, re.MULTILINE | re.DOTALL)
        assert match is not None, self.err
        return match[1]

    @property
    def hint(self) -> str:
        """The text after `hint:`."""
        return self.err.rpartition("\nhint: ")[2].strip()

    @property
    def reasons(self) -> list[str]:
        """The lines of the message, one for each source."""
        return [line.strip() for line in self.message.splitlines()[1:]]

    @property
    def verdicts(self) -> list[str]:
        """The verdict on each attempt in the log."""
        return [line["verdict"] for line in self.log]


class Run:
    """A running process; the end of its `with` block kills it."""

    def __init__(self, command: Sequence[str], world: World, env: Mapping[str, str]) -> None:
        self.world = world
        number = len(list(world.folder.glob("*.out")))
        self._out, self._err = (world.folder / f"{number}.{kind}" for kind in ("out", "err"))
        self._lines_before = len(_lines(world.log))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=env, cwd=world.folder
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def err(self) -> str:
        """The text on stderr so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until CONDITION is true; fail if the process ends first."""
        end = time.monotonic() + HANG_S
        while not condition():
            assert self.running, f"the process ended too soon:\n{self.err}"
            assert time.monotonic() < end, f"the condition never became true:\n{self.err}"
            time.sleep(0.005)

    def wait(self, timeout: float = HANG_S, code: int | Collection[int] = ()) -> Outcome:
        """Wait for the end; fail after TIMEOUT seconds, with another exit code than CODE, and with a wrong file."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the process hangs:\n{self.err}") from None
        out = self._out.read_text(encoding="utf-8")
        log = [json.loads(line) for line in _lines(self.world.log)[self._lines_before :]]
        outcome = Outcome(self.process.returncode, out, self.err, log)
        assert "Traceback" not in outcome.err, outcome.err
        if outcome.code > 0:
            assert outcome.message
            assert outcome.hint
        codes = {code} if isinstance(code, int) else code
        assert not codes or outcome.code in codes, outcome.err
        if codes and not outcome.code:
            self.world.assert_complete()
        elif codes:
            self.world.assert_nothing_wrong()
        return outcome


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def command(world: World, mirrors: Sequence[str], options: Sequence[str] = (), name: str = "fetch") -> list[str]:
    """Return the command line of the command NAME for the dataset of WORLD, from MIRRORS only."""
    line = [*PROGRAM, name, str(world.manifest), "--root", str(world.root), "--json"]
    if name == "fetch":
        line += ["--only-mirrors", "--log", str(world.log)]
    for mirror in mirrors:
        line += ["--mirror", mirror]
    return line + list(options)


def start(world: World, *mirrors: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Run:
    """Start to fetch the dataset of WORLD from MIRRORS."""
    return Run(command(world, mirrors, options), world, environment_of(world, **(env or {})))


def fetch(
    world: World,
    *mirrors: str,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    code: int | Collection[int] = (),
) -> Outcome:
    """Fetch the dataset of WORLD from MIRRORS; return how that ended.

    With one CODE or several, assert that it ended so, and what is on the disk then: everything, or nothing wrong.
    """
    with start(world, *mirrors, options=options, env=env) as run:
        return run.wait(code=code)
