"""Gunzip: streaming, bounded by the manifest's size, checked, atomic.

isal's igzip decompresses about three times as fast as zlib; where it is not installed, zlib does the same.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from fmnist_fetch.concurrency import prefetch
from fmnist_fetch.errors import FormatError, IntegrityError, disk
from fmnist_fetch.manifest.model import Payload
from fmnist_fetch.storage.atomic import write_atomically
from fmnist_fetch.storage.files import open_regular
from fmnist_fetch.storage.writeback import Writeback

GZIP = 16 + zlib.MAX_WBITS
MAGIC = b"\x1f\x8b"
# A small input keeps the copy of its unconsumed tail small; a bounded output keeps a gzip bomb small.
INPUT_BYTES = 128 * 1024
OUTPUT_BYTES = 512 * 1024
_CONTRADICTION = "The manifest contradicts itself or the file changed while it was read; run the command again."
T = TypeVar("T")
Sink = Callable[[bytes], None]
"""Takes the next bytes of a payload."""


@cache
def decoders() -> tuple[ModuleType, ...]:
    """Return the modules that inflate, the fastest first."""
    try:
        return import_module("isal.isal_zlib"), zlib
    except ImportError:
        return (zlib,)


def no_sink() -> AbstractContextManager[Sink]:
    """Return a sink, to open, that takes bytes which nobody else wants to see."""
    return nullcontext(lambda _data: None)


def with_each_decoder(attempt: Callable[[ModuleType], T]) -> T:
    """Call ATTEMPT with the fastest decoder, and with the next one before a file is called damaged."""
    *faster, last = decoders()
    for decoder in faster:
        with suppress(FormatError, IntegrityError):
            return attempt(decoder)
    return attempt(last)


def unpack(
    packed: Path,
    target: Path,
    payload: Payload,
    read: Callable[[], Iterator[bytes]] | None = None,
    open_sink: Callable[[], AbstractContextManager[Sink]] = no_sink,
) -> str:
    """Unpack the gzip file PACKED (or copy it, if it is no gzip) to TARGET; return the SHA-256 of the payload.

    Args:
        packed: The file as published.
        target: The final name, which only a right payload replaces.
        payload: What it should be.
        read: Yields the bytes of PACKED, in order, where the file is not complete yet.
        open_sink: Opens what gets the payload's bytes too, in order; anew for each decoder that is tried.

    Raises:
        FormatError: The stream ends early, or gives other than payload.size bytes.
        IntegrityError: The digest is not the pinned one.
        DiskError: A file can't be read or written.
    """

    def attempt(decoder: ModuleType) -> str:
        digest = hashlib.sha256()
        with write_atomically(target, payload.size) as out, Writeback(out) as writeback, open_sink() as sink:
            for data in prefetch(stream(packed, payload.size, read, decoder)):
                digest.update(data)
                writeback.write(data)
                sink(data)
            if payload.sha256 not in (None, sha256 := digest.hexdigest()):
                raise IntegrityError(
                    f"{packed} unpacks to SHA-256 {sha256}, wanted {payload.sha256}", hint=_CONTRADICTION
                )
        return sha256

    return with_each_decoder(attempt)


def digest_of(packed: Path, payload: Payload) -> str:
    """Return the SHA-256 of the payload in PACKED, unpacked in memory only. Raises as `unpack` does."""

    def attempt(decoder: ModuleType) -> str:
        digest = hashlib.sha256()
        for data in stream(packed, payload.size, decoder=decoder):
            digest.update(data)
        return digest.hexdigest()

    return with_each_decoder(attempt)


def stream(
    packed: Path,
    size: int | None = None,
    read: Callable[[], Iterator[bytes]] | None = None,
    decoder: ModuleType | None = None,
) -> Iterator[bytes]:
    """Yield the payload of PACKED, of SIZE bytes where that is known, in parts of at most 512 KiB.

    Raises FormatError where the stream is damaged or gives other than SIZE bytes, and DiskError. READ as in `unpack`.
    """
    content = read() if read else read_file(packed)
    head = b""
    while len(head) < len(MAGIC) and (more := next(content, b"")):
        head += more
    content = chain([head], content)
    got = 0
    for data in _inflate(content, packed, decoder or decoders()[0]) if head.startswith(MAGIC) else content:
        got += len(data)
        if size is not None and got > size:
            raise _wrong(packed, f"gives more than the {size:,} bytes that it should")
        yield data
    if size not in (None, got):
        raise _wrong(packed, f"gives {got:,} bytes, not {size:,}")


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the bytes of the file at PATH in parts. Raises DiskError."""
    with disk(path), open_regular(path) as file:
        while data := file.read(INPUT_BYTES):
            yield data


def _inflate(content: Iterator[bytes], packed: Path, decoder: ModuleType) -> Iterator[bytes]:
    """Inflate a gzip file, which may have several members (RFC 1952, section 2.2)."""
    inflater = decoder.decompressobj(GZIP)
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
            inflater = decoder.decompressobj(GZIP)
        try:
            data = inflater.decompress(pending, OUTPUT_BYTES)
        except decoder.error as exc:
            raise _wrong(packed, f"is not a valid gzip stream ({exc})") from exc
        # All input may be consumed while output is still held back by its bound; only silence at the end is the end.
        if not data and not pending:
            raise _wrong(packed, "is a gzip stream that ends early")
        pending = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        if data:
            yield data


def _wrong(packed: Path, fault: str) -> FormatError:
    return FormatError(f"{packed} {fault}", hint=f"Delete {packed.name} and run the command again to fetch it anew.")
