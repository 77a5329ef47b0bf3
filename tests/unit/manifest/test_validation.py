"""Reading a TOML table without stopping at its first fault."""

from __future__ import annotations

import math

import pytest

from fmnist_fetch.manifest.validation import Faults, Table, is_url


def table(**values: object) -> tuple[Table, Faults]:
    faults = Faults()
    return Table(values, "file 3, ", faults), faults


@pytest.mark.parametrize(
    "url",
    ["http://a/", "https://a.example/x/y?z=1", "http://127.0.0.1:8000", "http://[::1]:80/", "https://user:word@a/"],
)
def test_an_http_address_is_a_url(url: str) -> None:
    assert is_url(url)


@pytest.mark.parametrize(
    "url",
    ["", "a.example", "ftp://a/", "file:///etc/passwd", "http://", "http:///x", "https://:80/", "http://a:x/", "C:\\a"],
)
def test_anything_else_is_none(url: str) -> None:
    assert not is_url(url)


def test_a_wrong_value_is_noted_and_reading_goes_on_with_a_harmless_one() -> None:
    values, faults = table(size="big", name=3, role="x", pieces=["y"], head="0", mean=math.inf)
    assert values.integer("size", least=1) == 1
    assert values.name("name") == ""
    assert values.choice("role", ("images", "labels")) == "x"
    assert values.digests("pieces") == ("y",)
    assert values.hexadecimal("head") == b""
    values.number("mean")
    assert len(faults) == 6
    assert all(fault.startswith("file 3, ") for fault in faults)


def test_an_absent_value_is_missing_unless_it_has_a_default() -> None:
    values, faults = table()
    assert (values.text("title", default=""), values.texts("classes"), values.number("mean")) == ("", (), None)
    assert values.digest("sha256", optional=True) is None
    assert faults == []
    values.text("title")
    assert faults == ["file 3, title is missing: it should be a string"]


def test_an_unknown_key_is_noted_in_nested_tables_too() -> None:
    values, faults = table(size=1, sise=2, inner={"known": "x", "unknown": 1})
    values.integer("size")
    inner = values.table("inner")
    assert inner is not None
    inner.text("known")
    values.unknown()
    assert faults == ["file 3, sise is not a known key", "file 3, inner.unknown is not a known key"]


def test_a_long_wrong_value_is_reported_shortened() -> None:
    values, faults = table(size="x" * 10_000)
    values.integer("size")
    assert len(faults[0]) < 150


def test_true_is_no_number() -> None:
    values, faults = table(size=True, mean=False)
    values.integer("size")
    values.number("mean")
    assert len(faults) == 2


def test_a_long_key_is_told_shortened() -> None:
    values, faults = table(**{"k" * 10_000: 1})
    values.unknown()
    assert len(faults[0]) < 150
