"""The Debian package as a source: apt downloads it as an ordinary user, a splice makes upstream's files of it.

Where the system's package lists are empty (a fresh container, an image), lists of its own are fetched into a private
folder. apt keeps its own partial download there, so an interrupted one goes on.
"""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.model import DataFile, DebianPackage
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import STAGE_TIMEOUT_S, Tier
from fmnist_fetch.sources.folder import Folder

if TYPE_CHECKING:
    import subprocess

_TIMEOUT = 600.0
_LARGEST_FILE = 1024**3


class DebianSource:
    """The package in the archives that this system's apt knows; WORK is a private folder for what apt downloads."""

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
    """The unpacked package, downloaded on the first read."""

    status: int | None = None
    oddity: str | None = None
    note: str | None = None
    timeout_s = STAGE_TIMEOUT_S
    stages = 0

    def __init__(self, source: DebianSource) -> None:
        self._source = source
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
        for path in (*self._source.work.glob("**/partial/*"), *self._source.work.glob("*/*.deb")):
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
        import shutil
        import tempfile

        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SourceError(f"{self._source.name}: there is no {tool} here", permanent=True)
        work, package = self._source.work.absolute(), self._source.package
        try:
            self._make_private(work)
            (work / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (work / "archives" / "partial").mkdir(parents=True, exist_ok=True)
            # apt writes the package to an empty folder: what is there then is what it has downloaded and verified.
            fresh = Path(tempfile.mkdtemp(prefix="package-", dir=work))
        except OSError as exc:
            raise SourceError(f"{self._source.name}: {work}: {exc.strerror}", permanent=True) from exc
        try:
            self._apt("download", package.package, folder=fresh)
        except SourceError:
            # The system's lists are empty or older than the archive: with fresh ones of our own, once more.
            private = f"Dir::State::lists={work / 'lists'}"
            self._apt("update", options=(private,), folder=work)
            self._apt("download", package.package, options=(private,), folder=fresh)
        archives = [path for path in fresh.glob(f"{package.package}_*.deb") if path.is_file() and not path.is_symlink()]
        if len(archives) != 1:
            raise SourceError(f"{self._source.name}: apt downloaded no package")
        return self._unpack(archives[0], fresh)

    def _make_private(self, work: Path) -> None:
        """Make the folder WORK, for nobody else; raise SourceError where somebody else can write to it."""
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = work.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            facts = f"{self._source.name}: {work} is not a folder that only you can write to"
            raise SourceError(facts, hint=f"Remove {work}, then run the same command again.", permanent=True)

    def _unpack(self, archive: Path, fresh: Path) -> Path:
        """Copy the regular files in the package's folder of the dataset; nothing else of ARCHIVE reaches the disk."""
        import shutil
        import tarfile

        target, wanted = fresh / "files", PurePosixPath(self._source.package.folder)
        target.mkdir()
        with open(fresh / "data.tar", "w+b") as stored:
            self._run("dpkg-deb", "--fsys-tarfile", str(archive), folder=fresh, out=stored)
            stored.seek(0)
            try:
                with tarfile.open(fileobj=stored, mode="r:") as members:
                    for member in members:
                        path = PurePosixPath("/", member.name)
                        content = members.extractfile(member) if member.isreg() and path.parent == wanted else None
                        if content is not None and member.size <= _LARGEST_FILE:
                            with open(target / path.name, "xb") as copy:
                                shutil.copyfileobj(content, copy)
            except (tarfile.TarError, OSError, ValueError) as exc:
                raise SourceError(f"{self._source.name}: {archive.name} can't be unpacked: {exc}") from exc
        return target

    def _apt(self, *words: str, options: tuple[str, ...] = (), folder: Path) -> None:
        """Run apt-get with WORDS in FOLDER, as an ordinary user."""
        settings = (
            f"Dir::Cache={self._source.work.absolute()}",
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
        # Imported where it is needed: the package's turn seldom comes, and every run would pay for it.
        import subprocess

        with self._lock:
            if self._stopped:
                raise SourceError(f"{self._source.name}: stopped")
            self._running = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if out is None else out,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        try:
            _, complaints = self._running.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as exc:
            self._running.kill()
            self._running.communicate()
            raise SourceError(f"{self._source.name}: {command[0]} took over {_TIMEOUT:g} s") from exc
        finally:
            running, self._running = self._running, None
        if running.returncode != 0:
            last = [line for line in complaints.splitlines() if line.startswith("E:")] or [f"exit {running.returncode}"]
            raise SourceError(f"{self._source.name}: {command[0]} {command[1]}: {last[0]}")
