"""Invalid parts of answers, each with a name, for `pytest.mark.parametrize`."""

from __future__ import annotations

# In place of `bytes START-LAST/TOTAL`, for ContentRange. None of them names the requested range;
# `bytes {start}-{last}/*` is valid and therefore not among them.
CONTENT_RANGES: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "words": "all of it",
    "no unit": "{start}-{last}/{total}",
    "another unit": "lines {start}-{last}/{total}",
    "no total": "bytes {start}-{last}",
    "no span": "bytes */{total}",
    "not numbers": "bytes x-y/z",
    "reversed": "bytes {last}-{start}/{total}",
    "negative": "bytes -{start}-{last}/{total}",
    "half-open": "bytes {start}-{stop}/{total}",
    "another total": "bytes {start}-{last}/{other_total}",
    "total below the span": "bytes {start}-{last}/1",
    "from zero": "bytes 0-{length}/{total}",
    "huge": "bytes {start}-99999999999999999999/99999999999999999999999",
    "two at once": "bytes {start}-{last}/{total}, bytes 0-1/{total}",
}

# In place of a status line, for StatusLine.
STATUS_LINES: dict[str, bytes] = {
    "words": b"I am a teapot",
    "binary": bytes(range(128, 160)) + b"\x00\x01",
    "no code": b"HTTP/1.1",
    "not a number": b"HTTP/1.1 two hundred OK",
    "code too large": b"HTTP/1.1 99999 Much",
    "code negative": b"HTTP/1.1 -1 Less",
    "another version": b"HTTP/9.9 200 OK",
    "another protocol": b"SSH-2.0-OpenSSH_9.6",
    "empty": b" ",
    "huge": b"HTTP/1.1 200 " + b"O" * 100_000,
}

# Lines among the headers, for RawHeaders.
HEADER_LINES: dict[str, tuple[bytes, ...]] = {
    "no colon": (b"this line has no colon",),
    "no name": (b": nothing",),
    "huge": (b"X-Huge: " + b"a" * 100_000,),
    "many": tuple(b"X-Many-%d: 1" % number for number in range(500)),
    "binary": (b"X-Binary: " + bytes(range(128, 256)) + b"\x00\x01\x02",),
    "binary name": (b"\xff\xfe\x00: 1",),
    "folded": (b"X-Folded: one", b"\ttwo"),
    "bare line feed": (b"X-Bare: one\nX-Feed: two",),
    "two lengths": (b"Content-Length: 3", b"Content-Length: 5"),
    "length and chunked": (b"Transfer-Encoding: chunked",),
}
