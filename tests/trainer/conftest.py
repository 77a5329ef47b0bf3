"""Fixtures of the trainer: a small dataset, and the command line as a function."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinydata import REPOSITORY, Command, Tiny, environment, make_tiny

# Every test has another home; without this each of them would search the system for fonts.
os.environ.setdefault("MPLCONFIGDIR", str(REPOSITORY / ".pytest_cache" / "matplotlib"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Return the small dataset, to be read only."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of the small dataset, to be read only."""
    pytest.importorskip("torch", reason="torch is not installed: run make train first")
    from trainer.__main__ import main

    out = tmp_path_factory.mktemp("finished") / "run"
    assert main([*tiny.options, "--out", str(out), "--epochs", "5", "--no-pictures"]) == 0
    return out


@pytest.fixture
def own_tiny(tmp_path: Path) -> Tiny:
    """Return a small dataset that a test may damage."""
    return make_tiny(tmp_path)


@pytest.fixture
def command() -> Command:
    """Return a function that runs `python -m trainer` in a process of its own."""

    def run(*words: object, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "trainer", *map(str, words)],
            env=environment(**settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
