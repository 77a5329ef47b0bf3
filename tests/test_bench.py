"""`make bench`: that it measures whole processes, by turns, checks what they left, and says what it could not do."""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.bucket import Bucket
from benchmarks.materials import many, metalink, single
from benchmarks.measure import Peer, PeerError, Race, Run, clean_environment, measure, missing, race, turns
from benchmarks.peers import ours, right
from benchmarks.servers import capped
from benchmarks.table import Bench, Table, Target

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
    text = report.markdown(
        Table(1, "Title", "Words.", done, "a", (Target("beside", done.ratio("a", "wrong"), at_most=1),))
    )
    assert "no such mirror" in text
    assert "not measured" in text


def test_every_run_begins_in_an_empty_folder_and_leaves_nothing(tmp_path: Path) -> None:
    program = "import os; assert os.listdir() == []; open('left', 'w')"
    done = race([python("a", program)], tmp_path, rounds=3, warm=False)
    assert len(done.runs["a"]) == 3
    assert not (tmp_path / "out").exists()


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


def test_a_bucket_gives_no_request_a_free_start(tmp_path: Path) -> None:
    data = bytes(range(250)) * 160
    (tmp_path / "file").write_bytes(data)
    with capped(tmp_path, [100_000]) as [url]:
        connection = http.client.HTTPConnection(url.split("/")[2])
        began = time.monotonic()
        got = b""
        for start in range(0, len(data), 10_000):
            connection.request("GET", "/file", headers={"Range": f"bytes={start}-{start + 9_999}"})
            answer = connection.getresponse()
            assert answer.status == 206
            got += answer.read()
        seconds = time.monotonic() - began
        connection.close()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    # A law of the bucket, and no speed: it can't give 40,000 bytes sooner.
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
