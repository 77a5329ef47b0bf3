"""What is on the disk: every file hashed, nothing repaired, no socket opened. `fetch` and `verify` both begin here."""

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from fmnist_fetch.concurrency import run_parallel
from fmnist_fetch.errors import FetchError, dangling_link
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.storage.files import GoodPieces, UnsafeFileError, find_good_pieces, open_regular, verifies
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.part_file import part_path
from fmnist_fetch.tensors.arrays import equals_tensor, is_intact
from fmnist_fetch.tensors.decompress import digest_of

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
Checks = dict[Path, Callable[[], bool]]


class Condition(StrEnum):
    """How a file on the disk compares with the manifest.

    REDIRECTED is a link, or below a link, that leads to nothing. UNREADABLE is what this user or this system can't
    open. PARTIAL is an absent file whose part file has good pieces.
    """

    GOOD = "good"
    DAMAGED = "damaged"
    REDIRECTED = "redirected"
    UNREADABLE = "unreadable"
    ABSENT = "absent"
    PARTIAL = "partial"


class FileStatus(NamedTuple):
    """The conditions of a file as published and of its payload.

    Attributes:
        file: The file, as the manifest has it.
        published: The condition of the file as published.
        payload: The condition of the unpacked file.
        digest: The SHA-256 of the payload, where it is known.
        good: The good pieces of the published file, where it is damaged, or of its part file, where it is partial.
    """

    file: DataFile
    published: Condition
    payload: Condition
    digest: str | None
    good: GoodPieces = GoodPieces()

    @property
    def damaged_pieces(self) -> tuple[int, ...]:
        """The indices of the pieces that are wrong or missing in the published file, where it is damaged."""
        if self.published is not Condition.DAMAGED:
            return ()
        return tuple(index for index in range(len(self.file.pieces)) if index not in self.good.indices)

    @property
    def wants_source(self) -> bool:
        """Whether bytes must come from a source: what is published is not right, or all that there was is gone."""
        if self.published in (Condition.ABSENT, Condition.PARTIAL):
            return self.payload is not Condition.GOOD
        return self.published is not Condition.GOOD


class DatasetStatus(NamedTuple):
    """The conditions of a dataset's files and of its tensor file.

    >>> import fmnist_fetch
    >>> fmnist_fetch.verify().complete
    True
    """

    files: tuple[FileStatus, ...]
    tensors: Condition

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do. Payloads that verify are enough, also without their published files."""
        return self.tensors is Condition.GOOD and all(
            state.payload is Condition.GOOD and not state.wants_source for state in self.files
        )


def inspect(layout: Layout) -> DatasetStatus:
    """Hash everything of the dataset that is there."""
    manifest = layout.manifest
    digests = {file.tensor: file.payload.sha256 for file in manifest.files if file.payload.sha256}
    proven: set[str] = set()
    # A file that is published unpacked is its own payload: looked at once, as such.
    published = {
        layout.published(file): partial(verifies, layout.published(file), file.size, file.sha256)
        for file in manifest.files
    }
    may_exist = _may_exist(layout)
    good = _hash(published | _payloads(manifest.files, layout, digests, proven), may_exist)
    unpinned = [file for file in manifest.files if file.tensor not in digests and good.get(layout.published(file))]
    for file in unpinned:
        with suppress(FetchError):
            digests[file.tensor] = digest_of(layout.published(file), file.payload)
    good |= _hash(_payloads(unpinned, layout, digests, proven), may_exist)
    good[layout.tensors] = len(digests) == len(manifest.files) and is_intact(layout, digests, proven)
    # All files are in few folders, which are looked at once.
    condition = partial(_condition, good, may_exist, cache(dangling_link))

    def status(file: DataFile) -> FileStatus:
        published = condition(layout.published(file))
        payload = condition(layout.payload(file)) if file.packed else published
        # The good pieces of a damaged file: who repairs or shows it need not hash it again.
        scanned = published is Condition.DAMAGED
        pieces = find_good_pieces(layout.published(file), file) if scanned else GoodPieces()
        return FileStatus(file, published, payload, digests.get(file.tensor), pieces)

    files = run_parallel([partial(status, file) for file in manifest.files])
    return DatasetStatus(tuple(files), condition(layout.tensors))


def inspect_with_parts(layout: Layout) -> DatasetStatus:
    """Hash everything of the dataset that is there, and the part files, which a download looks at by itself."""

    def with_part(entry: FileStatus) -> FileStatus:
        if entry.published is not Condition.ABSENT or not entry.wants_source:
            return entry
        part = find_good_pieces(part_path(layout.published(entry.file)), entry.file)
        return entry._replace(published=Condition.PARTIAL, good=part) if part.indices else entry

    status = inspect(layout)
    return status._replace(files=tuple(map(with_part, status.files)))


def _payloads(files: Iterable[DataFile], layout: Layout, digests: Mapping[str, str], proven: set[str]) -> Checks:
    """Return the checks of the payloads with known digests; they add to PROVEN the tensors of the same bytes."""

    def check(file: DataFile) -> bool:
        if equals_tensor(layout, file, digests[file.tensor]):
            proven.add(file.tensor)
            return True
        return verifies(layout.payload(file), file.payload.size, digests[file.tensor])

    return {layout.payload(file): partial(check, file) for file in files if file.tensor in digests}


def _may_exist(layout: Layout) -> Callable[[Path], bool]:
    """Return what tells whether a file may be there: thousands that are not are not looked for one by one."""
    names: set[str] = set()
    for folder in (layout.raw, layout.processed):
        try:
            # Not every file system distinguishes cases.
            names.update(map(str.casefold, os.listdir(folder)))  # noqa: PTH208 - a Path for each of thousands takes long
        except OSError as exc:
            if exc.errno not in _NOTHING_THERE:
                return lambda _path: True
    return lambda path: path.name.casefold() in names


def _hash(checks: Checks, may_exist: Callable[[Path], bool]) -> dict[Path, bool]:
    """Run the CHECKS of files that may exist, the longest first, so that no core is left with one at the end."""
    paths = sorted(filter(may_exist, checks), key=_size, reverse=True)
    return dict(zip(paths, run_parallel([checks[path] for path in paths]), strict=True))


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _condition(
    good: Mapping[Path, bool], may_exist: Callable[[Path], bool], dangling: Callable[[str], Path | None], path: Path
) -> Condition:
    if good.get(path):
        return Condition.GOOD
    try:
        if may_exist(path):
            with open_regular(path):
                return Condition.DAMAGED
    except UnsafeFileError:
        # A folder or a pipe, say.
        return Condition.DAMAGED
    except OSError as exc:
        if exc.errno not in _NOTHING_THERE:
            return Condition.UNREADABLE
        if os.path.islink(path):  # noqa: PTH114
            return Condition.REDIRECTED
    return Condition.REDIRECTED if dangling(os.path.dirname(path)) else Condition.ABSENT  # noqa: PTH120
