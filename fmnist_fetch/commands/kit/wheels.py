"""The wheels of a kit: pip is asked once which ones a machine needs, and then brings each that is not here yet.

What it answered is kept beside the wheels: the same question about the same wheels needs no network again.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from fmnist_fetch.commands.kit.check import digest_of
from fmnist_fetch.commands.kit.target import Target
from fmnist_fetch.errors import FetchError, SourceError, disk
from fmnist_fetch.events import Listener, Message
from fmnist_fetch.storage.atomic import write_all, write_atomically

# pip takes up a broken download where it ended (since 25.1), and asks again when it is not answered.
STUBBORN = ("--resume-retries", "30", "--retries", "10", "--timeout", "20")
TORCH = "torch"
ATTEMPTS = 3
ROUNDS = 5
OLDEST_PIP = (25, 1)
_AGAIN = "Check the network, then run the same command again; the wheels that are here are kept."


def demand_tools() -> None:
    """Raise FetchError where pip can't take up a broken download, or the reader of requirements is not there."""
    with suppress(PackageNotFoundError):
        if tuple(map(int, version("pip").split(".")[:2])) >= OLDEST_PIP and version("packaging"):
            return
    raise FetchError(
        "kit needs pip 25.1 or newer and packaging beside this Python",
        hint="Run: make kit, or pip install --upgrade 'fmnist-fetch[kit]', or pack without them: --no-wheels",
    )


class Wheel(NamedTuple):
    """A wheel, where pip found it, and its SHA-256."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Its file name, which tells package, version and platform."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


class Store:
    """The folder of wheels for TARGET, and for any other machine; nothing in it is brought twice."""

    def __init__(
        self, folder: Path, target: Target, listener: Listener, *, torch_index: str = "", verbose: bool = False
    ) -> None:
        self._folder = folder
        self._target = target
        self._torch_index = torch_index
        self._listener = listener
        self._verbose = verbose

    def bring(self, requirements: Sequence[str]) -> list[Path]:
        """Make sure that every wheel for REQUIREMENTS is here, and return them. Raises SourceError, DiskError."""
        wheels = self._chosen(sorted(requirements))
        for number, wheel in enumerate(wheels, start=1):
            if not self._has(wheel):
                self._tell(f"wheel {number} of {len(wheels)}: {wheel.name}")
                self._download(wheel)
        return [self._folder / wheel.name for wheel in wheels]

    def _chosen(self, requirements: list[str]) -> list[Wheel]:
        """The wheels that pip chooses for REQUIREMENTS, or chose the last time it was asked."""
        memory = self._folder / f"chosen for {self._target.words}.json"
        question = [*requirements, *self._target.flags(), self._torch_index, os.environ.get("PIP_CONSTRAINT", "")]
        try:
            answered = json.loads(memory.read_text(encoding="utf-8"))
            if answered["question"] == question:
                return [Wheel(*wheel) for wheel in answered["wheels"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # never asked, or nothing that can be relied on: ask now
        self._tell(f"asking the package index which wheels are for {self._target.words}")
        found = choose(requirements, self._target, self._torch_index)
        wheels = sorted(found, key=lambda wheel: wheel.name)
        with write_atomically(memory) as file:
            write_all(file, json.dumps({"question": question, "wheels": wheels}, indent=1).encode())
        return wheels

    def _has(self, wheel: Wheel) -> bool:
        try:
            return digest_of(self._folder / wheel.name) == wheel.sha256
        except OSError:
            return False

    def _download(self, wheel: Wheel) -> None:
        """Let pip bring WHEEL; a wrong file of its name gives way."""
        path = self._folder / wheel.name
        with disk(path):
            path.unlink(missing_ok=True)
        project = wheel.name.partition("-")[0]
        command = ["download", "--no-deps", "--dest", str(self._folder), *STUBBORN, *self._target.flags()]
        command += ["--only-binary", ":all:", f"{project} @ {wheel.url}#sha256={wheel.sha256}"]
        for attempt in range(1, ATTEMPTS + 1):
            complaint = _pip(*command, verbose=self._verbose)
            if complaint is None and self._has(wheel):
                return
            self._tell(f"  attempt {attempt} of {ATTEMPTS} failed: {complaint or 'other bytes came'}")
        raise SourceError(f"pip could not bring {wheel.name} from {wheel.url}: {complaint}", hint=_AGAIN)

    def _tell(self, sentence: str) -> None:
        self._listener(Message(sentence))


def choose(requirements: Sequence[str], target: Target, torch_index: str = "") -> set[Wheel]:
    """Ask pip which wheels TARGET needs for REQUIREMENTS; raises SourceError where it can't tell.

    pip judges markers by the machine that it runs on, so what TARGET's own ask for besides is added until nothing is
    lacking. Too much does no harm. torch is asked for by itself: of TORCH_INDEX too, where its build without CUDA is.
    """
    asked = list(target.wanted(requirements))
    fixed = [item for text in asked if _name(text) == TORCH for item in _torch(text, target, torch_index)]
    asked = [text for text in asked if _name(text) != TORCH]
    known = {_name(text) for text in asked}
    asked += [text for text in _dependencies(fixed, target) if _name(text) not in known]
    for _ in range(ROUNDS):
        found = fixed + _report(asked, target, STUBBORN)
        names = {_name(item["metadata"]["name"]) for item in found}
        lacking = [text for text in _dependencies(found, target) if _name(text) not in names]
        if not lacking:
            _refuse_cuda(names)
            return {_wheel(item) for item in found}
        asked += lacking
    raise FetchError(f"the dependencies of {', '.join(lacking)} have no end", hint="Name the versions in pyproject.")


def _torch(requirement: str, target: Target, index: str) -> list[dict[str, Any]]:
    """torch alone: a wheel that is on this machine already, else from INDEX."""
    with suppress(SourceError):
        return _report([requirement], target, ("--no-deps", "--no-index"))
    return _report([requirement], target, (*STUBBORN, "--no-deps", *(("--extra-index-url", index) if index else ())))


def _refuse_cuda(names: set[str]) -> None:
    if heavy := sorted(name for name in names if name.startswith(("nvidia-", "cuda-")) or name == "triton"):
        raise SourceError(
            f"the package index offers torch only with CUDA ({heavy[0]} and {len(heavy) - 1} more), several GB",
            hint="Name a build without it, as make kit does: --torch torch==2.13.0+cpu --torch-index URL",
        )


def _dependencies(found: Sequence[dict[str, Any]], target: Target) -> Iterator[str]:
    for item in found:
        yield from target.wanted(item["metadata"].get("requires_dist", []), item.get("requested_extras", []))


def _wheel(item: dict[str, Any]) -> Wheel:
    info = item["download_info"]
    return Wheel(info["url"], info["archive_info"]["hashes"]["sha256"])


def _name(requirement: str) -> str:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    return canonicalize_name(Requirement(requirement).name)


def _report(requirements: Sequence[str], target: Target, options: Sequence[str]) -> list[dict[str, Any]]:
    """What pip would install, with each wheel's address, digest and metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = ["install", "--dry-run", "--ignore-installed", "--report", str(path), *options, *target.flags()]
        complaint = _pip(*command, "--only-binary", ":all:", *requirements)
        if complaint is not None:
            raise SourceError(f"pip could not find wheels for {target.words}: {complaint}", hint=_AGAIN)
        items: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["install"]
        return items


def _pip(*words: str, verbose: bool = False) -> str | None:
    """Run pip; None if it did well, else its last word on what went wrong. VERBOSE lets its progress be seen."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    out = sys.stderr if verbose else subprocess.PIPE
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (lines or done.stderr.splitlines() or [f"pip ended with {done.returncode}"])[-1][:300]
