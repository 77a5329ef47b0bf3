"""Where things are under the root."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.storage.layout import Layout, root_folder


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
