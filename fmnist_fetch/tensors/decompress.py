"""Gunzip: streaming, bounded by the manifest's size, checked, atomic.

isal's igzip decompresses about three times as fast as zlib; where it is not installed, zlib does the same.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType

from fmnist_fetch.concurrency import prefetch
from fmnist_fetch.errors import FormatError, IntegrityError, disk
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.storage.atomic import Seal, stamp, write_atomically
from fmnist_fetch.storage.writeback import Writeback


def _fastest() -> ModuleType:
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return zlib


inflate = _fastest()
GZIP = 16 + zlib.MAX_WBITS
MAGIC = b"\x1f\x8b"
# A small input keeps the copy of its unconsumed tail small; a bounded output keeps a gzip bomb small.
INPUT = 128 * 1024
OUTPUT = 512 * 1024


def unpack(
    packed: Path,
    target: Path,
    payload: Payload,
    arriving: Iterable[bytes] | None = None,
    by_way_of: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
) -> Seal:
    """Unpack the gzip file PACKED (or copy it, if it is no gzip) to TARGET.

    ARRIVING are its bytes, in order, where they are still on their way. BY_WAY_OF passes the payload's bytes on, for
    whoever wants to see them too. Raises FormatError where the stream ends early
    or gives other than payload.size bytes, IntegrityError where the digest is not the pinned one, DiskError, and what
    ARRIVING raises. TARGET is only replaced by a payload that is right.
    """
    digest = hashlib.sha256()
    with write_atomically(target, payload.size) as out, Writeback(out) as behind:
        for data in by_way_of(prefetch(stream(packed, payload.size, arriving))):
            digest.update(data)
            behind.write(data)
        sha256 = digest.hexdigest()
        if payload.sha256 not in (None, sha256):
            raise IntegrityError(
                f"{packed} unpacks to SHA-256 {sha256}, wanted {payload.sha256}",
                hint="The manifest contradicts itself or the file changed while it was read; run the command again.",
            )
        return Seal(sha256, stamp(out))


def digest_of(packed: Path, payload: Payload) -> str:
    """The SHA-256 of the payload in PACKED, unpacked in memory only. Raises as `unpack` does."""
    digest = hashlib.sha256()
    for data in stream(packed, payload.size):
        digest.update(data)
    return digest.hexdigest()


def stream(packed: Path, size: int | None = None, arriving: Iterable[bytes] | None = None) -> Iterator[bytes]:
    """Yield the payload of PACKED (or of ARRIVING), of SIZE bytes if that is known, in parts of at most 512 KiB."""
    content = iter(_contents(packed) if arriving is None else arriving)
    head = b""
    while len(head) < len(MAGIC) and (more := next(content, b"")):
        head += more
    content = chain([head], content)
    got = 0
    for data in _inflate(content, packed) if head.startswith(MAGIC) else content:
        got += len(data)
        if size is not None and got > size:
            raise _wrong(packed, f"gives more than the {size:,} bytes that it should")
        yield data
    if size not in (None, got):
        raise _wrong(packed, f"gives {got:,} bytes, not {size:,}")


def _contents(path: Path) -> Iterator[bytes]:
    with disk(path), open(path, "rb", buffering=0) as file:
        while data := file.read(INPUT):
            yield data


def _inflate(content: Iterator[bytes], packed: Path) -> Iterator[bytes]:
    """Inflate a gzip file, which may have several members (RFC 1952, section 2.2)."""
    inflater = inflate.decompressobj(GZIP)
    pending = b""
    while True:
        pending = pending or next(content, b"")
        if inflater.eof:
            if not pending:
                return
            if not pending.strip(b"\0"):
                # Zero bytes pad an archive out to a full record; gzip(1) passes over them too.
                pending = b""
                continue
            inflater = inflate.decompressobj(GZIP)
        try:
            data = inflater.decompress(pending, OUTPUT)
        except inflate.error as exc:
            raise _wrong(packed, f"is not a sound gzip stream ({exc})") from exc
        # All input may be consumed while output is still held back by its bound; only silence at the end is the end.
        if not data and not pending:
            raise _wrong(packed, "is a gzip stream that ends early")
        pending = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        if data:
            yield data


def _wrong(packed: Path, fault: str) -> FormatError:
    return FormatError(f"{packed} {fault}", hint=f"Delete {packed.name} and run the command again to fetch it anew.")
