"""A manifest as TOML: read into checked values, with every fault reported at once with its place; and written."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from fmnist_fetch.errors import ManifestError
from fmnist_fetch.manifest import validation as check
from fmnist_fetch.manifest.caches import HOMES
from fmnist_fetch.manifest.idx import MOST_DIMENSIONS, NAMES, IdxHeader
from fmnist_fetch.manifest.model import (
    FORMAT,
    MAX_PIECE_BYTES,
    PIECE_BYTES,
    ROLES,
    DataFile,
    DebianPackage,
    Manifest,
    Payload,
)
from fmnist_fetch.manifest.pieces import Piece, Span, Splice, cut
from fmnist_fetch.manifest.validation import Table, one_of, whole

_MOST_STEPS = 5_000_000
# A key, or text, of more than 4 parts; where a word begins, so that each is looked at once.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*"|'[^'\n]*')[ \t]*+\.[ \t]*+){4,}+""")
_TYPES = {name: dtype for dtype, name in NAMES.items()}
_ROLE, _TYPE, _SIZE, _DIMENSION = one_of(*ROLES), one_of(*_TYPES), whole(1), whole(most=2**32 - 1)


def loads(data: bytes, origin: str) -> Manifest:
    """Read a manifest from the bytes of the TOML file ORIGIN; raises ManifestError with every fault in it."""
    try:
        table = Table(_parsed(data.decode()), "", [])
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ManifestError(origin, [f"not TOML: {exc}"]) from exc
    except (ValueError, RecursionError) as exc:
        what = "nested too deeply" if isinstance(exc, RecursionError) else "a number has too many digits"
        raise ManifestError(origin, [f"not TOML: {what}"]) from exc
    manifest = _manifest(table)
    if table.faults:
        raise ManifestError(origin, table.faults)
    return manifest


def _parsed(text: str) -> dict[str, Any]:
    # The parser takes the square of a key's parts in time.
    if text.count(".") ** 2 > _MOST_STEPS and (
        sum(match[0].count(".") ** 2 for match in _LONG_KEY.finditer(text)) > _MOST_STEPS
    ):
        raise RecursionError
    return tomllib.loads(text)


def _manifest(table: Table) -> Manifest:
    if (version := table.get("format", whole())) != FORMAT and not table.faults:
        table.fault("format", f"is {version}, this version of fmnist-fetch reads {FORMAT}")
    length = table.get("piece_length", whole(1, MAX_PIECE_BYTES), PIECE_BYTES)
    mean, std = (table.get(key, check.NUMBER, None) for key in ("mean", "std"))
    if (mean is None) != (std is None):
        table.fault("mean", "and std go together: give both or neither")
    debian, caches = table.table("debian"), table.table("caches")
    manifest = Manifest(
        name=table.get("name", check.NAME),
        title=table.get("title", check.TEXT, ""),
        licence=table.get("licence", check.TEXT, ""),
        homepage=table.get("homepage", check.TEXT, ""),
        folder=table.get("folder", check.NAME),
        classes=table.array("classes", check.TEXT),
        mean=None if mean is None else float(mean),
        std=None if std is None else float(std),
        mirrors=table.array("mirrors", check.URL),
        local=table.array("local", check.PLACE),
        debian=DebianPackage(debian.get("package", check.PACKAGE), debian.get("folder", check.FOLDER))
        if debian
        else None,
        files=tuple(_file(entry, length) for entry in table.tables("files")),
        caches={tool: place for tool in HOMES if (place := caches.get(tool, check.RELATIVE_FOLDER, None)) is not None},
    )
    table.unknown()
    _no_two_alike(table, manifest)
    return manifest


def _file(table: Table, length: int) -> DataFile:
    name, size, digest = table.get("name", check.NAME), table.get("size", _SIZE), table.get("sha256", check.DIGEST)
    payload = Payload(name, size, digest)
    if unpacked := table.table("unpacked"):
        pin = unpacked.get("sha256", check.DIGEST, None)
        payload = Payload(unpacked.get("name", check.NAME), unpacked.get("size", whole(4)), pin)
        if payload.name == name:
            unpacked.fault("name", "is the name of the packed file too")
    debian = table.table("debian")
    return DataFile(
        name=name,
        size=size,
        sha256=digest,
        pieces=_pieces(table, size, digest, length),
        split=table.get("split", check.WORD),
        role=table.get("role", _ROLE),
        payload=payload._replace(header=_header(table, payload.size)),
        splice=Splice(bytes.fromhex(debian.get("head", check.BYTES)), debian.get("skip", whole())) if debian else None,
    )


def _header(table: Table, size: int) -> IdxHeader | None:
    """Return the header of a payload of SIZE bytes, where its shape is given; `type` is "uint8" where it is not."""
    if (shape := table.array("shape", _DIMENSION, None)) is None:
        return None
    dtype = _TYPES[table.get("type", _TYPE, "uint8")]
    if len(shape) > MOST_DIMENSIONS:
        table.fault("shape", f"should have at most {MOST_DIMENSIONS} entries, not {len(shape):,}")
        return None
    header = IdxHeader(dtype, shape)
    if header.file_size != size and not table.faults:
        table.fault("shape", f"and type make an IDX file of {header.file_size:,} bytes, not {size:,}")
    return header


def _pieces(table: Table, size: int, digest: str, length: int) -> tuple[Piece, ...]:
    """Return the pieces as listed; a file without a list is one piece, which is kept in memory until it verifies."""
    if not (digests := table.array("pieces", check.DIGEST)):
        if size > MAX_PIECE_BYTES:
            table.fault("pieces", f"are needed for a file over {MAX_PIECE_BYTES:,} bytes: write the manifest with them")
        return (Piece(Span(0, size), digest),)
    spans = cut(size, length) if size <= length * len(digests) * 2 else []
    if len(spans) != len(digests):
        table.fault("pieces", f"are {len(digests)}, but {size:,} bytes make {-(-size // length)} of {length:,}")
    elif len(digests) == 1 and digests[0] != digest:
        table.fault("pieces", "has one entry, the whole file, but another SHA-256 than sha256 has")
    return tuple(map(Piece, spans, digests))


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


def dumps(manifest: Manifest) -> str:
    """MANIFEST as TOML; `loads` of it gives an equal value."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    yield f"format = {FORMAT}"
    for key in ("name", "title", "licence", "homepage", "folder"):
        yield f"{key} = {_toml(getattr(manifest, key))}"
    for key in ("mean", "std"):
        if (value := getattr(manifest, key)) is not None:
            yield f"{key} = {_toml(value)}"
    lengths = [file.pieces[0].span.length for file in manifest.files if len(file.pieces) > 1]
    yield f"piece_length = {lengths[0] if lengths else PIECE_BYTES}"
    for key in ("classes", "mirrors", "local"):
        yield from _array(key, getattr(manifest, key))
    if manifest.caches:
        yield f"caches = {{ {', '.join(f'{tool} = {_toml(place)}' for tool, place in manifest.caches.items())} }}"
    if debian := manifest.debian:
        yield f"debian = {{ package = {_toml(debian.package)}, folder = {_toml(debian.folder)} }}"
    for file in manifest.files:
        yield ""
        yield from _file_lines(file)


def _file_lines(file: DataFile) -> Iterator[str]:
    yield "[[files]]"
    for key in ("name", "split", "role", "size", "sha256"):
        yield f"{key} = {_toml(getattr(file, key))}"
    if file.packed:
        pin = f", sha256 = {_toml(file.payload.sha256)}" if file.payload.sha256 else ""
        yield f"unpacked = {{ name = {_toml(file.payload.name)}, size = {file.payload.size}{pin} }}"
    if header := file.payload.header:
        yield f"shape = {list(header.shape)}"
        if header.type_name != "uint8":
            yield f"type = {_toml(header.type_name)}"
    if splice := file.splice:
        yield f"debian = {{ head = {_toml(splice.head.hex())}, skip = {splice.skip} }}"
    if len(file.pieces) > 1:
        yield from _array("pieces", [piece.sha256 for piece in file.pieces])


def _array(key: str, values: Any) -> Iterator[str]:
    yield f"{key} = ["
    yield from (f"    {_toml(value)}," for value in values)
    yield "]"


def _toml(value: str | float) -> str:
    """Return a TOML basic string or number: JSON's notation, with the control character escaped that JSON permits."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
