"""The paths under the root, and which roots are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.storage.layout import Layout, absolute, resolved, root_folder


def test_the_root_is_the_given_one_else_the_environments_else_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert root_folder(None) == Path("data")
    monkeypatch.setenv("FMNIST_ROOT", "/from/the/environment")
    assert root_folder(None) == Path("/from/the/environment")
    assert root_folder("given") == Path("given")
    monkeypatch.setenv("FMNIST_ROOT", "")
    assert root_folder(None) == Path("data")


def test_home_is_expanded() -> None:
    assert root_folder("~/x") == Path.home() / "x"


def test_the_paths_are_those_that_other_tools_read() -> None:
    manifest = find("fashion-mnist")
    layout = Layout("R", manifest)
    file = manifest.files[0]
    assert layout.published(file) == Path("R/FashionMNIST/raw/train-images-idx3-ubyte.gz")
    assert layout.payload(file) == Path("R/FashionMNIST/raw/train-images-idx3-ubyte")
    assert layout.tensors == Path("R/FashionMNIST/processed/fashion-mnist.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "$HOME/data",
        "%TEMP%\\data",
        "`pwd`/data",
        "'/data'",
        '"/data"',
        "“/data”",
        "~nobody-at-all/data",
        " ",
        "file:///data",
    ],
)
def test_a_root_that_cannot_be_meant_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        root_folder(text)
    monkeypatch.setenv("FMNIST_ROOT", text)
    with pytest.raises(UsageError):
        root_folder(None)


@pytest.mark.parametrize("text", ["a b", "./$HOME", "it's", "100%", "50%25", "数据", "a'b'"])
def test_a_root_may_have_any_other_name(text: str) -> None:
    assert root_folder(text) == Path(text)


def test_a_path_stays_as_it_is_where_the_current_folder_has_been_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert absolute(Path("x")) == resolved(Path("x")) == tmp_path / "gone" / "x"
    (tmp_path / "gone").rmdir()
    assert absolute(Path("x")) == resolved(Path("x")) == Path("x")
