"""One download for a whole lab: the server sends the wheels of its store, as files and as a package index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import MIB, payload
from fmnist_fetch.environment.indexes import Configuration
from fmnist_fetch.environment.store import Sources, Store
from fmnist_fetch.events import silent
from lan_server import Server
from wheels import lock_text, make_wheel

pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")

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
def server(project: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "root", "fashion-mnist", "mnist", project=project) as running:
        yield running


def test_another_machine_gets_all_wheels_from_it_and_needs_no_index(server: Server, tmp_path: Path) -> None:
    here = tmp_path / "student" / "project"
    nothing_else = Configuration(("http://127.0.0.1:9/simple",), (), None, None)
    store = Store(here / "wheels", Sources(here, [server.url], nothing_else, offline=False), silent)
    store.fetch_first(WHEELS[:1])
    store.fetch(WHEELS[:2])
    assert store.missing(WHEELS) == WHEELS[2:]


def test_it_is_an_index_for_other_tools_and_only_of_what_is_here(server: Server, tmp_path: Path) -> None:
    here = tmp_path / "student" / "project"
    index = Configuration((server.url + "simple/",), (), None, None)
    store = Store(here / "wheels", Sources(here, [], index, offline=False), silent)
    store.fetch(WHEELS[:2])
    assert store.missing(WHEELS) == WHEELS[2:]
    page = server.ask("/simple/")
    assert (page.status, b"large-thing/" in page.body, b"absent" in page.body) == (200, True, False)
    assert server.ask("/simple/absent/").status == 404


def test_ranges_of_a_wheel_are_sent(server: Server) -> None:
    wheel, content = MADE[1]
    # The second URL is below the one that is the mirror of another dataset.
    for path in ("/wheels/", "/MNIST/raw/wheels/", "/FashionMNIST/raw/wheels/"):
        answer = server.ask(path + wheel.name, Range="bytes=1000-1999")
        assert (answer.status, answer.body) == (206, content[1000:2000])


def test_a_damaged_or_unfinished_wheel_is_not_sent(server: Server, project: Path) -> None:
    path = project / "wheels" / WHEELS[0].name
    assert server.ask(f"/wheels/{path.name}").status == 200
    path.write_bytes(MADE[0].content[:-1] + b"?")
    assert server.ask(f"/wheels/{path.name}").status == 404
    (project / "wheels" / (WHEELS[2].name + ".part")).write_bytes(MADE[2].content)
    assert server.ask(f"/wheels/{WHEELS[2].name}").status == 503


def test_nothing_but_the_wheels_of_the_lock_is_sent(server: Server, project: Path) -> None:
    (project / "wheels" / "other-1.0-py3-none-any.whl").write_bytes(b"secret")
    for path in ("/wheels/other-1.0-py3-none-any.whl", "/wheels/../pylock.toml", "/wheels/", "/simple/other/"):
        assert server.ask(path).status == 404
