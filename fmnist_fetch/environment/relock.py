"""The creation of pylock.toml, for `make lock`. It needs uv, packaging and a package index.

uv resolves the requirements for all systems. The URLs of wheels become paths into the store. The wheels of torch are
replaced by those of its builds without CUDA.
"""

import json
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from fmnist_fetch.environment.lock import DEFAULT_GROUPS, GROUPS, STORE
from fmnist_fetch.environment.store import TORCH

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
HEADER = """\
# The packages that this project needs, as wheels with their digests (PEP 751). Written by `make lock`; do not edit.
# It names no host: the paths are those of the store, which `python -m fmnist_fetch.environment` fills.
"""

_PLATFORMS = re.compile(r"any|win_amd64|(many|musl)?linux\w*_(x86_64|aarch64)|macosx_\d+_\d+_(arm64|universal2)")
_CPYTHON = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
_SYSTEMS = (
    {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows", "platform_machine": "AMD64"},
)
_AT_LEAST_311 = re.compile(r"python_full_version >= '3\.11'(?: and |$)")
_CUDA = re.compile(r"nvidia-|cuda-|triton$")


class Pinned(NamedTuple):
    """A package as uv resolved it, with its marker and the lines of its wheels."""

    name: str
    version: str
    marker: str
    wheels: tuple[str, ...]


def relock(project: Path) -> str:
    """Return the text of pylock.toml for the requirements in the pyproject.toml of a project."""
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    torch = tomllib.loads(TORCH.read_text(encoding="utf-8"))
    requirements = {group: list(_requirements(table, group)) for group in GROUPS}
    limits = [f"torch=={torch['version']}"]
    everything = _resolve({text for group in requirements.values() for text in group}, limits)
    limits = [f"{one.name}=={one.version}" + (f" ; {one.marker}" if one.marker else "") for one in everything]
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for group, texts in requirements.items():
        for one in _resolve(texts, limits):
            wanted.setdefault((one.name, one.version), {})[group] = one.marker
    packages = [one._replace(marker=_marker(wanted[one.name, one.version])) for one in everything]
    return HEADER + "\n".join(_document(table["requires-python"], _with_torch(packages, torch)))


def _requirements(table: Mapping[str, Any], group: str) -> Iterator[str]:
    """Yield the requirements of a group; an extra that consists of other extras of this project is expanded."""
    extras = table["optional-dependencies"]
    # What the set-up itself needs, and what people expect in an environment.
    yield from ["pip"] if group else ["packaging>=26.1", "installer"]
    for text in [*table["dependencies"], *(text for extra in GROUPS[group] for text in extras[extra])]:
        if text.startswith(table["name"] + "["):
            for extra in text.partition("[")[2].partition("]")[0].split(","):
                yield from extras[extra.strip()]
        else:
            yield text


def _resolve(requirements: Iterable[str], limits: Sequence[str]) -> list[Pinned]:
    """Resolve requirements for all systems with uv; leave out packages that only CUDA needs."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "limits.txt")
        constraints.write_text("\n".join(limits), encoding="utf-8")
        command = ["uv", "pip", "compile", "-", "--quiet", "--universal", "--python-version", PYTHONS[0]]
        command += ["--constraint", str(constraints), "--format", "pylock.toml"]
        text = "\n".join(sorted(requirements))
        done = subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.PIPE)
    rows = tomllib.loads(done.stdout)["packages"]
    resolved = []
    for row in rows:
        marker = row.get("marker", "")
        if not _CUDA.match(row["name"]) and (pythons := _pythons(marker)):
            lines = tuple(_lines(row["wheels"], pythons))
            resolved.append(Pinned(row["name"], row["version"], _AT_LEAST_311.sub("", marker), lines))
    return resolved


def _marker(groups: Mapping[str, str]) -> str:
    """Return the marker of a package from the marker that it has in each group."""
    if "" in groups:
        groups = {"": groups[""]}
    by_marker: dict[str, list[str]] = {}
    for group, marker in groups.items():
        by_marker.setdefault(marker, []).append(group)
    terms = []
    for marker, names in by_marker.items():
        choice = " or ".join(f"'{name}' in dependency_groups" for name in names if name)
        both = [f"({choice})" if " or " in choice else choice, f"({marker})" if " or " in marker else marker]
        terms.append(" and ".join(part for part in both if part))
    return " or ".join(f"({term})" for term in terms) if len(terms) > 1 else terms[0]


def _pythons(marker: str) -> list[str]:
    """Return the versions of Python, of those that the lock is for, where a marker is true on one of its systems."""
    from packaging.markers import Marker

    found = []
    for python in PYTHONS:
        version = {"python_version": python, "python_full_version": f"{python}.0"}
        environments = [{**_CPYTHON, **version, **system} for system in _SYSTEMS]
        if not marker or any(map(Marker(marker).evaluate, environments)):
            found.append(python)
    return found


def _with_torch(packages: Iterable[Pinned], torch: Mapping[str, Any]) -> Iterator[Pinned]:
    """Yield each package; torch twice, with the wheels of its table, since its build for macOS has another version."""
    for one in packages:
        if one.name != "torch":
            yield one
            continue
        for suffix, test in (("", "=="), ("+cpu", "!=")):
            version = torch["version"] + suffix
            rows = {name: row for name, row in torch["wheels"].items() if name.startswith(f"torch-{version}-")}
            lines = tuple(_wheel(name, {"hashes": row, **row}) for name, row in rows.items())
            yield Pinned("torch", version, f"sys_platform {test} 'darwin' and ({one.marker})", lines)


def _lines(rows: Iterable[Mapping[str, Any]], pythons: Iterable[str]) -> Iterator[str]:
    """Yield the lines of those wheels that these versions of Python, with the GIL, can use on a system of the lock."""
    from packaging.tags import compatible_tags, cpython_tags
    from packaging.utils import parse_wheel_filename

    known = set()
    for python in pythons:
        version, name_of_abi = (3, int(python.partition(".")[2])), f"cp{python.replace('.', '')}"
        own = cpython_tags(version, abis=[name_of_abi], platforms=["any"])
        known |= {(tag.interpreter, tag.abi) for tag in (*own, *compatible_tags(version, name_of_abi, ["any"]))}
    named = {unquote(urlsplit(row["url"]).path).rpartition("/")[2]: row for row in rows}
    for name, row in sorted(named.items()):
        tags = parse_wheel_filename(name)[3]
        if any(_PLATFORMS.fullmatch(tag.platform) and (tag.interpreter, tag.abi) in known for tag in tags):
            yield _wheel(name, row)


def _wheel(name: str, row: Mapping[str, Any]) -> str:
    stated = f"size = {row['size']}, " if "size" in row else ""
    return f'    {{ path = "{STORE}/{name}", {stated}hashes = {{ sha256 = "{row["hashes"]["sha256"]}" }} }},'


def _document(requires_python: str, packages: Iterable[Pinned]) -> Iterator[str]:
    from packaging.markers import Marker

    yield 'lock-version = "1.0"'
    yield f'requires-python = "{requires_python}"'
    yield f"dependency-groups = {json.dumps([group for group in GROUPS if group])}"
    yield f"default-groups = {json.dumps(DEFAULT_GROUPS)}"
    yield 'created-by = "fmnist_fetch.environment"'
    for one in packages:
        if not one.wheels:
            raise ValueError(f"{one.name} {one.version} has no wheel for these systems")
        yield "\n[[packages]]"
        yield f'name = "{one.name}"'
        yield f'version = "{one.version}"'
        if one.marker:
            # packaging leaves out redundant parentheses.
            yield 'marker = "{}"'.format(str(Marker(one.marker)).replace('"', "'"))
        yield "wheels = ["
        yield from one.wheels
        yield "]"
    yield ""
