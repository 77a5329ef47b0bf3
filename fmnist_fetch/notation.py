"""A manifest as TOML, the way `fmnist-fetch manifest` writes it."""

import json
from collections.abc import Iterator
from typing import Any

from fmnist_fetch.manifest import FORMAT, PIECE_LENGTH, DataFile, Manifest


def dumps(manifest: Manifest) -> str:
    """MANIFEST as TOML; `manifest.loads` of it gives an equal value."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    yield f"format = {FORMAT}"
    for key in ("name", "title", "licence", "homepage", "folder"):
        yield f"{key} = {_toml(getattr(manifest, key))}"
    for key in ("mean", "std"):
        if (value := getattr(manifest, key)) is not None:
            yield f"{key} = {_toml(value)}"
    lengths = [file.pieces[0].span.length for file in manifest.files if len(file.pieces) > 1]
    yield f"piece_length = {lengths[0] if lengths else PIECE_LENGTH}"
    for key in ("classes", "mirrors", "local"):
        yield from _array(key, getattr(manifest, key))
    if manifest.caches:
        yield f"caches = {{ {', '.join(f'{tool} = {_toml(place)}' for tool, place in manifest.caches.items())} }}"
    if debian := manifest.debian:
        yield f"debian = {{ package = {_toml(debian.package)}, folder = {_toml(debian.folder)} }}"
    for file in manifest.files:
        yield ""
        yield from _file_lines(file)


def _file_lines(file: DataFile) -> Iterator[str]:
    yield "[[files]]"
    for key in ("name", "split", "role", "size", "sha256"):
        yield f"{key} = {_toml(getattr(file, key))}"
    if file.packed:
        pin = f", sha256 = {_toml(file.payload.sha256)}" if file.payload.sha256 else ""
        yield f"unpacked = {{ name = {_toml(file.payload.name)}, size = {file.payload.size}{pin} }}"
    if header := file.payload.header:
        yield f"shape = {list(header.shape)}"
        if header.type_name != "uint8":
            yield f"type = {_toml(header.type_name)}"
    if splice := file.splice:
        yield f"debian = {{ head = {_toml(splice.head.hex())}, skip = {splice.skip} }}"
    if len(file.pieces) > 1:
        yield from _array("pieces", [piece.sha256 for piece in file.pieces])


def _array(key: str, values: Any) -> Iterator[str]:
    yield f"{key} = ["
    yield from (f"    {_toml(value)}," for value in values)
    yield "]"


def _toml(value: str | float) -> str:
    """A TOML basic string or number: JSON's notation, with the one control character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
