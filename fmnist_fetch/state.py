"""What is on the disk: every file hashed, nothing repaired, no socket opened. `fetch` and `verify` both begin here."""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fmnist_fetch.errors import FetchError
from fmnist_fetch.layout import Layout
from fmnist_fetch.manifest import DataFile, Manifest
from fmnist_fetch.part import scan, verifies
from fmnist_fetch.tensors import sound
from fmnist_fetch.unpack import digest_of


class Condition(StrEnum):
    """How a file on the disk compares with the manifest."""

    GOOD = "good"
    DAMAGED = "damaged"
    ABSENT = "absent"


@dataclass(frozen=True)
class FileState:
    """The conditions of a file as published and of its payload; `digest` is the payload's SHA-256 if it is known."""

    file: DataFile
    published: Condition
    payload: Condition
    digest: str | None

    @property
    def wants_source(self) -> bool:
        """Whether bytes must come from a source: what is published is damaged, or all that there was is gone."""
        if self.published is Condition.ABSENT:
            return self.payload is not Condition.GOOD
        return self.published is Condition.DAMAGED


@dataclass(frozen=True)
class State:
    """The conditions of a dataset's files and of its tensor file."""

    files: tuple[FileState, ...]
    tensors: Condition

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do. Payloads that verify are enough, also without their published files."""
        return self.tensors is Condition.GOOD and all(
            state.payload is Condition.GOOD and not state.wants_source for state in self.files
        )


def survey(manifest: Manifest, layout: Layout) -> State:
    """Hash everything of the dataset that is there."""
    files = tuple(_file_state(file, layout) for file in manifest.files)
    digests = {state.file.tensor: state.digest or "" for state in files}
    return State(files, _condition(layout.tensors, sound(manifest, layout, digests)))


def damaged_pieces(path: Path, file: DataFile) -> list[int]:
    """The indices of the pieces of FILE that are wrong or lacking in the file at PATH."""
    good = scan(path, file)
    return [index for index in range(len(file.pieces)) if index not in good]


def _file_state(file: DataFile, layout: Layout) -> FileState:
    published = layout.published(file)
    condition = _condition(published, verifies(published, file.size, file.sha256))
    if not file.packed:
        return FileState(file, condition, condition, file.sha256)
    digest = file.payload.sha256
    if digest is None and condition is Condition.GOOD:
        digest = _unpinned(published, file)
    return FileState(file, condition, _payload_condition(file, layout.payload(file), digest), digest)


def _unpinned(published: Path, file: DataFile) -> str | None:
    """The payload's digest where the manifest pins none, out of the verified file that it is packed in."""
    try:
        return digest_of(published, file.payload)
    except FetchError:
        return None


def _payload_condition(file: DataFile, path: Path, digest: str | None) -> Condition:
    return _condition(path, digest is not None and verifies(path, file.payload.size, digest))


def _condition(path: Path, good: bool) -> Condition:
    if good:
        return Condition.GOOD
    return Condition.DAMAGED if os.path.lexists(path) else Condition.ABSENT
