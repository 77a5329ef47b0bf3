"""What the name of an IDX file means."""

from __future__ import annotations

import pytest

from fmnist_fetch.commands.manifest.naming import FileRole, family, guess, is_idx_name, payload_name


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("train-images-idx3-ubyte.gz", ("train", "images")),
        ("train-labels-idx1-ubyte", ("train", "labels")),
        ("t10k-images-idx3-ubyte.gz", ("test", "images")),
        ("t10k-labels.idx1-ubyte", ("test", "labels")),
        ("emnist-byclass-test-labels-idx1-ubyte.gz", ("test", "labels")),
        ("qmnist-train-labels-idx2-int.gz", ("train", "labels")),
        ("X_train.idx", ("train", "images")),
        ("y_val.idx.gz", ("val", "labels")),
        ("valid.targets.idx", ("val", "labels")),
        ("trainingFeatures.IDX", ("train", "images")),
        ("test_img.idx", ("test", "images")),
        ("latest-images.idx", ("", "images")),
        ("interval.idx", ("", "")),
        ("train-and-test-images.idx", ("", "images")),
        ("train-image-labels.idx", ("train", "")),
        ("train.idx", ("train", "")),
        ("proxy-train.idx", ("train", "")),
    ],
)
def test_split_and_role_come_from_the_name_unless_it_has_none_or_two(name: str, place: tuple[str, str]) -> None:
    assert guess(name) == FileRole(*place)


@pytest.mark.parametrize(
    "name", ["a-idx3-ubyte.gz", "a-idx3-ubyte", "a.idx3-ubyte", "a.idx", "a.idx.GZ", "a-idx1", "idx", "a-idx2-int.gz"]
)
def test_these_are_names_of_idx_files(name: str) -> None:
    assert is_idx_name(name)


@pytest.mark.parametrize("name", ["a-idx3-ubyte.gz.md5", "a-idx3-ubyte.gz.part", "suffidx", "index.html", "a.idx.toml"])
def test_these_are_not(name: str) -> None:
    assert not is_idx_name(name)


@pytest.mark.parametrize(("name", "inside"), [("a.gz", "a"), ("a.GZ", "a"), ("a.idx", "a.idx"), ("gz", "gz")])
def test_a_packed_file_is_named_after_what_is_in_it(name: str, inside: str) -> None:
    assert payload_name(name) == inside


def test_datasets_in_one_folder_are_distinguished_by_what_is_before_the_split() -> None:
    assert family("emnist-letters-train-images-idx3-ubyte.gz") == "emnist-letters-"
    assert family("train-images-idx3-ubyte.gz") == family("images.idx") == ""
