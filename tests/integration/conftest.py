"""The world of a test, which may have one of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from worlds import World, dataset


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, dataset())
