"""What wrong bytes are: each kind that users really received."""

from __future__ import annotations

import pytest

from faults import ACCESS_DENIED, LOGIN_HTML
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.sources.diagnosis import LOGIN_PAGE, by_size, describe
from samples import Sample, make

FILES = {file.name: file for file in find("fashion-mnist").files}
IMAGES = FILES["train-images-idx3-ubyte.gz"]
GZIP = b"\x1f\x8b\x08\x08"


@pytest.mark.parametrize(
    "start",
    [LOGIN_HTML, b"<html><body>", b"\r\n  <HTML>", b"<!doctype html>", b"<head>", b"<script>location='/login'"],
)
def test_a_web_page_is_taken_for_a_login_page(start: bytes) -> None:
    assert describe(start, IMAGES) == LOGIN_PAGE
    assert "log in to the network with a browser" in LOGIN_PAGE


def test_what_calls_itself_html_is_taken_for_a_login_page() -> None:
    assert describe(b"welcome", IMAGES, content_type="text/html; charset=utf-8") == LOGIN_PAGE


@pytest.mark.parametrize("start", [ACCESS_DENIED, b"<?xml version='1.0'?><Error>", b"\n<?xml?><Code>NoSuchKey</Code>"])
def test_an_xml_error_is_taken_for_the_refusal_of_a_bucket(start: bytes) -> None:
    assert describe(start, IMAGES) == "looks like the refusal of a storage bucket"


@pytest.mark.parametrize("start", [b"\0\0\x08\x01\0\0\xea\x60", b"\0\0\x08\x03\0\0\xea\x60", b"\0\0\x0d\x02"])
def test_an_idx_file_in_place_of_a_packed_one_is_the_work_of_a_proxy(start: bytes) -> None:
    assert describe(start, IMAGES) == "looks like the unpacked file: a proxy removed the compression"


def test_an_idx_file_is_no_suspect_where_an_idx_file_is_published() -> None:
    assert describe(b"\0\0\x08\x03", make(packed=False).file()) is None


@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("kmnist", "Kuzushiji-MNIST")])
def test_another_datasets_file_of_the_same_name_came_from_a_cache(name: str, title: str) -> None:
    for other in find(name).files:
        found = by_size(FILES[other.name], other.size)
        assert found is not None
        assert title in found
        if "labels" not in other.name or name == "mnist":
            assert found == f"this is {title}'s file of the same name: a cache on the way answered for another site"


@pytest.mark.parametrize(("name", "size"), [("train-labels-idx1-ubyte.gz", 29497), ("t10k-labels-idx1-ubyte.gz", 5097)])
def test_the_first_release_is_known_by_the_size_of_its_labels(name: str, size: int) -> None:
    found = by_size(FILES[name], size)
    assert found is not None
    assert found.startswith("looks like the first release of Fashion-MNIST (26 August 2017)")


@pytest.mark.parametrize("size", [0, 1, 26421879])
def test_a_smaller_file_looks_cut_off(size: int) -> None:
    assert by_size(IMAGES, size) == "looks cut off"


def test_what_looks_right_or_like_nothing_known_is_not_guessed_at(sample: Sample) -> None:
    assert describe(GZIP, IMAGES) is None
    assert by_size(IMAGES, IMAGES.size) is None
    assert describe(b"", IMAGES) is None
    assert describe(b"<?xml version='1.0'?><metalink>", IMAGES) is None
    assert by_size(sample.file(), sample.file().size + 1) is None
