"""What the user can mean by a mirror, and URLs in messages; for the set-up too, before any package is installed."""

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.validation import is_url
from fmnist_fetch.storage.layout import user_path

_MAX_CHARACTERS = 120
# Not compiled here: few runs need it, and every run would wait for it.
_NEARLY_A_URL = r"(?i)(?P<scheme>h[a-z]{1,5}:[/\\]*)?(?P<rest>([^@/\\]+@)?[a-z0-9.-]+(?P<port>:[0-9]+)?([/\\].*)?)"
_HINT = "Give a URL that begins with http:// or https://, or the path of a folder with the files."


def parse_mirror(mirror: str) -> str | Path:
    """Return the URL or the folder that a mirror of the user is.

    Raises:
        UsageError: It is neither; the hint has the URL that was probably meant.
    """
    if is_url(mirror.strip()):
        return mirror.strip()
    if mirror and os.path.isdir(folder := _folder(mirror)):  # noqa: PTH112 - one that is closed to us is none
        return folder
    url = _meant_url(mirror)
    raise UsageError(
        f"the mirror {redact(mirror)!r} is neither a URL nor a folder that is there",
        hint=f"If it is a URL, write: {shlex.quote(redact(url))}" if url else _HINT,
    )


def _folder(mirror: str) -> Path:
    """Return the folder that MIRROR names, as a path or as a file: URL."""
    return Path(unquote(urlsplit(mirror).path)) if mirror.lower().startswith("file:///") else user_path(mirror)


def _meant_url(mirror: str) -> str | None:
    """Return the URL that MIRROR can mean, which is none: a mistyped scheme, or a host with a port and no scheme."""
    match = re.fullmatch(_NEARLY_A_URL, mirror)
    if match is None or not (match["scheme"] or match["port"]):
        return None
    secure = "s" if "s" in (match["scheme"] or "").lower() else ""
    url = f"http{secure}://{match['rest']}".replace("\\", "/")
    return url if is_url(url) else None


def clean(text: str) -> str:
    """Return TEXT on one line, without secrets of URLs and at a length that can be read."""
    text = re.sub(r"//[^/\s@]*@", "//***@", re.sub(r"\?[^\s'\"()]+", "?***", text))
    return "".join(char if char.isprintable() else " " for char in text)[:_MAX_CHARACTERS].strip()


def origin(url: str) -> str:
    """Return the scheme, host and port of URL."""
    parts = urlsplit(url)
    return clean(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "/", "", "")))


def redact(url: str) -> str:
    """Return URL without what may be secret: user, password, and the values of a query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return clean(url)
    if not parts.netloc:
        # Where the scheme is mistyped, a login is part of the path.
        return re.sub(r"[^/\s@]+@", "***@", re.sub(r"\?.+", "?***", url))
    host = parts.netloc.rpartition("@")[2]
    netloc = f"***@{host}" if "@" in parts.netloc else host
    return urlunsplit(parts._replace(netloc=netloc, query="***" if parts.query else "", fragment=""))
