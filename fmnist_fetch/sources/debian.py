"""The Debian package as an origin: apt downloads it as an ordinary user, a splice makes upstream's files of it.

Where the system's package lists are empty (a fresh container, an image), lists of its own are fetched into a private
folder. apt keeps its own partial download there, so an interrupted one goes on.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.model import DataFile, DebianPackage
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, Tier
from fmnist_fetch.sources.folder import Folder

if TYPE_CHECKING:
    import subprocess

_TIMEOUT = 600.0


class DebianSource:
    """The package in the archives that this system's apt knows; WORK is a private folder for what apt brings."""

    connections = 1
    tier = Tier.PACKAGE

    def __init__(self, package: DebianPackage, work: Path) -> None:
        self.name = f"Debian package {package.package}"
        self.package = package
        self.work = work

    def open(self) -> "DebianConnection":
        """A source that downloads the package when it is first read."""
        return DebianConnection(self)


class DebianConnection:
    """The unpacked package, brought on the first read."""

    status: int | None = None
    oddity: str | None = None
    timeout_s = STAGE_TIMEOUT_S
    stages = 0

    def __init__(self, archive: DebianSource) -> None:
        self._archive = archive
        self._folder: Folder | None = None
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False

    def read(self, file: DataFile, span: Span) -> bytes:
        """Bytes of FILE from span.start on; raises SourceError."""
        if self._folder is None:
            self._folder = Folder(self._bring(), Tier.PACKAGE, spliced=True)
        return self._folder.read(file, span)

    @property
    def pending(self) -> int:
        """The bytes that apt has brought so far."""
        total = 0
        for path in (*self._archive.work.glob("**/partial/*"), *self._archive.work.glob("*.deb")):
            with suppress(OSError):
                total += path.stat().st_size
        return total

    def stop(self) -> None:
        """End apt, if it is running."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                with suppress(OSError):
                    self._running.terminate()

    def close(self) -> None:
        """Close the file that was read last; what apt brought stays, so that apt can go on from it."""
        if self._folder is not None:
            self._folder.close()

    def _bring(self) -> Path:
        """Download and unpack the package; return the folder with its files."""
        import shutil

        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SourceError(f"{self._archive.name}: there is no {tool} here", permanent=True)
        work, package = self._archive.work.absolute(), self._archive.package
        try:
            (work / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (work / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SourceError(f"{self._archive.name}: {work}: {exc.strerror}", permanent=True) from exc
        try:
            self._apt("download", package.package)
        except SourceError:
            # The system's lists are empty or older than the archive: with fresh ones of our own, once more.
            private = f"Dir::State::lists={work / 'lists'}"
            self._apt("update", options=(private,))
            self._apt("download", package.package, options=(private,))
        archives = sorted(work.glob(f"{package.package}_*.deb"), key=lambda path: path.stat().st_mtime)
        if not archives:
            raise SourceError(f"{self._archive.name}: apt brought no package")
        self._run("dpkg-deb", "-x", str(archives[-1]), str(work / "root"))
        return work / "root" / package.folder.lstrip("/")

    def _apt(self, *words: str, options: tuple[str, ...] = ()) -> None:
        """Run apt-get with WORDS, as an ordinary user and in the private folder."""
        settings = (
            f"Dir::Cache={self._archive.work.absolute()}",
            "Debug::NoLocking=true",
            "Acquire::Languages=none",
            "Acquire::Retries=1",
            "Acquire::http::Timeout=10",
            "Acquire::https::Timeout=10",
            "APT::Sandbox::User=root" if os.geteuid() == 0 else "APT::Sandbox::User=",
            "APT::Update::Error-Mode=any",
            *options,
        )
        self._run("apt-get", *words, "-q", *(f"-o{setting}" for setting in settings))

    def _run(self, *command: str) -> None:
        # Imported where it is needed: the package's turn seldom comes, and every run would pay for it.
        import subprocess

        with self._lock:
            if self._stopped:
                raise SourceError(f"{self._archive.name}: stopped")
            self._running = subprocess.Popen(
                command,
                cwd=self._archive.work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        try:
            _, complaints = self._running.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as exc:
            self._running.kill()
            self._running.communicate()
            raise SourceError(f"{self._archive.name}: {command[0]} took over {_TIMEOUT:g} s") from exc
        finally:
            running, self._running = self._running, None
        if running.returncode != 0:
            last = [line for line in complaints.splitlines() if line.startswith("E:")] or [f"exit {running.returncode}"]
            raise SourceError(f"{self._archive.name}: {command[0]} {command[1]}: {last[0]}")
