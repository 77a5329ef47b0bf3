"""Fixtures of all tests: a clean environment, an empty working directory, small datasets, and the real one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.pipeline.status import inspect
from fmnist_fetch.storage.layout import Layout
from samples import Sample, fill, make

# No deadlines: a busy machine must not turn a property into a failure. The same examples in every run, so that a
# failure is reproducible; others are tried with: make test PYTEST=--hypothesis-profile=random
settings.register_profile("calm", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True, derandomize=False)
settings.load_profile("calm")

# The variables of a `make test` must not reach the make that a test runs.
for _name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(_name, None)

# The threads of torch spin while they wait for each other; on shared processors that costs ten times the work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A background job ignores Ctrl-C, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Read before any test changes the environment: the root of the real data of this checkout.
REAL_ROOT = Path(os.environ.get("FMNIST_ROOT") or Path(__file__).parents[1] / "data").absolute()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: most tests wait for a misbehaving network and compute little."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings, the proxies and the data of the developer (~ and ../data) from the tests."""
    for name in list(os.environ):
        if name.startswith("FMNIST_") or name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "NO_COLOR"):
            monkeypatch.delenv(name)
    # Two folders deep, so that ../data belongs to the test too.
    home, here = tmp_path / "home", tmp_path / "here" / "now"
    home.mkdir()
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure the processes of this test: coverage would be seen in their output, or may not write there."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root for the data of this test, which does not exist yet."""
    return tmp_path / "root"


@pytest.fixture(scope="session")
def sample() -> Sample:
    """Return the usual small dataset."""
    return make()


@pytest.fixture
def stick(sample: Sample, tmp_path: Path) -> str:
    """Return a folder with the files of the usual dataset as published."""
    return str(fill(tmp_path / "stick", sample.files))


@pytest.fixture
def complete(sample: Sample, root: Path, stick: str) -> Path:
    """Return the root, with all of the usual dataset."""
    sample.fetch(root, stick)
    return root


@pytest.fixture(scope="session")
def real_root() -> Path:
    """Return the root of the real, complete Fashion-MNIST."""
    manifest = find("fashion-mnist")
    if not inspect(Layout(REAL_ROOT, manifest)).complete:
        pytest.skip("run make data first")
    return REAL_ROOT
