"""What every test stands on: a clean environment, an empty folder to be in, small datasets, the real one if any."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.pipeline.status import inspect
from fmnist_fetch.storage.layout import Layout
from samples import Sample, make

# A busy machine must not turn a law into a failure: no deadlines. And the same examples at every run, so that a
# failure is one for everybody; others are tried with: make test PYTEST=--hypothesis-profile=random
settings.register_profile("calm", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True, derandomize=False)
settings.load_profile("calm")

# The variables of a `make test` are none of the business of what a test runs with make.
for _name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(_name, None)

# torch's threads spin while they wait for each other; where the processors are shared, that costs ten times the work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Where the tests run in the background Ctrl-C is ignored, and would be by every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any test changes them: where the real data of this checkout is.
REAL_ROOT = Path(os.environ.get("FMNIST_ROOT") or Path(__file__).parents[1] / "data").absolute()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: most tests wait for a network that misbehaves, and compute little."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own reaches a test: no settings, no proxies, no copies under ~ or ../data."""
    for name in list(os.environ):
        if name.startswith("FMNIST_") or name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "NO_COLOR"):
            monkeypatch.delenv(name)
    # Two folders deep, so that ../data is the test's own too.
    home, here = tmp_path / "home", tmp_path / "here" / "now"
    home.mkdir()
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a process of a test's own that coverage can't look into without being seen, or has no right to write from."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the data of this test goes; not made yet."""
    return tmp_path / "root"


@pytest.fixture(scope="session")
def sample() -> Sample:
    """The usual small dataset."""
    return make()


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The root of the real, complete Fashion-MNIST."""
    manifest = find("fashion-mnist")
    if not inspect(Layout(REAL_ROOT, manifest)).complete:
        pytest.skip("run make data first")
    return REAL_ROOT
