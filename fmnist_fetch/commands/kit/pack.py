"""The offline kit: the project as committed, its data and its wheels in one tar, ready for machines without a network.

Unpacked, `make data && make train` find wheels/ and mirror/ beside the Makefile. The same input gives the same bytes:
order, owner and times are fixed.
"""

import hashlib
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fmnist_fetch.commands.kit.check import MIRROR, SUMS, TARGET, WHEELS, count_line
from fmnist_fetch.commands.kit.wheels import Target
from fmnist_fetch.environment.lock import LOCK, Lock
from fmnist_fetch.errors import FetchError, IntegrityError, UsageError, disk, size
from fmnist_fetch.events import Listener, Message
from fmnist_fetch.storage.atomic import sweep, write_atomically
from fmnist_fetch.storage.files import verifies
from fmnist_fetch.storage.layout import Layout

TOP = "fmnist-lab-kit"
"""The one folder that the tar unpacks to."""
NOTE = "LAB.txt"
REPORT_EVERY_BYTES = 100_000_000

NOTE_TEXT = """\
Fashion-MNIST, offline: {commit:.12}, for {machine}

On this machine: {needs}. No network, no root.

{commands}
All files stay in this folder: the environment in .venv, the data in data/,
or in FMNIST_ROOT, so that many users can share one copy of it.

What is here, besides the project:
    mirror/       {mirror}
    wheels/       {wheels}
    SHA256SUMS    of all files; make checks it before it installs anything,
                  and you can: sha256sum --quiet -c SHA256SUMS

The digests detect damage, not malice: take the kit from someone you trust.
"""

MAKE_COMMANDS = """\
    make data         unpack Fashion-MNIST and verify every byte of it
    make train        train softmax regression; figures and pictures go to runs/
    make test         run the tests
    make help         everything else
"""
WINDOWS_COMMANDS = """\
    py -m fmnist_fetch.environment data --offline
    .venv\\Scripts\\fmnist-fetch fetch --offline --mirror mirror
    py -m fmnist_fetch.environment train --offline
    .venv\\Scripts\\fmnist-train
"""


class Entry(NamedTuple):
    """A file of the tar: its path there, its bytes or the path of a file with them, and whether it is a program."""

    name: str
    content: bytes | Path
    executable: bool = False

    @property
    def size(self) -> int:
        """The number of bytes."""
        if isinstance(self.content, bytes):
            return len(self.content)
        with disk(self.content):
            return self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Open the bytes for reading."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        with disk(self.content):
            return open(self.content, "rb")


class Project(NamedTuple):
    """The project as committed: the commit, its time in seconds since 1970, and its files."""

    commit: str
    time_s: int
    entries: tuple[Entry, ...]

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """Return what is committed in the git checkout FOLDER; raise UsageError where that is none."""
        commit, time_s = _git(folder, "log", "-1", "--format=%H %ct").decode().split()
        entries = []
        with tarfile.open(fileobj=io.BytesIO(_git(folder, "archive", "--format=tar", commit))) as tar:
            for member in tar:
                if (file := tar.extractfile(member)) and member.isreg():
                    entries.append(Entry(member.name, file.read(), bool(member.mode & 0o100)))
        return cls(commit, int(time_s), tuple(entries))

    def lock(self) -> Lock:
        """Return the lock as it is committed; raise UsageError where there is none."""
        for entry in self.entries:
            if entry.name == LOCK and isinstance(entry.content, bytes):
                return Lock(entry.content)
        raise UsageError("the project has no pylock.toml", hint="Run: make lock, and commit it; or --no-wheels.")


def uncommitted(folder: Path) -> list[str]:
    """Return the files of the checkout FOLDER that differ from what is committed, and so from what is packed."""
    lines = _git(folder, "status", "--porcelain", "--untracked-files=no").decode().splitlines()
    return [line[3:] for line in lines]


def data_entries(layout: Layout) -> list[Entry]:
    """Return the published files of the dataset, each verified, for the folder mirror/, which is a mirror for `fetch`.

    Raises:
        FetchError: A file is absent.
        IntegrityError: A file is damaged.
    """
    manifest = layout.manifest
    hint = f"Run: fmnist-fetch fetch {manifest.name} --root {layout.root}"
    entries = []
    for file in manifest.files:
        path = layout.published(file)
        if not path.exists():
            raise FetchError(f"the kit needs {path}, which does not exist", hint=f"{hint}, or name another --root.")
        if not verifies(path, file.size, file.sha256):
            raise IntegrityError(f"{path} is damaged", hint=hint)
        entries.append(Entry(f"{MIRROR}/{file.name}", path))
    return entries


def wheel_entries(wheels: Sequence[Path], target: Target) -> list[Entry]:
    """Return WHEELS for the folder wheels/, and a file that names their TARGET."""
    about = Entry(TARGET, f"{target.python} {target.machine}\n".encode())
    return [about, *(Entry(f"{WHEELS}/{path.name}", path) for path in wheels)]


def pack(
    out: Path, project: Project, data: Sequence[Entry], wheels: Sequence[Entry], machine: str, listener: Listener
) -> int:
    """Write the kit to OUT, for the MACHINE that is described; return the number of its files.

    Raises:
        DiskError: A file cannot be read or written.
        UsageError: The project has a file with a name that the kit needs.
    """
    entries = [*project.entries, *data, *wheels]
    entries.append(Entry(NOTE, _note(project, data, wheels, machine)))
    for name, count in Counter([SUMS, *(entry.name for entry in entries)]).items():
        if count > 1:
            raise UsageError(f"the project has a file {name} of its own", hint="Give it another name, and commit that.")
    listener(Message(f"hashing {len(entries)} files"))
    entries.append(Entry(SUMS, _sums(entries)))
    write_tar(out, entries, project.time_s, listener)
    return len(entries)


def write_tar(out: Path, entries: Sequence[Entry], time_s: int, listener: Listener) -> None:
    """Write a tar of one folder, which gets its final name when it is complete; raise DiskError.

    The entries are written in the order of their names, and all have the time TIME_S, in seconds since 1970.
    """
    sweep(out.parent)  # what killed runs left: hundreds of megabytes each
    done, reported, total = 0, 0, sum(entry.size for entry in entries)
    with (
        write_atomically(out, total) as file,
        open(file.fileno(), "wb", closefd=False) as buffered,
        # Long names, as wheels have them, are written as GNU does it, which every tar reads.
        tarfile.open(fileobj=buffered, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for entry in sorted(entries):
            info = tarfile.TarInfo(f"{TOP}/{entry.name}")
            info.size, info.mtime, info.mode = entry.size, time_s, 0o755 if entry.executable else 0o644
            with entry.open() as content, disk(entry.name):
                tar.addfile(info, content)
            done += info.size
            if done - reported >= REPORT_EVERY_BYTES:
                reported = done
                listener(Message(f"packing: {size(done)} of {size(total)}"))


def _note(project: Project, data: Sequence[Entry], wheels: Sequence[Entry], machine: str) -> bytes:
    """Return LAB.txt: one screen for a person who finds the kit."""
    windows = " on win" in machine
    python = machine.partition(" on ")[0] if wheels else "Python 3.11 or newer"
    text = NOTE_TEXT.format(
        commit=project.commit,
        machine=machine,
        needs=f"{python} with venv" + ("" if windows else ", make"),
        commands=WINDOWS_COMMANDS if windows else MAKE_COMMANDS,
        mirror=f"the data, {len(data)} files, {_total(data)}",
        wheels=f"{len(wheels) - 1} wheels, {_total(wheels)}" if wheels else "not here: make downloads them",
    )
    return text.encode()


def _total(entries: Sequence[Entry]) -> str:
    return size(sum(entry.size for entry in entries))


def _sums(entries: Sequence[Entry]) -> bytes:
    """Return SHA256SUMS as sha256sum writes and checks it, and the number of its lines."""
    lines = []
    for entry in sorted(entries):
        with entry.open() as file, disk(entry.name):
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {entry.name}")  # type: ignore[arg-type]
    return "".join(f"{line}\n" for line in [*lines, count_line(len(lines))]).encode()


def _git(folder: Path, *words: str) -> bytes:
    """Return what git prints about the checkout FOLDER."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError as exc:
        raise FetchError("kit needs git, which is not installed", hint="Install git.") from exc
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").splitlines() or ["git failed"])[-1]
        hint = "Run make kit in a clone of the project, with at least one commit."
        raise UsageError(f"{folder} is not a git checkout that can be packed ({reason})", hint=hint)
    return done.stdout
