"""What wrong bytes are, in words that say what to do. For messages only."""

from fmnist_fetch.errors import WrongBytesError
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.folder import LFS_POINTER

LOGIN_PAGE = "looks like a login page: log in to the network with a browser"
LOGIN_HINT = "Log in to the network with a browser, then run the same command again."
_HTML = (b"<!doctype html", b"<html", b"<head", b"<script")
_BUCKET = (b"<Error>", b"AccessDenied", b"NoSuchKey")
_IDX = tuple(b"\0\0" + bytes([code]) for code in (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E))
# Label files of the first release (26 August 2017), from which 43 duplicates and 10 overlaps were removed later.
_FIRST_RELEASE = {("train-labels-idx1-ubyte.gz", 29_497), ("t10k-labels-idx1-ubyte.gz", 5_097)}


def looks_like_page(start: bytes) -> bool:
    """Whether a body that begins with START is an HTML page."""
    return start.lstrip().lower().startswith(_HTML)


def describe(start: bytes, file: DataFile, *, content_type: str = "") -> str | None:
    """Return what a body that begins with START seems to be in place of FILE, or None."""
    if looks_like_page(start) or content_type.startswith("text/html"):
        return LOGIN_PAGE
    if start.lstrip().startswith(b"<?xml") and any(word in start for word in _BUCKET):
        return "looks like the refusal of a storage bucket"
    if start.startswith(LFS_POINTER):
        return "is a pointer of git-lfs, not the file"
    if start.startswith(_IDX) and file.packed:
        return "looks like the unpacked file: a proxy removed the compression"
    return None


def wrong_bytes(
    source: str, file: DataFile, span: Span, data: bytearray | memoryview, oddity: str | None
) -> WrongBytesError:
    """Return the error for DATA that SOURCE gave for SPAN of FILE; ODDITY is what its answer seems to be."""
    seen = describe(bytes(data[:1024]), file) if span.start == 0 else None
    what = seen or oddity
    facts = f"{source}: {file.name}: wrong bytes from {span.start:,} to {span.stop:,}"
    return WrongBytesError(facts + (f" ({what})" if what else ""), telling=2 if seen else int(what is not None))


def by_size(file: DataFile, size: int) -> str | None:
    """Return what a file of SIZE bytes under FILE's name seems to be, or None."""
    namesake = _namesake(file, size)
    if (file.name, size) in _FIRST_RELEASE and file.split in ("train", "test"):
        also = f" or {namesake}" if namesake else ""
        return f"looks like the first release of Fashion-MNIST (26 August 2017){also}"
    if namesake:
        return f"this is {namesake}'s file of the same name: a cache on the way answered for another site"
    return "looks cut off" if size < file.size else None


def _namesake(file: DataFile, size: int) -> str | None:
    """Return the title of another dataset of the catalogue whose file of the same name has SIZE bytes."""
    for manifest in map(find, names()):
        for other in manifest.files:
            if (other.name, other.size) == (file.name, size) and other.sha256 != file.sha256:
                return manifest.title
    return None
