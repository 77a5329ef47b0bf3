"""Writing the tensor file while payloads are still being unpacked."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.errors import DiskError, IntegrityError, ManifestError
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.tensors.decompress import Sink
from fmnist_fetch.tensors.writer import Assembly
from samples import Sample, assemble, disk_of, fill, flipped, make, sha256


def pinned(sample: Sample) -> Sample:
    """Return SAMPLE with a manifest that pins mean and standard deviation too."""
    return sample.changed(mean=0.5, std=0.25)


def payload_digests(sample: Sample) -> dict[str, str]:
    return {file.tensor: sha256(sample.payloads[file.payload.name]) for file in sample.manifest.files}


def steps(data: bytes, length: int) -> Iterator[bytes]:
    yield from (data[start : start + length] for start in range(0, len(data), length))


def feed(sink: Sink, data: Iterator[bytes]) -> Iterator[None]:
    """Write the next step of DATA at each `next`."""
    for step in data:
        sink(step)
        yield


def copied(sample: Sample, root: Path) -> bytes:
    """Return the tensor file of payloads that exist."""
    layout = sample.layout(root)
    fill(layout.raw, sample.payloads)
    assemble(layout, payload_digests(sample))
    return layout.tensors.read_bytes()


@given(
    order=st.lists(st.integers(0, 3)),
    length=st.integers(1, 500),
    kind=st.sampled_from([(0x08, 1), (0x09, 1), (0x0B, 2), (0x0E, 8)]),
    shape=st.sampled_from([(), (3,), (4, 5), (2, 1, 3)]),
    digests=st.booleans(),
)
def test_values_that_go_to_their_place_in_any_order_give_the_same_bytes_as_a_copy(
    order: list[int], length: int, kind: tuple[int, int], shape: tuple[int, ...], *, digests: bool
) -> None:
    sample = pinned(make(shape=shape, code=kind[0], width=kind[1], counts=(7, 3), pinned=digests))
    with tempfile.TemporaryDirectory() as folder:
        wanted = copied(sample, Path(folder, "copied"))
        layout = sample.layout(Path(folder, "placed"))
        with Assembly(layout) as assembly:
            fill(layout.raw, sample.payloads)
            with ExitStack() as sinks:
                ways = [
                    feed(sinks.enter_context(assembly.sink(file)), steps(sample.payloads[file.payload.name], length))
                    for file in sample.manifest.files
                ]
                for number in order:
                    next(ways[number], None)
                for way in ways:
                    deque(way, maxlen=0)
            assembly.complete(payload_digests(sample))
        assert layout.tensors.read_bytes() == wanted
        assert len(list(layout.processed.iterdir())) == 1


def test_what_was_placed_is_not_read_again(root: Path) -> None:
    sample = pinned(make())
    wanted = copied(sample, root / "copied")
    layout = sample.layout(root / "placed")
    with Assembly(layout) as assembly:
        for file in sample.manifest.files:
            data = sample.payloads[file.payload.name]
            with assembly.sink(file) as sink:
                for step in steps(data, 100):
                    sink(step)
        assembly.complete(payload_digests(sample))
    assert layout.tensors.read_bytes() == wanted


def test_what_was_placed_in_part_is_copied_as_a_whole(root: Path) -> None:
    sample = pinned(make())
    wanted = copied(sample, root / "copied")
    layout = sample.layout(root / "placed")
    fill(layout.raw, sample.payloads)
    with Assembly(layout) as assembly:
        with suppress(StopIteration), assembly.sink(sample.file()) as sink:
            sink(flipped(sample.payloads["train-images-idx"], 100)[:2000])
            raise StopIteration
        assembly.complete(payload_digests(sample))
    assert layout.tensors.read_bytes() == wanted


def without_shapes() -> tuple[DataFile, ...]:
    files = make().manifest.files
    return tuple(file._replace(payload=file.payload._replace(header=None)) for file in files)


@pytest.mark.parametrize("changes", [{"mean": None, "std": None}, {"files": without_shapes()}])
def test_without_pinned_shapes_or_statistics_nothing_has_a_place_before_the_end(
    changes: dict[str, object], root: Path
) -> None:
    sample = pinned(make()).changed(**changes)
    layout = sample.layout(root)
    with Assembly(layout) as assembly:
        assert not assembly.places(sample.file())
        with assembly.sink(sample.file()) as sink:
            sink(sample.payloads["train-images-idx"])
        assert not root.exists()


def test_a_failure_leaves_nothing_of_the_tensor_file(root: Path) -> None:
    sample = pinned(make())
    layout = sample.layout(root)
    fill(layout.raw, sample.payloads)
    before = disk_of(root)
    with (  # noqa: PT012 - the placing belongs to it
        pytest.raises(IntegrityError, match="not what was pinned"),
        Assembly(layout) as assembly,
    ):
        with assembly.sink(sample.file()) as sink:
            sink(sample.payloads["train-images-idx"])
        assert len(os.listdir(layout.processed)) == 1
        raise IntegrityError("not what was pinned", hint="")
    assert disk_of(root) == before


@pytest.mark.parametrize("place", [False, True])
def test_a_pinned_shape_that_the_payload_contradicts_is_the_manifest_s_fault(root: Path, *, place: bool) -> None:
    sample = pinned(make())
    first, *others = sample.manifest.files
    wrong = first._replace(payload=first.payload._replace(header=IdxHeader("u1", (60, 8, 32))))
    sample = sample.changed(files=(wrong, *others))
    layout = sample.layout(root)
    fill(layout.raw, sample.payloads)
    with pytest.raises(ManifestError) as caught, Assembly(layout) as assembly:  # noqa: PT012 - placing belongs to it
        if place:
            with assembly.sink(wrong) as sink:
                deque(feed(sink, steps(sample.payloads["train-images-idx"], 3)), maxlen=0)
        assembly.complete(payload_digests(sample))
    assert caught.value.faults == (
        "train-images-idx: its header says 60 x 16 x 16 uint8, not 60 x 8 x 32 uint8, the shape given",
    )
    assert disk_of(root).keys() == {f"Sample/raw/{name}" for name in sample.payloads}


def test_a_disk_that_is_full_is_reported_with_the_file_that_was_written(
    sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    layout = sample.layout(root)
    fill(layout.raw, sample.payloads)
    before = disk_of(root)
    # The preamble still fits.
    writes = iter([lambda *_: None, fail])
    monkeypatch.setattr("fmnist_fetch.storage.writeback.write_all", lambda *given: next(writes)(*given))
    with pytest.raises(DiskError, match=r"sample\.safetensors: the disk is full \([0-9.]+ (bytes|kB|MB) needed\)"):
        assemble(layout, payload_digests(sample))
    assert disk_of(root) == before
