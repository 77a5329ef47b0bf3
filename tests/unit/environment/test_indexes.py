"""Where wheels can be: the configuration of pip and uv, and the pages of package indexes."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from faults import KIB, CutAfter, First, Header, IgnoreRange, Latency, Mirror, Status
from fmnist_fetch.environment.indexes import PYPI, Configuration, Page, local_path, split_secret
from index import index_files

SHA256 = "0" * 64


def configuration(folder: Path, text: str = "", **variables: str) -> Configuration:
    named = folder / "pip.conf"
    named.write_text(text)
    return Configuration.read({"PIP_CONFIG_FILE": str(named), "XDG_CONFIG_DIRS": str(folder / "none"), **variables})


def test_pips_own_default_is_asked_where_nothing_is_configured() -> None:
    assert Configuration.read({"PIP_CONFIG_FILE": os.devnull}) == Configuration((PYPI,), (), None, None)


def test_files_are_read_and_the_environment_overrides_them(tmp_path: Path) -> None:
    text = "[global]\nindex-url = http://a/simple\nextra_index_url = http://b/simple\n  file:///c/simple\n"
    found = configuration(tmp_path, text + "[install]\nfind-links = /wheels\ncert = /ca.pem\nproxy = http://p:1\n")
    assert found.indexes == ("http://a/simple", "http://b/simple", "file:///c/simple")
    assert found[1:] == (("/wheels",), "/ca.pem", "http://p:1")
    found = configuration(tmp_path, text, PIP_INDEX_URL="http://z/simple")
    assert found.indexes[0] == "http://z/simple"


@pytest.mark.parametrize(
    ("variables", "indexes"),
    [
        ({"UV_DEFAULT_INDEX": "http://u/simple"}, ("http://u/simple",)),
        ({"UV_DEFAULT_INDEX": "campus=http://u/simple"}, ("http://u/simple",)),
        ({"PIP_INDEX_URL": "http://p/simple", "UV_DEFAULT_INDEX": "http://u/simple"}, ("http://p/simple",)),
        ({"UV_INDEX": "http://a http://b"}, (PYPI, "http://a", "http://b")),
        ({"PIP_NO_INDEX": "1"}, ()),
    ],
)
def test_the_variables_of_pip_and_uv_name_indexes(
    tmp_path: Path, variables: dict[str, str], indexes: tuple[str, ...]
) -> None:
    assert configuration(tmp_path, **variables).indexes == indexes


def test_a_file_that_can_not_be_read_is_none(tmp_path: Path) -> None:
    assert configuration(tmp_path, "this is no configuration").indexes == (PYPI,)


def test_a_link_with_another_digest_is_none() -> None:
    with Mirror(index_files({"thing-1.0-py3-none-any.whl": b"x"})) as mirror:
        page = Page(mirror.url + "simple/thing/")
        assert page.links("thing-1.0-py3-none-any.whl", SHA256) == []
        assert page.links("other-1.0-py3-none-any.whl", SHA256) == []
        assert len(mirror.journal) == 1


@pytest.mark.parametrize("link", ["../../files/a%2Bb.whl", "/files/a%2Bb.whl?x=1&amp;y=2", "a+b.whl#sha256=" + SHA256])
def test_relative_and_quoted_links_are_resolved(link: str) -> None:
    with Mirror({"simple/thing/": f"<a HREF='{link}'>a+b</a>".encode()}) as mirror:
        (found,) = Page(mirror.url + "simple/thing/").links("a+b.whl", SHA256)
        assert found.startswith(mirror.url)


def test_a_page_in_json_is_read() -> None:
    table = {"files": [{"filename": "a.whl", "url": "https://host/a.whl", "hashes": {"sha256": SHA256}}]}
    with Mirror({"simple/thing/": json.dumps(table).encode()}) as mirror:
        assert Page(mirror.url + "simple/thing/").links("a.whl", SHA256) == ["https://host/a.whl"]


def test_a_page_that_breaks_off_is_resumed_and_used_as_soon_as_it_has_the_link() -> None:
    filler = b"<a href='other.whl'>other</a>\n" * 10_000
    text = filler + b"<a href='a.whl'>a</a>\n" + filler
    with Mirror({"simple/thing/": text}, [CutAfter(64 * KIB)]) as mirror:
        page, attempts = Page(mirror.url + "simple/thing/"), 0
        while True:
            try:
                assert page.links("a.whl", SHA256) == [mirror.url + "simple/thing/a.whl"]
                break
            except OSError:
                attempts += 1
        assert mirror.served < 1.3 * len(filler)
    assert 3 <= attempts <= 6


def test_a_page_that_several_threads_need_is_requested_once() -> None:
    text = b"<a href='a.whl'>a</a>\n"
    with Mirror({"simple/thing/": text}, [Latency(0.1)]) as mirror, ThreadPoolExecutor(8) as pool:
        page, begin = Page(mirror.url + "simple/thing/"), Barrier(8)

        def find(_: int) -> list[str]:
            begin.wait()
            return page.links("a.whl", SHA256)

        assert list(pool.map(find, range(8))) == [[mirror.url + "simple/thing/a.whl"]] * 8
        assert len(mirror.journal) == 1


def test_a_page_of_a_server_without_ranges_is_read_whole() -> None:
    text = b"<a href='other.whl'>other</a>\n" * 5000 + b"<a href='a.whl'>a</a>\n"
    with Mirror({"simple/thing/": text}, [IgnoreRange(), First(1, CutAfter(64 * KIB))]) as mirror:
        page = Page(mirror.url + "simple/thing/")
        with pytest.raises(OSError, match="is incomplete"):
            page.links("a.whl", SHA256)
        assert page.links("a.whl", SHA256)


def test_a_page_that_is_not_there_is_an_error() -> None:
    with Mirror({}, [Header("X", "y"), Status(404)]) as mirror, pytest.raises(OSError, match="404"):
        Page(mirror.url + "simple/thing/").links("a.whl", SHA256)


def test_an_index_on_this_machine_gives_paths(tmp_path: Path) -> None:
    for name, content in index_files({"thing-1.0-py3-none-any.whl": b"x"}).items():
        path = tmp_path / name / "index.html" if name.endswith("/") else tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = Configuration((tmp_path.as_uri() + "/simple",), (), None, None)
    (page,) = found.pages("thing")
    sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    (link,) = page.links("thing-1.0-py3-none-any.whl", sha256)
    assert local_path(link) == tmp_path / "files" / "thing-1.0-py3-none-any.whl"


def test_user_and_password_travel_in_a_header_and_only_to_their_server() -> None:
    assert split_secret("https://me:a%40b@host/simple/") == ("https://host/simple/", "Basic bWU6YUBi")
    Configuration((), (), None, None).apply()
    text = b"<a href='a.whl'>a</a><a href='https://elsewhere/a.whl'>a</a>"
    with Mirror({"simple/thing/": text}) as mirror:
        secret = mirror.url.replace("://", "://me:word@")
        links = Page(secret + "simple/thing/").links("a.whl", SHA256)
        assert links == [secret + "simple/thing/a.whl", "https://elsewhere/a.whl"]
        assert mirror.journal[0].headers["authorization"] == "Basic bWU6d29yZA=="
