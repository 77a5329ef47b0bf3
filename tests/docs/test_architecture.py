"""docs/architecture.md names modules that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from samples import PROJECT_FOLDER

PAGE = (PROJECT_FOLDER / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = {path.name: path for path in (PROJECT_FOLDER / "fmnist_fetch").iterdir() if path.is_dir()}


def modules() -> list[Path]:
    """Return the paths that the page names in code, such as `sources/http` and `storage.atomic`."""
    names = re.findall(r"`((?:" + "|".join(PACKAGES) + r")[./][\w./]*)`", PAGE)
    return sorted({Path(name if name.endswith(".toml") else name.replace(".", "/")) for name in names})


@pytest.mark.parametrize("module", modules(), ids=str)
def test_every_module_that_the_page_names_exists(module: Path) -> None:
    path = PROJECT_FOLDER / "fmnist_fetch" / module
    assert path.is_dir() or path.is_file() or path.with_suffix(".py").is_file()


def test_every_link_to_a_module_has_its_name() -> None:
    links = re.findall(r"\[([^\]]+)\]\(\.\./fmnist_fetch/([\w/]+)\.py\)", PAGE)
    names = {(name.replace("\\", "").rstrip("/"), path.removesuffix("/__init__")) for name, path in links}
    assert links
    assert [(name, path) for name, path in names if name != path] == []
    assert [path for _, path in links if not (PROJECT_FOLDER / "fmnist_fetch" / f"{path}.py").is_file()] == []


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "__pycache__"])
def test_every_package_is_on_the_page(package: str) -> None:
    assert re.search(rf"\b{package}\b", PAGE)
