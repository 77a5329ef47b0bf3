"""The manifest: TOML in, checked values out, and back; all faults are reported at once, with their places."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_fetch.errors import ManifestError
from fmnist_fetch.manifest.caches import HOMES
from fmnist_fetch.manifest.idx import NAMES as NAMES_OF_TYPES
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.model import MAX_PIECE_BYTES, DataFile, DebianPackage, Manifest, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, Splice, cut
from fmnist_fetch.manifest.toml import dumps, loads
from fmnist_fetch.manifest.validation import is_url

A, B = "a" * 64, "b" * 64
NAMES = st.text(string.ascii_letters + string.digits + "_.+-", min_size=1, max_size=30).map("n".__add__)
PLAIN = NAMES.map("{}x".format)  # a name that ends in no full stop
DIGESTS = st.text(string.hexdigits.lower()[:16], min_size=64, max_size=64)
# A TOML string may contain every character but lone surrogates, which have no UTF-8.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def data_files(draw: st.DrawFn, number: int, length: int) -> DataFile:
    name = draw(NAMES) + f"-{number}"
    size = draw(st.integers(1, 20 * length))
    sha256_ = draw(DIGESTS)
    pieces: tuple[Piece, ...] = (Piece(Span(0, size), sha256_),)
    if size > length and draw(st.booleans()):
        pieces = tuple(Piece(span, draw(DIGESTS)) for span in cut(size, length))
    payload = Payload(name, size, sha256_)
    if draw(st.booleans()):
        payload = Payload(name + "-unpacked", draw(st.integers(4, 2**40)), draw(st.none() | DIGESTS))
        if draw(st.booleans()):
            shape = tuple(draw(st.lists(st.integers(0, 99), max_size=5)))
            header = IdxHeader(draw(st.sampled_from(sorted(NAMES_OF_TYPES))), shape)
            payload = payload._replace(size=header.file_size, header=header)
    splice = draw(st.none() | st.builds(Splice, st.binary(max_size=60), st.integers(0, 2**20)))
    role = ("images", "labels")[number % 2]
    return DataFile(name, size, sha256_, pieces, f"split{number // 2}", role, payload, splice)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    length = draw(st.integers(1, 2000))
    files = [draw(data_files(number, length)) for number in range(draw(st.integers(1, 4)))]
    mean = draw(st.none() | NUMBERS)
    return Manifest(
        name=draw(NAMES.filter(lambda name: not name.endswith("."))),
        title=draw(TEXTS),
        licence=draw(TEXTS),
        homepage=draw(TEXTS),
        folder="Folder",
        classes=tuple(draw(st.lists(TEXTS, max_size=4))),
        mean=mean,
        std=None if mean is None else draw(NUMBERS),
        mirrors=tuple(draw(st.lists(st.sampled_from(["http://a.example/", "https://b.example/x?y=1"]), max_size=3))),
        local=tuple(draw(st.lists(TEXTS.filter(str.isprintable).map("~/".__add__), max_size=3))),
        debian=draw(st.none() | st.just(DebianPackage("dataset-x", "/usr/share/x"))),
        files=tuple(files),
        caches=draw(st.dictionaries(st.sampled_from(sorted(HOMES)), st.lists(PLAIN, min_size=1).map("/".join))),
    )


@given(manifest=manifests())
def test_a_manifest_that_is_written_and_read_again_is_the_same(manifest: Manifest) -> None:
    assert loads(dumps(manifest).encode(), "x") == manifest


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_manifest_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        loads(data, "x")


ABSURD = {
    "a number of 5,000 digits": ("format = " + "9" * 5000, "not TOML: a number has too many digits"),
    "hexadecimal digits without end": ("format = 0x" + "f" * 20_000, "a number with too many digits"),
    "such a number in a list": ("format = [0x" + "f" * 20_000 + "]", "a number with too many digits"),
    "a mean that is infinite": ("format = 1\nmean = 1e999\nstd = 1", "mean should be a finite number, not inf"),
    "a mean of 400 digits": (f"format = 1\nmean = {'9' * 400}\nstd = 1", "mean should be a finite number, not 999"),
    "a key of 50,000 parts": ("a" + ".a" * 50_000 + " = 1", "not TOML: nested too deeply"),
    "a quoted key of 50,000 parts": ('"a"' + " . 'a'" * 50_000 + " = 1", "not TOML: nested too deeply"),
    "a table of 50,000 parts": ("[a" + ".a" * 50_000 + "]", "not TOML: nested too deeply"),
    "20,000 tables of 31 parts": (f"[k{'.a' * 30}]\n" * 20_000, "not TOML: nested too deeply"),
    "nested arrays": ("a = " + "[" * 50_000, "not TOML: nested too deeply"),
    "a shape of 60,000 dimensions": (
        "format = 1\n[[files]]\nshape = [" + "4294967295, " * 60_000 + "]",
        "file 1, shape should have at most 255 entries, not 60,000",
    ),
}


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_values_are_faults_like_any_others(what: str) -> None:
    text, fault = ABSURD[what]
    with pytest.raises(ManifestError, match=re.escape(fault)):
        loads(text.encode(), "mine.toml")


def test_a_title_with_many_full_stops_is_no_deep_key() -> None:
    text = GOOD.replace('name = "mine"', f'name = "mine"\ntitle = "{"a.b. " * 200}"')
    assert loads(text.encode(), "mine.toml").title == "a.b. " * 200


# One good manifest as text; each test changes one place of it.
GOOD = f"""\
format = 1
name = "mine"
folder = "Mine"
piece_length = 10
classes = ["a", "b"]
mirrors = ["https://mirror.example/mine/"]

[[files]]
name = "one.gz"
split = "train"
role = "images"
size = 25
sha256 = "{A}"
unpacked = {{ name = "one", size = 40, sha256 = "{B}" }}
pieces = ["{A}", "{B}", "{A}"]

[[files]]
name = "two.gz"
split = "train"
role = "labels"
size = 9
sha256 = "{B}"
unpacked = {{ name = "two", size = 12 }}
"""


TWO = 'unpacked = { name = "two", size = 12 }\n'
WHOLE = "a whole number from "


def test_a_shape_is_of_bytes_unless_another_type_is_given() -> None:
    assert read_header(bent(TWO, TWO + "shape = [4]\n")) == IdxHeader("u1", (4,))
    assert read_header(bent(TWO, TWO + 'shape = [2]\ntype = "int16"\n')) == IdxHeader(">i2", (2,))
    assert read_header(GOOD) is None


def read_header(text: str) -> IdxHeader | None:
    return loads(text.encode(), "mine.toml").files[1].payload.header


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        loads(text.encode(), "mine.toml")
    return caught.value.faults


def bent(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_the_good_manifest_is_read() -> None:
    manifest = loads(GOOD.encode(), "mine.toml")
    assert [file.name for file in manifest.files] == ["one.gz", "two.gz"]
    assert [piece.span for piece in manifest.files[0].pieces] == [(0, 10), (10, 20), (20, 25)]
    # Without a list of digests the file is one piece.
    assert manifest.files[1].pieces == (Piece(Span(0, 9), B),)
    assert manifest.files[1].payload == Payload("two", 12, None)
    assert (manifest.files[0].tensor, manifest.files[1].tensor) == ("train_images", "train_labels")


BENT_ALL_OVER = f"""\
format = 2
name = "../mine"
folder = "con"
piece_length = 0
classes = ["a", 2]
mirrors = ["https://mirror.example/", "ftp://mirror.example/"]
mean = 0.5
colour = "red"

[[files]]
name = "one.gz"
split = "Train"
role = "pictures"
size = -1
sha256 = "{A.upper()}"

[[files]]
name = 7
split = "test"
role = "labels"
sizes = 9
"""


def test_all_of_ten_faults_are_reported_with_their_places() -> None:
    faults = faults_of(BENT_ALL_OVER)
    expected = [
        "format is 2, this version of fmnist-fetch reads 1",
        "name should be a plain name",
        "folder should be a plain name (letters, digits, _ . + -) with no other meaning to a system or this program,",
        "piece_length should be a whole number from 1 to 67,108,864, not 0",
        "classes entry 2 should be a string, not 2",
        "mirrors entry 2 should be an http:// or https:// URL, not 'ftp://mirror.example/'",
        "mean and std go together",
        "colour is not a known key",
        "file 1, split should be a lower-case word, not 'Train'",
        "file 1, role should be one of images, labels, not 'pictures'",
        "file 1, size should be a whole number from 1 to",
        "file 1, sha256 should be a SHA-256",
        "file 2, name should be a plain name",
        "file 2, size is missing: it should be a whole number",
        "file 2, sha256 is missing",
        "file 2, sizes is not a known key",
    ]
    lacking = [start for start in expected if not any(fault.startswith(start) for fault in faults)]
    assert not lacking, faults
    assert len(faults) == len(expected), faults


@pytest.mark.parametrize(
    "name",
    [
        "../one.gz",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
        "a\\\\b",
        "C:one",
        "\\u0000",
        "a\\u0000b",
        "a b",
        "one.gz\\n",
        ".hidden",
        "con",
        "NUL.gz",
        "com1",
        "lpt9.txt",
        "one.part",
        "one.PART",
        "one.",
        "ön",
        "x" * 101,
        "-rf",
    ],
)
@pytest.mark.parametrize("place", ['name = "one.gz"', 'name = "one"', 'folder = "Mine"', 'name = "mine"'])
def test_a_name_that_could_leave_its_folder_or_mean_something_else_is_refused(name: str, place: str) -> None:
    key = place.split(" = ")[0]
    assert any(f"{key} " in fault for fault in faults_of(bent(place, f'{key} = "{name}"')))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "two.gz"', 'name = "ONE.gz"', "file 2 has the name 'ONE.gz', as file 1 has"),
        ('name = "two"', 'name = "one.GZ"', "file 2 has the name 'one.GZ', as file 1 has"),
        ('name = "one", size', 'name = "one.gz", size', "file 1, unpacked.name is the name of the packed file too"),
        ('role = "labels"', 'role = "images"', "file 2 has split 'train' and role 'images', as file 1 has"),
        (f'"{A}", "{B}", "{A}"]', f'"{A}", "{B}"]', "file 1, pieces are 2, but 25 bytes make 3 of 10"),
        ("size = 25", "size = 2500000000", "file 1, pieces are 3, but 2,500,000,000 bytes make 250000000 of 10"),
        (
            f'"{A}", "{B}", "{A}"]',
            f'"{A}", 5, "{A}"]',
            "file 1, pieces entry 2 should be a SHA-256: 64 lower-case hex digits, not 5",
        ),
        (
            f'"{B}", "{A}"]',
            f'"{B}", "x"]',
            "file 1, pieces entry 3 should be a SHA-256: 64 lower-case hex digits, not 'x'",
        ),
        ("piece_length = 10", f"piece_length = {MAX_PIECE_BYTES + 1}", f"piece_length should be {WHOLE}1 to"),
        ("size = 40", "size = true", f"file 1, unpacked.size should be {WHOLE}4 to {2**50:,}, not True"),
        ("size = 40", "size = 40.5", f"file 1, unpacked.size should be {WHOLE}4 to {2**50:,}, not 40.5"),
        ("size = 40", "size = 40, colour = 1", "file 1, unpacked.colour is not a known key"),
        ('split = "train"', 'split = "train-x"', "file 1, split should be a lower-case word, not 'train-x'"),
        ("format = 1\n", "", "format is missing: it should be a whole number"),
        ("format = 1", 'format = "1"', f"format should be {WHOLE}0 to {2**50:,}, not '1'"),
        ("format = 1", "format = 1\nmean = 0.1", "mean and std go together: give both or neither"),
        ("format = 1", "format = 1\nmean = inf\nstd = 0.1", "mean should be a finite number, not inf"),
        ("format = 1", 'format = 1\nmean = "a"\nstd = 0.1', "mean should be a finite number, not 'a'"),
        ('classes = ["a", "b"]', "classes = 3", "classes should be an array, not 3"),
        ("https://mirror.example", "https:///mirror.example", "mirrors entry 1 should be an http:// or https:// URL"),
        ("https://mirror.example", "https://mirror.example:99999", "mirrors entry 1 should be an http:// or"),
        ("format = 1", "format = 1\ndebian = 5", "debian should be a table, not 5"),
        ("format = 1", 'format = 1\ndebian = { package = "a b" }', "debian.package should be the name of"),
        # What apt takes for a regular expression, and for a package to remove.
        ("format = 1", 'format = 1\ndebian = { package = "l.+" }', "debian.package should be the name of"),
        ("format = 1", 'format = 1\ndebian = { package = "lib-" }', "debian.package should be the name of"),
        ("format = 1", 'format = 1\ndebian = { folder = "a/b" }', "debian.folder should be the absolute path"),
        ("format = 1", 'format = 1\ndebian = { folder = "/a/../b" }', "debian.folder should be the absolute path"),
        ("format = 1", 'format = 1\ndebian = { folder = "/a\\u0000b" }', "debian.folder should be the absolute path"),
        ("format = 1", 'format = 1\ncaches = { keras = "/etc" }', "caches.keras should be the relative path"),
        ("format = 1", 'format = 1\ncaches = { keras = "a/../b" }', "caches.keras should be the relative path"),
        ("format = 1", 'format = 1\ncaches = { keras = "a/con/b" }', "caches.keras should be the relative path"),
        ("format = 1", 'format = 1\ncaches = { keras = "a.part" }', "caches.keras should be the relative path"),
        ("format = 1", "format = 1\ncaches = { keras = 5 }", "caches.keras should be the relative path"),
        ("format = 1", 'format = 1\nlocal = ["a\\u0000b"]', "local entry 1 should be a folder on this machine"),
        ("format = 1", 'format = 1\nlocal = ["a", "//host/b"]', "local entry 2 should be a folder on this machine"),
        ("format = 1", 'format = 1\nlocal = ["\\\\\\\\host\\\\b"]', "local entry 1 should be a folder on this machine"),
        ("size = 9", f"size = {2**50 + 1}", f"file 2, size should be {WHOLE}1 to"),
        (
            "size = 9",
            f'size = 9\ndebian = {{ head = "", skip = {2**62} }}',
            f"file 2, debian.skip should be {WHOLE}0 to",
        ),
        ("format = 1", 'format = 1\ncaches = { kerra = "a" }', "caches.kerra is not a known key"),
        ("size = 9", 'size = 9\ndebian = { head = "zz", skip = -1 }', "file 2, debian.head should be bytes in hex"),
        ("size = 9", 'size = 9\ndebian = { head = "zz", skip = -1 }', f"file 2, debian.skip should be {WHOLE}0 to"),
        (TWO, f"{TWO}shape = [5]\n", "file 2, shape and type make an IDX file of 13 bytes, not 12"),
        (TWO, f"{TWO}shape = [4]\ntype = 'int16'\n", "file 2, shape and type make an IDX file of 16 bytes, not 12"),
        (TWO, f"{TWO}shape = [4]\ntype = 'complex'\n", "file 2, type should be one of uint8, int8, int16"),
        (TWO, f"{TWO}shape = [-4]\n", f"file 2, shape entry 1 should be {WHOLE}0 to 4,294,967,295, not -4"),
        (TWO, f"{TWO}shape = [true]\n", f"file 2, shape entry 1 should be {WHOLE}0 to 4,294,967,295, not True"),
        (TWO, f"{TWO}shape = 4\n", "file 2, shape should be an array, not 4"),
        (TWO, f"{TWO}type = 'int16'\n", "file 2, type is not a known key"),
        ("[[files]]", "[files]", "not TOML: "),
        ("format = 1", f"format = 1\n{'k' * 10_000} = 1", f"{'k' * 80} is not a known key"),
        ("format = 1", f'format = "{"x" * 10_000}"', f"format should be {WHOLE}0 to {2**50:,}, not '{'x' * 79}"),
    ],
)
def test_a_fault_is_reported_with_its_place(old: str, new: str, fault: str) -> None:
    faults = faults_of(bent(old, new))
    assert any(found.startswith(fault) and len(found) < len(fault) + 90 for found in faults), faults


def test_a_manifest_without_files_is_refused() -> None:
    text = GOOD.partition("[[files]]")[0]
    assert faults_of(text) == ("files is missing: it should be an array of tables",)
    assert faults_of(text + "files = []\n") == ("files should have at least one entry",)
    assert faults_of(text + "files = [5]\n") == ("file 1 should be a table, not 5",)


def test_a_file_over_64_mib_needs_pieces() -> None:
    assert MAX_PIECE_BYTES == 64 * 1024 * 1024
    assert loads(bent("size = 9", f"size = {MAX_PIECE_BYTES}").encode(), "x").files[1].size == MAX_PIECE_BYTES
    (fault,) = faults_of(bent("size = 9", f"size = {MAX_PIECE_BYTES + 1}"))
    assert fault == "file 2, pieces are needed for a file over 67,108,864 bytes: write the manifest with them"


@pytest.mark.parametrize("data", [b"name = ", "\xff".encode(), b"a" * 10, b"x = 1\nx = 2", b"name = '\xff'"])
def test_invalid_toml_and_invalid_utf_8_are_reported_as_one_fault(data: bytes) -> None:
    with pytest.raises(ManifestError) as caught:
        loads(data, "mine.toml")
    (fault,) = caught.value.faults
    assert fault.startswith("not TOML: ")


URLS = ["http://a/", "https://a.example/x/y?z=1", "http://127.0.0.1:8000", "http://[::1]:80/", "https://user:word@a/"]
NO_URLS = ["", "a.example", "ftp://a/", "file:///x", "http://", "http:///x", "https://:80/", "http://a:x/", "C:\\a"]


@pytest.mark.parametrize("text", [*URLS, *NO_URLS])
def test_an_http_address_is_a_url_and_nothing_else_is_one(text: str) -> None:
    assert is_url(text) == (text in URLS)
