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
from fmnist_fetch.manifest.model import DataFile, DebianPackage, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, Splice, cut
from fmnist_fetch.manifest.toml import dumps, loads
from samples import Sample, disk_of, gz, make, sha256


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
OTHERS = {
    "mnist": {
        "train-images-idx3-ubyte": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
    "kmnist": {
        "train-images-idx3-ubyte": (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        "train-labels-idx1-ubyte": (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        "t10k-images-idx3-ubyte": (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        "t10k-labels-idx1-ubyte": (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    },
}
# Public copies agree on the payloads of MNIST; nobody has published those of KMNIST.
PAYLOADS: dict[str, dict[str, str | None]] = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "kmnist": dict.fromkeys(FASHION),
}
QMNIST = {
    "qmnist-train-images-idx3-ubyte": (
        (9704059, "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d"),
        (47040016, None),
    ),
    "qmnist-train-labels-idx2-int": (
        (463024, "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f"),
        (1920012, "bb1b6e1ec7b04fd5696f1ed50b5f58f8ef195118edd5c93c81783df9740b8ac5"),
    ),
    "qmnist-test-images-idx3-ubyte": (
        (9742279, "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375"),
        (47040016, None),
    ),
    "qmnist-test-labels-idx2-int": (
        (526800, "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06"),
        (1920012, "92d0ccb8c25f9c6534270fb4be7e1d24a1c6d315edfc8a638bfbd31c70f362dd"),
    ),
    "qmnist-test-labels-idx1-ubyte": (
        (29026, "3f384004f51536c2a29f2ce4d36388ee6cb8fff45bc3ad0cc588a86f2cc76375"),
        (60008, "dbc433804379831d5aa1f78549bc9a1db7266c82d319f407d05246e3e45b6753"),
    ),
}
IDX_SIZES = {name: facts[1][0] for name, facts in FASHION.items()}
SHAPES = {
    f"{start}-{kind}-ubyte": IdxHeader("u1", (count, *shape))
    for start, count in (("train", 60_000), ("t10k", 10_000))
    for kind, shape in (("images-idx3", (28, 28)), ("labels-idx1", ()))
}


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


def test_fashion_mnist_names_its_classes_its_licence_and_its_statistics() -> None:
    manifest = find("fashion-mnist")
    assert " ".join(manifest.classes) == "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle boot"
    assert (manifest.licence, manifest.folder) == ("MIT", "FashionMNIST")
    assert manifest.mean == pytest.approx(0.2860, abs=5e-5)
    assert manifest.std == pytest.approx(0.3530, abs=5e-5)


def test_fashion_mnists_mirrors_stand_in_their_order() -> None:
    commit = "b2617bb6d3ffa2e429640350f613e3291e10b141"
    assert find("fashion-mnist").mirrors == (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://dataset.bj.bcebos.com/fashion_mnist/",
        f"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/{commit}/data/fashion/",
        "https://oneflow-public.oss-cn-beijing.aliyuncs.com/datasets/mnist/Fashion-MNIST/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    )


def test_fashion_mnist_knows_where_other_tools_leave_it_and_its_package() -> None:
    manifest = find("fashion-mnist")
    assert manifest.local == (
        "../data/FashionMNIST/raw",
        "~/data/FashionMNIST/raw",
    )
    assert manifest.caches == {"keras": "datasets/fashion-mnist", "paddle": "fashion-mnist"}
    assert manifest.debian == DebianPackage("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist")


def test_each_splice_head_is_upstreams_gzip_header_with_the_files_name() -> None:
    for file in find("fashion-mnist").files:
        moment = "dee9a759" if file.split == "train" else "f3e9a759"
        head = bytes.fromhex(f"1f8b0808{moment}0003") + file.payload.name.encode() + b"\0"
        assert file.splice == Splice(head, 10)


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_datasets_are_pinned_too(name: str) -> None:
    files = find(name).files
    assert {file.payload.name: (file.size, file.sha256) for file in files} == OTHERS[name]
    for file in files:
        assert (file.split, file.role) == places(file)
        assert file.payload == Payload(
            file.name.removesuffix(".gz"),
            IDX_SIZES[file.payload.name],
            PAYLOADS[name][file.payload.name],
            SHAPES[file.payload.name],
        )
        assert file.pieces == (Piece(Span(0, file.size), file.sha256),)
    assert len(find(name).classes) == 10


def test_qmnist_has_labels_of_eight_columns_and_the_classes_of_test_by_themselves() -> None:
    manifest = find("qmnist")
    found = {
        file.payload.name: ((file.size, file.sha256), (file.payload.size, file.payload.sha256))
        for file in manifest.files
    }
    assert found == QMNIST
    assert {file.tensor: file.payload.header for file in manifest.files} == {
        "train_images": IdxHeader("u1", (60_000, 28, 28)),
        "train_labels": IdxHeader(">i4", (60_000, 8)),
        "test_images": IdxHeader("u1", (60_000, 28, 28)),
        "test_labels": IdxHeader(">i4", (60_000, 8)),
        "test_classes_labels": IdxHeader("u1", (60_000,)),
    }
    assert manifest.mirrors == (
        "https://raw.githubusercontent.com/facebookresearch/qmnist/94061367ec2e099ea18c553c75727ecf849ddb9b/",
    )
    assert len(manifest.classes) == 10


def test_mnist_and_kmnist_have_their_mirrors_in_order() -> None:
    assert find("mnist").mirrors == (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://dataset.bj.bcebos.com/mnist/",
        "https://oneflow-public.oss-cn-beijing.aliyuncs.com/datasets/mnist/MNIST/",
        "https://raw.githubusercontent.com/fgnt/mnist/ae608a02b796c9ee908c082585a5f006fe05258e/",
    )
    assert find("kmnist").mirrors == tuple(
        f"{kind}://codh.rois.ac.jp/kmnist/dataset/kmnist/" for kind in ("https", "http")
    )


@pytest.mark.parametrize("name", OTHERS)
def test_a_mirror_with_other_bytes_of_the_same_sizes_is_refused_by_name(
    name: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Files with the right names and sizes and a gzip header, but other digests.
    stand_ins = {f"{file}.gz": b"\x1f\x8b\x08\0" + bytes(count - 4) for file, (count, _) in OTHERS[name].items()}
    with Mirror(stand_ins) as mirror:
        words = ["--mirror", mirror.url, "--only-mirrors", "--root", str(root), "--patience", "5", "--progress", "none"]
        assert run(["fetch", name, *words]) == 3
        out, err = capsys.readouterr()
        assert mirror.served > 0
    assert out == ""
    assert "could not download train-images-idx3-ubyte.gz, " in err
    assert f" ({size(sum(map(len, stand_ins.values())))}) from any source" in err
    assert f"  {mirror.url}: " in err
    assert "-ubyte.gz: wrong bytes from 0 to " in err
    assert "hint: Name a mirror that has the right files: --mirror URL or --mirror FOLDER.\n" in err
    assert not [path for path in root.rglob("*ubyte*") if path.suffix in (".gz", "")]
    assert run(["list", "--root", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"][name] != "complete"


def test_a_mirror_with_smaller_files_has_wrong_bytes_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # For bytes beyond its end it can only answer that there are none.
    smaller = {f"{file}.gz": b"\x1f\x8b\x08\0" + bytes(count - 4) for file, (count, _) in OTHERS["mnist"].items()}
    with Mirror(smaller) as mirror:
        words = ["--mirror", mirror.url, "--only-mirrors", "--root", str(root), "--patience", "3", "--progress", "none"]
        assert run(["fetch", "kmnist", *words]) == 3
    assert "hint: Name a mirror that has the right files" in capsys.readouterr().err
    assert not [path for path in root.rglob("*ubyte*") if path.suffix in (".gz", "")]


def test_another_datasets_files_are_refused_by_its_title(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"{name}.gz": bytes(facts[0][0]) for name, facts in FASHION.items() if "labels" in name}
    with Mirror(files) as mirror:
        words = ["--mirror", mirror.url, "--only-mirrors", "--root", str(root), "--patience", "5", "--progress", "none"]
        assert run(["fetch", "mnist", *words]) in (3, 4)
    assert "this is Fashion-MNIST's file of the same name" in capsys.readouterr().err
    assert disk_of(root) == {}


def test_the_real_files_have_the_pieces_that_are_pinned(real_root: Path) -> None:
    manifest = find("fashion-mnist")
    for file in manifest.files:
        path = real_root / manifest.folder / "raw" / file.name
        data = path.read_bytes()
        assert [sha256(data[slice(*piece.span)]) for piece in file.pieces] == [piece.sha256 for piece in file.pieces]


def test_a_sample_is_a_manifest_as_good_as_any() -> None:
    shapes: list[dict[str, Any]] = [{}, {"packed": False}, {"pinned": False}, {"length": 10**6}]
    for changes in shapes:
        manifest = make(**changes).manifest
        assert loads(dumps(manifest).encode(), "x") == manifest
    assert gz(b"x", "name")[10:15] == b"name\0"
