"""The display of a split: a few lines, and its first images in a notebook."""

from __future__ import annotations

import base64
import io
import re
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fmnist_fetch.tensors.split import Split, png

IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([2, 0, 0, 2, 2, 0])


def split(images: NDArray[Any] = IMAGES, labels: NDArray[Any] = LABELS, **changes: Any) -> Split:
    values: dict[str, Any] = {"classes": ("bag", "coat", "t<shirt"), "mean": 0.25, "std": 0.5}
    return Split(images, labels, dataset="sample", name="train", digests={}, **(values | changes))


def pictures(html: str) -> list[NDArray[np.uint8]]:
    """Return the images in HTML, read by another library."""
    image = pytest.importorskip("PIL.Image")
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_the_text_of_a_split_has_shapes_types_classes_and_the_scale_of_the_pixels() -> None:
    assert repr(split()).splitlines() == [
        "<Split train of sample",
        "  images   (6, 4, 5) uint8",
        "  labels   (6,) int64",
        "  pixels   mean 0.2500, std 0.5000 (of the training images, over 255)",
        "  classes  0 bag, 1 coat, 2 t<shirt>",
    ]


def test_classes_that_are_only_numbers_are_printed_as_the_first_and_the_last() -> None:
    assert repr(split(classes=tuple(map(str, range(1000))))).splitlines()[-1] == "  classes  0 to 999>"


def test_the_text_of_a_split_omits_what_it_does_not_have() -> None:
    bare = split(np.zeros(0), np.zeros(0, np.int64), classes=(), mean=None, std=None)
    assert repr(bare).splitlines() == ["<Split train of sample", "  images   (0,) float64", "  labels   (0,) int64>"]


def test_a_notebook_shows_the_first_image_of_each_class_and_how_many_there_are() -> None:
    html = split()._repr_html_()
    bag, shirt = pictures(html)
    assert (bag == IMAGES[1]).all()
    assert (shirt == IMAGES[0]).all()
    assert re.findall(r">([^<>]+)</td>", html)[-6:] == ["bag", "coat", "t&lt;shirt", "3", "0", "3"]
    assert "t<shirt" not in html


def test_a_notebook_shows_ten_classes_at_most() -> None:
    html = split(classes=tuple(map(str, range(62))))._repr_html_()
    assert html.count("text-align: center") == 30


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.astype(np.float32), LABELS),
        (IMAGES[..., None], LABELS),
        (IMAGES, np.zeros(0, np.int64)),
        (np.zeros(0, np.uint8), LABELS),
        (IMAGES, np.stack([LABELS, LABELS])),
    ],
    ids=["floats", "four dimensions", "no labels", "no images", "two labels each"],
)
def test_what_is_no_grey_picture_with_a_label_is_shown_in_words(images: NDArray[Any], labels: NDArray[Any]) -> None:
    html = split(images, labels)._repr_html_()
    assert pictures(html) == []
    assert str(images.shape) in html


def test_floating_point_labels_are_shown_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pictures(split(labels=LABELS.astype(np.float32))._repr_html_())) == 2


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 50)])
def test_a_picture_is_what_other_programs_read(shape: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    grey = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for view in (grey, grey[:, ::-1], grey.T):
        read = image.open(io.BytesIO(png(view)))
        assert (read.mode, read.format) == ("L", "PNG")
        assert (np.asarray(read) == view).all()


def test_a_split_unpacks_to_images_and_labels_and_its_length_is_the_number_of_examples() -> None:
    images, labels = split()
    assert images is IMAGES
    assert labels is LABELS
    assert len(split()) == 6
    assert len(split(labels=np.zeros(0, np.int64))) == 6


def test_splits_are_equal_if_all_that_they_hold_is_and_comparing_never_raises() -> None:
    assert split() == split(IMAGES.copy(), LABELS.copy())
    assert hash(split()) == hash(split(IMAGES.copy()))
    for other in (
        split(IMAGES + 1),
        split(IMAGES[:5]),
        split(labels=LABELS + 1),
        split(mean=0.5),
        split(classes=("a",)),
    ):
        assert split() != other
    assert split() != "sample"
    assert split() not in [None, 3]
