"""One download for a whole lab: the server sends the wheels of its store, as files and as a package index."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from faults import MIB, payload
from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.events import silent
from processes import environment
from wheels import lock_text, make_wheel

pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")

SERVER = """
import sys
from pathlib import Path
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.commands.serve.files import ServedFiles
from fmnist_fetch.commands.serve.server import serve
from fmnist_fetch.commands.serve.wheels import ServedWheels
root, project = map(Path, sys.argv[1:])
files = ServedFiles(root, [find("fashion-mnist"), find("mnist")])
serve(files, ServedWheels.of_project(project), "127.0.0.1", 0, lambda line: print(line, flush=True))
"""
MADE = [make_wheel("alpha"), make_wheel("large-thing", "2.5", ballast=payload(3 * MIB, seed=2)), make_wheel("absent")]
WHEELS = [made.wheel for made in MADE]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "served" / "project"
    (folder / "wheels").mkdir(parents=True)
    (folder / "pylock.toml").write_text(lock_text({"": MADE}))
    for made in MADE[:2]:
        (folder / "wheels" / made.wheel.name).write_bytes(made.content)
    return folder


@pytest.fixture
def url(project: Path, tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-c", SERVER, str(tmp_path / "root"), str(project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        yield process.stdout.readline().rpartition(" ")[2].strip()
        process.terminate()
        process.communicate()


def ask(url: str, span: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Range": span} if span else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, b""


def test_another_machine_gets_all_wheels_from_it_and_needs_no_index(url: str, tmp_path: Path) -> None:
    here = tmp_path / "student" / "project"
    nothing_else = Configuration(("http://127.0.0.1:9/simple",), (), None, None)
    store = Store(here / "wheels", Sources(here, [url], nothing_else, offline=False), silent)
    store.fetch_first(WHEELS[:1])
    store.fetch(WHEELS[:2])
    assert store.missing(WHEELS) == WHEELS[2:]


def test_it_is_an_index_for_other_tools_and_only_of_what_is_here(url: str, tmp_path: Path) -> None:
    here = tmp_path / "student" / "project"
    index = Configuration((url + "simple/",), (), None, None)
    store = Store(here / "wheels", Sources(here, [], index, offline=False), silent)
    store.fetch(WHEELS[:2])
    assert store.missing(WHEELS) == WHEELS[2:]
    status, page = ask(url + "simple/")
    assert (status, b"large-thing/" in page, b"absent" in page) == (200, True, False)
    assert ask(url + "simple/absent/")[0] == 404


def test_ranges_of_a_wheel_are_sent(url: str) -> None:
    wheel, content = MADE[1]
    # The second URL is below the one that is the mirror of another dataset.
    for path in ("wheels/", "MNIST/raw/wheels/", "FashionMNIST/raw/wheels/"):
        assert ask(url + path + wheel.name, "bytes=1000-1999") == (206, content[1000:2000])


def test_a_damaged_or_unfinished_wheel_is_not_sent(url: str, project: Path) -> None:
    path = project / "wheels" / WHEELS[0].name
    assert ask(url + "wheels/" + path.name)[0] == 200
    path.write_bytes(MADE[0].content[:-1] + b"?")
    assert ask(url + "wheels/" + path.name)[0] == 404
    (project / "wheels" / (WHEELS[2].name + ".part")).write_bytes(MADE[2].content)
    assert ask(url + "wheels/" + WHEELS[2].name)[0] == 503


def test_nothing_but_the_wheels_of_the_lock_is_sent(url: str, project: Path) -> None:
    (project / "wheels" / "other-1.0-py3-none-any.whl").write_bytes(b"secret")
    for path in ("wheels/other-1.0-py3-none-any.whl", "wheels/../pylock.toml", "wheels/", "simple/other/"):
        assert ask(url + path)[0] == 404
