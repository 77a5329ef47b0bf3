"""Small but real IDX datasets, made in memory: images and labels, train and test, packed, pinned and cut in pieces.

No two places of a payload look alike, so that bytes in a wrong place are wrong bytes. The headers are packed by hand
here: a test of the package must not trust the package to make its samples.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import fmnist_fetch
from faults import payload as noise
from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Event, silent
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.model import DataFile, DebianPackage, Manifest, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, Splice, cut
from fmnist_fetch.manifest.toml import dumps
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.sources.base import Connection, FetchOptions
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.tensors.writer import Assembly

PIECE = 1000
CLASSES = tuple(f"class {number}" for number in range(10))
PACKAGE = DebianPackage("dataset-sample", "/usr/share/datasets/sample-of-a-test")
EMPTY = Manifest(
    name="sample",
    title="A sample",
    licence="MIT",
    homepage="https://sample.invalid/",
    folder="Sample",
    classes=CLASSES,
    mean=None,
    std=None,
    mirrors=(),
    local=(),
    debian=None,
    files=(),
)
# The folder that holds the package under test: a copy of it, where somebody tests a copy.
HOME_OF_PACKAGE = Path(fmnist_fetch.__file__).parents[1]


def all_of(source: Connection, file: DataFile, span: Span) -> bytes:
    """Read on until SPAN is complete, as a worker does."""
    data = b""
    while len(data) < span.length:
        data += source.read(file, Span(span.start + len(data), span.stop))
    return data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def flipped(data: bytes, at: int) -> bytes:
    """DATA with one bit of the byte AT turned over."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def gz(data: bytes, name: str = "", mtime: int = 1_504_176_606) -> bytes:
    """DATA packed as upstream did it: with the file's name and a time in the header."""
    body = gzip.compress(data, 6, mtime=mtime)
    if not name:
        return body
    # RFC 1952, section 2.3: flag FNAME, and the name up to a zero byte after the ten fixed bytes.
    return body[:3] + b"\x08" + body[4:10] + name.encode() + b"\0" + body[10:]


def rewrapped(packed: bytes, head: int) -> bytes:
    """The same deflate stream behind a gzip header without a name, as a package carries it."""
    return b"\x1f\x8b\x08\x00" + (1_700_000_000).to_bytes(4, "little") + packed[8:10] + packed[head:]


def idx(code: int, shape: tuple[int, ...], values: bytes) -> bytes:
    return struct.pack(f">2xBB{len(shape)}I", code, len(shape), *shape) + values


def labels(count: int, seed: int) -> bytes:
    return idx(0x08, (count,), bytes(Random(seed).randrange(10) for _ in range(count)))


def images(shape: tuple[int, ...], seed: int, code: int = 0x08, width: int = 1) -> bytes:
    count = width
    for size in shape:
        count *= size
    return idx(code, shape, noise(count, seed))


def file_of(
    name: str, published: bytes, payload: Payload, split: str, role: str, *, length: int = PIECE, head: int = 0
) -> DataFile:
    """The manifest's entry for a file whose published bytes are these; HEAD of them are another's in the package."""
    pieces = tuple(Piece(span, sha256(published[slice(*span)])) for span in cut(len(published), length))
    splice = Splice(published[:head], 10) if head else None
    return DataFile(name, len(published), sha256(published), pieces, split, role, payload, splice)


@dataclass(frozen=True)
class Sample:
    """A dataset: its manifest, its files as published, its payloads, and the files as a package carries them."""

    manifest: Manifest
    files: dict[str, bytes]
    payloads: dict[str, bytes]
    donors: dict[str, bytes]

    @property
    def size(self) -> int:
        """The published bytes of all files."""
        return sum(map(len, self.files.values()))

    def file(self, split: str = "train", role: str = "images") -> DataFile:
        file = self.manifest.file(split, role)
        assert file is not None
        return file

    def layout(self, root: Path) -> Layout:
        return Layout(root, self.manifest)

    def changed(self, **changes: Any) -> Sample:
        """The same files under a manifest with other values."""
        return replace(self, manifest=self.manifest._replace(**changes))

    def write(self, folder: Path) -> str:
        """Write the manifest to FOLDER and return its path."""
        path = folder / "sample.toml"
        path.write_text(dumps(self.manifest))
        return str(path)

    def fetch(self, root: Path, *mirrors: str, patience: float = 5.0, events: list[Event] | None = None) -> Report:
        """Bring it to ROOT, from these mirrors only."""
        choice = FetchOptions(tuple(mirrors), only_mirrors=True, patience=patience)
        listener = silent if events is None else events.append
        return prepare(self.layout(root), choice, listener=listener)


def lay(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write FILES into FOLDER, which is made, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def make(
    *,
    pinned: bool = True,
    packed: bool = True,
    length: int = PIECE,
    shape: tuple[int, ...] = (16, 16),
    code: int = 0x08,
    width: int = 1,
    counts: tuple[int, int] = (60, 20),
) -> Sample:
    """A dataset of COUNTS images of SHAPE in train and test; PINNED says whether its payloads have digests."""
    entries: list[DataFile] = []
    sample = Sample(EMPTY, {}, {}, {})
    for seed, (split, count) in enumerate(zip(("train", "test"), counts, strict=True), start=1):
        for role in ("images", "labels"):
            data = labels(count, seed) if role == "labels" else images((count, *shape), seed, code, width)
            plain = f"{split}-{role}-idx"
            name = f"{plain}.gz" if packed else plain
            sample.payloads[plain] = data
            sample.files[name] = gz(data, plain) if packed else data
            header = IdxHeader.parse(data, len(data), plain)
            payload = Payload(plain, len(data), sha256(data) if pinned or not packed else None, header)
            head = 10 + len(plain) + 1 if packed else 0
            sample.donors[name] = rewrapped(sample.files[name], head)
            entries.append(file_of(name, sample.files[name], payload, split, role, length=length, head=head))
    return sample.changed(files=tuple(entries))


def assemble(layout: Layout, seals: Mapping[str, str]) -> None:
    """The tensor file, out of payloads that all lie there."""
    with Assembly(layout) as assembly:
        assembly.complete(seals)


def disk_of(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file under ROOT with its bytes and the moment of its last change, to tell what was touched."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def told(error: FetchError) -> str:
    """The two lines that the command line makes of ERROR."""
    return f"error: {error.message}\nhint: {error.hint}"


def open_to_all(path: Path) -> None:
    """Let every user reach PATH through the folders of the test, which pytest makes for its own user."""
    for folder in (path, *path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)


def environment(**more: str) -> dict[str, str]:
    """The environment for a process of its own: the package can be found from any folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(HOME_OF_PACKAGE), str(Path(__file__).parent))), **more}


def python(code: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run CODE in a Python of its own, with these arguments and environment variables."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**more), timeout=60, check=False)


def command_line(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    command = [sys.executable, "-m", "fmnist_fetch", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**more), timeout=60, check=False)


def started(*words: str) -> subprocess.Popen[str]:
    """The command line as a process under way, which heeds Ctrl-C even where its parents were told to ignore it."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from fmnist_fetch.__main__ import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        restore_signals=True,
    )


WATCHED = """
import sys
seen = set()
sys.addaudithook(lambda event, arguments: seen.add(event) if event.startswith("socket.") else None)
from fmnist_fetch.cli import run
code = run(sys.argv[1:])
heavy = sorted({"requests", "urllib3", "numpy", "tqdm", "filelock", "ssl", "html"} & sys.modules.keys())
print("exit", code, "sockets", sorted(seen), "heavy", heavy)
"""


def watched(*words: str, **more: str) -> str:
    """What a run of the command line did with sockets, and which heavy libraries it loaded, in its last line."""
    done = python(WATCHED, *words, "--json", **more)
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[-1]


def peak_memory() -> int:
    """The most bytes of memory that this process has had. (getrusage counts in what its parent had before it.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send the signal; return the exit code and what was said on stderr."""
    process.send_signal(number)
    _, complaints = process.communicate(timeout=20)
    return process.returncode, complaints


def parts(layout: Layout, files: Sequence[DataFile]) -> dict[str, bytes]:
    """The part files that are there, by the file's name."""
    paths = {file.name: layout.published(file).with_name(file.name + ".part") for file in files}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}
