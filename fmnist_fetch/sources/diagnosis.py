"""What wrong bytes and failures are, in words that tell a user what to do. A guess for messages; it decides nothing."""

import re

from fmnist_fetch.errors import CHECK_NETWORK, SourceError, WrongBytesError
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span

_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<script)", re.IGNORECASE)
_BUCKET = re.compile(rb"<Error>|AccessDenied|NoSuchKey")
# Label files of the first release (26 August 2017), from which 43 duplicates and 10 overlaps were removed later.
_FIRST_RELEASE = {("train-labels-idx1-ubyte.gz", 29_497), ("t10k-labels-idx1-ubyte.gz", 5_097)}

LOGIN_PAGE = "looks like a login page: log in to the network with a browser, then run again"
_SIGNS = (
    ("ProxyError", "can't be reached through the proxy that is set"),
    ("NameResolutionError", "can't be found: its name does not resolve"),
    ("Failed to resolve", "can't be found: its name does not resolve"),
    ("Connection refused", "refuses connections"),
    ("unreachable", "can't be reached: no route to it"),
    ("No route to host", "can't be reached: no route to it"),
    ("Connection reset", "reset the connection"),
    ("without response", "hung up without an answer"),
    ("InvalidChunkLength", "sent an answer with broken framing"),
    ("IncompleteRead", "hung up in the middle of an answer"),
)


def looks_like_page(start: bytes) -> bool:
    """Whether a body that begins with START is an HTML page."""
    return _HTML.match(start) is not None


def describe(start: bytes, file: DataFile, *, content_type: str = "") -> str | None:
    """What a body that begins with START seems to be in place of FILE; None: no idea."""
    if looks_like_page(start) or content_type.startswith("text/html"):
        return LOGIN_PAGE
    if start.lstrip().startswith(b"<?xml") and _BUCKET.search(start):
        return "looks like the refusal of a storage bucket"
    if start[:2] == b"\0\0" and start[2:3] in (b"\x08", b"\x09", b"\x0b", b"\x0c", b"\x0d", b"\x0e") and file.packed:
        return "looks like the unpacked file: a proxy removed the compression"
    return None


def wrong_bytes(
    source: str, file: DataFile, span: Span, data: bytearray | memoryview, oddity: str | None
) -> WrongBytesError:
    """The error of DATA, which SOURCE gave for SPAN of FILE; ODDITY is what the answer it came in seems to be."""
    seen = describe(bytes(data[:1024]), file) if span.start == 0 else None
    what = seen or oddity
    facts = f"{source}: {file.name}: wrong bytes from {span.start:,} to {span.stop:,}"
    return WrongBytesError(facts + (f" ({what})" if what else ""), telling=2 if seen else int(what is not None))


def by_size(file: DataFile, size: int) -> str | None:
    """What a file of SIZE bytes under FILE's name seems to be; None: no idea."""
    if (file.name, size) in _FIRST_RELEASE and file.split in ("train", "test"):
        other = _namesake(file, size)
        return f"looks like the first release of Fashion-MNIST (26 August 2017){f' or {other}' if other else ''}"
    if other := _namesake(file, size):
        return f"this is {other}'s file of the same name: a cache on the way answered for another site"
    return "looks cut off" if size < file.size else None


def _namesake(file: DataFile, size: int) -> str | None:
    """The title of another dataset of the catalogue whose file of the same name has SIZE bytes."""
    for name in names():
        manifest = find(name)
        for other in manifest.files:
            if (other.name, other.size) == (file.name, size) and other.sha256 != file.sha256:
                return manifest.title
    return None


def translate(exc: Exception, name: str) -> SourceError:
    """The failure EXC of the mirror NAME as a SourceError."""
    import requests  # here, since a run that asks no mirror has no use for it
    from urllib3.exceptions import ReadTimeoutError

    text = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, requests.exceptions.SSLError):
        return SourceError(
            f"{name}: its certificate is not trusted ({_reason(text)})",
            hint="Behind a company's or school's proxy, set REQUESTS_CA_BUNDLE to its CA file.",
            permanent=True,
        )
    if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return SourceError(f"{name}: not a usable URL", hint="Check the address of the mirror.", permanent=True)
    if isinstance(exc, (requests.Timeout, ReadTimeoutError, TimeoutError)) or "timed out" in text:
        return SourceError(f"{name} said nothing for several seconds", hint=CHECK_NETWORK)
    for sign, meaning in _SIGNS:
        if sign in text:
            return SourceError(f"{name} {meaning}", hint=CHECK_NETWORK)
    return SourceError(f"{name}: no sound answer ({type(exc).__name__})", hint=CHECK_NETWORK)


def _reason(text: str) -> str:
    """The kernel of a nested library message."""
    match = re.search(r"certificate verify failed[^(\"']*|\[[A-Z0-9_: ]+\] ([^(\"']+)", text)
    return (match[0] if match else text)[:120].strip()
