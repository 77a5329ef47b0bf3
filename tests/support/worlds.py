"""Small real datasets, and worlds: a root and a manifest on the disk, and what must be true of them after a run."""

from __future__ import annotations

import functools
import gzip
import hashlib
import random
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from faults import KIB, payload
from fmnist_fetch.manifest.model import DataFile, Manifest, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, cut
from fmnist_fetch.manifest.toml import dumps

PIECE = 64 * KIB
NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
IMAGES = NAMES["train", "images"] + ".gz"
LABELS = NAMES["train", "labels"] + ".gz"


def sha256(data: bytes) -> str:
    """The SHA-256 of DATA in hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A dataset: its manifest, its files as a mirror publishes them, and what is in them."""

    manifest: Manifest = field(repr=False)
    files: dict[str, bytes] = field(repr=False)
    payloads: dict[str, bytes] = field(repr=False)

    @property
    def size(self) -> int:
        """The sum of all bytes that a mirror must serve."""
        return sum(map(len, self.files.values()))

    @property
    def pieces(self) -> int:
        """How many pieces all files have."""
        return sum(len(file.pieces) for file in self.manifest.files)

    def span(self, name: str, index: int) -> Span:
        """The span of piece INDEX of the file NAME."""
        return next(file for file in self.manifest.files if file.name == name).pieces[index].span


@functools.lru_cache(maxsize=16)
def dataset(train: int = 3000, test: int = 800, *, piece: int = PIECE, seed: int = 0, name: str = "sample") -> Dataset:
    """A dataset of so many images: 800 bytes of file for each, noise that no compression makes smaller."""
    files: dict[str, bytes] = {}
    payloads: dict[str, bytes] = {}
    entries: list[DataFile] = []
    for (split, role), title in NAMES.items():
        count = train if split == "train" else test
        data = _idx(count, role, seed + len(files))
        packed = gzip.compress(data, 1, mtime=0)
        files[title + ".gz"], payloads[title] = packed, data
        entries.append(_entry(split, role, title, packed, data, piece))
    manifest = Manifest(
        name=name,
        title=f"The {name} dataset",
        licence="MIT",
        homepage="http://localhost/",
        folder=name.capitalize(),
        classes=tuple("0123456789"),
        mean=None,
        std=None,
        mirrors=(),
        local=(),
        debian=None,
        files=tuple(entries),
    )
    return Dataset(manifest, files, payloads)


def small() -> Dataset:
    """A dataset of about 400 kB: 7 pieces."""
    return dataset(400, 100, name="small")


def _idx(count: int, role: str, seed: int) -> bytes:
    if role == "labels":
        return struct.pack(">2xBBI", 8, 1, count) + bytes(random.Random(seed).randrange(10) for _ in range(count))
    return struct.pack(">2xBB3I", 8, 3, count, 28, 28) + payload(count * 784, seed)


def _entry(split: str, role: str, title: str, packed: bytes, data: bytes, piece: int) -> DataFile:
    spans = cut(len(packed), piece)
    pieces = tuple(Piece(span, sha256(packed[span.start : span.stop])) for span in spans)
    inside = Payload(title, len(data), sha256(data))
    return DataFile(title + ".gz", len(packed), sha256(packed), pieces, split, role, inside)


class World:
    """A folder with a manifest, a root, and a home in which nothing is."""

    def __init__(self, folder: Path, data: Dataset, root: Path | None = None) -> None:
        self.folder, self.data = folder, data
        self.root = root or folder / "root"
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = folder / "attempts.jsonl"
        self.manifest = folder / f"{data.manifest.name}.toml"
        self.manifest.write_text(dumps(data.manifest), encoding="utf-8")

    @property
    def raw(self) -> Path:
        """Where the files lie."""
        return self.root / self.data.manifest.folder / "raw"

    @property
    def tensors(self) -> Path:
        """The tensor file."""
        name = self.data.manifest.name
        return self.root / self.data.manifest.folder / "processed" / f"{name}.safetensors"

    def part(self, name: str) -> Path:
        """Where the file NAME is completed."""
        return self.raw / f"{name}.part"

    def kept(self) -> int:
        """How many pieces are right on the disk, under final names or not."""
        return sum(len(self.good(file.name)) for file in self.data.manifest.files)

    def good(self, name: str) -> set[int]:
        """The indices of the right pieces of the file NAME, wherever they lie: looked up with our own eyes."""
        whole = self.data.files[name]
        good: set[int] = set()
        for path in (self.raw / name, self.part(name)):
            stored = path.read_bytes() if path.is_file() else b""
            spans = cut(len(whole), PIECE)
            good |= {n for n, (a, b) in enumerate(spans) if stored[a:b] == whole[a:b]}
        return good

    def assert_nothing_wrong(self) -> None:
        """What bears a final name is right, to the last byte."""
        finals = self.data.files | self.data.payloads
        for name, right in finals.items():
            path = self.raw / name
            assert not path.exists() or path.read_bytes() == right, f"{path} is wrong"
        if self.tensors.exists():
            self._assert_tensors()

    def assert_complete(self, *, leftovers: Collection[str] = ()) -> None:
        """Everything is there and right, and nothing else but LEFTOVERS."""
        finals = self.data.files | self.data.payloads
        for name, right in finals.items():
            assert (self.raw / name).read_bytes() == right, f"{name} is wrong"
        self._assert_tensors()
        names = {path.name for path in self.raw.iterdir()} - set(leftovers)
        assert names == set(finals)
        assert [path.name for path in self.tensors.parent.iterdir()] == [self.tensors.name]

    def _assert_tensors(self) -> None:
        arrays = load_file(self.tensors)
        for (split, role), title in NAMES.items():
            head = 16 if role == "images" else 8
            stored = arrays[f"{split}_{role}"]
            assert stored.dtype == np.uint8
            assert stored.tobytes() == self.data.payloads[title][head:]
