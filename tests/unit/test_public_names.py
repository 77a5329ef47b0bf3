"""The public names, loaded when they are first used; and `fetch` and `verify`, the functions for Python."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

import fmnist_fetch
from faults import Mirror
from fmnist_fetch.errors import FetchError, UsageError
from fmnist_fetch.events import silent
from fmnist_fetch.sources.base import FetchOptions
from samples import HOME_OF_PACKAGE, Sample, disk_of, lay, python

PUBLIC = {
    "Attempted",
    "BytesInFlight",
    "DatasetStatus",
    "DiskError",
    "DownloadEnded",
    "DownloadStarted",
    "FetchError",
    "FormatError",
    "IntegrityError",
    "ManifestError",
    "Message",
    "NoSourceReady",
    "Note",
    "Report",
    "SourceError",
    "Split",
    "Unpacked",
    "UsageError",
    "Verified",
    "__version__",
    "fetch",
    "load",
    "verify",
}


def test_the_public_names_are_those_of_the_contract() -> None:
    assert set(fmnist_fetch.__all__) >= PUBLIC
    assert set(dir(fmnist_fetch)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_the_second_time_too(name: str) -> None:
    value = getattr(fmnist_fetch, name)
    assert getattr(fmnist_fetch, name) is value
    assert callable(value) or name == "__version__"


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fmnist_fetch' has no attribute 'fetsch'"):
        _ = fmnist_fetch.fetsch


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, fmnist_fetch\nprint(sorted(name for name in sys.modules if name.startswith('fmnist_fetch')))\n"
    code += "print({'requests', 'numpy', 'tqdm', 'urllib3', 'safetensors'} & sys.modules.keys())"
    done = python(code)
    assert done.stdout.splitlines() == ["['fmnist_fetch']", "set()"], done.stderr


def test_a_public_function_stays_callable_when_all_modules_were_imported() -> None:
    # A module with a function's name would take its place in the package.
    code = "import fmnist_fetch, pkgutil, importlib\n"
    code += "for module in pkgutil.walk_packages(fmnist_fetch.__path__, 'fmnist_fetch.'):\n"
    code += "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
    code += "print(callable(fmnist_fetch.fetch), callable(fmnist_fetch.load))"
    assert python(code).stdout == "True True\n"


def test_the_package_says_that_it_is_typed() -> None:
    assert (HOME_OF_PACKAGE / "fmnist_fetch" / "py.typed").exists()


def test_fetch_completes_the_dataset_and_load_reads_it(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick, manifest = lay(tmp_path / "stick", sample.files), sample.write(tmp_path)
    report = fmnist_fetch.fetch(manifest, root, mirrors=[str(stick)], offline=True, progress=lambda _: None)
    assert isinstance(report, fmnist_fetch.Report)
    assert report.received == {str(stick): sample.size}
    split = fmnist_fetch.load(manifest, "test", root)
    assert isinstance(split, fmnist_fetch.Split)
    assert split.images.shape == (20, 16, 16)


def test_fetch_without_a_listener_shows_progress_on_stderr_only(
    sample: Sample, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stick = lay(tmp_path / "stick", sample.files)
    fmnist_fetch.fetch(sample.write(tmp_path), str(root), mirrors=[str(stick)])
    out, err = capsys.readouterr()
    assert out == ""
    assert "4 files, 20.7 kB to fetch" in err


def test_every_failure_of_fetch_is_a_fetch_error(sample: Sample, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        fmnist_fetch.fetch("nothing", root)
    with pytest.raises(FetchError):
        fmnist_fetch.fetch(sample.write(tmp_path), root, offline=True)
    assert disk_of(root) == {}


def test_one_mirror_and_one_tool_may_be_strings_or_paths(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick, manifest = lay(tmp_path / "stick", sample.files), sample.write(tmp_path)
    ways: list[Any] = [str(stick), stick, [stick], (str(stick),)]
    for number, mirrors in enumerate(ways):
        report = fmnist_fetch.fetch(manifest, root / str(number), mirrors=mirrors, only_mirrors=True, progress=silent)
        assert report.received == {str(stick): sample.size}
    with pytest.raises(UsageError, match="there is no tool 'keas' to share with"):
        fmnist_fetch.fetch(manifest, root, also="keas", offline=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs": 0},
        {"jobs": 65},
        {"jobs": True},
        {"patience": -1},
        {"patience": float("nan")},
        {"limit_rate": 0},
        {"root": "$HOME/data"},
    ],
    ids=str,
)
def test_a_value_that_can_not_be_meant_is_a_usage_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fmnist_fetch.fetch(**wrong)
    assert list(Path.cwd().iterdir()) == []


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
    )
    assert seen == [FetchOptions(("http://a/",), True, False, 2, math.inf, 5e5)]


def test_fetch_obeys_the_offline_of_the_environment_unless_it_is_told_otherwise(
    sample: Sample, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = sample.write(tmp_path)
    with Mirror(sample.files) as mirror:
        monkeypatch.setenv("FMNIST_OFFLINE", "true")
        with pytest.raises(FetchError):
            fmnist_fetch.fetch(manifest, root, mirrors=mirror.url, progress=silent)
        assert mirror.served == 0
        fmnist_fetch.fetch(manifest, root, mirrors=mirror.url, offline=False, progress=silent)
        assert mirror.served == sample.size


def test_fetch_writes_the_log_of_attempts(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick, log = lay(tmp_path / "stick", sample.files), tmp_path / "log"
    fmnist_fetch.fetch(sample.write(tmp_path), root, mirrors=stick, log=log, progress=silent)
    assert sum(json.loads(line)["bytes"] for line in log.read_text().splitlines()) == sample.size


def test_verify_returns_the_states_and_changes_nothing(sample: Sample, root: Path, tmp_path: Path) -> None:
    manifest = sample.write(tmp_path)
    assert not fmnist_fetch.verify(manifest, root).complete
    assert not root.exists()
    sample.fetch(root, str(lay(tmp_path / "stick", sample.files)))
    before = disk_of(root)
    status = fmnist_fetch.verify(manifest, root)
    assert isinstance(status, fmnist_fetch.DatasetStatus)
    assert status.complete
    assert {str(entry.payload) for entry in status.files} == {"good"}
    assert disk_of(root) == before


class Logger:
    """What programs put in the place of sys.stderr: neither isatty nor flush nor fileno."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


@pytest.mark.parametrize("stream", [Logger(), None])
def test_stderr_may_be_replaced_by_anything_that_writes_or_by_nothing(
    stream: Logger | None, sample: Sample, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    stick = lay(tmp_path / "stick", sample.files)
    assert fmnist_fetch.fetch(sample.write(tmp_path), root, mirrors=stick).tensors.exists()
    if stream:
        assert "4 files, 20.7 kB to fetch\n" in stream.text


def test_an_exception_that_nobody_expected_is_a_fetch_error_with_its_cause(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("fmnist_fetch.api.prepare", fail)
    with pytest.raises(FetchError) as caught:
        fmnist_fetch.fetch(sample.write(tmp_path))
    assert str(caught.value) == f"this system allows no more threads\nhint: {caught.value.hint}"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_fetch_works_in_another_thread_and_in_asyncio(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick, manifest = lay(tmp_path / "stick", sample.files), sample.write(tmp_path)
    report = asyncio.run(asyncio.to_thread(fmnist_fetch.fetch, manifest, root, mirrors=stick, progress=silent))
    assert report.tensors.exists()
