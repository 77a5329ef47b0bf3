"""The wheels of a kit: exactly those of the lock for the machine of the kit."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("packaging.pylock", reason="packaging 26.1 is not installed: run make kit first")

from faults import KIB, CutAfter, Mirror, payload
from fmnist_fetch.commands.kit.wheels import Target, fetch_wheels, select_wheels
from fmnist_fetch.environment.lock import Lock
from fmnist_fetch.errors import SourceError, UsageError
from fmnist_fetch.events import silent
from index import index_files
from samples import PROJECT_FOLDER
from wheels import make_wheel

HERE = Target.parse(None, None)
LOCK = Lock.read(PROJECT_FOLDER / "pylock.toml")
MADE = [make_wheel("alpha"), make_wheel("beta", ballast=payload(600 * KIB, seed=1))]


@pytest.mark.parametrize(
    ("python", "platform", "torch"),
    [
        ("3.13", "win_amd64", "torch-2.13.0+cpu-cp313-cp313-win_amd64.whl"),
        ("3.12", "manylinux_2_28_aarch64", "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_aarch64.whl"),
        ("3.11", "manylinux_2_35_x86_64", "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("3.14", "macosx_15_0_arm64", "torch-2.13.0-cp314-cp314-macosx_14_0_arm64.whl"),
    ],
)
def test_another_machine_gets_its_own_wheels(python: str, platform: str, torch: str) -> None:
    found = select_wheels(LOCK, Target.parse(python, platform))
    assert [wheel.name for wheel in found if wheel.package == "torch"] == [torch]
    tag = f"cp{python.replace('.', '')}"
    assert all(tag in wheel.name or "abi3" in wheel.name or "none" in wheel.name for wheel in found)
    assert ("colorama" in {wheel.package for wheel in found}) == (platform == "win_amd64")


def test_this_machine_gets_what_its_own_set_up_gets() -> None:
    assert select_wheels(LOCK, HERE) == LOCK.select("test")


@pytest.mark.parametrize("platform", ["manylinux_2_5_x86_64", "musllinux_1_2_x86_64", "macosx_12_0_arm64"])
def test_a_machine_that_the_lock_is_not_for_is_a_usage_error(platform: str) -> None:
    with pytest.raises(UsageError, match=f"no wheels for Python 3.12 on {platform}") as caught:
        select_wheels(LOCK, Target.parse("3.12", platform))
    assert "CPython 3.11 to 3.14" in caught.value.hint


def test_missing_wheels_are_downloaded_and_present_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    folder, wheels = tmp_path / "a" / "wheels", [made.wheel for made in MADE]
    with Mirror(index_files({made.wheel.name: made.content for made in MADE}), [CutAfter(64 * KIB)]) as mirror:
        monkeypatch.setenv("PIP_INDEX_URL", mirror.url + "simple/")
        paths = fetch_wheels(wheels, folder, tmp_path / "a", silent)
        assert [path.read_bytes() for path in paths] == [made.content for made in MADE]
        asked = len(mirror.journal)
        assert fetch_wheels(wheels, folder, tmp_path / "a", silent) == paths
        assert len(mirror.journal) == asked
        paths[1].write_bytes(b"PK damaged")
        fetch_wheels(wheels, folder, tmp_path / "a", silent)
        assert {line.name for line in mirror.journal[asked:]} == {"files/" + wheels[1].name}
    assert [path.read_bytes() for path in paths] == [made.content for made in MADE]


def test_a_wheel_that_no_source_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with Mirror({}) as mirror:
        monkeypatch.setenv("PIP_INDEX_URL", mirror.url + "simple/")
        with pytest.raises(SourceError) as caught:
            fetch_wheels([MADE[0].wheel], tmp_path / "a" / "wheels", tmp_path / "a", silent)
        # kit has no option --mirror.
        assert "FMNIST_MIRRORS=" in caught.value.hint
        assert "--mirror" not in caught.value.hint


@pytest.mark.parametrize(("python", "platform"), [("2.7", None), ("3", None), ("3.11.2", None), (None, "linux")])
def test_a_machine_that_is_none_is_a_usage_error(python: str | None, platform: str | None) -> None:
    with pytest.raises(UsageError):
        Target.parse(python, platform)


def test_a_machine_is_described() -> None:
    assert Target.parse("3.12", "macosx_14_0_arm64").description == "Python 3.12 on macosx_14_0_arm64"
    assert Target.parse("3.12", "macosx_14_0_arm64").machine == "arm64"
