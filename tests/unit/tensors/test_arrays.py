"""From IDX payloads to the tensor file and on to arrays: one chain of digests."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from fmnist_fetch.errors import DiskError, FetchError, IntegrityError, UsageError
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.tensors.arrays import is_intact, load
from fmnist_fetch.tensors.split import Split
from fmnist_fetch.tensors.tensor_file import TensorFile
from fmnist_fetch.tensors.writer import idx_header
from processes import python
from samples import CLASSES, PROJECT_FOLDER, Sample, assemble, disk_of, file_of, fill, flipped, gz, idx, make, sha256


def digests(sample: Sample) -> dict[str, str]:
    return {file.tensor: sha256(sample.payloads[file.payload.name]) for file in sample.manifest.files}


def tensors_of(sample: Sample, root: Path) -> Path:
    """Write the payloads and the tensor file; return the path of the latter."""
    layout = sample.layout(root)
    fill(layout.raw, sample.payloads)
    assemble(layout, digests(sample))
    return layout.tensors


@pytest.fixture
def tensors(sample: Sample, root: Path) -> Path:
    return tensors_of(sample, root)


def loaded(sample: Sample, root: Path, split: str = "train", *, verify: bool = True) -> Split:
    return load(sample.write(root), split, root, verify=verify)


def test_the_metadata_names_the_dataset_its_classes_its_digests_and_its_statistics(
    sample: Sample, tensors: Path
) -> None:
    with TensorFile(tensors) as stored:
        metadata = dict(stored.metadata)
    pixels = [value / 255 for value in sample.payloads["train-images-idx"][16:]]
    mean = sum(pixels) / len(pixels)
    std = (sum((value - mean) ** 2 for value in pixels) / len(pixels)) ** 0.5
    assert float(metadata.pop("mean")) == pytest.approx(mean, rel=1e-12)
    assert float(metadata.pop("std")) == pytest.approx(std, rel=1e-12)
    assert json.loads(metadata.pop("classes")) == list(CLASSES)
    pins = {f"sha256.{name}": digest for name, digest in digests(sample).items()}
    assert metadata == {"dataset": "sample", "format": "1", **pins}


@pytest.mark.parametrize(("split", "count"), [("train", 60), ("test", 20)])
def test_a_split_is_loaded_as_images_and_labels(
    split: str, count: int, sample: Sample, root: Path, tensors: Path
) -> None:
    assert tensors.exists()
    got = loaded(sample, root, split)
    assert got.images.shape == (count, 16, 16)
    assert [str(array.dtype) for array in (got.images, got.labels)] == ["uint8", "int64"]
    assert got.images.tobytes() == sample.payloads[f"{split}-images-idx"][16:]
    assert got.labels.tolist() == list(sample.payloads[f"{split}-labels-idx"][8:])
    assert (got.name, got.dataset, got.classes) == (split, "sample", CLASSES)
    assert got.digests == {role: digests(sample)[f"{split}_{role}"] for role in ("images", "labels")}


def test_images_are_memory_mapped_copy_on_write(sample: Sample, root: Path, tensors: Path) -> None:
    before = tensors.read_bytes()
    got = loaded(sample, root)
    assert type(got.images.base).__module__ in ("mmap", "numpy")
    assert not got.images.flags.owndata
    got.images[0] = 0
    assert not got.images[0].any()
    assert tensors.read_bytes() == before
    assert loaded(sample, root).images[0].any()


@pytest.mark.parametrize(("code", "width", "dtype"), [(9, 1, "i1"), (11, 2, "<i2"), (12, 4, "<i4"), (14, 8, "<f8")])
def test_wider_values_are_turned_into_little_endian_ones(code: int, width: int, dtype: str, root: Path) -> None:
    import numpy as np

    wide = make(code=code, width=width, shape=(3, 2))
    tensors_of(wide, root)
    got = loaded(wide, root)
    values = np.frombuffer(wide.payloads["train-images-idx"], np.dtype(dtype).newbyteorder(">"), offset=16)
    assert got.images.dtype == np.dtype(dtype)
    # NaN is not equal to itself: the bytes are compared.
    assert got.images.tobytes() == values.astype(dtype).tobytes()
    assert (got.mean, got.std) == (None, None)
    assert is_intact(wide.layout(root), digests(wide))


def only(sample: Sample, *tensors: str) -> Sample:
    """Return SAMPLE with no files but those of these tensors."""
    return sample.changed(files=tuple(file for file in sample.manifest.files if file.tensor in tensors))


def rewritten(sample: Sample, tensor: str, payload: bytes) -> Sample:
    """Return SAMPLE with PAYLOAD, unpacked and packed, in place of that of one file."""
    entry = next(file for file in sample.manifest.files if file.tensor == tensor)
    packed = gz(payload)
    changed = file_of(
        entry.name,
        packed,
        Payload(entry.payload.name, len(payload), sha256(payload)),
        entry.split,
        entry.role,
    )
    files = tuple(changed if file is entry else file for file in sample.manifest.files)
    published, payloads = {**sample.files, entry.name: packed}, {**sample.payloads, entry.payload.name: payload}
    return replace(sample.changed(files=files), files=published, payloads=payloads)


@pytest.mark.parametrize(
    ("code", "kind", "values", "dtype"),
    [
        (9, "b", [-1, 5, 127], "int64"),
        (11, ">i2", [-300, 0, 7], "int64"),
        (12, ">i4", [2**31 - 1, 0, -(2**31)], "int64"),
        (13, ">f4", [0.5, math.inf, -(2.0**100)], "float32"),
    ],
)
def test_labels_of_any_whole_type_become_int64_and_others_stay_as_they_are(
    code: int, kind: str, values: list[float], dtype: str, sample: Sample, root: Path
) -> None:
    import numpy as np

    wide = rewritten(sample, "train_labels", idx(code, (3,), np.array(values, kind).tobytes()))
    tensors_of(wide, root)
    got = loaded(wide, root).labels
    assert (str(got.dtype), got.tolist()) == (dtype, values)


@pytest.mark.parametrize(("role", "absent"), [("images", "labels"), ("labels", "images")])
def test_what_a_split_does_not_have_is_an_empty_array(role: str, absent: str, sample: Sample, root: Path) -> None:
    half = only(sample, f"train_{role}", "test_images", "test_labels")
    tensors_of(half, root)
    got = loaded(half, root)
    assert getattr(got, role).size == {"images": 60 * 16 * 16, "labels": 60}[role]
    assert getattr(got, absent).shape == (0,)
    assert set(got.digests) == {role}
    assert (got.mean is None) == (absent == "images")
    assert loaded(half, root, "test").images.shape == (20, 16, 16)


def test_images_without_a_pixel_have_no_mean(root: Path) -> None:
    nothing = make(counts=(0, 0))
    tensors_of(nothing, root)
    assert is_intact(nothing.layout(root), digests(nothing))
    got = loaded(nothing, root)
    assert (got.images.shape, got.labels.shape, got.mean, got.std) == ((0, 16, 16), (0,), None, None)


def test_every_flipped_byte_of_a_small_tensor_file_is_found(root: Path) -> None:
    small = make(shape=(2, 2), counts=(3, 2))
    path = tensors_of(small, root)
    assert is_intact(small.layout(root), digests(small))
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(flipped(good, at))
        assert not is_intact(small.layout(root), digests(small)), at


@pytest.mark.parametrize("more", [b"x", bytes(8)])
def test_bytes_after_its_end_are_found(more: bytes, sample: Sample, root: Path, tensors: Path) -> None:
    tensors.write_bytes(tensors.read_bytes() + more)
    assert not is_intact(sample.layout(root), digests(sample))


@pytest.mark.parametrize("length", [0, 4, 8, 200, -1])
def test_a_tensor_file_that_was_cut_off_is_found(length: int, sample: Sample, root: Path, tensors: Path) -> None:
    tensors.write_bytes(tensors.read_bytes()[:length])
    assert not is_intact(sample.layout(root), digests(sample))
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        loaded(sample, root, "test")
    assert "fmnist-fetch fetch" in caught.value.hint


def test_loading_verifies_the_bytes_of_its_split(sample: Sample, root: Path, tensors: Path) -> None:
    with TensorFile(tensors) as stored:
        at = stored.tensors["train_images"].start + 100
    tensors.write_bytes(flipped(tensors.read_bytes(), at))
    with pytest.raises(IntegrityError, match="train_images is damaged") as caught:
        loaded(sample, root)
    assert f"--root {root}" in caught.value.hint
    assert loaded(sample, root, "test").images.shape == (20, 16, 16)
    assert loaded(sample, root, verify=False).images.shape == (60, 16, 16)


def test_the_pinned_digest_counts_and_not_the_one_in_the_file(sample: Sample, root: Path, tensors: Path) -> None:
    # The manifest reveals a forger who writes other images and their digests to the file.
    forged = sample.payloads["train-images-idx"][:16] + sample.payloads["train-images-idx"][16:][::-1]
    layout = sample.layout(root)
    (layout.raw / "train-images-idx").write_bytes(forged)
    assemble(layout, {**digests(sample), "train_images": sha256(forged)})
    assert tensors.exists()
    with pytest.raises(IntegrityError):
        loaded(sample, root)


def test_absent_data_is_reported_with_the_command_that_fetches_it(root: Path) -> None:
    with pytest.raises(FetchError) as caught:
        load("fashion-mnist", "train", root)
    path = root / "FashionMNIST" / "processed" / "fashion-mnist.safetensors"
    assert caught.value.message == f"{path} is not there"
    assert caught.value.hint == f"Run: fmnist-fetch fetch --root {root}"
    assert str(caught.value) == f"{caught.value.message}\nhint: {caught.value.hint}"
    assert not root.exists()


def test_a_tensor_file_that_the_disk_refuses_is_no_reason_to_fetch_again(
    sample: Sample, root: Path, tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("fmnist_fetch.tensors.tensor_file.open_regular", refuse)
    with pytest.raises(DiskError) as caught:
        loaded(sample, root)
    assert str(tensors) in caught.value.message
    assert " fetch" not in caught.value.hint


def test_a_link_that_leads_to_nothing_is_named_and_not_called_absent_data(
    sample: Sample, root: Path, tensors: Path
) -> None:
    tensors.unlink()
    tensors.symlink_to("elsewhere")
    with pytest.raises(DiskError, match="is a symbolic link that leads to nothing"):
        loaded(sample, root)


def test_in_a_clone_that_is_make_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_FOLDER)
    with pytest.raises(FetchError) as caught:
        load("mnist", "train", root / "a b")
    assert caught.value.hint == f"Run: make data DATASET=mnist 'ROOT={root / 'a b'}'"


@pytest.mark.parametrize("place", ["FMNIST_ROOT", "data", "../data"])
def test_data_is_looked_for_under_fmnist_root_then_here_then_beside(
    place: str, sample: Sample, root: Path, tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "FMNIST_ROOT":
        monkeypatch.setenv("FMNIST_ROOT", str(root))
    else:
        monkeypatch.setenv("FMNIST_ROOT", "nowhere")
        Path(place).symlink_to(root)
    assert tensors.exists()
    assert len(load(sample.write(root.parent), "train")) == 60


def test_absent_data_is_reported_with_every_absolute_path_that_was_searched() -> None:
    with pytest.raises(FetchError) as caught:
        load()
    here = Path.cwd()
    within = Path("FashionMNIST", "processed", "fashion-mnist.safetensors")
    assert caught.value.message == (
        f"{here / 'data' / within} is not there, nor is {(here / '..' / 'data' / within).absolute()}"
    )
    assert caught.value.hint == f"Run: fmnist-fetch fetch --root {here / 'data'}"


@pytest.mark.parametrize("dataset", [None, 7, ["mnist"]])
def test_a_dataset_that_is_neither_a_name_nor_a_path_is_a_usage_error(dataset: object) -> None:
    with pytest.raises(UsageError, match="a dataset is a name or a path"):
        load(dataset)  # type: ignore[arg-type]


def test_an_unknown_split_is_reported_with_the_known_ones(sample: Sample, root: Path, tensors: Path) -> None:
    assert tensors.exists()
    with pytest.raises(UsageError, match="sample has no split 'validation'") as caught:
        loaded(sample, root, "validation")
    assert caught.value.hint == "Its splits: train, test."


def test_a_payload_that_changes_while_it_is_read_is_an_integrity_error_and_no_tensor_file(
    sample: Sample, root: Path
) -> None:
    layout = sample.layout(root)
    fill(layout.raw, sample.payloads)
    path = layout.raw / "train-labels-idx"
    path.write_bytes(flipped(path.read_bytes(), -1))
    with pytest.raises(IntegrityError, match=f"{path} changed while it was read"):
        assemble(layout, digests(sample))
    assert disk_of(root).keys() == {f"Sample/raw/{name}" for name in sample.payloads}


def test_a_payload_that_is_not_there_is_a_disk_error(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="gone"):
        idx_header(tmp_path / "gone", sample.file())


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
from fmnist_fetch import FetchError, fetch, load
manifest, root, stick = sys.argv[1:]
fetch(manifest, root, mirrors=[stick], offline=True, progress=lambda _: None)
try:
    load(manifest, "train", root)
except FetchError as error:
    print(error.message, error.hint, sep="\\n")
"""


def test_without_numpy_all_is_fetched_and_only_loading_says_that_it_needs_it(
    sample: Sample, root: Path, tmp_path: Path
) -> None:
    done = python(WITHOUT_NUMPY, sample.write(tmp_path), str(root), str(fill(tmp_path / "stick", sample.files)))
    assert done.stdout.splitlines() == [
        "load needs numpy, which is not installed",
        "Run: pip install numpy, or pip install 'fmnist-fetch[load]'",
    ], done.stderr
    train = load(sample.write(tmp_path), "train", root)
    assert train.mean == pytest.approx(float(train.images.mean()) / 255, rel=1e-9)


def test_a_numpy_that_lacks_a_module_is_not_called_missing(
    sample: Sample, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load(sample.write(tmp_path), "train", root)


@pytest.mark.usefixtures("unmeasured")
def test_loading_imports_no_network(sample: Sample, root: Path, tensors: Path) -> None:
    assert tensors.exists()
    code = "import sys\nfrom fmnist_fetch import load\nprint(load(sys.argv[1], 'train', sys.argv[2]).images.shape)\n"
    code += "print({'requests', 'urllib3', 'socket', 'ssl', 'http.client', 'tqdm'} & sys.modules.keys())"
    done = python(code, sample.write(root), str(root))
    assert done.stdout.splitlines() == ["(60, 16, 16)", "set()"], done.stderr


@pytest.fixture
def hashed(tensors: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the tensors that are hashed from now on; the tensor file is an hour old."""
    hour_ago = time.time() - 3600
    os.utime(tensors, (hour_ago, hour_ago))
    names: list[str] = []
    digest = TensorFile.digest

    def counted(stored: TensorFile, name: str) -> str:
        names.append(name)
        return digest(stored, name)

    monkeypatch.setattr(TensorFile, "digest", counted)
    return names


def test_what_was_verified_is_not_hashed_again_by_the_same_process(
    sample: Sample, root: Path, hashed: list[str]
) -> None:
    manifest = sample.write(root)
    for _ in range(2):
        load(manifest, "train", root)
    assert sorted(hashed) == ["train_images", "train_labels"]
    load(manifest, "test", root)
    assert len(hashed) == 4
    load(manifest, "train", root, verify="always")
    assert len(hashed) == 6
    load(manifest, "train", root, verify=False)
    assert len(hashed) == 6


@pytest.mark.usefixtures("hashed")
def test_a_file_that_changed_since_it_was_verified_is_hashed_again(sample: Sample, root: Path, tensors: Path) -> None:
    manifest = sample.write(root)
    load(manifest, "train", root)
    with TensorFile(tensors) as stored:
        start = stored.tensors["train_images"].start
    tensors.write_bytes(flipped(tensors.read_bytes(), start))
    with pytest.raises(IntegrityError):
        load(manifest, "train", root)


def test_a_file_that_was_written_just_now_is_not_remembered(sample: Sample, root: Path, hashed: list[str]) -> None:
    sample.layout(root).tensors.touch()
    for _ in range(2):
        load(sample.write(root), "train", root)
    assert len(hashed) == 4


def test_the_real_training_set_has_its_shape_its_mean_and_its_first_labels(real_root: Path) -> None:
    train, test = (load("fashion-mnist", split, real_root) for split in ("train", "test"))
    assert (train.images.shape, test.images.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert train.mean == pytest.approx(float(train.images.mean()) / 255, rel=1e-9)
    assert train.std == pytest.approx(float(train.images.std()) / 255, rel=1e-6)
    assert train.classes == find("fashion-mnist").classes
