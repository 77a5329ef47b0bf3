"""The offline kit: the project as committed, its data and its wheels in one tar, ready for machines without a network.

Unpacked, `make data && make train` find wheels/ and mirror/ beside the Makefile. The same input gives the same bytes.
"""

import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from fmnist_fetch.commands.kit.check import MIRROR, SUMS, TARGET, WHEELS
from fmnist_fetch.commands.kit.tarball import Entry, write_tar
from fmnist_fetch.commands.kit.target import Target
from fmnist_fetch.environment.lock import Lock
from fmnist_fetch.errors import FetchError, IntegrityError, UsageError
from fmnist_fetch.events import Listener, Message
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.part_file import verifies

TOP = "fmnist-lab-kit"
"""The one folder that the tar unpacks to."""
LOCK = "pylock.toml"
NOTE = "LAB.txt"
EVERY = 100_000_000

LAB = """\
{title}, offline: {commit:.12}, for {words}

On this machine: {needs}make. No network, no root.

    make data         unpack Fashion-MNIST and verify every byte of it
    make train        train softmax regression; figures and pictures go to runs/
    make test         run the tests
    make help         everything else

Everything stays in this folder: the environment in .venv, the data in data/,
or where FMNIST_ROOT says, so that many users can share one copy of it.

What is here, besides the project:
    mirror/       {mirror}
    wheels/       {wheels}
    SHA256SUMS    of all files; make checks it before it installs anything,
                  and you can: sha256sum --quiet -c SHA256SUMS
{remark}"""


class Project(NamedTuple):
    """The project as committed: the COMMIT, its moment in seconds since 1970, and its files."""

    commit: str
    moment: int
    entries: tuple[Entry, ...]

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """What is committed in the git checkout FOLDER; raises UsageError where that is none."""
        commit, moment = _git(folder, "log", "-1", "--format=%H %ct").decode().split()
        entries = []
        with tarfile.open(fileobj=io.BytesIO(_git(folder, "archive", "--format=tar", commit))) as tar:
            for member in tar:
                if (file := tar.extractfile(member)) and member.isreg():
                    entries.append(Entry(member.name, file.read(), bool(member.mode & 0o100)))
        return cls(commit, int(moment), tuple(entries))

    def lock(self) -> Lock:
        """Return the lock as it is committed; raise UsageError where there is none."""
        for entry in self.entries:
            if entry.name == LOCK and isinstance(entry.content, bytes):
                return Lock(entry.content)
        raise UsageError(f"the project has no {LOCK}", hint="Run: make lock, and commit it; or --no-wheels.")


class Kit(NamedTuple):
    """What was packed: the files written, how many files and wheels are in the tar, and the bytes of all."""

    paths: list[Path]
    files: int
    wheels: int
    size: int


def changes(folder: Path) -> list[str]:
    """The files of the checkout FOLDER that differ from what is committed, and will not be in the kit as they are."""
    lines = _git(folder, "status", "--porcelain", "--untracked-files=no").decode().splitlines()
    return [line[3:] for line in lines]


def mirror(manifest: Manifest, layout: Layout) -> list[Entry]:
    """The files as published, each verified; raises FetchError for what is absent, IntegrityError for what is damaged.

    The folder mirror/ then serves `fetch` as any other mirror does.
    """
    hint = f"Run: fmnist-fetch fetch {manifest.name} --root {layout.root}"
    entries = []
    for file in manifest.files:
        path = layout.published(file)
        if not path.exists():
            raise FetchError(f"{path} is not there, and the kit needs it", hint=f"{hint}, or name another --root.")
        if not verifies(path, file.size, file.sha256):
            raise IntegrityError(f"{path} is damaged", hint=hint)
        entries.append(Entry(f"{MIRROR}/{file.name}", path))
    return entries


def wheelhouse(wheels: Sequence[Path], target: Target) -> list[Entry]:
    """The WHEELS, and for which machine they are."""
    about = Entry(TARGET, f"{target.python} {target.machine}\n".encode())
    return [about, *(Entry(f"{WHEELS}/{path.name}", path) for path in wheels)]


def pack(
    out: Path,
    project: Project,
    data: Sequence[Entry],
    wheels: Sequence[Entry],
    words: str,
    part_size: int | None,
    listener: Listener,
) -> Kit:
    """Write the kit to OUT (OUT.000, OUT.001, ... of PART_SIZE bytes), for the machine that WORDS describe.

    Raises DiskError, and UsageError where the project has a file of a name that the kit needs.
    """
    entries = [*project.entries, *data, *wheels]
    entries.append(Entry(NOTE, _note(project, data, wheels, words)))
    for name, count in Counter([SUMS, *(entry.name for entry in entries)]).items():
        if count > 1:
            raise UsageError(f"the project has a file {name} of its own", hint="Give it another name, and commit that.")
    listener(Message(f"hashing {len(entries)} files"))
    entries.append(Entry(SUMS, _sums(entries)))
    size = sum(entry.size for entry in entries)
    placed = [entry._replace(name=f"{TOP}/{entry.name}") for entry in entries]
    paths = write_tar(out, placed, project.moment, part_size, _meter(size, listener))
    return Kit(paths, len(entries), max(0, len(wheels) - 1), sum(path.stat().st_size for path in paths))


def _note(project: Project, data: Sequence[Entry], wheels: Sequence[Entry], words: str) -> bytes:
    """LAB.txt: one screen for whoever finds the kit."""
    total = sum(entry.size for entry in wheels) / 1e6
    text = LAB.format(
        title="Fashion-MNIST",
        commit=project.commit,
        words=words,
        needs=f"{words.partition(' on ')[0]} with venv, " if wheels else "Python 3.11 or newer with venv, ",
        mirror=f"the data, {len(data)} files, {sum(entry.size for entry in data) / 1e6:.1f} MB",
        wheels=f"{len(wheels) - 1} wheels, {total:.0f} MB" if wheels else "not here: pip asks its index",
        remark="\nThe digests tell damage, not malice: take the kit from someone you trust.\n",
    )
    return text.encode()


def _sums(entries: Sequence[Entry]) -> bytes:
    """SHA256SUMS as sha256sum writes and checks it."""
    return "".join(f"{entry.digest()}  {entry.name}\n" for entry in sorted(entries)).encode()


def _meter(total: int, listener: Listener) -> Callable[[int], None]:
    """Tell LISTENER now and then how much of TOTAL is written."""
    done = said = 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if done - said >= EVERY:
            said = done
            listener(Message(f"packing: {done / 1e6:.0f} of {total / 1e6:.0f} MB"))

    return advance


def _git(folder: Path, *words: str) -> bytes:
    """What git says of the checkout FOLDER."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError as exc:
        raise FetchError("git is not installed, and it knows what is committed", hint="Install git.") from exc
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").splitlines() or ["git failed"])[-1]
        raise UsageError(
            f"{folder} is no git checkout that can be packed ({reason})",
            hint="Run make kit in a clone of the project, with at least one commit.",
        )
    return done.stdout
