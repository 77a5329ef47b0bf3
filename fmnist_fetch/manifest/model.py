"""What a dataset consists of: its files, their pieces and payloads, and their sources.

Only the manifest is trusted: all bytes, from whatever source, are compared with its digests.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.pieces import Piece, Splice

FORMAT = 1
PIECE_BYTES = 256 * 1024
MAX_PIECE_BYTES = 64 * 1024 * 1024
ROLES = ("images", "labels")


class Payload(NamedTuple):
    """The IDX file inside: its name, size in bytes, SHA-256 and header (None where nobody has pinned them yet)."""

    name: str
    size: int
    sha256: str | None
    header: IdxHeader | None = None


class DataFile(NamedTuple):
    """One file as its mirrors publish it, and the payload (unpacked IDX) that is in it.

    `packed` says whether the file is a gzip of the payload or the payload itself. `splice` turns the Debian
    package's copy into this file.
    """

    name: str
    size: int
    sha256: str
    pieces: tuple[Piece, ...]
    split: str
    role: str
    payload: Payload
    splice: Splice | None = None

    @property
    def packed(self) -> bool:
        """Whether the payload must be unpacked, or is the file as it stands."""
        return self.payload.name != self.name

    @property
    def tensor(self) -> str:
        """The name of this file's tensor in the tensor file."""
        return f"{self.split}_{self.role}"


class DebianPackage(NamedTuple):
    """A Debian package that carries the dataset, and the folder (absolute) in which it installs the files."""

    package: str
    folder: str


class Manifest(NamedTuple):
    """A dataset: its files, its sources, and the names of its classes.

    `folder` is the dataset's folder under the root. `mean` and `std` are those of the training pixels over 255.
    `caches` are the folders, by tool, in which other tools keep the same files, relative to the tool's own home.
    """

    name: str
    title: str
    licence: str
    homepage: str
    folder: str
    classes: tuple[str, ...]
    mean: float | None
    std: float | None
    mirrors: tuple[str, ...]
    local: tuple[str, ...]
    debian: DebianPackage | None
    files: tuple[DataFile, ...]
    caches: Mapping[str, str] = MappingProxyType({})

    def file(self, split: str, role: str) -> DataFile | None:
        """Return the file with this split and role, or None."""
        return next((file for file in self.files if (file.split, file.role) == (split, role)), None)
