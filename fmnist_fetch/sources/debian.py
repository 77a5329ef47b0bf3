"""The Debian package as a source: apt downloads it as an ordinary user, a splice makes upstream's files of it.

Where the system's package lists are empty (a fresh container, an image), lists of its own are fetched into a private
folder. apt keeps its own partial download there, so an interrupted one goes on. A folder that other users could replace
meanwhile is not used: the program may run as root, and would write where they choose.
"""

import os
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.model import DataFile, DebianPackage
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import Connection, Tier
from fmnist_fetch.sources.folder import Folder
from fmnist_fetch.storage.layout import is_file

# What requests does not load either is imported where it is needed: this source's turn seldom comes.
if TYPE_CHECKING:
    import subprocess

_TIMEOUT_S = 600.0
_LONGEST_COMPLAINT = 300
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class DebianSource:
    """The package in the archives that this system's apt knows, of which only FILES are used.

    WORK is a private folder for what apt downloads.
    """

    connections = 1
    tier = Tier.PACKAGE

    def __init__(self, package: DebianPackage, files: Sequence[DataFile], work: Path) -> None:
        self.name = f"Debian package {package.package}"
        self.package = package
        self.sizes = {file.name: file.splice.donor_size(file.size) for file in files if file.splice}
        """The size in bytes of each file that is taken from the package, by name."""
        self.work = work

    def open(self) -> "DebianConnection":
        """Return a source that downloads the package when it is first read."""
        return DebianConnection(self)


class DebianConnection(Connection):
    """The unpacked package, downloaded on the first read."""

    def __init__(self, source: DebianSource) -> None:
        self._source = source
        self._work = source.work
        self._folder: Folder | None = None
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False

    def read(self, file: DataFile, span: Span) -> bytes:
        """Bytes of FILE from span.start on; raises SourceError."""
        if self._folder is None:
            self._folder = Folder(self._download(), Tier.PACKAGE, spliced=True)
        return self._folder.read(file, span)

    @property
    def pending(self) -> int:
        """The bytes that apt has downloaded so far."""
        total = 0
        for path in (*self._work.glob("**/partial/*"), *self._work.glob("*/*.deb")):
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
        """Close the file that was read last; what apt downloaded stays, so that apt can continue from it."""
        if self._folder is not None:
            self._folder.close()

    def _download(self) -> Path:
        """Download the package and unpack its files of the dataset; return the folder with them."""
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SourceError(f"{self._source.name}: there is no {tool} here", permanent=True)
        try:
            self._work = self._private_folder()
            for name in ("lists", "archives"):
                (self._work / name / "partial").mkdir(parents=True, exist_ok=True)
            # apt writes the package to an empty folder: what is there then is what it has downloaded and verified.
            fresh = Path(tempfile.mkdtemp(prefix="package-", dir=self._work))
        except OSError as exc:
            facts = f"{self._source.name}: {exc.filename or self._work}: {exc.strerror}"
            raise SourceError(facts, permanent=True) from exc
        package = self._source.package.package
        try:
            self._apt("download", package, folder=fresh)
        except SourceError:
            # The system's lists are empty or older than the archive: with fresh ones of our own, once more.
            private = f"Dir::State::lists={self._work / 'lists'}"
            self._apt("update", options=(private,), folder=self._work)
            self._apt("download", package, options=(private,), folder=fresh)
        archives = list(fresh.iterdir())
        if len(archives) != 1 or not archives[0].name.startswith(f"{package}_") or not is_file(archives[0]):
            raise SourceError(f"{self._source.name}: apt did not download this one package")
        return self._unpack(archives[0], fresh)

    def _private_folder(self) -> Path:
        """Make the folder for what apt downloads, for nobody else; raise SourceError where somebody has made it.

        It is a temporary one where others can rename the usual one, and put another one in its place.
        """
        work = self._source.work.absolute()
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = work.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _BY_OTHERS:
            facts = f"{self._source.name}: {work} is not a folder that only you can write to"
            raise SourceError(facts, hint=f"Remove {work}, then run the same command again.", permanent=True)
        if all(map(_is_only_ours, work.resolve().parents)):
            return work
        with suppress(OSError):
            work.rmdir()
        temporary = tempfile.mkdtemp(prefix="fmnist-fetch-")
        weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary)

    def _unpack(self, archive: Path, fresh: Path) -> Path:
        """Copy the files of the dataset, in the size that a splice needs; nothing else of ARCHIVE reaches the disk."""
        import tarfile

        target, wanted = fresh / "files", PurePosixPath(self._source.package.folder)
        try:
            target.mkdir()
            with open(fresh / "data.tar", "x+b") as stored:
                self._run("dpkg-deb", "--fsys-tarfile", str(archive), folder=fresh, out=stored)
                stored.seek(0)
                with tarfile.open(fileobj=stored, mode="r:") as members:
                    for member in members:
                        path = PurePosixPath("/", member.name)
                        taken = path.parent == wanted and self._source.sizes.get(path.name) == member.size
                        if taken and member.isreg() and (content := members.extractfile(member)):
                            with open(target / path.name, "xb") as copy:
                                shutil.copyfileobj(content, copy)
        except SourceError:
            raise
        except Exception as exc:  # a tar from outside may raise anything
            raise SourceError(f"{self._source.name}: {archive.name} can't be unpacked: {exc}") from exc
        return target

    def _apt(self, *words: str, options: tuple[str, ...] = (), folder: Path) -> None:
        """Run apt-get with WORDS in FOLDER, as an ordinary user."""
        settings = (
            f"Dir::Cache={self._work}",
            "Debug::NoLocking=true",
            "Acquire::Languages=none",
            "Acquire::Retries=1",
            "Acquire::http::Timeout=10",
            "Acquire::https::Timeout=10",
            "APT::Sandbox::User=root" if os.geteuid() == 0 else "APT::Sandbox::User=",
            "APT::Update::Error-Mode=any",
            *options,
        )
        self._run("apt-get", *words, "-q", *(f"-o{setting}" for setting in settings), folder=folder)

    def _run(self, *command: str, folder: Path, out: IO[bytes] | None = None) -> None:
        """Run COMMAND in FOLDER; raise SourceError with its complaint where it fails."""
        import subprocess

        with self._lock:
            if self._stopped:
                raise SourceError(f"{self._source.name}: stopped")
            try:
                self._running = subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL if out is None else out,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    env={**os.environ, "LC_ALL": "C"},
                )
            except OSError as exc:
                facts = f"{self._source.name}: {command[0]} can't be started: {exc.strerror}"
                raise SourceError(facts, permanent=True) from exc
        try:
            _, complaints = self._running.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as exc:
            self._running.kill()
            self._running.communicate()
            raise SourceError(f"{self._source.name}: {command[0]} took over {_TIMEOUT_S:g} s") from exc
        finally:
            running, self._running = self._running, None
        if running.returncode != 0:
            last = [line for line in complaints.splitlines() if line.startswith("E:")] or [f"exit {running.returncode}"]
            raise SourceError(f"{self._source.name}: {command[0]} {command[1]}: {last[0][:_LONGEST_COMPLAINT]}")


def _is_only_ours(folder: Path) -> bool:
    """Return whether no other user but root can rename what is in FOLDER."""
    found = folder.stat()
    return found.st_uid in (0, os.geteuid()) and (not found.st_mode & _BY_OTHERS or bool(found.st_mode & stat.S_ISVTX))
