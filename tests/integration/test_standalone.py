"""The client of one file: it succeeds where a single connection can, and never accepts wrong bytes."""

from __future__ import annotations

import gzip
import hashlib
import http.client
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults import (
    KIB,
    MIB,
    AfterServed,
    CloseEach,
    CutAfter,
    Fault,
    First,
    HangUp,
    IgnoreRange,
    LoginPage,
    Mirror,
    OtherSpan,
    StallAfter,
    Status,
    payload,
)
from fmnist_fetch.download.standalone import client
from fmnist_fetch.download.standalone.client import Failure, Source, fetch

STEP = 64 * KIB
DATA = payload(MIB + 12_345)
SHA256 = hashlib.sha256(DATA).hexdigest()
PIECES = [hashlib.sha256(DATA[at : at + STEP]).hexdigest()[:12] for at in range(0, len(DATA), STEP)]
NAME = "thing-1.0+cpu.whl"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 6)
    monkeypatch.setattr(client, "TIMEOUT_S", 0.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / NAME


def get(path: Path, mirrors: Sequence[Mirror], *, pieces: Sequence[str] = ()) -> None:
    sources = [Source(mirror.url, NAME, len(DATA)) for mirror in mirrors]
    fetch(str(path), len(DATA), SHA256, sources, pieces=pieces, step=STEP if pieces else 0)


@pytest.mark.parametrize("pieces", [(), PIECES], ids=["whole", "pieces"])
@pytest.mark.parametrize(
    "fault",
    [CutAfter(64 * KIB), CutAfter(100_000, reset=True), CloseEach(), First(3, HangUp()), First(2, LoginPage()),
     First(2, Status(503)), First(1, StallAfter(70 * KIB))],
    ids=str,
)  # fmt: skip
def test_a_file_arrives_whole_and_almost_no_byte_of_it_twice(path: Path, fault: Fault, pieces: list[str]) -> None:
    with Mirror({NAME: DATA}, [fault]) as mirror:
        get(path, [mirror], pieces=pieces)
        assert path.read_bytes() == DATA
        assert mirror.served <= 1.05 * len(DATA)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("answer", [IgnoreRange(), OtherSpan(100, 100), Status(416), Status(400), Status(501)], ids=str)
def test_a_server_that_answers_ranges_wrongly_is_asked_for_the_whole(path: Path, answer: Fault) -> None:
    path.parent.mkdir()
    path.with_name(NAME + ".part").write_bytes(DATA[:STEP])
    with Mirror({NAME: DATA}, [First(1, answer)]) as mirror:
        get(path, [mirror])
        assert "range" not in mirror.journal[-1].headers or isinstance(answer, IgnoreRange)
    assert path.read_bytes() == DATA


def test_what_is_on_the_disk_is_not_requested_again(path: Path) -> None:
    path.parent.mkdir()
    path.with_name(NAME + ".part").write_bytes(DATA[:700_000])
    with Mirror({NAME: DATA}) as mirror:
        get(path, [mirror])
        assert [line.span for line in mirror.journal] == [(700_000, len(DATA))]
        get(path, [mirror])
        assert len(mirror.journal) == 1
    assert path.read_bytes() == DATA


def test_a_wrong_beginning_left_by_an_earlier_run_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    path.with_name(NAME + ".part").write_bytes(bytes(500_000))
    with Mirror({NAME: DATA}) as mirror:
        get(path, [mirror])
    assert path.read_bytes() == DATA


def test_a_dead_mirror_costs_one_attempt(path: Path) -> None:
    with Mirror({}) as empty, Mirror({NAME: DATA}) as mirror:
        urls = ["http://127.0.0.1:9/", empty.url, mirror.url + NAME.replace("+", "%2B")]
        fetch(str(path), len(DATA), SHA256, [Source(url, NAME, len(DATA)) for url in urls])
        assert len(empty.journal) == 1
    assert path.read_bytes() == DATA


def test_a_forged_piece_with_the_right_beginning_of_its_digest_is_downloaded_again(path: Path) -> None:
    short = [PIECES[0][:2], *PIECES[1:]]
    others = (b"%08d" % number + DATA[8:STEP] for number in range(100_000))
    forged = next(piece for piece in others if hashlib.sha256(piece).hexdigest().startswith(short[0]))
    with Mirror({NAME: forged + DATA[STEP:]}) as mirror, pytest.raises(Failure, match="wrong SHA-256") as failure:
        get(path, [mirror], pieces=short)
    assert failure.value.exit_code == 3
    assert not path.exists()
    with Mirror({NAME: DATA}) as mirror:
        get(path, [mirror], pieces=short)
    assert path.read_bytes() == DATA


def test_a_network_that_stays_away_ends_in_two_lines_and_keeps_what_came(path: Path) -> None:
    with Mirror({NAME: DATA}, [CutAfter(64 * KIB)]) as mirror:
        mirror.faults.append(AfterServed(64 * KIB, Status(503)))
        with pytest.raises(Failure, match="could not download") as failure:
            get(path, [mirror])
    assert failure.value.exit_code == 4
    assert path.with_name(NAME + ".part").stat().st_size >= 64 * KIB


def test_it_unpacks_and_returns_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress(DATA, mtime=0)
    sha256 = hashlib.sha256(packed).hexdigest()
    row = ("thing.gz", len(packed), sha256, len(packed), sha256[:12], len(DATA), SHA256)
    with Mirror({"thing.gz": packed}) as mirror:
        assert client.main(str(tmp_path), [mirror.url], [row]) == 0
    assert (tmp_path / "thing").read_bytes() == DATA
    assert client.main(str(tmp_path), [], [("absent", *row[1:])]) == 4
    assert capsys.readouterr().err.strip().startswith("error: could not download absent")


def test_what_a_server_says_can_not_write_to_the_terminal() -> None:
    source = Source("http://mirror.invalid/", NAME, 10)
    source.fail(http.client.BadStatusLine("\x1b]0;title\x07\u202e\nhint: delete everything" + "x" * 5000))
    assert source.error.isprintable()
    assert len(source.error) <= 200
