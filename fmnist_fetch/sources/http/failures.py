"""Why a request failed, in words that say what to do. For messages; only `permanent` and `is_local` decide anything.

The structure of a failure counts: the chain of causes, their classes, errno, the code of a failed verification. What is
not known keeps the words of the library.
"""

import errno
import http.client
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from socket import gaierror
from typing import NamedTuple

import requests
from urllib3 import exceptions as urllib3
from urllib3.util import parse_url

from fmnist_fetch.errors import CHECK_ADDRESS, CHECK_NETWORK, RAISE_LIMIT, SourceError, reason
from fmnist_fetch.sources.http.sockets import HeadTimeoutError, LookupTimeoutError, NoThreadError
from fmnist_fetch.sources.mirror import clean, redact

_MAX_CAUSES = 50
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_BUNDLE_HINT = "Behind a company's or school's proxy, set REQUESTS_CA_BUNDLE to its CA file."
_NAME_HINT = "Check the address of the mirror; if the network has a login page, log in with a browser."
_CLOCK_HINT = "Check this machine's clock."
_SOCKS_HINT = "Install it with: pip install 'fmnist-fetch[socks]' (or: pip install PySocks)."
_THREADS_HINT = "End other programs or raise the limit (ulimit -u), then run the same command again."
_PROXY_HINT = "Check the variables HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."


class _Cause(NamedTuple):
    """What is said after a mirror's name, and the hint; `permanent` and `is_local` as in SourceError."""

    what: str
    hint: str = CHECK_NETWORK
    permanent: bool = False
    is_local: bool = False


# The kinds of exceptions and the numbers of errors of each cause; the first one that is in the chain counts.
_Rows = tuple[tuple[tuple[type[BaseException] | int, ...], _Cause], ...]
_THIS_MACHINE: _Rows = (
    ((errno.EMFILE, errno.ENFILE), _Cause(": {reason}", RAISE_LIMIT, True, True)),
    ((NoThreadError,), _Cause(": this machine starts no further thread", _THREADS_HINT, True, True)),
)
_PEER: _Rows = (
    ((gaierror,), _Cause(" can't be found: its name does not resolve ({reason})")),
    ((LookupTimeoutError,), _Cause(" can't be found yet: the look-up of its name takes long")),
    ((http.client.RemoteDisconnected,), _Cause(" hung up without an answer")),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), _Cause(" broke off the TLS connection")),
    ((requests.ConnectTimeout, urllib3.ConnectTimeoutError), _Cause(" accepted no connection for several seconds")),
    ((HeadTimeoutError,), _Cause(" sent no complete answer in several seconds")),
    ((requests.Timeout, urllib3.TimeoutError, TimeoutError), _Cause(" said nothing for several seconds")),
    ((errno.ECONNREFUSED,), _Cause(" refuses connections")),
    ((errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH), _Cause(" can't be reached: no route to it")),
    ((errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE), _Cause(" reset the connection")),
    ((errno.EADDRNOTAVAIL,), _Cause(" can't be reached: this machine has no free port or address")),
    ((errno.EACCES, errno.EPERM), _Cause(" can't be reached: this machine does not permit the connection")),
    ((urllib3.InvalidChunkLength,), _Cause(" sent an answer with broken framing")),
    ((http.client.IncompleteRead,), _Cause(" hung up in the middle of an answer")),
    ((urllib3.DecodeError,), _Cause(" sent an answer with a broken content coding")),
    (
        (http.client.HTTPException, urllib3.InvalidHeader, urllib3.HeaderParsingError),
        _Cause(" sent no valid HTTP answer ({words})"),
    ),
    (
        (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, urllib3.LocationValueError, UnicodeError),
        _Cause(": not a usable URL", CHECK_ADDRESS, True),
    ),
)
# The codes of OpenSSL's x509_vfy.h.
_CERTIFICATES = {
    9: ("it is not yet valid", _CLOCK_HINT),
    10: ("it has expired", _CLOCK_HINT),
    18: ("it is self-signed", _BUNDLE_HINT),
    19: ("a self-signed certificate issued it", _BUNDLE_HINT),
    20: ("an unknown authority issued it", _BUNDLE_HINT),
    21: ("an unknown authority issued it", _BUNDLE_HINT),
    62: ("it belongs to another name", _NAME_HINT),
    64: ("it belongs to another address", _NAME_HINT),
}
# What OpenSSL says of an answer that is not TLS; its words differ between versions.
_NO_TLS = {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}


def translate(exc: BaseException, name: str, *, proxy: str | None = None, bundle: str | None = None) -> SourceError:
    """Turn the failure EXC of the mirror NAME, without secrets, into a SourceError.

    PROXY is the URL of the proxy through which it was asked, BUNDLE the path of the CA bundle that is set.
    """
    causes = list(_chain(exc))
    cause = _find(_THIS_MACHINE, causes) or _of_bundle(causes, bundle) or _of_proxy(causes, proxy)
    return _error(name, cause or _of_peer(causes, "its"))


def refused_by_proxy(name: str, proxy: str | None) -> SourceError:
    """Return the error of an answer 407 for the mirror NAME, which PROXY gave instead."""
    return _error(name, _login(redact(proxy) if proxy else "on the way"), status=407)


def _error(name: str, cause: _Cause, status: int | None = None) -> SourceError:
    what, hint, permanent, is_local = cause
    return SourceError(f"{name}{what}", hint=hint, permanent=permanent, is_local=is_local, status=status)


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


def _find(rows: _Rows, causes: Sequence[BaseException]) -> _Cause | None:
    """Return the cause of the first of ROWS that is in the chain."""
    for kinds, cause in rows:
        if (one := _first(causes, *kinds)) is not None:
            why = reason(one) if isinstance(one, OSError) else ""
            if isinstance(one, gaierror):
                # The numbers of look-ups are no errno: on macOS, that of "try again" is ENOENT's.
                why = one.strerror or ""
            return cause._replace(what=cause.what.format(reason=clean(why), words=_words(causes)))
    return None


def _first(causes: Sequence[BaseException], *kinds: type[BaseException] | int) -> BaseException | None:
    """Return the first of CAUSES of one of the classes, or with one of the numbers of errors, in KINDS."""
    classes = tuple(kind for kind in kinds if isinstance(kind, type))
    # It is a ConnectTimeoutError too, and says nothing of time.
    plain = (cause for cause in causes if not isinstance(cause, urllib3.NewConnectionError))
    return next((cause for cause in plain if isinstance(cause, classes) or _errno(cause) in kinds), None)


def _errno(cause: BaseException) -> int | None:
    # The numbers of a failed look-up (gaierror) and of OpenSSL are others.
    return cause.errno if isinstance(cause, OSError) and not isinstance(cause, (gaierror, ssl.SSLError)) else None


def _of_bundle(causes: Sequence[BaseException], bundle: str | None) -> _Cause | None:
    """Return the cause of a CA bundle that can't be used; None where something else is the reason."""
    if bundle is None or _first(causes, ssl.SSLCertVerificationError) or not _first(causes, OSError):
        return None
    fault = "is not there"
    if os.path.exists(bundle):  # noqa: PTH110 - a path that can't be looked at is no reason to raise
        try:
            folder = os.path.isdir(bundle)  # noqa: PTH112
            ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
            return None
        except OSError as exc:
            fault = f"can't be read ({exc.strerror or 'no certificate is in it'})"
    variable = next((one for one in _BUNDLES if os.environ.get(one)), "a variable")
    hint = f"Set {variable} to a file of CA certificates in PEM format, or unset it."
    return _Cause(f": the CA bundle {bundle} ({variable}) {fault}", hint, True)


def _of_proxy(causes: Sequence[BaseException], proxy: str | None) -> _Cause | None:
    """Return a cause in the proxy or its settings."""
    if proxy is None:
        return None
    shown, socks = redact(proxy), proxy.lower().startswith("socks")
    if socks and _first(causes, requests.exceptions.InvalidSchema):
        return _Cause(f": the proxy {shown} needs the package PySocks", _SOCKS_HINT, True)
    if _first(causes, ValueError) and not _usable_proxy(proxy):
        return _Cause(f": the proxy {shown} is not a usable URL", _PROXY_HINT, True)
    for cause in causes:
        # A refused tunnel: http.client keeps the status in its message only.
        plain = isinstance(cause, OSError) and cause.errno is None and len(cause.args) == 1
        if plain and (tunnel := re.match(r"Tunnel connection failed: (([0-9]{3}) ?.{,60})", str(cause))):
            refused = _Cause(f": the proxy {shown} gives no connection to it ({tunnel[1].strip()})")
            return _login(shown) if tunnel[2] == "407" else refused
    # PySocks wraps what a proxy answered; the innermost one says it.
    if refusals := [cause for cause in causes if type(cause).__module__ == "socks"]:
        if type(refusals[-1]).__name__ == "SOCKS5AuthError":
            return _login(shown)
        if not any(map(_errno, causes)):
            return _Cause(f": the proxy {shown} gives no connection to it ({clean(str(refusals[-1]))})")
    if not _first(causes, urllib3.ProxyError) and not socks:
        return None
    peer = _of_peer(causes, "the proxy's")
    return peer._replace(what=f" can't be reached through the proxy {shown}, which{peer.what.removeprefix(':')}")


def _login(shown: str) -> _Cause:
    """Return the cause of a proxy, SHOWN without secrets, that requires a login."""
    form = "ALL_PROXY=socks5h" if shown.startswith("socks") else "HTTPS_PROXY=http"
    hint = f"Put the login into the proxy's URL: {form}://USER:PASSWORD@HOST:PORT."
    return _Cause(f": the proxy {shown} requires a login", hint, True)


def _usable_proxy(proxy: str) -> bool:
    try:
        parts = parse_url(proxy)
    except urllib3.LocationValueError:
        return False
    return bool(parts.host) and parts.scheme in ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def _of_peer(causes: Sequence[BaseException], whose: str) -> _Cause:
    """Return a cause in the network, or in what the other side sends, WHOSE certificate may not be trusted."""
    failure = _first(causes, ssl.SSLCertVerificationError)
    if isinstance(failure, ssl.SSLCertVerificationError):
        code, said = getattr(failure, "verify_code", 0), clean(getattr(failure, "verify_message", ""))
        fault, hint = _CERTIFICATES.get(code, (said or "it could not be verified", _BUNDLE_HINT))
        if hint == _CLOCK_HINT:
            hint = f"{hint} It says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        return _Cause(f": {whose} certificate is not trusted: {fault}", hint, True)
    if found := _find(_PEER, causes):
        return found
    failure = _first(causes, ssl.SSLError)
    if isinstance(failure, ssl.SSLError):
        if failure.reason in _NO_TLS:
            return _Cause(" does not speak TLS", "Check the address of the mirror: http:// or https://.")
        return _Cause(f": TLS failed ({clean(failure.reason or str(failure))})")
    return _Cause(f": {_words(causes)}")


def _words(causes: Sequence[BaseException]) -> str:
    """Return the words of the library: those of the innermost exception that has any."""
    innermost = next((cause for cause in reversed(causes) if str(cause)), causes[-1])
    words = clean(str(innermost))
    return f"{type(innermost).__name__}: {words}" if words else type(innermost).__name__
