"""The installation of verified wheels, and of this project as a path. It needs the package `installer`.

`installer` decides where each file goes; this module makes it fast. It inflates with isal where that is installed, and
takes the digests for RECORD from the wheel instead of hashing every file: the digest of the wheel covers them.
"""

import io
import json
import os
import shutil
import sys
import sysconfig
import tomllib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PathDistribution, distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NamedTuple, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry, parse_record_file
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, get_launcher_kind, make_file_executable

from fmnist_fetch import __version__
from fmnist_fetch.errors import disk
from fmnist_fetch.tensors.decompress import decoders

READ_BYTES = 128 * 1024
LOCAL_HEADER_BYTES = 30
INSTALLER = b"fmnist_fetch.environment\n"
_PATHS = sysconfig.get_paths()
SITE_PACKAGES = Path(_PATHS["purelib"])


def install_wheels(wheels: Iterable[Path]) -> None:
    """Install verified wheels in place of other versions into the environment of this interpreter; raise DiskError."""
    destination = _Destination({**_PATHS, "headers": str(SITE_PACKAGES.parent / "include")})
    for path in wheels:
        with disk(SITE_PACKAGES):
            _remove(path.name.partition("-")[0])
            with _Wheel.open(path) as wheel:
                install(wheel, destination, {"INSTALLER": INSTALLER})


def install_project(project: Path) -> None:
    """Make a project importable at its path, as an editable wheel (PEP 660) does; raise DiskError."""
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module = table["name"].replace("-", "_")
    about = f"{module}-{__version__}.dist-info"
    scripts = "".join(f"{script} = {target}\n" for script, target in table["scripts"].items())
    files = {
        f"{module}.pth": f"{project}\n",
        f"{about}/METADATA": _metadata(table),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{scripts}",
        f"{about}/direct_url.json": json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}),
    }
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
    with disk(SITE_PACKAGES), TemporaryDirectory(dir=SITE_PACKAGES) as folder:
        path = Path(folder, f"{module}-{__version__}-py3-none-any.whl")
        with ZipFile(path, "w") as wheel:
            for place, text in files.items():
                wheel.writestr(place, text)
        install_wheels([path])


def _remove(package: str) -> None:
    """Remove what is installed of a package."""
    for one in distributions(name=package, path=[str(SITE_PACKAGES)]):
        for file in one.files or ():
            with suppress(OSError):
                Path(str(file.locate())).unlink()
        if isinstance(one, PathDistribution) and isinstance(folder := getattr(one, "_path", None), Path):
            shutil.rmtree(folder, ignore_errors=True)


def _metadata(table: dict[str, Any]) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {table['name']}", f"Version: {__version__}"]
    lines += [f"Summary: {table['description']}", f"Requires-Python: {table['requires-python']}"]
    lines += [f"Requires-Dist: {text}" for text in table["dependencies"]]
    for extra, texts in table["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        for text in texts:
            requirement, _, marker = text.partition(";")
            condition = f"extra == '{extra}'"
            condition = f"({marker.strip()}) and {condition}" if marker else condition
            lines.append(f"Requires-Dist: {requirement.strip()}; {condition}")
    return "\n".join(lines) + "\n"


class _Member(NamedTuple):
    """A file of a wheel: its content in parts, and its entry in RECORD."""

    parts: Iterator[bytes]
    entry: RecordEntry


class _Wheel(WheelFile):
    """A wheel that yields its files as `_Member`; scripts, which are changed, and files without a digest as streams."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Yield for each file its row in RECORD, its content, and whether it is executable."""
        rows = {row[0]: row for row in parse_record_file(self.read_dist_info("RECORD").splitlines())}
        for item in self._zipfile.infolist():
            if item.is_dir():
                continue
            row = rows.get(item.filename, (item.filename, "", ""))
            executable = bool(item.external_attr >> 16 & 0o111)
            content: object = _Member(_parts(self._zipfile, item), RecordEntry.from_elements(*row))
            if item.filename.startswith(self.data_dir) or not row[1]:
                content = io.BytesIO(self._zipfile.read(item))
            yield row, cast(BinaryIO, content), executable


class _Destination(SchemeDictionaryDestination):
    """Folders into which a `_Member` is written without hashing it."""

    def __init__(self, paths: dict[str, str]) -> None:
        super().__init__(paths, sys.executable, get_launcher_kind(), overwrite_existing=True)
        self._folders: dict[tuple[Scheme, str], str] = {}

    def write_to_fs(self, scheme: Scheme, path: str, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        """Write a file. An existing one is replaced, not overwritten: uv links files of environments to its cache."""
        folder, _, name = path.rpartition("/")
        target = f"{self._folder(scheme, folder)}{os.sep}{name}"
        with suppress(FileNotFoundError):
            os.unlink(target)  # noqa: PTH108 - a Path for each of 20,000 files takes a second
        if not isinstance(stream, _Member):
            return super().write_to_fs(scheme, path, stream, is_executable)
        with open(target, "xb") as file:
            file.writelines(stream.parts)
        if is_executable:
            make_file_executable(Path(target))
        return stream.entry

    def _folder(self, scheme: Scheme, path: str) -> str:
        """Return a folder, and create it the first time. Raises ValueError if it is outside of the one of SCHEME."""
        if (scheme, path) not in self._folders:
            folder = self._path_with_destdir(scheme, path)
            folder.mkdir(parents=True, exist_ok=True)
            self._folders[scheme, path] = str(folder)
        return self._folders[scheme, path]


def _parts(archive: ZipFile, item: ZipInfo) -> Iterator[bytes]:
    """Yield the content of a file in a wheel. Its checksum is not compared, since the wheel is verified as a whole."""
    file = archive.fp
    if file is None or item.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        yield archive.read(item)
        return
    file.seek(item.header_offset)
    header = file.read(LOCAL_HEADER_BYTES)
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
    left, size = item.compress_size, 0
    inflating = decoders()[0].decompressobj(-zlib.MAX_WBITS) if item.compress_type == ZIP_DEFLATED else None
    while left and (packed := file.read(min(left, READ_BYTES))):
        left -= len(packed)
        data = inflating.decompress(packed) if inflating else packed
        size += len(data)
        yield data
    if size != item.file_size:
        raise BadZipFile(f"{item.filename} in {archive.filename} is truncated")
