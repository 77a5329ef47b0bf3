"""The state of the disk: every file is hashed, nothing is repaired."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from fmnist_fetch.errors import DiskError
from fmnist_fetch.pipeline.status import Condition, inspect
from fmnist_fetch.tensors.arrays import load
from fmnist_fetch.tensors.tensor_file import TensorFile
from samples import Sample, disk_of, fill, flipped, gz, make, open_to_all

CONDITIONS = [Condition.GOOD, Condition.DAMAGED, Condition.REDIRECTED, Condition.ABSENT]


def bring(path: Path, condition: Condition) -> None:
    """Put the good file at PATH into CONDITION."""
    if condition in (Condition.ABSENT, Condition.REDIRECTED):
        path.unlink()
    if condition is Condition.REDIRECTED:
        path.symlink_to("nowhere")
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
    # A payload that verifies is enough; a published file that exists must be right, too.
    assert entry.wants_source == (published is not good and (published is not absent or payload is not good))
    assert state.complete == (payload is good and tensors is good and published in (good, absent))
    assert disk_of(complete) == before


@pytest.mark.parametrize("make_sample", [make, partial(make, packed=False), partial(make, pinned=False)])
def test_where_the_payloads_are_good_and_equal_the_tensor_file_is_not_hashed_as_well(
    make_sample: Callable[[], Sample], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample()
    sample.fetch(root, str(fill(root.parent / "stick", sample.files)))
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
    # The same bit as in the damaged payload: the two are equal then, and both are wrong.
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


def test_a_folder_in_place_of_a_file_is_damage_and_a_link_that_leads_nowhere_is_redirected(
    sample: Sample, complete: Path
) -> None:
    layout = sample.layout(complete)
    one, two, three, four = (layout.published(file) for file in sample.manifest.files)
    for path in (one, two, three, four):
        path.unlink()
    one.mkdir()
    two.symlink_to("nowhere")
    three.symlink_to(three.name)
    four.symlink_to(two.name)
    state = inspect(layout)
    redirected = Condition.REDIRECTED
    assert [entry.published for entry in state.files] == [Condition.DAMAGED, redirected, redirected, redirected]


@pytest.fixture
def as_nobody(complete: Path) -> Iterator[None]:
    """A user who is not root and owns nothing here."""
    if not hasattr(os, "seteuid") or os.geteuid() != 0:
        pytest.skip("only root may become another user")
    open_to_all(complete)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("as_nobody")
def test_what_this_user_may_not_read_is_unreadable_and_not_damaged(sample: Sample, complete: Path) -> None:
    layout = sample.layout(complete)
    assert inspect(layout).complete
    os.seteuid(0)
    manifest = sample.write(complete.parent)
    layout.published(sample.file()).chmod(0o600)
    os.seteuid(65534)
    state = inspect(layout)
    assert [entry.published for entry in state.files] == [Condition.UNREADABLE] + [Condition.GOOD] * 3
    assert state.files[0].damaged_pieces == ()
    os.seteuid(0)
    layout.raw.chmod(0o644)
    layout.processed.chmod(0o700)
    before = disk_of(complete)
    os.seteuid(65534)
    state = inspect(layout)
    assert {state.tensors, *(entry.published for entry in state.files)} == {Condition.UNREADABLE}
    with pytest.raises(DiskError, match="permission denied"):
        sample.fetch(complete)
    with pytest.raises(DiskError, match="permission denied"):
        load(manifest, "train", complete)
    os.seteuid(0)
    assert disk_of(complete) == before


def test_files_of_an_empty_folder_are_not_looked_for_one_by_one(
    sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = sample.layout(root)
    layout.raw.mkdir(parents=True)
    looked_for, opened = list[Path](), os.open

    def note(path: Path, flags: int, mode: int = 0o777) -> int:
        looked_for.append(path)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", note)
    state = inspect(layout)
    assert {state.tensors, *(entry.published for entry in state.files)} == {Condition.ABSENT}
    assert looked_for == [layout.tensors]


def test_a_name_in_other_letters_may_be_the_file(
    sample: Sample, complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a file system lists it that does not distinguish them.
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name.upper() for entry in os.scandir(path)])
    assert inspect(sample.layout(complete)).complete


@pytest.mark.parametrize("place", ["a root", "x" * 256])
def test_nothing_is_there_in_a_root_that_is_not_there_and_it_is_not_made(
    place: str, sample: Sample, root: Path
) -> None:
    state = inspect(sample.layout(root / place))
    assert {state.tensors, *(entry.published for entry in state.files)} == {Condition.ABSENT}
    assert not state.complete
    assert not root.exists()


@pytest.mark.parametrize("target", ["nowhere", "Sample"], ids=["to nothing", "in a loop"])
def test_what_is_below_a_link_that_leads_to_nothing_is_redirected(target: str, sample: Sample, root: Path) -> None:
    root.mkdir()
    (root / "Sample").symlink_to(root / target)
    state = inspect(sample.layout(root))
    assert {state.tensors, *(entry.published for entry in state.files)} == {Condition.REDIRECTED}


def test_without_pinned_digests_the_verified_packed_file_alone_decides_whether_the_payload_is_right(root: Path) -> None:
    plain = make(pinned=False)
    layout = plain.layout(root)
    plain.fetch(root, str(fill(root.parent / "stick", plain.files)))
    assert inspect(layout).complete
    bring(layout.payload(plain.file()), Condition.DAMAGED)
    entry = inspect(layout).files[0]
    assert (entry.published, entry.payload, entry.wants_source) == (Condition.GOOD, Condition.DAMAGED, False)
    fill(layout.raw, plain.payloads)
    layout.published(plain.file()).unlink()
    assert inspect(layout).files[0].wants_source
    assert not inspect(layout).complete


def test_a_file_that_is_published_unpacked_is_its_own_payload(root: Path) -> None:
    plain = make(packed=False)
    layout = plain.layout(root)
    plain.fetch(root, str(fill(root.parent / "stick", plain.files)))
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
