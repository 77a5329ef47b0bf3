"""The served files: Fashion-MNIST itself, one file of any size, a large .gz, many small files; each with its manifest.

All of them are IDX files with the same bytes in every run. They are made step by step, so that this process
stays small.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from xml.sax.saxutils import quoteattr

from benchmarks.measure import UnavailableError
from benchmarks.table import FASHION, Bench
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.model import PIECE_BYTES, DataFile, Manifest, Payload
from fmnist_fetch.manifest.pieces import Piece, cut
from fmnist_fetch.manifest.toml import dumps

MIB = 1024 * 1024
GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
SPARE = 2 * 1024 * MIB
"""Bytes of the disk that stay free."""


@dataclass(frozen=True)
class Served:
    """The files in FOLDER that MANIFEST describes; DATASET is their name on the command line.

    PAPERS is the folder for lists, sums and metalinks of them.
    """

    folder: Path
    manifest: Manifest
    dataset: str
    papers: Path

    @property
    def megabytes(self) -> float:
        """The number of bytes of all files."""
        return sum(file.size for file in self.manifest.files) / 1e6

    @property
    def sums(self) -> Path:
        """The digests as sha256sum -c reads them."""
        return self.write("SHA256SUMS", [f"{file.sha256}  {file.name}" for file in self.manifest.files])

    def write(self, name: str, lines: Iterable[str]) -> Path:
        """Write a list for one of the peers; return its path."""
        self.papers.mkdir(parents=True, exist_ok=True)
        path = self.papers / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def metalink(self, url: str) -> Path:
        """Return the manifest as a Metalink (RFC 5854) for one mirror."""
        return self.write("files.meta4", metalink(self.manifest, url))


def fashion(bench: Bench) -> Served:
    """Return Fashion-MNIST in ROOT."""
    return Served(bench.raw, FASHION, FASHION.name, bench.work / "fashion-mnist")


def metalink(manifest: Manifest, url: str) -> Iterator[str]:
    """Yield the lines of a Metalink (RFC 5854): the size, the digests and the URL of each file."""
    yield '<?xml version="1.0" encoding="UTF-8"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
    for file in manifest.files:
        yield f"<file name={quoteattr(file.name)}><size>{file.size}</size><hash type='sha-256'>{file.sha256}</hash>"
        yield f"<pieces length='{file.pieces[0].span.length}' type='sha-256'>"
        yield from (f"<hash>{piece.sha256}</hash>" for piece in file.pieces)
        yield f"</pieces><url>{url}{file.name}</url></file>"
    yield "</metalink>"


def single(bench: Bench, size: int, times: int = 3) -> Served:
    """Make one IDX file of SIZE bytes that cannot be compressed; the disk must have space for it TIMES times."""
    folder = bench.work / f"single-{size}"
    name = f"single-{size}-idx1-ubyte"
    demand(bench.work, size * times)
    folder.mkdir(parents=True, exist_ok=True)
    header = IdxHeader("u1", (size - 8,))
    file = pour(folder / name, noise(header.dumps(), size), "train", header)
    return _served(bench, folder, f"single-{size}", [file])


def packed(bench: Bench, times: int) -> Served:
    """Make one .gz of the training images, TIMES in a row: 40 times are 1.06 GB that unpack to 1.88 GB.

    They are compressed once; the deflate stream is repeated after full flushes, which gives an ordinary file of one
    member with the real ratio, in seconds.
    """
    demand(bench.work, times * 5 * 48_000_000)
    folder = bench.work / f"packed-{times}"
    folder.mkdir(parents=True, exist_ok=True)
    source, body = bench.raw / FASHION.files[0].payload.name, folder / "body"
    values = source.stat().st_size - 16
    with body.open("wb") as out:
        out.writelines(deflate(steps(source, 16)))
    header = IdxHeader("u1", (values // 784 * times, 28, 28))
    head = header.dumps()
    start = GZIP_HEAD + b"".join(deflate([head]))
    digest, check = hashlib.sha256(head), zlib.crc32(head)
    for part in (part for _ in range(times) for part in steps(source, 16)):
        digest.update(part)
        check = zlib.crc32(part, check)
    size = len(head) + values * times
    # An empty last part (03 00), then CRC-32 and size modulo 2**32 (RFC 1952, section 2.3.1).
    end = b"\x03\0" + struct.pack("<II", check, size % 2**32)
    payload = Payload(f"packed-{times}-idx3-ubyte", size, digest.hexdigest(), header)
    parts = chain([start], *(steps(body, 0) for _ in range(times)), [end])
    file = pour(folder / f"{payload.name}.gz", parts, "train", payload)
    body.unlink()
    return _served(bench, folder, f"packed-{times}", [file])


def steps(path: Path, start: int) -> Iterator[bytes]:
    """Yield the bytes of a file from START on, a MiB at a time."""
    with path.open("rb") as file:
        file.seek(start)
        while data := file.read(MIB):
            yield data


def deflate(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Return a deflate stream that ends with a full flush: it refers to nothing before it, and more may follow."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush(zlib.Z_FULL_FLUSH)


def many(bench: Bench, count: int, size: int) -> Served:
    """Make COUNT files of SIZE bytes each."""
    folder = bench.work / "many"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        header = IdxHeader("u1", (1, size - 12))
        data = noise(header.dumps() + struct.pack(">I", number), size)
        files.append(pour(folder / f"part-{number:04}-idx2-ubyte", data, f"part{number:04}", header))
    return _served(bench, folder, "many", files)


def noise(head: bytes, size: int) -> Iterator[bytes]:
    """Yield SIZE bytes that begin with HEAD; no two steps of a MiB are alike."""
    step = Random(head).randbytes(min(MIB, size))
    for number, start in enumerate(range(0, size, MIB)):
        mark = head if start == 0 else struct.pack(">Q", number)
        yield (mark + step[len(mark) :])[: size - start]


def pour(path: Path, parts: Iterable[bytes], split: str, inside: IdxHeader | Payload) -> DataFile:
    """Write PARTS to PATH; return the description of the file, with its digest and those of its pieces.

    INSIDE is its payload, or the header of a file that is its own payload.
    """
    whole, piece, digests, size = hashlib.sha256(), hashlib.sha256(), [], 0
    with path.open("wb") as out:
        for part in parts:
            out.write(part)
            whole.update(part)
            view = memoryview(part)
            while view:
                taken = view[: PIECE_BYTES - size % PIECE_BYTES]
                piece.update(taken)
                size += len(taken)
                view = view[len(taken) :]
                if size % PIECE_BYTES == 0:
                    digests.append(piece.hexdigest())
                    piece = hashlib.sha256()
    if size % PIECE_BYTES:
        digests.append(piece.hexdigest())
    digest = whole.hexdigest()
    pieces = tuple(map(Piece, cut(size, PIECE_BYTES), digests))
    payload = inside if isinstance(inside, Payload) else Payload(path.name, size, digest, inside)
    return DataFile(path.name, size, digest, pieces, split, "images", payload)


def demand(folder: Path, size: int) -> None:
    """Raise UnavailableError unless the disk has space for SIZE more bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < size + SPARE:
        raise UnavailableError(f"{size / 1e9:.0f} GB of free disk are needed, there are {free / 1e9:.0f}")


def _served(bench: Bench, folder: Path, name: str, files: list[DataFile]) -> Served:
    # Mean and deviation are pinned, as in the catalogue: to compute them would be work that no peer does.
    manifest = Manifest(
        name=name, title=name, licence="", homepage="", folder=name, classes=(), mean=0.5, std=0.25,
        mirrors=(), local=(), debian=None, files=tuple(files),
    )  # fmt: skip
    papers = bench.work / "papers" / name
    papers.mkdir(parents=True, exist_ok=True)
    path = papers / "manifest.toml"
    path.write_text(dumps(manifest))
    return Served(folder, manifest, str(path), papers)
