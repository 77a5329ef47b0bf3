"""pylock.toml contains what pyproject.toml requires, for every supported machine, and names no host."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

from fmnist_fetch.environment.lock import DEFAULT_GROUPS, GROUPS, Lock
from fmnist_fetch.environment.store import TORCH
from samples import PROJECT_FOLDER

PATH = PROJECT_FOLDER / "pylock.toml"
TABLE = tomllib.loads(PATH.read_text(encoding="utf-8"))
METADATA: dict[str, Any] = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = (11, 12, 13, 14)
SYSTEMS = {
    "Linux x86_64": ("linux", "posix", "Linux", "x86_64", ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64"]),
    "Linux aarch64": ("linux", "posix", "Linux", "aarch64", ["manylinux_2_28_aarch64", "manylinux_2_17_aarch64"]),
    "macOS arm64": ("darwin", "posix", "Darwin", "arm64", [*mac_platforms((14, 0), "arm64")]),
    "Windows": ("win32", "nt", "Windows", "AMD64", ["win_amd64"]),
}
MUSL = ("linux", "posix", "Linux", "x86_64", ["musllinux_1_2_x86_64"])


def markers(python: int, system: tuple[str, str, str, str, list[str]]) -> dict[str, str]:
    keys = ("sys_platform", "os_name", "platform_system", "platform_machine")
    version = {"python_version": f"3.{python}", "python_full_version": f"3.{python}.0"}
    return version | dict(zip(keys, system[:4], strict=True))


def tags(python: int, platforms: Sequence[str]) -> list[Tag]:
    version = (3, python)
    own = cpython_tags(version, platforms=platforms)
    return [*own, *compatible_tags(version, interpreter=f"cp3{python}", platforms=platforms)]


@pytest.fixture(scope="module")
def lock() -> Lock:
    return Lock.read(PATH)


@pytest.mark.parametrize("group", [group for group in GROUPS if group])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_set_up_has_its_wheels_on_every_machine(lock: Lock, python: int, system: str, group: str) -> None:
    here = SYSTEMS[system]
    chosen = lock.select(group, markers(python, here), tags(python, here[4]))
    names = [wheel.package for wheel in chosen]
    assert len(names) == len(set(names))
    assert set(wanted(group, markers(python, here))) <= set(names)
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]
    assert {wheel.name for wheel in lock.select("", markers(python, here), tags(python, here[4]))} < {
        wheel.name for wheel in chosen
    }


def wanted(group: str, environment: dict[str, str]) -> list[str]:
    """Return the direct requirements of GROUP in pyproject.toml."""
    extras = METADATA["optional-dependencies"]
    texts = [*METADATA["dependencies"], *(text for extra in GROUPS[group] for text in extras[extra])]
    found = [Requirement(text) for text in texts if not text.startswith(METADATA["name"])]
    return [canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate(environment)]


@pytest.mark.parametrize("python", PYTHONS)
def test_data_can_be_fetched_on_musl_where_torch_has_no_wheel(lock: Lock, python: int) -> None:
    assert lock.select("data", markers(python, MUSL), tags(python, MUSL[4]))
    with pytest.raises(LookupError, match="torch"):
        lock.select("train", markers(python, MUSL), tags(python, MUSL[4]))


def test_every_requirement_of_the_project_is_met_by_the_locked_version() -> None:
    versions: dict[str, list[str]] = {}
    for row in TABLE["packages"]:
        versions.setdefault(row["name"], []).append(row["version"])
    for text in (
        *METADATA["dependencies"],
        *(text for texts in METADATA["optional-dependencies"].values() for text in texts),
    ):
        requirement = Requirement(text)
        if requirement.name != METADATA["name"]:
            assert all(
                requirement.specifier.contains(version) for version in versions[canonicalize_name(requirement.name)]
            )


def test_it_names_no_host_and_every_wheel_has_a_digest() -> None:
    assert "://" not in PATH.read_text(encoding="utf-8")
    for row in TABLE["packages"]:
        for wheel in row["wheels"]:
            assert re.fullmatch(r"wheels/[\w.+-]+\.whl", wheel["path"])
            assert re.fullmatch(r"[0-9a-f]{64}", wheel["hashes"]["sha256"])
            assert row["name"] == "torch" or wheel["size"] > 0
            name, version, _, _ = parse_wheel_filename(wheel["path"].rpartition("/")[2])
            assert (name, str(version)) == (row["name"], row["version"])


def test_its_torch_is_the_one_of_the_table() -> None:
    table = tomllib.loads(TORCH.read_text(encoding="utf-8"))["wheels"]
    rows = {
        wheel["path"].rpartition("/")[2]: wheel["hashes"]["sha256"]
        for row in TABLE["packages"]
        if row["name"] == "torch"
        for wheel in row["wheels"]
    }
    assert rows == {name: row["sha256"] for name, row in table.items()}


def test_pip_and_uv_take_what_data_and_training_need_where_no_group_is_named() -> None:
    assert tuple(TABLE["default-groups"]) == DEFAULT_GROUPS
    assert TABLE["dependency-groups"] == [group for group in GROUPS if group]


def test_the_tools_that_select_and_install_are_the_same_wheel_everywhere(lock: Lock) -> None:
    assert lock.tool("packaging").name.endswith("-py3-none-any.whl")
    assert lock.tool("installer").name.endswith("-py3-none-any.whl")
