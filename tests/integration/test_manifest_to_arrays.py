"""IDX files of any shape and type, from their author to the arrays of another user: manifest, fetch, load."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from faults import Mirror
from faults import payload as noise
from fmnist_fetch.cli import run
from fmnist_fetch.manifest.idx import TYPES
from fmnist_fetch.tensors.arrays import load
from fmnist_fetch.tensors.split import Split
from samples import fill, gz, idx

CODES = {np.dtype(dtype): code for code, dtype in TYPES.items()}
# Integers and floats of all widths, big-endian as in IDX.
DTYPES = st.sampled_from(sorted(CODES, key=str))
# Hundreds of small files: in a folder in memory, if there is one, none of them waits for a disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SIZES = st.sampled_from([0, 1, 2, 3, 5, 30])


@dataclass(frozen=True)
class Original:
    """An array, its role in the dataset, and how it is published."""

    split: str
    role: str
    array: NDArray[np.generic]
    packed: bool

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.split}-{self.role}-idx{'.gz' if self.packed else ''}"

    @property
    def published(self) -> bytes:
        """The content of the file."""
        data = idx(CODES[self.array.dtype], self.array.shape, self.array.tobytes())
        return gz(data) if self.packed else data


@st.composite
def arrays(draw: st.DrawFn, rows: int | None) -> NDArray[np.generic]:
    """Draw an array of any type with ROWS rows; None makes a scalar."""
    dtype = draw(DTYPES)
    rest = draw(st.lists(SIZES, max_size=5).filter(lambda sizes: math.prod(sizes) <= 2000))
    shape = () if rows is None else (rows, *rest)
    # Any bytes are a value of each type; zeros are drawn too, since labels must be able to be classes.
    size = math.prod(shape) * dtype.itemsize
    data = noise(size, rows or 0) if draw(st.booleans()) else bytes(size)
    return np.frombuffer(data, dtype).reshape(shape)


@st.composite
def datasets(draw: st.DrawFn) -> list[Original]:
    """Draw the files of one to three splits, with images, labels or both."""
    originals = []
    for split in draw(
        st.lists(st.sampled_from(["train", "test", "val", "dev_0"]), min_size=1, max_size=3, unique=True)
    ):
        rows = draw(st.none() | st.integers(0, 5))
        for role in draw(st.sampled_from([("images", "labels"), ("images", "labels"), ("images",), ("labels",)])):
            originals.append(Original(split, role, draw(arrays(rows)), draw(st.booleans())))
    return originals


def check(originals: list[Original], *, served: bool) -> None:
    """Run the whole way in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder, root, manifest = (Path(name) / part for part in ("mine", "root", "mine.toml"))
        files = {original.name: original.published for original in originals}
        fill(folder, files)
        words = [f"--file={o.split}:{o.role}={o.name}" for o in originals if o.split.startswith("dev_")]
        with Mirror(files if served else {}) as mirror:
            base = ["--url", mirror.url, "--out", str(manifest), "--piece-length", "1K", "--quiet"]
            assert run(["manifest", str(folder), *base, *words]) == 0
            mirrors = [] if served else ["--mirror", str(folder), "--only-mirrors"]
            assert run(["fetch", str(manifest), "--root", str(root), *mirrors, "--quiet"]) == 0
        assert run(["verify", str(manifest), "--root", str(root), "--quiet"]) == 0
        tensors = load_file(root / "mine" / "processed" / "mine.safetensors")
        assert set(tensors) == {f"{original.split}_{original.role}" for original in originals}
        for original in originals:
            same(tensors[f"{original.split}_{original.role}"], original.array)
            split = load(str(manifest), original.split, root)
            same(getattr(split, original.role), as_loaded(original))
            assert_right_statistics(split, originals)
            # Every split can be displayed.
            assert original.split in repr(split)
            assert original.split in split._repr_html_()


def as_loaded(original: Original) -> NDArray[np.generic]:
    whole = original.role == "labels" and original.array.dtype.kind != "f"
    return original.array.astype(np.int64) if whole else original.array


def same(got: NDArray[np.generic], wanted: NDArray[np.generic]) -> None:
    """Return whether two arrays are equal in shape, type and every bit: NaN is not equal to itself."""
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype.newbyteorder("="))
    assert got.astype(wanted.dtype).tobytes() == wanted.tobytes()


def assert_right_statistics(split: Split, originals: list[Original]) -> None:
    pixels = [o.array for o in originals if (o.split, o.role) == ("train", "images") and o.array.dtype == "u1"]
    if not pixels or not pixels[0].size:
        assert (split.mean, split.std) == (None, None)
    else:
        assert split.mean == pytest.approx(pixels[0].mean() / 255, rel=1e-9)
        assert split.std == pytest.approx(pixels[0].std() / 255, rel=1e-9)


@given(originals=datasets())
@settings(max_examples=40)
def test_arrays_arrive_as_they_were_from_a_folder(originals: list[Original]) -> None:
    check(originals, served=False)


@given(originals=datasets())
@settings(max_examples=10)
def test_arrays_arrive_as_they_were_from_a_server(originals: list[Original]) -> None:
    check(originals, served=True)


SHAPES = [(), (3,), (3, 2), (3, 4, 5), (3, 4, 5, 3), (2, 1, 2, 1, 2, 1, 2), (0, 28, 28), (3, 0)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", sorted(CODES, key=str), ids=str)
def test_each_type_arrives_in_each_number_of_dimensions(dtype: np.dtype[np.generic], packed: bool) -> None:
    originals = []
    for number, shape in enumerate(SHAPES):
        array = np.frombuffer(noise(math.prod(shape) * dtype.itemsize, 1), dtype).reshape(shape)
        originals.append(Original(f"dev_{number}", "images", array, packed))
        originals.append(Original(f"dev_{number}", "labels", np.zeros(shape[:1], dtype), packed))
    check(originals, served=False)
