"""The command manifest: from a folder of IDX files to a manifest, or to two lines that say what to do."""

from __future__ import annotations

import json
import os
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from faults import Mirror
from fmnist_fetch.cli import run
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.tensors.arrays import load
from processes import command_line
from samples import Sample, disk_of, fill, flipped, gz, idx, images, labels, make, sha256

BASE = "https://example.org/mine/"
TRAIN = {
    "train-images-idx3-ubyte": images((12, 5, 4), 1),
    "train-labels-idx1-ubyte": idx(8, (12,), bytes(range(9, -1, -1)) + b"\5\5"),
}
TEST = {"t10k-images-idx3-ubyte": images((4, 5, 4), 2), "t10k-labels-idx1-ubyte": labels(4, 2)}
Capture = pytest.CaptureFixture[str]


def packed(payloads: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gz(data, name) for name, data in payloads.items()}


class Author:
    """The command `manifest` on one folder."""

    def __init__(self, folder: Path, capture: Capture) -> None:
        self.folder, self._capture = folder, capture
        folder.mkdir()

    def __call__(self, *words: str, files: dict[str, bytes] | None = None) -> tuple[int, str, str]:
        """Write FILES, run the command; return the exit code, stdout and stderr."""
        fill(self.folder, files or {})
        self._capture.readouterr()
        code = run(["manifest", str(self.folder), *words])
        return code, *self._capture.readouterr()

    def manifest(self, *words: str, files: dict[str, bytes] | None = None) -> Manifest:
        """Return the manifest that it writes."""
        code, _, err = self("--out", "out.toml", "--url", BASE, "--force", *words, files=files)
        assert code == 0, err
        return find("out.toml")

    def error(self, *words: str, files: dict[str, bytes] | None = None) -> tuple[int, str, str]:
        """Return the exit code and the texts after `error:` and `hint:`; assert that nothing was written."""
        fill(self.folder, files or {})
        before = disk_of(Path.cwd()), disk_of(self.folder)
        code, out, err = self(*words)
        assert (out, disk_of(Path.cwd()), disk_of(self.folder)) == ("", *before)
        message, hint = err.splitlines()
        return code, message.removeprefix("error: "), hint.removeprefix("hint: ")


@pytest.fixture
def author(tmp_path: Path, capsys: Capture) -> Author:
    return Author(tmp_path / "mine", capsys)


# The content.


def test_it_pins_files_pieces_and_payloads(author: Author) -> None:
    files = packed(TRAIN | TEST)
    manifest = author.manifest("--piece-length", "1K", files={**files, "README.txt": b"read me", "notes.gz": gz(b"x")})
    found = {file.name: file for file in manifest.files}
    assert [file.tensor for file in manifest.files] == ["train_images", "train_labels", "test_images", "test_labels"]
    for name, data in (TRAIN | TEST).items():
        file, published = found[f"{name}.gz"], files[f"{name}.gz"]
        assert (file.size, file.sha256) == (len(published), sha256(published))
        assert (file.payload.name, file.payload.size, file.payload.sha256) == (name, len(data), sha256(data))
        assert [sha256(published[slice(*piece.span)]) for piece in file.pieces] == [p.sha256 for p in file.pieces]
    assert manifest.classes == tuple(map(str, range(10)))
    assert (manifest.name, manifest.folder, manifest.mirrors) == ("mine", "mine", (BASE,))


def test_it_cuts_long_files_in_pieces_of_the_length_asked_for(author: Author) -> None:
    data = images((50, 10, 10), 3)
    lengths = {
        words: [
            piece.span.length for piece in author.manifest(*words, files={"train-images.idx": data}).files[0].pieces
        ]
        for words in [(), ("--piece-length", "2K")]
    }
    assert lengths == {(): [5016], ("--piece-length", "2K"): [2048, 2048, 920]}


def test_its_words_and_its_mirrors_are_the_authors(author: Author) -> None:
    words = ["--name", "cats-dogs", "--title", 'Cats & "dogs" 猫', "--licence", "CC0-1.0", "--classes", "cat, dog, "]
    words += ["--url", "http://b.example/x", "--url", "http://c.example/?token=1"]
    manifest = author.manifest(*words, files={"train-labels.idx": idx(8, (3,), bytes([0, 2, 1]))})
    assert (manifest.name, manifest.folder, manifest.title) == ("cats-dogs", "cats-dogs", 'Cats & "dogs" 猫')
    assert (manifest.licence, manifest.classes) == ("CC0-1.0", ("cat", "dog", ""))
    assert manifest.mirrors == (BASE, "http://b.example/x/", "http://c.example/?token=1")


def test_mean_and_standard_deviation_are_pinned_to_the_bit_that_fetch_would_count(
    author: Author, root: Path, sample: Sample
) -> None:
    manifest = author.manifest(files=sample.files)
    sample.fetch(root, str(author.folder))
    split = load(sample.write(root), "train", root)
    assert (manifest.mean, manifest.std) == (split.mean, split.std)


@pytest.mark.parametrize("files", [{"train-images.idx": images((2, 3), 1, 0x0D, 4)}, {"test-images.idx": TRAIN}])
def test_other_images_than_training_ones_of_bytes_have_no_mean(files: dict[str, object], author: Author) -> None:
    payloads = {name: data if isinstance(data, bytes) else images((2, 3), 1) for name, data in files.items()}
    assert (author.manifest(files=payloads).mean, author.manifest().std) == (None, None)


def test_what_is_no_idx_file_by_name_nor_by_content_is_passed_over(author: Author) -> None:
    others = {"cut.gz": gz(bytes(99))[:9], "notes.txt": b"\0\0", "page.html": b"<html>", ".train-images.idx": b"x"}
    assert [file.name for file in author.manifest(files=TRAIN | others).files] == list(TRAIN)


@pytest.mark.parametrize(
    ("folder", "name"), [("猫", "dataset"), ("My data (2)", "My-data-2"), ("a/raw", "a"), ("b_", "b")]
)
def test_a_dataset_is_named_after_its_folder_in_letters_that_all_systems_take(
    folder: str, name: str, tmp_path: Path
) -> None:
    fill(tmp_path / folder, TRAIN)
    assert run(["manifest", str(tmp_path / folder), "--quiet"]) == 0
    assert find(f"{name}.toml").name == name


def test_what_is_packed_and_unpacked_is_published_packed(author: Author) -> None:
    manifest = author.manifest(files=packed(TRAIN) | TRAIN)
    assert [file.name for file in manifest.files] == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def test_a_folder_as_torchvision_lays_it_is_looked_into(author: Author) -> None:
    fill(author.folder / "raw", packed(TRAIN))
    assert author.manifest().name == "mine"
    code, out, _ = author("--force")
    assert code == 0
    assert out.endswith(f"--mirror {author.folder / 'raw'}\n")


def test_a_plain_file_that_is_called_gz_is_taken_as_it_is(author: Author) -> None:
    # Some servers and browsers decompress what they pass on, and keep the name.
    (file,) = author.manifest(files={"train-images-idx3-ubyte.gz": TRAIN["train-images-idx3-ubyte"]}).files
    assert (file.packed, file.size, file.payload.size) == (True, file.payload.size, 16 + 240)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (idx(8, (3,), bytes([0, 4, 1])), tuple("01234")),
        (idx(0x0C, (2,), b"\0\0\0\7\0\0\0\0"), tuple("01234567")),
        (idx(8, (0,), b""), ()),
        (idx(9, (1,), b"\xff"), ()),
        (idx(0x0C, (1,), b"\0\x0f\0\0"), ()),
        (idx(0x0D, (1,), bytes(4)), ()),
        (idx(8, (2, 3), bytes(6)), ()),
    ],
)
def test_classes_are_the_numbers_up_to_the_greatest_label_where_labels_are_such(
    values: bytes, classes: tuple[str, ...], author: Author
) -> None:
    assert author.manifest(files={"train-labels.idx": values}).classes == classes


@pytest.mark.parametrize("cuts", [(3, 6, 11), (7, 13, 19), (8, 9, 10)])
def test_values_are_read_right_however_a_packed_file_is_divided(cuts: tuple[int, ...], author: Author) -> None:
    # A gzip file may have several members; they are decompressed one by one, in the middle of numbers.
    wide, grey = idx(0x0C, (3,), b"\0\0\0\1\0\0\0\4\0\0\0\2"), idx(8, (3, 4), bytes(range(10, 22)))
    files = {}
    for name, data in (("train-labels.idx.gz", wide), ("train-images.idx.gz", grey)):
        files[name] = b"".join(gz(data[start:stop]) for start, stop in pairwise((0, *cuts, len(data))))
    manifest = author.manifest(files=files)
    assert manifest.classes == tuple("01234")
    assert manifest.mean == pytest.approx(15.5 / 255)


# The choice of files, and their roles.


def test_roles_that_names_do_not_say_are_given(author: Author) -> None:
    files = {"a.idx": images((3, 2), 1), "b": labels(3, 1), "c.idx.gz": gz(images((2, 2), 2))}
    words = ["--file", "train:images=a.idx", "--file", "train:labels=b", "--file", "dev_2:images=c.idx"]
    manifest = author.manifest(*words, files=files)
    assert {file.name: file.tensor for file in manifest.files} == {
        "a.idx": "train_images",
        "b": "train_labels",
        "c.idx.gz": "dev_2_images",
    }


def test_a_given_file_takes_the_place_of_a_guessed_one_which_is_reported(author: Author) -> None:
    files = {"train-images.idx": images((3, 2), 1), "train-images-2.idx": images((4, 2), 1)}
    code, out, err = author("--url", BASE, "--file", "train:images=train-images-2.idx", files=files)
    assert (code, "4 x 2 uint8" in out) == (0, True)
    assert "note: train-images.idx is left out: train-images-2.idx has its role\n" in err
    assert [file.name for file in find("mine.toml").files] == ["train-images-2.idx"]


def test_one_of_several_datasets_is_chosen_by_a_pattern_and_named_after_it(author: Author) -> None:
    names = [f"emnist-{kind}-{name}" for kind in ("letters", "digits") for name in TRAIN]
    files = packed(dict(zip(names, [*TRAIN.values()] * 2, strict=True)))
    code, message, hint = author.error("--url", BASE, files={**files, "emnist-letters-mapping.txt": b"1 65 97\n"})
    assert (code, message) == (
        2,
        "both emnist-digits-train-images-idx3-ubyte.gz and emnist-letters-train-images-idx3-ubyte.gz "
        "seem to be the train images",
    )
    assert hint == "Choose one dataset: --only 'emnist-digits-*' or --only 'emnist-letters-*'"
    assert author("--url", BASE, "--only", "emnist-letters-*")[0] == 0
    manifest = find("emnist-letters.toml")
    assert (manifest.name, manifest.folder) == ("emnist-letters", "emnist-letters")
    assert [file.name for file in manifest.files] == sorted(name for name in files if "letters" in name)


# The output.


def test_it_reports_what_it_found_and_what_to_do_next(author: Author) -> None:
    code, out, err = author("--url", BASE, "--root", "my data", files=packed(TRAIN))
    size = sum(map(len, packed(TRAIN).values()))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "train images  12 x 5 x 4 uint8  train-images-idx3-ubyte.gz",
        "train labels  12 uint8          train-labels-idx1-ubyte.gz",
        f"mine.toml is written: 2 files, {size} bytes, 2 pieces.",
        "Next: put the files where --url says; then anybody can run: fmnist-fetch fetch ./mine.toml --root 'my data'",
        f"To try it now: fmnist-fetch fetch ./mine.toml --root 'my data' --mirror {author.folder}",
    ]


def test_the_commands_that_it_names_work(author: Author, capsys: Capture, root: Path) -> None:
    with Mirror(packed(TRAIN)) as mirror:
        lines = author("--url", mirror.url, "--root", str(root), files=packed(TRAIN))[1].splitlines()[-2:]
        for line in lines:
            assert run([*shlex.split(line.partition(" fmnist-fetch ")[2]), "--json"]) == 0
        assert mirror.served == sum(map(len, packed(TRAIN).values()))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["dataset"], set(first["received"]), second["received"]) == ("mine", {mirror.url}, {})


def test_without_a_url_it_says_what_that_means(author: Author) -> None:
    code, out, err = author(files=packed(TRAIN))
    assert (code, "Next: " in out) == (0, False)
    assert err == "note: without --url, others have to fetch it with --mirror URL or --mirror FOLDER\n"
    assert find("mine.toml").mirrors == ()


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({"train-images.idx": images((3, 2), 1)}, "train has images only"),
        ({"test-labels.idx": labels(3, 1)}, "test has labels only"),
        (
            {"train-labels.idx": idx(8, (3, 2), bytes(6))},
            "the labels of train are 3 x 2 uint8, not one number for each image",
        ),
        ({"train-labels.idx": idx(9, (2,), b"\x02\xff")}, "train-labels.idx has labels from -1 to 2"),
        ({"train-labels.idx": idx(0x0D, (1,), bytes(4))}, "train-labels.idx has labels that are fractions"),
    ],
)
def test_what_is_unusual_is_noted(files: dict[str, bytes], note: str, author: Author) -> None:
    code, _, err = author("--url", BASE, files=files)
    assert code == 0
    assert f"note: {note}" in err


def test_quiet_prints_nothing_and_writes_the_manifest(author: Author) -> None:
    assert author("--quiet", files=packed(TRAIN)) == (0, "", "")
    assert find("mine.toml").name == "mine"


def test_on_stdout_there_is_the_manifest_and_nothing_else(author: Author) -> None:
    _, out, _ = author("--url", BASE, "--out", "-", files=packed(TRAIN))
    assert list(Path.cwd().iterdir()) == []
    assert author("--url", BASE)[0] == 0
    assert Path("mine.toml").read_text() == out
    assert author("--out", "-", "--quiet", "--url", BASE) == (0, out, "")


def test_json_lists_what_is_in_it(author: Author) -> None:
    outcome = json.loads(author("--json", "--url", BASE, files=packed(TRAIN))[1])
    entry = outcome["files"]["train-images-idx3-ubyte.gz"]
    assert (entry["split"], entry["role"], entry["shape"], entry["type"]) == ("train", "images", [12, 5, 4], "uint8")
    assert (outcome["exit_code"], outcome["manifest"], outcome["dataset"]) == (0, "mine.toml", "mine")
    assert (outcome["mirrors"], outcome["notes"]) == ([BASE], [])


def test_a_manifest_that_is_there_is_overwritten_only_by_force(author: Author) -> None:
    Path("mine.toml").write_text("mine")
    code, message, hint = author.error("--url", BASE, files=packed(TRAIN))
    assert (code, message) == (2, "mine.toml exists already")
    assert "--force" in hint
    assert author("--url", BASE, "--force")[0] == 0
    assert find("mine.toml").mirrors == (BASE,)


def test_the_same_files_make_the_same_manifest_in_any_folder(author: Author, tmp_path: Path) -> None:
    there = fill(tmp_path / "there", packed(TRAIN))
    assert author("--out", "1.toml", files=packed(TRAIN))[0] == 0
    assert run(["manifest", str(there), "--name", "mine", "--out", "2.toml"]) == 0
    assert Path("1.toml").read_bytes() == Path("2.toml").read_bytes()


# Refusals, in two lines.


@pytest.mark.parametrize(
    ("option", "message", "hint"),
    [
        ("--only a*", "no IDX file in MINE matches 'a*'", "Quote the pattern"),
        ("--file train=x", "--file train=x is not SPLIT:ROLE=NAME", "--file train:images=NAME"),
        ("--file Train:images=x", "--file Train:images=x is not", "lower-case word"),
        ("--file train:x=x", "--file train:x=x is not SPLIT:ROLE=NAME", "images or labels"),
        ("--file a:images=train-imags-idx3-ubyte", "there is no file train-imags-idx3-ubyte in MINE", "train-images"),
        ("--file a:images=q", "there is no file q in MINE", "the name of a file in that folder"),
        ("--url example.org", "--url 'example.org' is not an http:// or https:// URL", "https://example"),
        ("--url http://a b/", "--url 'http://a b/' is not", "Give the URL"),
        ("--url http://a/#x", "--url 'http://a/#x' is not", "Give the URL"),
        (f"--url {BASE}train-images-idx3-ubyte", f"--url {BASE}train-images-idx3-ubyte names a file", f"--url {BASE}"),
        ("--name a/b", "'a/b' can't be the name of a dataset", "--name: letters, digits"),
        ("--name mnist", "mnist is the name of MNIST in the catalogue", "--name my-mnist"),
        ("--name FASHIONmnist", "FASHIONmnist is the name of Fashion-MNIST", "--name my-fashion-mnist"),
        ("--title \udcff", "'\\udcff' is not text in UTF-8", "encoding of your terminal"),
        ("--out mine.txt", "mine.txt is not a name for a manifest: fetch takes FILE.toml", "mine.txt.toml"),
        ("--out .", ". is not a name for a manifest", "Use: --out "),
    ],
)
def test_an_option_that_it_cannot_use_is_2_with_what_to_do(
    option: str, message: str, hint: str, author: Author
) -> None:
    refused(author, 2, message, hint, author.error(*option.split(" ", 1), files=TRAIN))


IMAGES = TRAIN["train-images-idx3-ubyte"]
NO_IDX = "MINE/train-images.idx is not the IDX file it should be: it"


@pytest.mark.parametrize(
    ("files", "code", "message", "hint"),
    [
        ({}, 2, "there is no IDX file in MINE", "Unpack archives (zip, tar) first"),
        ({"data.zip": b"PK\3\4"}, 2, "there is no IDX file in MINE", "Unpack archives"),
        ({"x.idx": b"hello"}, 2, "x.idx: the name does not say both split and role", "--file train:images=x.idx,"),
        ({"idx1": labels(3, 1)}, 2, "idx1: the name does not say", "--file train:labels=idx1, or leave it out"),
        (
            {"train-images.idx": b"", "train-img.idx": b""},
            2,
            "both train-images.idx and train-img.idx seem to be the train images",
            "Say which: --file train:images=train-images.idx",
        ),
        ({"train images.idx": b""}, 2, "MINE/train images.idx has a name that some systems", "Rename it: "),
        (
            TRAIN | {"train-labels-idx1-ubyte": labels(11, 1)},
            6,
            "train has 12 images (train-images-idx3-ubyte), but 11 labels (train-labels-idx1-ubyte)",
            "Correct the files",
        ),
        ({"train-images.idx": b"<html>"}, 6, NO_IDX, "again, or"),
        ({"train-images.idx": b""}, 6, NO_IDX, "again, or"),
        ({"train-images.idx": IMAGES[:-1]}, 6, f"{NO_IDX}s header says 12 x 5 x 4", "or leave it out: --only"),
        (
            {"test-img.idx.gz": gz(IMAGES)[:-20]},
            6,
            "MINE/test-img.idx.gz is a gzip stream that ends early",
            "again, or",
        ),
        ({"test-img.idx.gz": flipped(gz(IMAGES), -6)}, 6, "MINE/test-img.idx.gz is not a valid gzip stream", "again"),
        ({"test-img.idx": gz(IMAGES)}, 6, "MINE/test-img.idx is packed", "mv MINE/test-img.idx MINE/test-img.idx.gz"),
        ({"train-images.idx": idx(8, (1,) * 33, b"x")}, 6, "MINE/train-images.idx has 33 dimensions", "fewer"),
        (
            {"train-images.idx.gz": gz(labels(3, 1)), "train-images.idx": labels(3, 2)},
            3,
            "MINE/train-images.idx.gz does not unpack to train-images.idx, which is beside it",
            "Delete the outdated one.",
        ),
    ],
)
def test_files_that_it_cannot_use_are_reported_with_what_to_do(
    files: dict[str, bytes], code: int, message: str, hint: str, author: Author
) -> None:
    refused(author, code, message, hint, author.error(files=files))


def test_labels_without_a_class_are_6(author: Author) -> None:
    message = "train-labels-idx1-ubyte has labels from 0 to 9, --classes names 2"
    refused(author, 6, message, "every", author.error("--classes", "cat,dog", files=TRAIN))


def refused(author: Author, code: int, message: str, hint: str, got: tuple[int, str, str]) -> None:
    mine = str(author.folder)
    assert got[0] == code
    assert got[1].startswith(message.replace("MINE", mine))
    assert hint.replace("MINE", mine) in got[2]


def test_a_folder_that_is_not_there_or_is_a_file_is_2(capsys: Capture) -> None:
    Path("file").write_text("")
    for name, words in (("gone", "the folder gone does not exist"), ("file", "file is a file, not a folder")):
        assert run(["manifest", name]) == 2
        hint = "Give the folder of your IDX files."
        assert capsys.readouterr().err == f"error: {words}\nhint: {hint}\n"


def test_names_that_differ_in_case_only_are_refused(author: Author) -> None:
    fill(author.folder, {"train-images.idx": images((2, 2), 1), "TEST-images.idx": b"", "test-images.idx.gz": b""})
    if not (author.folder / "TEST-images.idx").exists() or len(list(author.folder.iterdir())) < 3:
        pytest.skip("this file system does not distinguish them")
    code, message, _ = author.error("--url", BASE)
    assert (code, message.partition(" differ ")[0]) == (2, "TEST-images.idx and test-images.idx.gz")


def test_json_and_the_manifest_cannot_share_stdout(author: Author) -> None:
    code, out, err = author("--json", "--out", "-", files=packed(TRAIN))
    assert (code, json.loads(out)["exit_code"]) == (2, 2)
    assert (
        err == "error: --json and --out - both write to stdout\nhint: Write the manifest to a file: --out FILE.toml\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_permissions_forbid_is_5(author: Author) -> None:
    fill(author.folder, packed(TRAIN))
    shut = author.folder / "train-images-idx3-ubyte.gz"
    shut.chmod(0)
    code, out, err = author("--url", BASE)
    assert (code, out, list(Path.cwd().iterdir())) == (5, "", [])
    assert err.startswith(
        f"error: {shut}: permission denied\nhint: Make train-images-idx3-ubyte.gz readable to you, or"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("mode", [0o0, 0o400, 0o100])
def test_a_folder_that_is_closed_is_5(mode: int, author: Author) -> None:
    fill(author.folder, packed(TRAIN)).chmod(mode)
    code, out, err = author("--url", BASE)
    author.folder.chmod(0o700)
    assert (code, out) == (5, "")
    assert err.startswith(f"error: {author.folder}: permission denied\nhint: Make that folder readable to you")


def test_a_manifest_that_cannot_be_written_is_5(author: Author) -> None:
    Path("file").write_text("")
    code, message, hint = author.error("--out", "file/mine.toml", "--url", BASE, files=packed(TRAIN))
    assert (code, message) == (5, "file/mine.toml: a file is in the way where a folder should be")
    assert hint == "Write the manifest elsewhere: --out FILE.toml"


@pytest.mark.parametrize("length", ["0", "512", "65M", "much"])
def test_a_piece_length_that_is_none_is_a_usage_error(length: str, author: Author) -> None:
    done = command_line("manifest", str(author.folder), f"--piece-length={length}")
    assert done.returncode == 2
    assert f"'{length}' is not a size from 1,024 to 67,108,864 bytes" in done.stderr


def test_the_real_files_make_the_manifest_of_the_catalogue(real_root: Path) -> None:
    folder = str(real_root / "FashionMNIST")
    assert run(["manifest", folder, "--name", "mine", "--url", BASE, "--only", "*.gz", "--quiet"]) == 0
    ours, theirs = find("mine.toml"), find("fashion-mnist")
    assert (ours.mean, ours.std) == (theirs.mean, theirs.std)
    for file in theirs.files:
        found = ours.file(file.split, file.role)
        assert found is not None
        assert (found.name, found.pieces, found.payload) == (file.name, file.pieces, file.payload)


def test_samples_are_what_authors_write(author: Author) -> None:
    sample = make()
    manifest = author.manifest("--piece-length", "1024", files=sample.files)
    assert {file.tensor: file.payload for file in manifest.files} == {
        file.tensor: file.payload for file in sample.manifest.files
    }
