"""A world: a manifest, a root and a home on the disk, and what must be true of them after a run."""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from faults import KIB
from fmnist_fetch.manifest.pieces import cut
from fmnist_fetch.manifest.toml import dumps
from samples import Sample, make

PIECE = 64 * KIB
NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
IMAGES = NAMES["train", "images"] + ".gz"
LABELS = NAMES["train", "labels"] + ".gz"


@functools.lru_cache(maxsize=16)
def dataset(train: int = 3000, test: int = 800, *, piece: int = PIECE, seed: int = 0, name: str = "sample") -> Sample:
    """Return a dataset of TRAIN and TEST images of 28 x 28 pixels, about 800 bytes of file for each."""
    made = make(
        counts=(train, test),
        shape=(28, 28),
        length=piece,
        plain_names=lambda split, role: NAMES[split, role],
        first_seed=seed,
        level=1,  # noise gets no smaller
    )
    return made.changed(name=name, folder=name.capitalize())


def small() -> Sample:
    """Return a dataset of about 400 kB in 7 pieces."""
    return dataset(400, 100, name="small")


class World:
    """A folder with a manifest, a root and an empty home."""

    def __init__(self, folder: Path, data: Sample, root: Path | None = None) -> None:
        self.folder, self.data = folder, data
        self.root = root or folder / "root"
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = folder / "attempts.jsonl"
        self.manifest = folder / f"{data.manifest.name}.toml"
        self.manifest.write_text(dumps(data.manifest), encoding="utf-8")

    @property
    def raw(self) -> Path:
        """The folder of the published and unpacked files."""
        return self.root / self.data.manifest.folder / "raw"

    @property
    def tensors(self) -> Path:
        """The tensor file."""
        name = self.data.manifest.name
        return self.root / self.data.manifest.folder / "processed" / f"{name}.safetensors"

    def part(self, name: str) -> Path:
        """Return the part file of the file NAME."""
        return self.raw / f"{name}.part"

    def kept(self) -> int:
        """Return how many pieces are right on the disk, under final names or in part files."""
        return sum(len(self.good(file.name)) for file in self.data.manifest.files)

    def good(self, name: str) -> set[int]:
        """Return the indices of the pieces of the file NAME that are right on the disk, without asking the package."""
        whole = self.data.files[name]
        good: set[int] = set()
        for path in (self.raw / name, self.part(name)):
            stored = path.read_bytes() if path.is_file() else b""
            spans = cut(len(whole), PIECE)
            good |= {n for n, (a, b) in enumerate(spans) if stored[a:b] == whole[a:b]}
        return good

    def assert_nothing_wrong(self) -> None:
        """Assert that every file with a final name is right."""
        finals = self.data.files | self.data.payloads
        for name, right in finals.items():
            path = self.raw / name
            assert not path.exists() or path.read_bytes() == right, f"{path} is wrong"
        if self.tensors.exists():
            self._assert_tensors()

    def assert_complete(self, *, leftovers: Collection[str] = ()) -> None:
        """Assert that every file exists and is right, and that no other file exists but LEFTOVERS."""
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
