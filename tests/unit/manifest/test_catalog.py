"""The catalogue: what is found by name, and that its facts are those of upstream."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from faults import Mirror
from fmnist_fetch.cli import run
from fmnist_fetch.errors import UsageError, size
from fmnist_fetch.manifest.catalog import find, names
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Splice, cut
from fmnist_fetch.manifest.toml import dumps
from samples import Sample, disk_of, sha256


def test_a_name_from_the_catalogue_is_found() -> None:
    assert names() == ["fashion-mnist", "kmnist", "mnist", "qmnist"]
    assert [find(name).name for name in names()] == names()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fashion_mnist", "Did you mean fashion-mnist? Known: fashion-mnist, kmnist, mnist, qmnist"),
        ("FashionMNIST", "Did you mean fashion-mnist? "),
        ("fmnist", "Did you mean fashion-mnist? "),
        ("F-MNIST", "Did you mean fashion-mnist? "),
        ("fminst", "Did you mean fashion-mnist? "),
        ("fasion", "Did you mean fashion-mnist? "),
        ("mnist_fashion", "Did you mean fashion-mnist? "),
        ("qmist", "Did you mean qmnist? "),
        ("mnits", "Did you mean mnist? "),
        ("imagenet-21k", "Known: fashion-mnist, kmnist, mnist, qmnist; or give the path of a manifest (FILE.toml)."),
        ("", "Known: fashion-mnist"),
        ("../datasets/mnist", "Known: "),
    ],
)
def test_an_unknown_dataset_is_reported_with_the_known_ones_and_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(name)
    assert caught.value.message == f"there is no dataset called {name!r}"
    assert hint in caught.value.hint


def test_a_path_to_a_manifest_is_read_also_from_home(sample: Sample) -> None:
    sample.write(Path.home())
    assert find("~/sample.toml") == sample.manifest


def test_an_absent_manifest_is_reported_with_its_path() -> None:
    with pytest.raises(UsageError, match=r"the manifest gone/mine\.toml can't be read: No such file"):
        find("gone/mine.toml")


def test_a_manifest_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="can't be read: it is not a file"):
        find(str(path))


def test_a_manifest_that_is_absurdly_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(UsageError, match="can't be read: it is longer than 16,777,216 bytes"):
        find(path)


def test_a_path_with_a_zero_byte_is_no_manifest() -> None:
    with pytest.raises(UsageError, match="can't be read: embedded null byte"):
        find("a\0b.toml")


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "fashionmnist", "name": "mine"},
        {"folder": "Mine"},
        {"files": find("mnist").files},
        {"classes": ("a",) * 10},
        {"mean": 0.5},
    ],
)
def test_a_manifest_that_would_replace_a_dataset_of_the_catalogue_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(dumps(find("fashion-mnist")._replace(**changes)))
    with pytest.raises(UsageError, match=r"takes the place of Fashion-MNIST, which is in the catalogue") as caught:
        find(str(path))
    assert '"my-fashion-mnist" and "MyFashionMNIST"' in caught.value.hint


def test_a_copy_of_a_manifest_of_the_catalogue_may_have_mirrors_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    own = find("fashion-mnist")._replace(mirrors=("http://lab.example/",), title="Ours")
    path.write_text(dumps(own))
    assert find(str(path)) == own


# As published upstream: size and SHA-256 of the files, size and SHA-256 of their payloads.
FASHION = {
    "train-images-idx3-ubyte": (
        (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    ),
    "train-labels-idx1-ubyte": (
        (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    "t10k-images-idx3-ubyte": (
        (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    ),
    "t10k-labels-idx1-ubyte": (
        (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
}
SHAPES = {
    f"{start}-{kind}-ubyte": IdxHeader("u1", (count, *shape))
    for start, count in (("train", 60_000), ("t10k", 10_000))
    for kind, shape in (("images-idx3", (28, 28)), ("labels-idx1", ()))
}


PINS = {
    "fashion-mnist": "b7a656bedae9425cbbf920ac77c692a764d3ca5ccd989f2186aa69780f7e2341",
    "kmnist": "58f6517308c7a5bbba4445ac32add42e4df12bc6eb27e239ef09b7b6c6044b8a",
    "mnist": "59b8ab76a5d2ea3bf6cff27c32517b598c043e53bcee992e54040fca9628332c",
    "qmnist": "f14bf9d23b71c3e76af521688f0214f45720b8a43637f738563ea4dea09553d2",
}
"""The SHA-256 of each manifest as `dumps` writes it. A change of a digest, a mirror or a class needs a change here."""


@pytest.mark.parametrize("name", names())
def test_no_fact_of_a_dataset_changes_by_mistake(name: str) -> None:
    manifest = find(name)
    assert sha256(dumps(manifest).encode()) == PINS[name], dumps(manifest)
    assert len(manifest.classes) == 10
    if name != "qmnist":
        assert {file.payload.name: file.payload.header for file in manifest.files} == SHAPES
        assert [(file.split, file.role) for file in manifest.files] == [places(file) for file in manifest.files]


def places(file: DataFile) -> tuple[str, str]:
    """Return the split and the role that the name of the file means."""
    return ("train" if file.name.startswith("train") else "test", "images" if "images" in file.name else "labels")


def test_fashion_mnist_is_pinned_file_by_file_piece_by_piece_and_unpacked() -> None:
    files = find("fashion-mnist").files
    found = {file.payload.name: ((file.size, file.sha256), (file.payload.size, file.payload.sha256)) for file in files}
    assert found == FASHION
    for file in files:
        assert file.name == file.payload.name + ".gz"
        assert (file.split, file.role) == places(file)
        assert file.payload.header == SHAPES[file.payload.name]
        assert [piece.span for piece in file.pieces] == cut(file.size, 256 * 1024)


def test_each_splice_head_is_upstreams_gzip_header_with_the_files_name() -> None:
    for file in find("fashion-mnist").files:
        moment = "dee9a759" if file.split == "train" else "f3e9a759"
        head = bytes.fromhex(f"1f8b0808{moment}0003") + file.payload.name.encode() + b"\0"
        assert file.splice == Splice(head, 10)


def refused(dataset: str, stand_ins: dict[str, int], root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Fetch DATASET from a mirror with files of other bytes (a gzip header, then zeros); return what stderr says."""
    files = {name: b"\x1f\x8b\x08\0" + bytes(count - 4) for name, count in stand_ins.items()}
    with Mirror(files) as mirror:
        words = ["--mirror", mirror.url, "--only-mirrors", "--root", str(root), "--patience", "5", "--progress", "none"]
        assert run(["fetch", dataset, *words]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert not [path for path in root.rglob("*ubyte*") if path.suffix in (".gz", "")]
    return err


def sizes(dataset: str) -> dict[str, int]:
    return {file.name: file.size for file in find(dataset).files}


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_a_mirror_with_other_bytes_of_the_same_sizes_is_refused_by_name(
    name: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refused(name, sizes(name), root, capsys)
    assert "could not download train-images-idx3-ubyte.gz, " in err
    assert f" ({size(sum(sizes(name).values()))}) from any source" in err
    assert "  http://127.0.0.1:" in err
    assert "-ubyte.gz: wrong bytes from 0 to " in err
    assert "hint: Name a mirror that has the right files: --mirror URL or --mirror FOLDER.\n" in err
    assert run(["list", "--root", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"][name] != "complete"


def test_a_mirror_with_smaller_files_has_wrong_bytes_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # For bytes beyond its end it can only answer that there are none.
    assert "hint: Name a mirror that has the right files" in refused("kmnist", sizes("mnist"), root, capsys)


def test_another_datasets_files_are_refused_by_its_title(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {name: count for name, count in sizes("fashion-mnist").items() if "labels" in name}
    assert "this is Fashion-MNIST's file of the same name" in refused("mnist", labels, root, capsys)
    assert disk_of(root) == {}


def test_the_real_files_have_the_pieces_that_are_pinned(real_root: Path) -> None:
    manifest = find("fashion-mnist")
    for file in manifest.files:
        path = real_root / manifest.folder / "raw" / file.name
        data = path.read_bytes()
        assert [sha256(data[slice(*piece.span)]) for piece in file.pieces] == [piece.sha256 for piece in file.pieces]
