"""`make bench`: it measures whole processes by turns, checks their output, and reports what it could not measure."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import clone, materials, network, report, room, roots, size
from benchmarks import measure as measure_module
from benchmarks import table as table_module
from benchmarks.__main__ import MAKERS, head, made
from benchmarks.bucket import Bucket
from benchmarks.machine import shape
from benchmarks.materials import MIB, Served, many, metalink, packed, single
from benchmarks.measure import (
    Peer,
    PeerError,
    Race,
    Run,
    UnavailableError,
    clean_environment,
    measure,
    missing,
    once,
    put_away,
    race,
    turns,
)
from benchmarks.peers import CURL_SYNC, OURS, SCRIPTS, ours, right
from benchmarks.servers import capped
from benchmarks.table import FASHION, Bench, Maker, Table, Target
from fmnist_fetch.storage.layout import Layout

A, B = Peer("a", ("true",)), Peer("b", ("true",))


def python(name: str, program: str, **more: object) -> Peer:
    return Peer(name, (sys.executable, "-c", program), **more)  # type: ignore[arg-type]


def runs(*walls: float) -> list[Run]:
    return [Run(wall, wall / 2, 1_000_000) for wall in walls]


def test_the_order_of_the_rows_is_turned_round_in_every_other_round() -> None:
    assert [[peer.name for peer in order] for order in turns([A, B], 3)] == [["a", "b"], ["b", "a"], ["a", "b"]]


def test_a_ratio_is_the_median_of_the_ratios_within_the_rounds() -> None:
    # The machine became ten times slower in the last round, for both.
    done = Race(("a", "b"), {"a": runs(1, 1, 10), "b": runs(2, 4, 40)}, {})
    assert done.ratio("a", "b") == 0.25
    assert done.ratio("b", "a") == 4
    assert done.wall("b") == 4
    assert done.peak("a") == 1
    assert done.ratio("a", "c") is None


def test_a_process_is_measured_from_its_start_to_its_exit(tmp_path: Path) -> None:
    program = "import time; data = bytearray(b'1') * 50_000_000; time.sleep(0.2); open('left', 'w').write('x')"
    out = tmp_path / "out"
    out.mkdir()
    run = measure(python("a", program), out)
    assert run.wall >= 0.2
    assert run.cpu > 0
    assert 50_000_000 < run.peak < 150_000_000
    assert (out / "left").read_text() == "x"


def test_a_process_may_tell_its_own_seconds(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run = measure(python("a", "print('noise'); print(12.5)", timed=True), tmp_path / "out")
    assert run.wall == 12.5


def test_a_peer_that_fails_or_is_not_installed_is_a_row_with_its_reason(tmp_path: Path) -> None:
    def refuse(_folder: Path) -> None:
        raise PeerError("it left other bytes")

    peers = [
        A,
        python("broken", "raise SystemExit('no such mirror')"),
        Peer("absent", ("no-such-program",), needs=("no-such-program", "import no_such_module")),
        Peer("wrong", ("true",), check=refuse),
    ]
    done = race(peers, tmp_path, rounds=2)
    assert len(done.runs["a"]) == 2
    assert set(done.runs) == {"a"}
    assert done.absent["absent"] == "no_such_module and no-such-program not installed"
    assert "no such mirror" in done.absent["broken"]
    assert "other bytes" in done.absent["wrong"]
    assert done.failed
    assert not Race(("absent",), {}, {"absent": done.absent["absent"]}).failed
    text = report.markdown(
        Table(1, "Title", "Words.", done, "a", (Target("beside", done.ratio("a", "wrong"), at_most=1),))
    )
    assert "no such mirror" in text
    assert "not measured" in text


def test_every_run_begins_in_an_empty_folder_and_leaves_nothing(tmp_path: Path) -> None:
    program = "import os; assert os.listdir() == []; open('left', 'w')"
    done = race([python("a", program)], tmp_path, rounds=3, warm=False)
    assert len(done.runs["a"]) == 3
    assert not list(tmp_path.glob("out*"))


def test_the_output_of_a_run_stays_by_name_and_takes_no_space_until_the_race_is_over(tmp_path: Path) -> None:
    once(python("a", "open('left', 'w').write('x' * 5000)"), tmp_path / "out")
    [left] = tmp_path.rglob("left")
    assert left.stat().st_size == 0
    assert not (tmp_path / "out").exists()


def test_what_has_another_name_elsewhere_is_neither_emptied_nor_deleted(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    (ours / "objects").mkdir(parents=True)
    (ours / "objects" / "pack").write_bytes(b"history")
    (ours / "alone").write_bytes(b"data")
    out = tmp_path / "out"
    out.mkdir()
    (out / "clone").mkdir()
    (out / "clone" / "pack").hardlink_to(ours / "objects" / "pack")
    (out / "linked").symlink_to(ours, target_is_directory=True)
    (out / "link").symlink_to(ours / "alone")
    (out / "own").write_bytes(b"x" * 5000)
    put_away(out)
    [own] = tmp_path.rglob("own")
    assert own.stat().st_size == 0
    assert not list((tmp_path / "out-spent").rglob("pack"))
    shutil.rmtree(tmp_path / "out-spent")
    assert (ours / "objects" / "pack").read_bytes() == b"history"
    assert (ours / "alone").read_bytes() == b"data"


def test_a_linked_folder_is_not_put_away(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "file").write_bytes(b"data")
    (tmp_path / "out").symlink_to(tmp_path / "ours", target_is_directory=True)
    with pytest.raises(ValueError, match="is a link"):
        put_away(tmp_path / "out")
    assert (tmp_path / "ours" / "file").read_bytes() == b"data"


@pytest.mark.parametrize("path", sorted(Path(measure_module.__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_a_clone_is_never_made_of_hard_links(path: Path) -> None:
    text = path.read_text()
    assert len(re.findall(r'git clone|"clone"', text)) == text.count('"clone", "--quiet", "--no-hardlinks"')


def test_settings_of_the_machine_do_not_reach_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid/")
    monkeypatch.setenv("FMNIST_MIRRORS", "http://mirror.invalid/")
    found = clean_environment({"MORE": "1"})
    assert "PYTHONDONTWRITEBYTECODE" not in found
    assert "https_proxy" not in found
    assert "FMNIST_MIRRORS" not in found
    assert found["MORE"] == "1"
    assert missing(["import sys", "sh"]) == ""


def test_targets_are_met_at_their_bound_and_on_its_right_side() -> None:
    assert Target("", 0.5, at_most=0.5).met is True
    assert Target("", 0.6, at_most=0.5).met is False
    assert Target("", 15.0, at_least=15).met is True
    assert Target("", 14.9, at_least=15).met is False
    assert Target("", None, at_least=15).met is None


def test_a_table_is_written_as_markdown() -> None:
    done = Race(("ours", "theirs"), {"ours": runs(0.05, 0.05), "theirs": runs(0.1, 0.1)}, {})
    target = Target("beside theirs", done.ratio("ours", "theirs"), at_most=0.4)
    lines = report.markdown(Table(7, "Title", "Words.", done, "ours", (target,), ("A note.",), 10)).splitlines()
    assert lines[0] == "## 7. Title"
    assert "| ours | 50 ms |  | 50 ms .. 50 ms | 25 ms | 1 MB | 200 MB/s |" in lines
    assert "| theirs | 0.100 s | 0.5 x | 0.100 s .. 0.100 s | 50 ms | 1 MB | 100 MB/s |" in lines
    assert "| beside theirs | at most 0.4 x | 0.5 x | **no** |" in lines
    assert lines[-1] == "A note."


def test_the_reason_is_beside_a_bound_that_is_not_met_and_beside_no_other() -> None:
    done = Race((), {}, {})
    targets = [Target("beside theirs", value, at_most=1, reason="fsync") for value in (0.9, 1.1, None)]
    lines = report.markdown(Table(7, "Title", "Words.", done, "", tuple(targets))).splitlines()
    assert lines[-3:] == [
        "| beside theirs | at most 1 x | 0.9 x | yes |",
        "| beside theirs | at most 1 x | 1.1 x | **no**: fsync |",
        "| beside theirs | at most 1 x |  | not measured |",
    ]


def test_the_program_runs_on_what_the_benchmark_makes(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "nowhere", tmp_path / "work", quick=True)
    for served in (single(bench, 700_000, times=1), many(bench, 5, 1000)):
        done = race([ours(served, [str(served.folder)])], bench.work, rounds=1, warm=False)
        assert done.absent == {}
        listed = "\n".join(metalink(served.manifest, "http://mirror.invalid/"))
        assert all(piece.sha256 in listed for file in served.manifest.files for piece in file.pieces)


def test_wrong_bytes_fail_the_check(tmp_path: Path) -> None:
    served = single(Bench(tmp_path, tmp_path / "work", quick=True), 5000, times=1)
    name = served.manifest.files[0].name
    with pytest.raises(PeerError, match="left no"):
        right(served)(tmp_path / "work" / "papers")
    (served.folder / name).write_bytes(b"other")
    with pytest.raises(PeerError, match="SHA-256"):
        right(served)(served.folder)


def ranged(connection: http.client.HTTPConnection, start: int, stop: int) -> bytes:
    connection.request("GET", "/file", headers={"Range": f"bytes={start}-{stop - 1}"})
    answer = connection.getresponse()
    assert answer.status == 206
    return answer.read()


def test_a_mirror_answers_no_sooner_than_its_latency(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with capped(tmp_path, [10**9], "connection", 0.2) as [url]:
        connection = http.client.HTTPConnection(url.split("/")[2])
        began = time.monotonic()
        assert ranged(connection, 0, 4) == b"data"
        assert time.monotonic() - began >= 0.2
        connection.close()


def test_connections_to_a_mirror_that_is_capped_as_a_whole_share_its_rate(tmp_path: Path) -> None:
    data = bytes(range(250)) * 160
    (tmp_path / "file").write_bytes(data)
    with capped(tmp_path, [100_000], "mirror") as [url], ThreadPoolExecutor() as pool:
        connections = [http.client.HTTPConnection(url.split("/")[2]) for _ in range(4)]
        began = time.monotonic()
        spans = zip(connections, range(0, 40_000, 10_000), strict=True)
        parts = [pool.submit(ranged, connection, start, start + 10_000) for connection, start in spans]
        assert b"".join(part.result() for part in parts) == data
        seconds = time.monotonic() - began
        for connection in connections:
            connection.close()
    # A property of the bucket, not a speed: it cannot supply 40,000 bytes sooner.
    assert seconds >= 0.35


def test_a_bucket_keeps_no_more_than_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", waits.append)
    bucket = Bucket(1000)
    bucket.take(10)
    now[0] += 60
    bucket.take(10)
    bucket.take(10)
    assert waits == pytest.approx([0.01, 0.0, 0.01])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a root with all its files, which contain three images of noise."""
    layout = Layout(tmp_path / "root", FASHION)
    layout.raw.mkdir(parents=True)
    layout.processed.mkdir(parents=True)
    for path in [layout.tensors, *map(layout.published, FASHION.files), *map(layout.payload, FASHION.files)]:
        path.write_bytes(b"".join(materials.noise(b"head", 16 + 3 * 784)))
    return Bench(tmp_path / "root", tmp_path / "work", quick=True)


def test_a_large_gz_is_sound_and_unpacks_to_what_its_manifest_says(bench: Bench) -> None:
    served = packed(bench, 3)
    [file] = served.manifest.files
    payload = gzip.decompress((served.folder / file.name).read_bytes())
    assert len(payload) == file.payload.size == 16 + 9 * 784
    assert hashlib.sha256(payload).hexdigest() == file.payload.sha256
    done = race([ours(served, [str(served.folder)])], bench.work, rounds=1, warm=False)
    assert done.absent == {}


@contextmanager
def no_server(*_words: object, **_more: object) -> Iterator[str]:
    yield "http://mirror.invalid/"


@contextmanager
def no_line(*_words: object) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "http://mirror.invalid/", ("ip", "netns", "exec", "here")


@contextmanager
def no_mirrors(_served: Path, rates: Sequence[int], _each: str, _latency: float = 0.0) -> Iterator[list[str]]:
    yield ["http://mirror.invalid/"] * len(rates)


class EmptyRoom:
    """Machines that carry nothing but what is noted."""

    upstream = "http://mirror.invalid/"

    def __init__(self, machines: int) -> None:
        self.names = [f"machine-{number}" for number in range(machines)]
        self.carried = {room.LAN: [1_000_000, 3_000_000], room.URL: [2_000_000]}


@contextmanager
def no_switch(_served: Path, _megabits: int, machines: int) -> Iterator[EmptyRoom]:
    yield EmptyRoom(machines)


def pretend(peers: Sequence[Peer], work: Path, rounds: int, *, warm: bool = True) -> Race:
    """Return the result of a race without running anything; assert that its command lines could run."""
    assert work.parent.is_dir()
    assert (rounds, warm) == (1, False)
    for peer in peers:
        assert peer.argv[0] in (sys.executable, "sh", "ip") or peer.argv[0] in peer.needs
        for word in peer.argv:
            if word.startswith(str(SCRIPTS)):
                compile(Path(word).read_bytes(), word, "exec")
    assert len({peer.name for peer in peers}) == len(peers)
    return Race(tuple(peer.name for peer in peers), {peer.name: runs(1.5) for peer in peers}, {})


def pretend_stage(measured: clone.Measured, peer: Peer, folder: Path) -> None:
    assert folder.is_dir()
    assert peer.argv[0] in ("make", "sh")
    measured.runs.setdefault(peer.name, []).extend(runs(1.5))


def small(bench: Bench, size: int, times: int = 3) -> Served:
    return single(bench, min(size, MIB + 8), times)


def test_there_are_twelve_tables() -> None:
    assert list(MAKERS) == list(range(1, 13))


@pytest.mark.parametrize(
    ("number", "maker"),
    [pytest.param(number, it, id=f"{number}-{it.__name__}") for number in MAKERS for it in MAKERS[number]],
)
def test_every_table_compares_its_own_rows_with_its_targets(
    bench: Bench, number: int, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (network, roots, size, clone):
        monkeypatch.setattr(module, "nginx", no_server)
        monkeypatch.setattr(module, "single", small, raising=False)
    monkeypatch.setattr(roots, "own", no_server)
    monkeypatch.setattr(roots, "OPENSSL_RATE", 1.0)
    monkeypatch.setattr(network, "line", no_line)
    for module in (network, roots):
        monkeypatch.setattr(module, "capped", no_mirrors)
    monkeypatch.setattr(clone, "index", lambda bench: bench.work)
    monkeypatch.setattr(clone, "check_out", lambda folder, _commit: folder.mkdir(parents=True))
    monkeypatch.setattr(clone.Measured, "run", pretend_stage)
    monkeypatch.setattr(room, "switch", no_switch)
    monkeypatch.setattr(size, "SIZES", (1, 2, 3))
    monkeypatch.setattr(table_module, "race", pretend)
    table = maker(bench)
    text = report.markdown(table)
    assert text.startswith(f"## {number}. {table.title}")
    assert all(f"| {name} | 1.50 s |" in text for name in table.race.names)
    assert table.ours in (*table.race.names, "")
    assert table.targets
    assert "not measured" not in text
    assert all(target.words in report.summary([table]) for target in table.targets)


def test_growth_is_drawn(tmp_path: Path) -> None:
    names = [f"{number} MiB: {name}" for number in (1, 4, 16) for name in (OURS, CURL_SYNC)]
    done = Race(tuple(names), {name: runs(len(name)) for name in names}, {})
    size.plot(done, (1, 4, 16), tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_that_cannot_be_made_says_why_and_leaves_nothing(bench: Bench) -> None:
    def unable(bench: Bench) -> Table:
        (bench.work / "large").mkdir(parents=True)
        raise UnavailableError("a network namespace needs root")

    tables: list[Table] = []
    text = made(2, unable, bench.work, argparse.Namespace(root=bench.root, quick=True), tables)
    assert "Not measured here: a network namespace needs root." in text
    assert tables == []
    assert list(bench.work.iterdir()) == []


def test_the_head_describes_the_machine_without_its_name() -> None:
    text = head("load average 0.1 in the minute before", shape(Path.cwd()), quick=True)
    assert "cores" in text
    assert "numpy" in text
    assert "quick" in text
    assert platform.node() not in text
    assert str(Path.home()) not in text
