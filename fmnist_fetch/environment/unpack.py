"""Unpack verified wheels: `installer` decides where each file goes, and this module makes it fast.

It inflates with isal where that is installed. The digests for RECORD are those of the wheel, which its own digest
covers, so no file is hashed again. Only imported when `installer` can be.
"""

import io
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry, parse_record_file
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, get_launcher_kind, make_file_executable

from fmnist_fetch.tensors.decompress import DECODERS

BLOCK = 128 * 1024
LOCAL_HEADER = 30


def unpack(wheel: Path, paths: Mapping[str, str], about: Mapping[str, bytes]) -> None:
    """Install WHEEL into the folders PATHS, as `sysconfig.get_paths` names them; add the files ABOUT to its metadata.

    Raises:
        OSError: A file cannot be written.
    """
    with _Wheel.open(wheel) as source:
        install(source, _Destination(paths), dict(about))


class _Member(NamedTuple):
    """A file of a wheel: its content in parts, and its entry in RECORD."""

    parts: Iterator[bytes]
    entry: RecordEntry


class _Wheel(WheelFile):
    """A wheel whose files are given as `_Member`; those of its data folder as streams, since scripts are changed."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Yield the row in RECORD, the content, and whether it is executable, of each file."""
        rows = {row[0]: row for row in parse_record_file(self.read_dist_info("RECORD").splitlines())}
        for item in self._zipfile.infolist():
            if item.is_dir():
                continue
            row = rows.get(item.filename, (item.filename, "", ""))
            executable = bool(item.external_attr >> 16 & 0o111)
            if item.filename.startswith(self.data_dir) or not row[1]:
                content = cast(BinaryIO, io.BytesIO(self._zipfile.read(item)))
            else:
                content = cast(BinaryIO, _Member(_parts(self._zipfile, item), RecordEntry.from_elements(*row)))
            yield row, content, executable


class _Destination(SchemeDictionaryDestination):
    """Folders into which a `_Member` is written without hashing it."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        super().__init__(dict(paths), sys.executable, get_launcher_kind(), overwrite_existing=True)
        self._folders: dict[tuple[Scheme, str], str] = {}

    def write_to_fs(self, scheme: Scheme, path: str, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        """Write STREAM to PATH in the folder of SCHEME. A file that is there is replaced, not written to.

        It may have another name elsewhere: uv links the files of an environment to its cache.
        """
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
        """Return the folder PATH of SCHEME, which is made where it is not there. Raises ValueError if it is outside."""
        if (scheme, path) not in self._folders:
            folder = self._path_with_destdir(scheme, path)
            folder.mkdir(parents=True, exist_ok=True)
            self._folders[scheme, path] = str(folder)
        return self._folders[scheme, path]


def _parts(archive: ZipFile, item: ZipInfo) -> Iterator[bytes]:
    """Yield the content of ITEM. Its checksum is not compared: the wheel is verified as a whole."""
    file = archive.fp
    if file is None or item.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        yield archive.read(item)
        return
    file.seek(item.header_offset)
    header = file.read(LOCAL_HEADER)
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
    left, size = item.compress_size, 0
    inflating = DECODERS[0].decompressobj(-zlib.MAX_WBITS) if item.compress_type == ZIP_DEFLATED else None
    while left and (packed := file.read(min(left, BLOCK))):
        left -= len(packed)
        data = inflating.decompress(packed) if inflating else packed
        size += len(data)
        yield data
    if size != item.file_size:
        raise BadZipFile(f"{item.filename} in {archive.filename} is cut off")
