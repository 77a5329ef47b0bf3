"""What a dataset consists of: TOML in, checked values out. Every fault is told at once, with its place.

A manifest is the one thing that is trusted: all bytes, from whatever source, are held against its digests.
"""

import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from fmnist_fetch.caches import HOMES
from fmnist_fetch.checks import Faults, Table
from fmnist_fetch.errors import ManifestError
from fmnist_fetch.idx import NAMES, IdxHeader
from fmnist_fetch.spans import Piece, Span, Splice, cut

FORMAT = 1
PIECE_LENGTH = 256 * 1024
LARGEST_PIECE = 64 * 1024 * 1024
ROLES = ("images", "labels")
_TYPES = {name: dtype for dtype, name in NAMES.items()}


class Payload(NamedTuple):
    """The IDX file inside: its name, size in bytes, SHA-256 and header (None where nobody has pinned them yet)."""

    name: str
    size: int
    sha256: str | None
    header: IdxHeader | None = None


class DataFile(NamedTuple):
    """One file as its mirrors publish it, and the payload (unpacked IDX) that is in it.

    `packed` tells whether the file is a gzip of the payload or the payload itself. `splice` turns the Debian
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
    """A dataset: its files, where they can be had, and what its classes are called.

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
        """The file with this split and role, or None."""
        return next((file for file in self.files if (file.split, file.role) == (split, role)), None)


def loads(data: bytes, origin: str) -> Manifest:
    """Read a manifest from the bytes of the TOML file ORIGIN; raises ManifestError with every fault in it."""
    faults = Faults()
    try:
        table = Table(tomllib.loads(data.decode()), "", faults)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ManifestError(origin, [f"not TOML: {exc or 'nested too deeply'}"]) from exc
    manifest = _manifest(table)
    if faults:
        raise ManifestError(origin, faults)
    return manifest


def _manifest(table: Table) -> Manifest:
    if (version := table.integer("format")) != FORMAT and not table.faults:
        table.fault("format", f"is {version}, this version of fmnist-fetch reads {FORMAT}")
    length = table.integer("piece_length", default=PIECE_LENGTH, least=1, most=LARGEST_PIECE)
    debian = table.table("debian")
    manifest = Manifest(
        name=table.name("name"),
        title=table.text("title", default=""),
        licence=table.text("licence", default=""),
        homepage=table.text("homepage", default=""),
        folder=table.name("folder"),
        classes=table.texts("classes"),
        mean=table.number("mean"),
        std=table.number("std"),
        mirrors=table.urls("mirrors"),
        local=table.texts("local"),
        debian=DebianPackage(debian.name("package"), debian.text("folder")) if debian else None,
        files=tuple(_file(entry, length) for entry in table.tables("files")),
        caches=table.folders("caches", HOMES),
    )
    if (manifest.mean is None) != (manifest.std is None):
        table.fault("mean", "and std go together: give both or neither")
    table.unknown()
    _no_two_alike(table, manifest)
    return manifest


def _file(table: Table, length: int) -> DataFile:
    name = table.name("name")
    size = table.integer("size", least=1)
    digest = table.digest("sha256")
    payload = Payload(name, size, digest)
    if unpacked := table.table("unpacked"):
        payload = Payload(
            unpacked.name("name"), unpacked.integer("size", least=4), unpacked.digest("sha256", optional=True)
        )
        if payload.name == name:
            unpacked.fault("name", "is the name of the packed file too")
    payload = payload._replace(header=_header(table, payload.size))
    splice = None
    if debian := table.table("debian"):
        splice = Splice(debian.hexadecimal("head"), debian.integer("skip", least=0))
    return DataFile(
        name=name,
        size=size,
        sha256=digest,
        pieces=_pieces(table, size, digest, length),
        split=table.word("split"),
        role=table.choice("role", ROLES),
        payload=payload,
        splice=splice,
    )


def _header(table: Table, size: int) -> IdxHeader | None:
    """The header of a payload of SIZE bytes, where its shape is given; `type` is "uint8" where it is not."""
    if (shape := table.integers("shape", least=0, most=2**32 - 1)) is None:
        return None
    kind = table.choice("type", tuple(_TYPES), default="uint8")
    header = IdxHeader(_TYPES.get(kind, "u1"), shape)
    if header.file_size != size and not table.faults:
        table.fault("shape", f"and type make an IDX file of {header.file_size:,} bytes, not {size:,}")
    return header


def _pieces(table: Table, size: int, digest: str, length: int) -> tuple[Piece, ...]:
    """The pieces as listed; a file without a list is one piece, which is kept in memory until it verifies."""
    digests = table.digests("pieces")
    if not digests:
        if size > LARGEST_PIECE:
            table.fault("pieces", f"are needed for a file over {LARGEST_PIECE:,} bytes: write the manifest with them")
        return (Piece(Span(0, size), digest),)
    spans = cut(size, length) if size <= length * len(digests) * 2 else []
    if len(spans) != len(digests):
        table.fault("pieces", f"are {len(digests)}, but {size:,} bytes make {-(-size // length)} of {length:,}")
    elif len(digests) == 1 and digests[0] != digest:
        table.fault("pieces", "has one entry, the whole file, but another SHA-256 than sha256 has")
    return tuple(Piece(span, piece) for span, piece in zip(spans, digests, strict=False))


def _no_two_alike(table: Table, manifest: Manifest) -> None:
    """Names of files, payloads and tensors must differ, also where the file system ignores case."""
    names: dict[str, str] = {}
    tensors: dict[str, str] = {}
    for number, file in enumerate(manifest.files, start=1):
        place = f"file {number}"
        for name in {file.name, file.payload.name}:
            if name and (taken := names.setdefault(name.lower(), place)) != place:
                table.fault(place, f"has the name {name!r}, as {taken} has")
        if (taken := tensors.setdefault(file.tensor, place)) != place:
            table.fault(place, f"has split {file.split!r} and role {file.role!r}, as {taken} has")
