"""From the tensor file to batches: the iterators of the book."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from fmnist_fetch.errors import FetchError, FormatError  # noqa: E402
from fmnist_fetch.tensors.arrays import load  # noqa: E402
from tinydata import Tiny  # noqa: E402
from trainer import load_data_fashion_mnist  # noqa: E402
from trainer.data import Batches, Examples, flatten, resized, to_pixels  # noqa: E402


@pytest.fixture(scope="module")
def examples(tiny: Tiny) -> Examples:
    return Examples.of(load(str(tiny.manifest), "train", tiny.root))


def test_batches_have_the_books_shapes_and_types(examples: Examples) -> None:
    images, y = next(iter(Batches(examples, 256, shuffle=True)))
    assert (images.shape, images.dtype) == ((256, 1, 28, 28), torch.float32)
    assert (y.shape, y.dtype) == ((256,), torch.int64)
    assert 0 <= images.min() < images.max() <= 1


def test_the_last_batch_is_short_and_counted(examples: Examples) -> None:
    batches = Batches(examples, 256, shuffle=False)
    assert [len(y) for _, y in batches] == [256, 256, 88]
    assert len(batches) == 3


def test_without_shuffling_the_images_come_in_order_and_unchanged(examples: Examples) -> None:
    images = torch.cat([images for images, _ in Batches(examples, 100, shuffle=False)])
    assert torch.equal((images[:, 0] * 255).round().to(torch.uint8), examples.images)


def test_every_pass_over_a_shuffled_set_sees_each_image_once_in_another_order(examples: Examples) -> None:
    batches = Batches(examples, 256, shuffle=True)
    first, second = ([torch.cat(column) for column in zip(*batches, strict=True)] for _ in range(2))
    assert not torch.equal(first[1], second[1])
    for images, y in (first, second):
        assert images.double().sum() == pytest.approx(float(to_pixels(examples.images).double().sum()))
        assert torch.equal(y.sort().values, examples.labels.sort().values)


def test_torchs_seed_repeats_the_order(examples: Examples) -> None:
    batches = Batches(examples, 256, shuffle=True)
    torch.manual_seed(3)
    first = [y.tolist() for _, y in batches]
    torch.manual_seed(3)
    assert [y.tolist() for _, y in batches] == first


def test_images_and_labels_stay_together_when_shuffled(examples: Examples) -> None:
    pairs = {image.numpy().tobytes(): int(label) for image, label in zip(examples.images, examples.labels, strict=True)}
    for images, y in Batches(examples, 256, shuffle=True):
        grey = (images[:, 0] * 255).round().to(torch.uint8).numpy()
        assert [pairs[image.tobytes()] for image in grey] == y.tolist()


def test_pixels_are_divided_by_255_exactly_as_to_tensor_does() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(to_pixels(every), every.to(torch.float32) / 255)
    assert flatten(every).shape == (1, 256)


@pytest.mark.parametrize("size", [(14, 14), (28, 28), (32, 32), (64, 64), (96, 96), (20, 50)])
def test_resize_is_pillows_antialiased_bilinear_within_one_grey_value(
    examples: Examples, size: tuple[int, int]
) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: run make train first")
    own = resized(examples.images[:20], size).numpy()
    for mine, grey in zip(own, examples.images[:20].numpy(), strict=True):
        theirs = np.asarray(image.fromarray(grey).resize(size[::-1], image.Resampling.BILINEAR))
        assert np.abs(mine.astype(int) - theirs).max() <= 1


def test_resize_takes_a_side_or_a_height_and_a_width(real_root: Path) -> None:
    for resize, shape in ((32, (32, 32)), ((20, 30), (20, 30))):
        _, test = load_data_fashion_mnist(64, resize, root=real_root)
        images, _ = next(iter(test))
        assert images.shape == (64, 1, *shape)


def test_the_real_data_gives_235_training_batches_the_last_of_96_and_40_test_batches(real_root: Path) -> None:
    train, test = load_data_fashion_mnist(256, root=real_root)
    assert (len(train), len(test)) == (235, 40)
    sizes = [len(y) for _, y in train]
    assert sizes == [256] * 234 + [96]
    assert next(iter(test))[1][:6].tolist() == [9, 2, 1, 1, 6, 1]


def test_sizes_below_one_are_refused(tmp_path: Path) -> None:
    for batch_size, resize in ((0, None), (256, 0), (256, (28, -1))):
        with pytest.raises(ValueError, match="at least 1"):
            load_data_fashion_mnist(batch_size, resize, root=tmp_path)


def test_missing_data_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        load_data_fashion_mnist(256, root=tmp_path / "data")
    assert "fmnist-fetch fetch" in caught.value.hint
    assert not (tmp_path / "data").exists()


def test_images_of_another_type_or_labels_without_a_class_are_refused(tiny: Tiny) -> None:
    split = load(str(tiny.manifest), "test", tiny.root)
    for wrong in (
        replace(split, images=split.images.astype(np.float32)),
        replace(split, images=split.images[0]),
        replace(split, labels=split.labels[:-1]),
        replace(split, labels=split.labels + 1),
        replace(split, labels=split.labels - 1),
        replace(split, labels=split.labels.astype(np.float32)),
        replace(split, labels=np.eye(10, dtype=np.int64)[split.labels]),
        replace(split, images=split.images[:0], labels=split.labels[:0]),
    ):
        with pytest.raises(FormatError):
            Examples.of(wrong)


def test_the_images_stay_one_byte_a_pixel_and_are_not_copied(tiny: Tiny) -> None:
    split = load(str(tiny.manifest), "train", tiny.root)
    examples = Examples.of(split)
    assert examples.images.dtype == torch.uint8
    assert examples.images.data_ptr() == split.images.ctypes.data
