"""A package index (PEP 503) on a `Mirror`, which can misbehave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

PREFIX = "simple"


def index_files(wheels: Iterable[Path] | Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of an index of WHEELS for a Mirror: a page of each package in simple/, the wheels in files/."""
    contents = dict(wheels) if isinstance(wheels, Mapping) else {path.name: path.read_bytes() for path in wheels}
    pages: dict[str, str] = {}
    for name, content in contents.items():
        package = name.partition("-")[0].replace("_", "-").replace(".", "-").lower()
        link = f'<a href="../../files/{quote(name)}#sha256={sha256(content).hexdigest()}">{name}</a><br>\n'
        pages[package] = pages.get(package, "<!DOCTYPE html><html><body>\n") + link
    files = {f"{PREFIX}/{package}/": f"{page}</body></html>\n".encode() for package, page in pages.items()}
    return files | {f"files/{name}": content for name, content in contents.items()}
