"""The Python API: its arguments, and the places in which it works."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import threading
from pathlib import Path

import pytest

import fmnist_fetch
from fmnist_fetch.errors import FetchError, SourceError, UsageError
from fmnist_fetch.events import silent
from fmnist_fetch.sources.base import FetchOptions
from processes import python
from samples import Sample, disk_of, fill, flipped


@pytest.fixture
def manifest(sample: Sample, tmp_path: Path) -> str:
    return sample.write(tmp_path)


def test_one_mirror_may_be_a_string_or_a_path(sample: Sample, manifest: str, stick: str, tmp_path: Path) -> None:
    each: list[str | Path | list[str] | tuple[Path]] = [stick, Path(stick), [stick], (Path(stick),)]
    for number, mirrors in enumerate(each):
        report = fmnist_fetch.fetch(
            manifest, tmp_path / str(number), mirrors=mirrors, only_mirrors=True, jobs=1, patience=5
        )
        assert isinstance(report, fmnist_fetch.Report)
        assert report.received == {stick: sample.size}


def test_fmnist_offline_applies_unless_offline_is_given(
    manifest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_OFFLINE", "true")
    url, root = "http://127.0.0.1:9/", tmp_path / "root"
    with pytest.raises(SourceError) as caught:
        fmnist_fetch.fetch(manifest, root, mirrors=url, patience=0)
    assert "127.0.0.1" not in caught.value.message
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        fmnist_fetch.fetch(manifest, root, mirrors=url, only_mirrors=True, offline=False, patience=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs": 0},
        {"jobs": 65},
        {"jobs": True},
        {"patience": -1.0},
        {"patience": math.nan},
        {"patience": "5"},
        {"patience": 10**400},
        {"limit_rate": 0.0},
        {"limit_rate": "500k"},
        {"jobs": 2.0},
        {"also": "abacus"},
        {"also": 5},
        {"mirrors": [None]},
        {"log": ""},
        {"root": "$HOME/data"},
        {"root": 5},
        {"root": "a\0b"},
    ],
)
def test_a_number_or_a_name_that_means_nothing_is_a_usage_error(
    wrong: dict[str, object], manifest: str, root: Path
) -> None:
    with pytest.raises(UsageError):
        fmnist_fetch.fetch(manifest, **{"root": root, **wrong})  # type: ignore[arg-type]
    assert not root.exists()


def test_verify_gives_the_condition_of_each_file_and_changes_nothing(manifest: str, stick: str, root: Path) -> None:
    absent = fmnist_fetch.verify(manifest, root)
    assert (absent.complete, str(absent.tensors)) == (False, "absent")
    fmnist_fetch.fetch(manifest, root, mirrors=stick)
    assert fmnist_fetch.verify(manifest, root).complete
    before = disk_of(root)
    (damaged,) = root.rglob("train-images-idx")
    damaged.write_bytes(flipped(damaged.read_bytes(), 100))
    found = fmnist_fetch.verify(manifest, root)
    assert [str(file.payload) for file in found.files].count("damaged") == 1
    assert not found.complete
    assert disk_of(root).keys() == before.keys()


def test_a_file_of_which_a_part_is_there_is_partial_for_verify_and_list(
    sample: Sample, manifest: str, root: Path
) -> None:
    file, layout = sample.file(), sample.layout(root)
    part = fill(layout.raw, {f"{file.name}.part": sample.files[file.name][:5000]})
    status = fmnist_fetch.verify(manifest, root)
    assert [str(entry.published) for entry in status.files] == ["partial", "absent", "absent", "absent"]
    assert status.files[0].good.indices == set(range(5))
    assert status.files[0].wants_source
    assert [path.name for path in part.iterdir()] == [f"{file.name}.part"]


class Logger:
    """An object in place of stderr that has a method write and nothing else."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def test_fetch_shows_progress_on_stderr_only_which_may_be_absent_or_a_logger(
    manifest: str, stick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    fmnist_fetch.fetch(manifest, tmp_path / "one", mirrors=stick)
    logger = Logger()
    monkeypatch.setattr(sys, "stderr", logger)
    fmnist_fetch.fetch(manifest, tmp_path / "two", mirrors=stick)
    assert "to fetch" in logger.text
    assert "\x1b" not in logger.text
    assert capsys.readouterr().out == ""


def test_fetch_and_load_work_in_threads_and_in_a_loop(manifest: str, stick: str, tmp_path: Path) -> None:
    lengths: list[int] = []

    def work(number: int) -> None:
        fmnist_fetch.fetch(manifest, tmp_path / str(number % 2), mirrors=stick, progress=lambda _: None)
        lengths.append(len(fmnist_fetch.load(manifest, "train", tmp_path / str(number % 2))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(asyncio.to_thread(work, 5))
    assert lengths == [60] * 5


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")  # of Python 3.12 on: that a process with threads forks
import fmnist_fetch
manifest, stick, root = sys.argv[1:]
fmnist_fetch.fetch(manifest, root + "-parent", mirrors=stick)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
fmnist_fetch.fetch(manifest, root, mirrors=stick)
os._exit(0 if len(fmnist_fetch.load(manifest, "test", root)) == 20 else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_fetch_and_load_work_after_fork(manifest: str, stick: str, root: Path) -> None:
    done = python(FORKED, manifest, stick, str(root))
    assert done.returncode == 0, done.stderr


def test_an_error_says_what_to_do_in_a_traceback_too(root: Path) -> None:
    done = python(f"import fmnist_fetch; fmnist_fetch.load(root={str(root)!r})")
    assert done.returncode == 1
    last, hint = done.stderr.splitlines()[-2:]
    assert last.startswith("fmnist_fetch.errors.FetchError: ")
    assert hint == f"hint: Run: fmnist-fetch fetch --root {root}"


def test_the_choices_of_a_call_reach_the_engine(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[FetchOptions] = []
    monkeypatch.setattr("fmnist_fetch.api.prepare", lambda _layout, options, **_: seen.append(options))
    fmnist_fetch.fetch(
        sample.write(tmp_path),
        mirrors="http://a/",
        only_mirrors=True,
        offline=False,
        jobs=2,
        patience=math.inf,
        limit_rate=5e5,
        lan=True,
    )
    assert seen == [FetchOptions(("http://a/",), True, False, 2, math.inf, 5e5, True)]


def test_fetch_writes_the_log_of_attempts(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick, log = fill(tmp_path / "stick", sample.files), tmp_path / "log"
    fmnist_fetch.fetch(sample.write(tmp_path), root, mirrors=stick, log=log, progress=silent)
    assert sum(json.loads(line)["bytes"] for line in log.read_text().splitlines()) == sample.size


def test_an_unexpected_exception_is_a_fetch_error_with_its_cause(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("fmnist_fetch.api.prepare", fail)
    with pytest.raises(FetchError) as caught:
        fmnist_fetch.fetch(sample.write(tmp_path))
    assert str(caught.value) == f"this system allows no more threads\nhint: {caught.value.hint}"
    assert isinstance(caught.value.__cause__, RuntimeError)
