"""What failures and wrong bytes are, in words that say what to do. For messages; only `permanent` decides anything."""

import errno
import http.client
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from socket import gaierror
from typing import NamedTuple

from fmnist_fetch.errors import CHECK_NETWORK, SourceError, WrongBytesError
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.folder import LFS_POINTER
from fmnist_fetch.sources.http.sockets import HeadTimeoutError, LookupTimeoutError, NoThreadError
from fmnist_fetch.sources.mirror import clean, redact

_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<script)", re.IGNORECASE)
_BUCKET = re.compile(rb"<Error>|AccessDenied|NoSuchKey")
# Label files of the first release (26 August 2017), from which 43 duplicates and 10 overlaps were removed later.
_FIRST_RELEASE = {("train-labels-idx1-ubyte.gz", 29_497), ("t10k-labels-idx1-ubyte.gz", 5_097)}

LOGIN_PAGE = "looks like a login page: log in to the network with a browser"
LOGIN_HINT = "Log in to the network with a browser, then run the same command again."
SOCKS_HINT = "Install it with: pip install 'fmnist-fetch[socks]' (or: pip install PySocks)."
_BUNDLE_HINT = "Behind a company's or school's proxy, set REQUESTS_CA_BUNDLE to its CA file."
_NAME_HINT = "Check the address of the mirror; if the network has a login page, log in with a browser."
_CLOCK_HINT = "Check this machine's clock."
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
# The codes of OpenSSL's x509_vfy.h.
_REASONS = {
    9: ("it is not yet valid", _CLOCK_HINT),
    10: ("it has expired", _CLOCK_HINT),
    18: ("it is self-signed", _BUNDLE_HINT),
    19: ("a self-signed certificate issued it", _BUNDLE_HINT),
    20: ("an unknown authority issued it", _BUNDLE_HINT),
    21: ("an unknown authority issued it", _BUNDLE_HINT),
    62: ("it belongs to another name", _NAME_HINT),
    64: ("it belongs to another address", _NAME_HINT),
}
_CLOCK = (9, 10)
# What OpenSSL says of an answer that is not TLS; its words differ between versions.
_NO_TLS = {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
_ERRNOS = {
    errno.ECONNREFUSED: "refuses connections",
    errno.ENETUNREACH: "can't be reached: no route to it",
    errno.ENETDOWN: "can't be reached: no route to it",
    errno.EHOSTUNREACH: "can't be reached: no route to it",
    errno.ECONNRESET: "reset the connection",
    errno.ECONNABORTED: "reset the connection",
    errno.EPIPE: "reset the connection",
    errno.EADDRNOTAVAIL: "can't be reached: this machine has no free port or address",
    errno.EACCES: "can't be reached: this machine does not permit the connection",
    errno.EPERM: "can't be reached: this machine does not permit the connection",
}
_MAX_CAUSES = 50


def looks_like_page(start: bytes) -> bool:
    """Whether a body that begins with START is an HTML page."""
    return _HTML.match(start) is not None


def describe(start: bytes, file: DataFile, *, content_type: str = "") -> str | None:
    """Return what a body that begins with START seems to be in place of FILE, or None."""
    if looks_like_page(start) or content_type.startswith("text/html"):
        return LOGIN_PAGE
    if start.lstrip().startswith(b"<?xml") and _BUCKET.search(start):
        return "looks like the refusal of a storage bucket"
    if start.startswith(LFS_POINTER):
        return "is a pointer of git-lfs, not the file"
    if start[:2] == b"\0\0" and start[2:3] in (b"\x08", b"\x09", b"\x0b", b"\x0c", b"\x0d", b"\x0e") and file.packed:
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
    if (file.name, size) in _FIRST_RELEASE and file.split in ("train", "test"):
        other = _namesake(file, size)
        return f"looks like the first release of Fashion-MNIST (26 August 2017){f' or {other}' if other else ''}"
    if other := _namesake(file, size):
        return f"this is {other}'s file of the same name: a cache on the way answered for another site"
    return "looks cut off" if size < file.size else None


def _namesake(file: DataFile, size: int) -> str | None:
    """Return the title of another dataset of the catalogue whose file of the same name has SIZE bytes."""
    for name in names():
        manifest = find(name)
        for other in manifest.files:
            if (other.name, other.size) == (file.name, size) and other.sha256 != file.sha256:
                return manifest.title
    return None


def translate(exc: BaseException, name: str, *, proxy: str | None = None, bundle: str | None = None) -> SourceError:
    """Turn the failure EXC of the mirror NAME into a SourceError.

    The structure decides: the chain of causes, their classes, errno, the code of a failed verification. What is not
    known keeps the words of the library.

    Args:
        exc: What was raised.
        name: The mirror, without secrets.
        proxy: The URL of the proxy through which it was asked, if any.
        bundle: The path of the CA bundle that the environment names, if any.
    """
    causes = list(_chain(exc))
    found = _local(causes, bundle) or _of_proxy(causes, proxy) or _of_certificate(causes, "its") or _of_peer(causes)
    what, hint, permanent, is_local = found or _Cause(f": {_words(causes)}")
    return SourceError(f"{name}{what}", hint=hint, permanent=permanent, is_local=is_local)


class _Cause(NamedTuple):
    """What is said after a mirror's name, and the hint; `permanent` and `is_local` as in SourceError."""

    what: str
    hint: str = CHECK_NETWORK
    permanent: bool = False
    is_local: bool = False


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """EXC and all that led to it, the outermost first: causes, contexts, and what libraries keep as attributes."""
    waiting, seen = [exc], set[int]()
    while waiting and len(seen) < _MAX_CAUSES:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        kept = (getattr(one, "reason", None), getattr(one, "original_error", None), *one.args)
        waiting += [other for other in (*kept, one.__cause__, one.__context__) if isinstance(other, BaseException)]


def _first(causes: Sequence[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, kinds)), None)


def _errnos(causes: Sequence[BaseException]) -> set[int | None]:
    # The numbers of a failed look-up (gaierror) and of OpenSSL are others.
    return {
        cause.errno
        for cause in causes
        if isinstance(cause, OSError) and not isinstance(cause, (gaierror, ssl.SSLError))
    }


def _local(causes: Sequence[BaseException], bundle: str | None) -> _Cause | None:
    """Return a cause on this machine, which no other moment and no other mirror changes."""
    if _errnos(causes) & {errno.EMFILE, errno.ENFILE}:
        hint = "Raise the limit (ulimit -n 4096) or end other programs, then run the same command again."
        return _Cause(": this machine opens no further file or connection: too many are open", hint, True, True)
    if _first(causes, NoThreadError):
        hint = "End other programs or raise the limit (ulimit -u), then run the same command again."
        return _Cause(": this machine starts no further thread", hint, True, True)
    if bundle is not None and (fault := _bundle_fault(causes, bundle)):
        variable = next((one for one in _BUNDLES if os.environ.get(one)), "a variable")
        hint = f"Set {variable} to a file of CA certificates in PEM format, or unset it."
        return _Cause(f": the CA bundle {bundle} ({variable}) {fault}", hint, True)
    return None


def _bundle_fault(causes: Sequence[BaseException], bundle: str) -> str | None:
    """Return what is wrong with the CA bundle of a failed connection; None where something else is."""
    if _first(causes, ssl.SSLCertVerificationError) or not _first(causes, OSError):
        return None
    if not os.path.exists(bundle):  # noqa: PTH110 - a path that can't be looked at is no reason to raise
        return "is not there"
    try:
        folder = os.path.isdir(bundle)  # noqa: PTH112
        ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
    except OSError as exc:
        return f"can't be read ({exc.strerror or 'no certificate is in it'})"
    return None


def _of_proxy(causes: Sequence[BaseException], proxy: str | None) -> _Cause | None:
    """Return a cause in the proxy or its settings."""
    import requests
    from urllib3.exceptions import LocationValueError, ProxyError, ProxySchemeUnknown

    if proxy is None:
        return None
    shown = redact(proxy)
    socks = proxy.lower().startswith("socks")
    if socks and find_spec("socks") is None and _first(causes, requests.exceptions.InvalidSchema):
        return _Cause(f": the proxy {shown} needs the package PySocks", SOCKS_HINT, True)
    broken = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError, ValueError)
    if _first(causes, ProxySchemeUnknown) or (_first(causes, *broken) and not _usable_proxy(proxy)):
        hint = "Check the variables HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
        return _Cause(f": the proxy {shown} is not a usable URL", hint, True)
    if tunnel := next((match for cause in causes if (match := _tunnel_refusal(cause))), None):
        if tunnel[1] == "407":
            return _login(shown)
        return _Cause(f": the proxy {shown} gives no connection to it ({tunnel[1]} {tunnel[2]:.60})".replace(" )", ")"))
    # PySocks wraps what a proxy answered; the innermost one says it.
    if socks and (refusals := [cause for cause in causes if type(cause).__module__ == "socks"]):
        refusal = refusals[-1]
        if type(refusal).__name__ == "SOCKS5AuthError":
            return _login(shown)
        if not _errnos(causes) - {None}:
            return _Cause(f": the proxy {shown} gives no connection to it ({clean(str(refusal))})")
    if not _first(causes, ProxyError) and not socks:
        return None
    cause = _of_certificate(causes, "the proxy's") or _of_peer(causes) or _Cause(f": {_words(causes)}")
    what = cause.what.removeprefix(":")
    return cause._replace(what=f" can't be reached through the proxy {shown}, which{what}")


def refused_by_proxy(name: str, proxy: str | None) -> SourceError:
    """Return the error of an answer 407 for the mirror NAME, which PROXY gave instead."""
    cause = _login(redact(proxy) if proxy else "on the way")
    return SourceError(f"{name}{cause.what}", hint=cause.hint, permanent=True, status=407)


def _login(shown: str) -> _Cause:
    """Return the cause of a proxy, SHOWN without secrets, that requires a login."""
    form = "ALL_PROXY=socks5h" if shown.startswith("socks") else "HTTPS_PROXY=http"
    hint = f"Put the login into the proxy's URL: {form}://USER:PASSWORD@HOST:PORT."
    return _Cause(f": the proxy {shown} requires a login", hint, True)


def _tunnel_refusal(cause: BaseException) -> re.Match[str] | None:
    """Return the status with which a proxy refused a tunnel: http.client keeps it in its message only."""
    plain = isinstance(cause, OSError) and cause.errno is None and len(cause.args) == 1
    return re.match(r"Tunnel connection failed: ([0-9]{3}) ?(.*)", str(cause)) if plain else None


def _usable_proxy(proxy: str) -> bool:
    from urllib3.exceptions import LocationValueError
    from urllib3.util import parse_url

    try:
        parts = parse_url(proxy)
    except LocationValueError:
        return False
    return bool(parts.host) and parts.scheme in ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def _of_certificate(causes: Sequence[BaseException], whose: str) -> _Cause | None:
    """Return the cause of a certificate that is not valid, with the reason."""
    failure = _first(causes, ssl.SSLCertVerificationError)
    if not isinstance(failure, ssl.SSLCertVerificationError):
        return None
    code, words = getattr(failure, "verify_code", 0), getattr(failure, "verify_message", "")
    reason, hint = _REASONS.get(code, (clean(words) or "it could not be verified", _BUNDLE_HINT))
    if code in _CLOCK:
        hint = f"{hint} It says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    return _Cause(f": {whose} certificate is not trusted: {reason}", hint, True)


def _of_peer(causes: Sequence[BaseException]) -> _Cause | None:
    """Return a cause in the network, or in what the other side sends."""
    import requests
    from urllib3 import exceptions as urllib3

    if lookup := _first(causes, gaierror):
        return _Cause(f" can't be found: its name does not resolve ({clean(getattr(lookup, 'strerror', '') or '')})")
    if _first(causes, LookupTimeoutError):
        return _Cause(" can't be found yet: the look-up of its name takes long")
    if _first(causes, http.client.RemoteDisconnected):
        return _Cause(" hung up without an answer")
    if found := _of_tls(causes) or _of_time(causes):
        return found
    if meaning := next((_ERRNOS[number] for number in _errnos(causes) if number in _ERRNOS), None):
        return _Cause(f" {meaning}")
    if _first(causes, urllib3.InvalidChunkLength):
        return _Cause(" sent an answer with broken framing")
    if _first(causes, urllib3.IncompleteRead, http.client.IncompleteRead):
        return _Cause(" hung up in the middle of an answer")
    if _first(causes, urllib3.DecodeError, requests.exceptions.ContentDecodingError):
        return _Cause(" sent an answer with a broken content coding")
    if _first(causes, http.client.HTTPException, urllib3.InvalidHeader, urllib3.HeaderParsingError):
        return _Cause(f" sent no valid HTTP answer ({_words(causes)})")
    invalid = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        urllib3.LocationValueError,
        UnicodeError,
    )
    if _first(causes, *invalid):
        return _Cause(": not a usable URL", "Check the address of the mirror.", True)
    return None


def _of_time(causes: Sequence[BaseException]) -> _Cause | None:
    """Return the cause of a stage of the connection that took too long."""
    import requests
    from urllib3 import exceptions as urllib3

    # A NewConnectionError is a ConnectTimeoutError too, and says nothing of time.
    timed = [cause for cause in causes if not isinstance(cause, urllib3.NewConnectionError)]
    if _first(timed, requests.ConnectTimeout, urllib3.ConnectTimeoutError):
        return _Cause(" accepted no connection for several seconds")
    if _first(timed, HeadTimeoutError):
        return _Cause(" sent no complete answer in several seconds")
    if _first(timed, requests.Timeout, urllib3.TimeoutError, TimeoutError) or errno.ETIMEDOUT in _errnos(causes):
        return _Cause(" said nothing for several seconds")
    return None


def _of_tls(causes: Sequence[BaseException]) -> _Cause | None:
    """Return the cause of a failure of TLS other than of the certificate: most are broken connections."""
    failure = _first(causes, ssl.SSLError)
    if not isinstance(failure, ssl.SSLError):
        return None
    if isinstance(failure, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return _Cause(" broke off the TLS connection")
    if failure.reason in _NO_TLS:
        return _Cause(" does not speak TLS", "Check the address of the mirror: http:// or https://.")
    return _Cause(f": TLS failed ({clean(failure.reason or str(failure))})")


def _words(causes: Sequence[BaseException]) -> str:
    """Return the words of the library: those of the innermost exception that has any."""
    innermost = next((cause for cause in reversed(causes) if str(cause)), causes[-1])
    words = clean(str(innermost))
    return f"{type(innermost).__name__}: {words}" if words else type(innermost).__name__
