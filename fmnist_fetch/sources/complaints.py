"""A library's failure as ours: the sentence says what happened in the words of the network, and what to do."""

import re

import requests
from urllib3.exceptions import ReadTimeoutError

from fmnist_fetch.errors import CHECK_NETWORK, SourceError

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


def translate(exc: Exception, name: str) -> SourceError:
    """The failure EXC of the mirror NAME as a SourceError."""
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
