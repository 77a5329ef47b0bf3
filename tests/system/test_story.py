"""The whole way on a real loopback server that counts bytes: first run, interrupted, damaged, again, offline."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from faults import AfterServed, Mirror, SayNothing, StallAfter, Status, blackhole
from fmnist_fetch.errors import SourceError
from fmnist_fetch.events import Attempted, Event
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.status import inspect
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.storage.files import find_good_pieces
from fmnist_fetch.storage.part_file import PartFile
from fmnist_fetch.tensors.arrays import load
from processes import ended, python, started, watched
from samples import PIECE, Sample, disk_of, fill, flipped, gz, make, sha256

SILENT = AfterServed(8000, SayNothing())


def sources_of(events: list[Event]) -> list[str]:
    """Return the sources that supplied bytes, in the order of their first success."""
    brought = [event.source for event in events if isinstance(event, Attempted) and event.kept]
    return list(dict.fromkeys(brought))


def missing_bytes(sample: Sample, root: Path) -> int:
    """Return what is missing on the disk."""
    left = 0
    for file in sample.manifest.files:
        path = sample.layout(root).published(file)
        good = range(len(file.pieces)) if path.exists() else find_good_pieces(PartFile(path, file).part, file).indices
        left += sum(piece.span.length for index, piece in enumerate(file.pieces) if index not in good)
    return left


def held_bytes(sample: Sample, root: Path) -> int:
    """Return the beginnings of pieces that an interrupted run kept."""
    files = sample.manifest.files
    return sum(len(data) for file in files for data in load_partials(sample, root, file).values())


def load_partials(sample: Sample, root: Path, file: DataFile) -> dict[int, bytes]:
    return PartFile(sample.layout(root).published(file), file).load_partials()


def test_a_first_run_fetches_every_byte_once_and_ends_with_tensors(sample: Sample, root: Path, tmp_path: Path) -> None:
    with Mirror(sample.files) as mirror:
        report = sample.fetch(root, mirror.url)
        assert mirror.served == sample.size
    assert report.received == {mirror.url: sample.size}
    assert (report.pieces, report.good, report.retries, report.wrong_pieces) == (sample.pieces, 0, 0, 0)
    raw = {path.name: path.read_bytes() for path in sample.layout(root).raw.iterdir()}
    assert raw == {**sample.files, **sample.payloads}
    split = load(sample.write(tmp_path), "train", root)
    assert split.images.tobytes() == sample.payloads["train-images-idx"][16:]
    assert bytes(split.labels.astype("uint8")) == sample.payloads["train-labels-idx"][8:]


def spoil_the_held(sample: Sample, root: Path) -> int:
    """Invert a bit in every beginning that is kept; return the length of these pieces in bytes."""
    for path in sample.layout(root).raw.glob(".*.held"):
        path.write_bytes(flipped(path.read_bytes(), 0))
    files = sample.manifest.files
    return sum(file.pieces[index].span.length for file in files for index in load_partials(sample, root, file))


@pytest.mark.parametrize("spoilt", [False, True])
def test_what_came_of_a_piece_is_kept_too_and_does_no_harm_where_it_is_wrong(
    spoilt: bool, sample: Sample, root: Path, tmp_path: Path
) -> None:
    with Mirror(sample.files, faults=[StallAfter(1300)]) as mirror:
        process = started("fetch", sample.write(tmp_path), "--root", str(root), "--mirror", mirror.url)
        end = time.monotonic() + 20
        while missing_bytes(sample, root) > sample.size - 2000 and time.monotonic() < end:
            time.sleep(0.02)
        ended(process, signal.SIGTERM)
        left, kept = missing_bytes(sample, root), held_bytes(sample, root)
        assert kept > 0
        again = spoil_the_held(sample, root) if spoilt else 0
        mirror.faults, before = [], mirror.served
        sample.fetch(root, mirror.url)
        # A wrong beginning is found when its piece is complete; only this piece is downloaded again.
        assert mirror.served - before == left - kept + again
    assert inspect(sample.layout(root)).complete
    assert not list(sample.layout(root).raw.glob(".*.held"))


def test_pieces_that_arrived_are_kept_when_every_source_fails(sample: Sample, root: Path) -> None:
    with Mirror(sample.files, faults=[AfterServed(8000, Status(404))]) as mirror:
        with pytest.raises(SourceError, match="answered 404") as caught:
            sample.fetch(root, mirror.url)
        assert "What arrived is kept" in caught.value.hint
        served, left = mirror.served, missing_bytes(sample, root)
        assert 8000 <= sample.size - left < served
        assert not sample.layout(root).tensors.exists()
        mirror.faults = []
        sample.fetch(root, mirror.url)
        assert mirror.served - served == left


def test_a_second_run_touches_nothing_opens_no_socket_and_loads_neither_requests_nor_numpy(
    sample: Sample, complete: Path, tmp_path: Path
) -> None:
    before, manifest = disk_of(complete), sample.write(tmp_path)
    with blackhole() as nowhere:
        words = (manifest, "--root", str(complete))
        assert watched("fetch", *words, FMNIST_MIRRORS=nowhere) == "exit 0 sockets [] heavy []"
        assert watched("verify", *words) == "exit 0 sockets [] heavy []"
        assert disk_of(complete) == before
        path = sample.layout(complete).published(sample.file())
        path.write_bytes(flipped(path.read_bytes(), 100))
        assert watched("verify", *words, FMNIST_MIRRORS=nowhere).startswith("exit 3 sockets []")


def test_a_flipped_byte_in_a_finished_gz_costs_one_piece(sample: Sample, complete: Path) -> None:
    file, before = sample.file(), disk_of(complete)
    path = sample.layout(complete).published(file)
    path.write_bytes(flipped(sample.files[file.name], 4321))
    with Mirror(sample.files) as mirror:
        sample.fetch(complete, mirror.url)
        assert mirror.asked == [(4000, 5000)]
        assert mirror.served == PIECE
    after = disk_of(complete)
    changed = {name for name in after if after[name] != before.get(name)}
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
    # The payload that verified was not unpacked again.
    assert changed <= {str(path.relative_to(complete)), str(sample.layout(complete).tensors.relative_to(complete))}


@pytest.mark.parametrize("place", [0, 15, 16, 5000, -1])
@pytest.mark.parametrize("what", ["payload", "tensors"])
def test_a_flipped_byte_in_an_unpacked_or_a_tensor_file_costs_no_network(
    what: str, place: int, sample: Sample, complete: Path
) -> None:
    layout = sample.layout(complete)
    path = layout.tensors if what == "tensors" else layout.payload(sample.file())
    before = path.read_bytes()
    path.write_bytes(flipped(before, place))
    with Mirror(sample.files) as mirror:
        sample.fetch(complete, mirror.url)
        assert mirror.connections == 0
    assert path.read_bytes() == before
    assert inspect(layout).complete


def test_a_file_that_is_gone_comes_back_alone(sample: Sample, complete: Path) -> None:
    layout, file = sample.layout(complete), sample.file("test", "labels")
    layout.published(file).unlink()
    layout.payload(file).unlink()
    with Mirror(sample.files) as mirror:
        sample.fetch(complete, mirror.url)
        assert {line.name for line in mirror.journal} == {file.name}
        assert mirror.served == file.size
    assert inspect(layout).complete


def test_sources_are_asked_in_order_the_users_then_local_copies_then_mirrors(sample: Sample, root: Path) -> None:
    events: list[Event] = []
    train, labels_ = sample.file(), sample.file("train", "labels")
    user = fill(root.parent / "user", {train.name: sample.files[train.name]})
    local = fill(root.parent / "local", {n: d for n, d in sample.files.items() if n in (train.name, labels_.name)})
    with Mirror(sample.files) as mirror:
        changed = sample.changed(mirrors=(mirror.url,), local=(str(local),))
        # With one worker, the order of the events is the order of the work.
        prepare(changed.layout(root), FetchOptions((str(user),), jobs=1), listener=events.append)
        # The mirror is asked for what no other source had, and for nothing else.
        assert mirror.served == sample.size - train.size - labels_.size
    assert sources_of(events) == [str(user), str(local), mirror.url]


def test_a_broken_local_copy_yields_its_good_pieces(sample: Sample, root: Path) -> None:
    file = sample.file()
    damaged = flipped(flipped(sample.files[file.name], 1500), 7200)[:-300]
    local = fill(root.parent / "local", {file.name: damaged})
    with Mirror(sample.files) as mirror:
        changed = sample.changed(mirrors=(mirror.url,), local=(str(local),))
        prepare(changed.layout(root))
        ranges = sorted(line.span for line in mirror.of(file.name) if line.span)
        # Two damaged pieces; of the last one, which is cut short, the bytes of the copy count until it is complete.
        assert ranges[:2] == [(1000, 2000), (7000, 8000)]
        assert sum(line.sent for line in mirror.of(file.name)) <= 2 * PIECE + file.pieces[-1].span.length + 300
    assert inspect(sample.layout(root)).complete
    assert (local / file.name).read_bytes() == damaged


def test_a_copy_in_another_wrapper_is_taken_by_its_payload_and_no_socket_is_opened(sample: Sample, root: Path) -> None:
    copies = {name: gz(sample.payloads[name.removesuffix(".gz")]) for name in sample.files}
    assert all(sha256(copies[name]) != sha256(sample.files[name]) for name in copies)
    local = fill(root.parent / "local", copies)
    with Mirror(sample.files) as mirror:
        changed = sample.changed(mirrors=(mirror.url,), local=(str(local),))
        prepare(changed.layout(root))
        assert mirror.connections == 0
    assert inspect(sample.layout(root)).complete


def test_offline_takes_local_copies_and_opens_no_socket(sample: Sample, root: Path, tmp_path: Path) -> None:
    local = fill(root.parent / "local", sample.files)
    with Mirror(sample.files) as mirror:
        manifest = sample.changed(mirrors=(mirror.url,), local=(str(local),)).write(tmp_path)
        words = ("fetch", manifest, "--root", str(root), "--offline", "--mirror", mirror.url)
        assert watched(*words).startswith("exit 0 sockets [] ")
        assert mirror.connections == 0


def test_offline_without_copies_fails_and_opens_no_socket(sample: Sample, root: Path, tmp_path: Path) -> None:
    with Mirror(sample.files) as mirror:
        manifest = sample.changed(mirrors=(mirror.url,)).write(tmp_path)
        assert watched("fetch", manifest, "--root", str(root), FMNIST_OFFLINE="1").startswith("exit 4 sockets [] ")
        assert mirror.connections == 0
    assert disk_of(root) == {}


@pytest.mark.parametrize("packed", [True, False])
def test_a_dataset_with_neither_pinned_payloads_nor_pieces_gets_there_too(packed: bool, root: Path) -> None:
    plain = make(pinned=False, packed=packed, length=10**6)
    with Mirror(plain.files) as mirror:
        plain.fetch(root, mirror.url)
        assert mirror.served == plain.size
        plain.fetch(root, mirror.url)
        assert mirror.served == plain.size
    assert inspect(plain.layout(root)).complete


MEASURED = """
import sys
from processes import peak_memory
from fmnist_fetch.cli import run
code = run(sys.argv[1:])
print(code, peak_memory())
"""


def test_the_memory_of_the_whole_process_stays_under_80_mb_however_large_the_file(root: Path, tmp_path: Path) -> None:
    large = make(counts=(60_000, 100), shape=(28, 28), length=256 * 1024)
    with Mirror(large.files) as mirror:
        words = ("fetch", large.write(tmp_path), "--root", str(root), "--mirror", mirror.url, "--quiet", "--jobs=8")
        code, peak = map(int, python(MEASURED, *words).stdout.split())
    assert code == 0
    assert peak < 80_000_000 < large.file().size * 2


def test_the_real_dataset_verifies_and_needs_no_socket(real_root: Path) -> None:
    assert watched("fetch", "--root", str(real_root)) == "exit 0 sockets [] heavy []"
