"""Which wheels a machine needs, and how pip brings them: from wheels made by hand, on a server of the test's own."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("packaging", reason="packaging is not installed: run make kit first")

from faults import CutAfter, Mirror
from faults import payload as noise
from fmnist_fetch.commands.kit.target import Target
from fmnist_fetch.commands.kit.wheels import Store, choose
from fmnist_fetch.errors import SourceError, UsageError
from fmnist_fetch.events import Event, Message
from samples import disk_of, lay

if tuple(map(int, version("pip").split(".")[:2])) < (25, 1):
    pytest.skip("this pip can't take up a broken download: run make kit first", allow_module_level=True)

HERE = Target.parse(None, None)
KIB = 1024


def wheel(name: str, *requires: str, tag: str = "py3-none-any", size: int = 100) -> dict[str, bytes]:
    """A wheel that installs one file of SIZE bytes and needs what it REQUIRES."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n" + "".join(f"Requires-Dist: {r}\n" for r in requires)
    folder = f"{name}-1.dist-info"
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr(f"{name}.bin", noise(size, 1))
        archive.writestr(f"{folder}/METADATA", about)
        archive.writestr(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{folder}/RECORD", "")
    return {f"{name}-1-{tag}.whl": stored.getvalue()}


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A server that offers wheels; pip asks it and nobody else."""
    files = {
        **wheel("alpha", "beta", "gamma; python_version >= '3.98'", "delta; sys_platform == 'win32'"),
        **wheel("beta", size=600 * KIB),
        **wheel("gamma"),
        **wheel("delta"),
        **wheel("compiled", tag=f"cp{HERE.python.replace('.', '')}-abi3-manylinux_2_17_x86_64"),
        **wheel("torch", "beta", "gamma; extra == 'more'"),
        **wheel("heavy", "nvidia_cublas"),
        **wheel("nvidia_cublas"),
    }
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with Mirror(files) as mirror:
        links = "".join(
            f'<a href="{mirror.url}{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>\n'
            for name, data in files.items()
        )
        page = lay(tmp_path / "offer", {"links.html": f"<!doctype html>\n{links}".encode()}) / "links.html"
        monkeypatch.setenv("PIP_FIND_LINKS", str(page))
        yield mirror


def store(folder: Path, events: list[Event] | None = None, target: Target = HERE) -> Store:
    return Store(folder, target, (events if events is not None else []).append)


def names(paths: list[Path]) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in paths)


def test_what_is_needed_is_brought_and_what_is_there_is_not_brought_twice(offer: Mirror, tmp_path: Path) -> None:
    folder, events = tmp_path / "wheels", list[Event]()
    found = store(folder, events).bring(["alpha"])
    assert names(found) == ["alpha", "beta"]
    assert all(path.read_bytes() == offer.files[path.name] for path in found)
    told = [event.sentence for event in events if isinstance(event, Message)]
    assert [sentence for sentence in told if sentence.startswith("wheel ")] == [
        "wheel 1 of 2: alpha-1-py3-none-any.whl",
        "wheel 2 of 2: beta-1-py3-none-any.whl",
    ]
    before, asked = disk_of(folder), len(offer.journal)
    assert store(folder).bring(["alpha"]) == found
    assert disk_of(folder) == before
    assert len(offer.journal) == asked


def test_a_wheel_that_was_damaged_since_is_brought_again_and_only_that(offer: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    found = store(folder).bring(["alpha"])
    found[0].write_bytes(b"PK damaged")
    asked = len(offer.journal)
    store(folder).bring(["alpha"])
    assert {exchange.name for exchange in offer.journal[asked:]} == {found[0].name}
    assert all(path.read_bytes() == offer.files[path.name] for path in found)


def test_pip_takes_up_a_broken_download_where_it_ended(offer: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    store(folder).bring(["beta"])
    (path,) = folder.glob("beta*")
    path.unlink()
    # The second run knows what it wants; each of its connections breaks off.
    offer.faults, asked = [CutAfter(250 * KIB)], len(offer.journal)
    store(folder).bring(["beta"])
    spans = [exchange.span for exchange in offer.journal[asked:] if exchange.method == "GET"]
    assert path.read_bytes() == offer.files[path.name]
    starts = [span.start for span in spans if span is not None]
    assert len(starts) >= 2
    assert starts == sorted(set(starts))


def test_what_can_not_be_brought_is_named_and_what_came_is_kept(offer: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    found = store(folder).bring(["alpha"])
    found[1].unlink()
    offer.faults = []
    del offer.files[found[1].name]
    with pytest.raises(SourceError, match=r"could not bring beta-1-py3-none-any\.whl") as caught:
        store(folder).bring(["alpha"])
    assert "the wheels that are here are kept" in caught.value.hint
    assert found[0].read_bytes() == offer.files[found[0].name]
    assert not found[1].exists()


@pytest.mark.usefixtures("offer")
def test_what_only_the_other_machine_asks_for_is_brought_too() -> None:
    newer = choose(["alpha"], Target.parse("3.99", None))
    windows = choose(["alpha", "beta; sys_platform == 'linux'"], Target.parse(None, "win_amd64"))
    assert sorted(wheel.name[:5] for wheel in newer) == ["alpha", "beta-", "gamma"]
    assert sorted(wheel.name[:5] for wheel in windows) == ["alpha", "beta-", "delta"]


@pytest.mark.usefixtures("offer")
def test_a_platform_takes_wheels_for_older_ones_and_not_for_others() -> None:
    (found,) = choose(["compiled"], Target.parse(HERE.python, "manylinux_2_28_x86_64"))
    assert found.name.startswith("compiled-1-")
    for platform in ("manylinux_2_12_x86_64", "manylinux_2_28_aarch64"):
        with pytest.raises(SourceError, match="could not find wheels") as caught:
            choose(["compiled"], Target.parse(HERE.python, platform))
        assert "compiled" in caught.value.message


@pytest.mark.usefixtures("offer")
def test_torch_is_chosen_by_itself_with_all_that_it_needs() -> None:
    found = choose(["torch>=1"], HERE)
    assert sorted(wheel.name.partition("-")[0] for wheel in found) == ["beta", "torch"]


@pytest.mark.usefixtures("offer")
def test_gigabytes_of_cuda_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="only with CUDA"):
        store(tmp_path / "wheels").bring(["heavy"])
    assert not list(tmp_path.glob("wheels/*"))


@pytest.mark.parametrize(("python", "platform"), [("2.7", None), ("3", None), ("3.11.2", None), (None, "linux")])
def test_a_machine_that_is_none_is_a_usage_error(python: str | None, platform: str | None) -> None:
    with pytest.raises(UsageError):
        Target.parse(python, platform)


def test_pip_is_told_of_the_platform_and_of_the_older_ones_that_run_there() -> None:
    flags = Target.parse("3.12", "manylinux_2_18_aarch64").flags()
    tags = ["manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert (flags[:6:2], flags[1:6:2]) == (["--platform"] * 3, tags)
    assert flags[-4:] == ["--python-version", "3.12", "--implementation", "cp"]
    assert HERE.flags() == []
    assert Target.parse("3.12", "macosx_14_0_arm64").words == "Python 3.12 on macosx_14_0_arm64"
    assert Target.parse("3.12", "macosx_14_0_arm64").machine == "arm64"
