"""What is on the disk: every file hashed, nothing repaired."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from fmnist_fetch.pipeline.status import Condition, inspect
from fmnist_fetch.tensors.tensor_file import TensorFile
from samples import Sample, disk_of, flipped, gz, lay, make

CONDITIONS = list(Condition)


@pytest.fixture
def complete(sample: Sample, root: Path) -> Path:
    sample.fetch(root, str(lay(root.parent / "stick", sample.files)))
    return root


def bring(path: Path, condition: Condition) -> None:
    """Put the good file at PATH into CONDITION."""
    if condition is Condition.ABSENT:
        path.unlink()
    if condition is Condition.DAMAGED:
        path.write_bytes(flipped(path.read_bytes(), -1))


@pytest.mark.parametrize(("published", "payload", "tensors"), list(product(CONDITIONS, repeat=3)))
def test_each_file_is_good_damaged_or_absent_and_looking_changes_nothing(
    published: Condition, payload: Condition, tensors: Condition, sample: Sample, complete: Path
) -> None:
    layout, file = sample.layout(complete), sample.file()
    paths = (layout.published(file), layout.payload(file), layout.tensors)
    for path, condition in zip(paths, (published, payload, tensors), strict=True):
        bring(path, condition)
    before = disk_of(complete)
    state = inspect(layout)
    entry = state.files[0]
    assert (entry.published, entry.payload, state.tensors) == (published, payload, tensors)
    assert all(
        (other.published, other.payload) == (Condition.GOOD, Condition.GOOD) and not other.wants_source
        for other in state.files[1:]
    )
    good, absent = Condition.GOOD, Condition.ABSENT
    # A payload that verifies is enough; a published file that is there must be right, too.
    assert entry.wants_source == (published is Condition.DAMAGED or (published is absent and payload is not good))
    assert state.complete == (payload is good and tensors is good and published in (good, absent))
    assert disk_of(complete) == before


@pytest.mark.parametrize("make_sample", [make, partial(make, packed=False), partial(make, pinned=False)])
def test_where_the_payloads_are_good_and_equal_the_tensor_file_is_not_hashed_as_well(
    make_sample: Callable[[], Sample], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample()
    sample.fetch(root, str(lay(root.parent / "stick", sample.files)))
    hashed: list[str] = []
    monkeypatch.setattr(TensorFile, "digest", lambda _, name: hashed.append(name))
    assert inspect(sample.layout(root)).complete
    assert hashed == []


@pytest.mark.parametrize("tensor", range(4))
@pytest.mark.parametrize("payload", CONDITIONS)
def test_a_tensor_beside_a_payload_in_whatever_condition_is_looked_at_by_itself(
    payload: Condition, tensor: int, sample: Sample, complete: Path
) -> None:
    layout, file = sample.layout(complete), sample.manifest.files[tensor]
    good = layout.tensors.read_bytes()
    with TensorFile(layout.tensors) as stored:
        last = stored.tensors[file.tensor].stop - 1
    bring(layout.payload(file), payload)
    assert inspect(layout).tensors is Condition.GOOD
    # The same bit that is wrong in a damaged payload: the two are equal then, and both are wrong.
    layout.tensors.write_bytes(flipped(good, last))
    state = inspect(layout)
    assert (state.files[tensor].payload, state.tensors) == (payload, Condition.DAMAGED)
    assert all(other.payload is Condition.GOOD for other in state.files if other.file is not file)


@pytest.mark.parametrize("where", ["a pipe", "longer", "the tensor file shorter"])
def test_what_can_not_be_compared_is_damage_and_nothing_waits_for_it(
    where: str, sample: Sample, complete: Path
) -> None:
    layout = sample.layout(complete)
    path = layout.tensors if where == "the tensor file shorter" else layout.payload(sample.file())
    data = path.read_bytes()
    path.unlink()
    if where == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(data + b"x" if where == "longer" else data[:-1])
    state = inspect(layout)
    damaged = Condition.DAMAGED if path == layout.tensors else Condition.GOOD
    assert state.tensors is damaged
    assert (state.files[0].payload is Condition.GOOD) == (path == layout.tensors)


def test_nothing_is_there_in_a_root_that_is_not_there_and_it_is_not_made(sample: Sample, root: Path) -> None:
    state = inspect(sample.layout(root))
    assert {state.tensors, *(entry.published for entry in state.files)} == {Condition.ABSENT}
    assert not state.complete
    assert not root.exists()


def test_a_folder_or_a_dangling_link_in_place_of_a_file_is_damage(sample: Sample, complete: Path) -> None:
    layout = sample.layout(complete)
    one, other = (layout.published(file) for file in sample.manifest.files[:2])
    one.unlink()
    one.mkdir()
    other.unlink()
    other.symlink_to("nowhere")
    state = inspect(layout)
    assert [entry.published for entry in state.files[:2]] == [Condition.DAMAGED] * 2


def test_without_pinned_digests_the_verified_packed_file_tells_whether_the_payload_is_right(root: Path) -> None:
    plain = make(pinned=False)
    layout = plain.layout(root)
    plain.fetch(root, str(lay(root.parent / "stick", plain.files)))
    assert inspect(layout).complete
    path = layout.payload(plain.file())
    path.write_bytes(flipped(path.read_bytes(), 100))
    state = inspect(layout)
    assert (state.files[0].published, state.files[0].payload) == (Condition.GOOD, Condition.DAMAGED)
    assert not state.files[0].wants_source


def test_without_pinned_digests_and_without_the_packed_file_nothing_can_be_vouched_for(root: Path) -> None:
    plain = make(pinned=False)
    layout = plain.layout(root)
    plain.fetch(root, str(lay(root.parent / "stick", plain.files)))
    layout.published(plain.file()).unlink()
    state = inspect(layout)
    assert state.files[0].wants_source
    assert not state.complete


def test_a_file_that_is_published_unpacked_is_its_own_payload(root: Path) -> None:
    plain = make(packed=False)
    layout = plain.layout(root)
    plain.fetch(root, str(lay(root.parent / "stick", plain.files)))
    assert inspect(layout).complete
    bring(layout.published(plain.file()), Condition.DAMAGED)
    entry = inspect(layout).files[0]
    assert (entry.published, entry.payload, entry.wants_source) == (Condition.DAMAGED, Condition.DAMAGED, True)


def test_a_copy_in_another_wrapper_is_damage_in_every_piece_that_differs(sample: Sample, complete: Path) -> None:
    file, layout = sample.file(), sample.layout(complete)
    path = layout.published(file)
    assert inspect(layout).files[0].damaged_pieces == ()
    path.write_bytes(flipped(flipped(sample.files[file.name], 2000), 5999))
    assert inspect(layout).files[0].damaged_pieces == (2, 5)
    path.write_bytes(gz(sample.payloads[file.payload.name]))
    assert 0 in inspect(layout).files[0].damaged_pieces
    path.write_bytes(b"")
    assert inspect(layout).files[0].damaged_pieces == tuple(range(len(file.pieces)))


def test_the_real_dataset_is_complete_in_every_file(real_root: Path) -> None:
    from fmnist_fetch.manifest.catalog import find
    from fmnist_fetch.storage.layout import Layout

    manifest = find("fashion-mnist")
    state = inspect(Layout(real_root, manifest))
    assert all(entry.payload is Condition.GOOD for entry in state.files)
