"""Random invalid answers and manifests: no traceback, no hang, no wrong file."""

from __future__ import annotations

import contextlib
import json
import random
import string
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import KIB, LOGIN_HTML, CutSomewhere, Fault, Mirror, Randomly, Raw, Request, When, payload
from fmnist_fetch.errors import ManifestError, SourceError
from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.manifest.toml import dumps, loads
from processes import fetch
from samples import connected
from worlds import IMAGES, World, small

SEED = 1707
NAMES = [
    *("Content-Length", "Content-Range", "Content-Encoding", "Content-Type", "Transfer-Encoding", "Connection"),
    *("Location", "Retry-After", "Set-Cookie", "Refresh", "Trailer"),
    *("Upgrade", "WWW-Authenticate", "Content-Disposition"),
]
TOKENS = [b"[", b"]", b"{", b"}", b'"', b"=", b"\n", b"[[files]]\n", b"-1", b"1e999", b"nan"]
PASSING = ["200", "206", "206", "206", "100", "101", "204", "301", "302", "304", "307", "308", "416", "429", "503"]
FINAL = ["400", "401", "403", "404", "407", "410", "451"]


def values(rng: random.Random, size: int) -> str:
    """Return a random value of a header, valid or not."""
    number = rng.choice([0, 1, 5, size - 1, size, size + 1, -1, 2**31, 2**64, 10**30])
    return rng.choice(
        [
            str(number),
            f"bytes 0-{number}/{size}",
            f"bytes {number}-{size - 1}/{rng.choice([size, '*', number])}",
            f"bytes */{number}",
            "chunked",
            "gzip, chunked",
            "gzip",
            "deflate",
            "br",
            "identity",
            "close",
            "keep-alive, close",
            "text/html",
            "multipart/byteranges; boundary=x",
            "http://127.0.0.1:1/",
            "//[::1",
            "/" + "a" * rng.choice([1, 5000]),
            "\x00\x01\x02",
            "".join(rng.choices(string.printable, k=rng.randrange(40))),
            rng.randbytes(rng.randrange(30)).decode("latin-1"),
            "",
            "9" * rng.choice([20, 5000]),
        ]
    )


def answer(rng: random.Random, data: bytes, codes: list[str]) -> bytes:
    """Return an answer that begins correctly and becomes invalid."""
    lines = [f"HTTP/1.{rng.choice('0111')} {rng.choice(codes)} {rng.choice(['OK', '', 'x' * 300])}"]
    for _ in range(rng.randrange(6)):
        lines.append(f"{rng.choice(NAMES)}{rng.choice([': ', ':', ' : ', ' '])}{values(rng, len(data))}")
    if rng.random() < 0.5:
        lines.append(f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}")
    if rng.random() < 0.5:
        lines.append(f"Content-Length: {len(data)}")
    end = rng.choice(["\r\n", "\r\n", "\r\n", "\n", "\r"])
    body = rng.choice([data, data[: rng.randrange(len(data))], b"", LOGIN_HTML, chunks(rng, data), payload(999, 3)])
    text = end.join([*lines, "", ""]).encode("latin-1", "replace") + body
    return mutated(rng, text) if rng.random() < 0.5 else text


def chunks(rng: random.Random, data: bytes) -> bytes:
    """Return DATA in chunks, some of them with wrong sizes."""
    parts = []
    for start in range(0, len(data), 8000):
        part = data[start : start + 8000]
        size = rng.choice([f"{len(part):x}"] * 9 + ["0", "-1", "zz", f"{len(part) + 5:x};ext=1", "f" * 20])
        parts.append(size.encode() + b"\r\n" + part + b"\r\n")
    return b"".join(parts) + rng.choice([b"0\r\n\r\n", b"", b"0\r\nTrailer: x\r\n\r\n"])


def mutated(rng: random.Random, text: bytes, within: int = 300) -> bytes:
    """Return TEXT with a few changes in its beginning: bytes are removed, repeated, replaced and added."""
    mutable = bytearray(text)
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(min(len(mutable), within) or 1)
        repeated = mutable[at : at + rng.randrange(1, 200)]
        removed = rng.choice([0, 1, rng.randrange(1, 200)])
        mutable[at : at + removed] = rng.choice([b"", rng.randbytes(1), repeated, rng.choice(TOKENS)])
    return bytes(mutable)


def test_of_a_thousand_answers_none_gives_other_than_bytes_or_a_source_error() -> None:
    data = small()
    file = data.manifest.files[1]
    right = data.files[file.name]
    rng = random.Random(SEED)
    with Mirror(data.files) as mirror, connected(mirror.url) as source:
        for number in range(1000):
            mirror.faults = [Raw(answer(rng, right, PASSING + FINAL))]
            ask_once(source.read, file, number)


def ask_once(read: Callable[[DataFile, Span], bytes], file: DataFile, number: int) -> None:
    """Read to the end or to an error; assert that no more than the span arrives."""
    got, start = 0, number % 2
    with contextlib.suppress(SourceError):
        while got < file.size - start:
            data = read(file, Span(start + got, file.size))
            assert data
            got += len(data)
            assert start + got <= file.size


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=400), start=st.integers(0, 50))
def test_any_bytes_at_all_are_bytes_or_a_source_error(fuzzed: Mirror, raw: bytes, start: int) -> None:
    file = small().manifest.files[1]
    fuzzed.faults = [Raw(raw)]
    with connected(fuzzed.url) as source:
        ask_once(source.read, file, start)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Mirror]:
    with Mirror(small().files) as mirror:
        yield mirror


class Fuzz(Fault):
    """Another random answer to each request."""

    def __init__(self, seed: int, codes: list[str]) -> None:
        self.seed, self.codes = seed, codes

    def picked(self, request: Request) -> Iterator[Fault]:
        rng = random.Random(self.seed + request.number)
        yield Raw(answer(rng, small().files[IMAGES], self.codes))


def nonsense_then_sense(folder: Path, seed: int) -> None:
    """Fetch from a mirror with every second answer invalid, then from one with only invalid answers."""
    world = World(folder, small())
    half = When(lambda request: request.number % 2 == 0, Fuzz(seed, PASSING))
    with Mirror(world.data.files, [half, Randomly(0.1, CutSomewhere(KIB, 100 * KIB))]) as mirror:
        fetch(world, mirror.url, options=["--patience", "60"], code=0)
        mirror.faults = [Fuzz(seed + 1, PASSING + FINAL)]
        fetch(World(folder / "other", small()), mirror.url, options=["--patience", "2"], code=(0, 3, 4))


@pytest.fixture(scope="module")
def fuzzed_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[object]]:
    folder = tmp_path_factory.mktemp("fuzz")
    with ThreadPoolExecutor(6) as pool:
        yield [pool.submit(nonsense_then_sense, folder / str(n), SEED + 10 * n) for n in range(12)]


@pytest.mark.parametrize("number", range(12))
def test_the_command_line_gets_past_nonsense_and_keeps_none_of_it(fuzzed_runs: list[object], number: int) -> None:
    fuzzed_runs[number].result()  # type: ignore[attr-defined]


# Manifests.


def small_manifest() -> bytes:
    return dumps(small().manifest).encode()


def loads_or_says_why(data: bytes) -> Manifest | None:
    """Return the manifest in DATA, or None if its faults were reported; nothing else may happen."""
    try:
        return loads(data, "fuzzed.toml")
    except ManifestError as error:
        told = [fault for fault in error.faults if fault.strip()]
    assert told
    return None


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_a_mutated_manifest_is_read_or_its_faults_are_reported(seed: int) -> None:
    text = small_manifest()
    data = mutated(random.Random(seed), text, within=len(text))
    manifest = loads_or_says_why(data)
    if manifest is not None:
        assert loads(dumps(manifest).encode(), "again.toml") == manifest


toml_values: st.SearchStrategy[str] = st.recursive(
    (st.booleans() | st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)).map(
        json.dumps
    )
    | (st.integers() | st.floats() | st.dates()).map(str),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]")
        | st.dictionaries(st.text(string.ascii_letters, min_size=1), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_manifest_with_any_value_in_any_place_is_read_or_its_faults_are_reported(data: st.DataObject) -> None:
    lines = small_manifest().decode().splitlines()
    numbers = [n for n, line in enumerate(lines) if " = " in line and not line.endswith("[")]
    for number in data.draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=3)):
        key = lines[number].partition(" = ")[0]
        lines[number] = f"{key} = {data.draw(toml_values)}"
    loads_or_says_why("\n".join(lines).encode())
