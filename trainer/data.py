"""Batches from the tensor file. Images stay uint8 until they are in a batch.

The file is memory-mapped, so only the rows of the batches are read. There are no worker processes: copying 256 rows and
converting them to float32 takes less time than passing them between processes.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fmnist_fetch.errors import FormatError
from fmnist_fetch.tensors.arrays import load
from fmnist_fetch.tensors.split import Split


@dataclass(frozen=True)
class Examples:
    """Images (N, 28, 28) uint8 with their labels (N,) int64, as tensors on one device."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, split: "Split | Examples", device: torch.device | str = "cpu") -> "Examples":
        """Return a split as tensors, which share its memory on the CPU and are a uint8 copy on other devices.

        Raises:
            FormatError: The split does not consist of grey images of one byte a pixel with labels of known classes.
        """
        if isinstance(split, Examples):
            return cls(split.images.to(device), split.labels.to(device))
        images, labels = split.images, split.labels
        grey = images.ndim == 3 and images.dtype == "uint8"
        if not grey or not labels.shape == images.shape[:1] > (0,) or labels.dtype != "int64":
            found = f"images {images.shape} {images.dtype}, labels {labels.shape} {labels.dtype}"
            raise FormatError(
                f"{split.dataset} {split.name} holds {found}",
                hint="The trainer needs grey images (N, height, width) of uint8 with one whole number as label each.",
            )
        if not 0 <= labels.min() <= labels.max() < len(split.classes):
            raise FormatError(
                f"{split.dataset} {split.name} has labels up to {labels.max()} for {len(split.classes)} classes",
                hint="Name every class in the manifest.",
            )
        return cls(
            torch.from_numpy(images).to(device),
            torch.from_numpy(labels).to(device),
        )

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)


def to_pixels(images: Tensor) -> Tensor:
    """Convert grey values to float32 in [0, 1], in the same shape, with the values of torchvision's ToTensor."""
    return images.to(torch.float32).div_(255)


def flatten(images: Tensor) -> Tensor:
    """Flatten each image to a row of pixels: (N, 28, 28) uint8 -> (N, 784) float32 in [0, 1]."""
    return to_pixels(images).flatten(1)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize grey images: (N, H, W) uint8 -> (N, height, width) uint8.

    Bilinear with antialiasing, in whole grey values: the interpolation of torchvision's Resize.
    """
    # On float32 images, the result differs from Pillow's by up to half a grey value, and takes longer.
    stretched = functional.interpolate(images[:, None], size, mode="bilinear", antialias=True)
    return stretched[:, 0]  # (N, 1, height, width) -> (N, height, width)


@dataclass(frozen=True)
class ImageDataset:
    """Single examples, as the datasets of torchvision have them: X (1, height, width) float32 in [0, 1], and y.

    torch.utils.data.DataLoader accepts it, also with worker processes. `data` and `targets` are the images
    (N, 28, 28) uint8 and the labels (N,) int64 as they are stored.
    """

    examples: Examples
    size: tuple[int, int] | None = None

    @property
    def data(self) -> Tensor:
        """All images."""
        return self.examples.images

    @property
    def targets(self) -> Tensor:
        """All labels."""
        return self.examples.labels

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one example. Raises an IndexError beyond the last one."""
        image = self.examples.images[index][None]  # (1, 28, 28) uint8
        if self.size is not None:
            image = resized(image, self.size)
        return to_pixels(image), int(self.examples.labels[index])


@dataclass(frozen=True)
class Batches:
    """Batches that can be iterated over repeatedly, as the book's DataLoader gives them.

    Each is X (n, 1, height, width) float32 in [0, 1] and y (n,) int64; the last one may be shorter. A shuffled pass
    draws its order from torch's own generator, so torch.manual_seed makes it repeatable.
    """

    examples: Examples
    batch_size: int
    shuffle: bool
    size: tuple[int, int] | None = None

    @property
    def dataset(self) -> ImageDataset:
        """The single examples."""
        return ImageDataset(self.examples, self.size)

    def __len__(self) -> int:
        """Return the number of batches of one pass, including a shorter last one."""
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches of a new pass."""
        count = len(self.examples)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)  # (N,)
        for rows in order.split(self.batch_size):
            # images[rows] gives the same, but copies uint8 byte by byte, which takes ten times as long.
            images = self.examples.images.index_select(0, rows)  # (n, 28, 28) uint8
            if self.size is not None:
                images = resized(images, self.size)  # (n, height, width) uint8
            yield to_pixels(images)[:, None], self.examples.labels[rows]  # (n, 1, height, width) float32


def load_data_fashion_mnist(
    batch_size: int,
    resize: int | tuple[int, int] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> tuple[Batches, Batches]:
    """Return the batches of the training images, shuffled, and of the test images, in order.

    Source: the function of the same name in d2l.

    Args:
        batch_size: The number of images in a batch.
        resize: The height and width of the images in pixels, one number for both; None for their own.
        root: The folder of the data; None for FMNIST_ROOT or ./data.

    Raises:
        FetchError: The data is absent or damaged.
        ValueError: A size is below 1.

    >>> from trainer import load_data_fashion_mnist
    >>> train, test = load_data_fashion_mnist(32, resize=64)
    >>> len(train), next(iter(train))[0].shape
    (1875, torch.Size([32, 1, 64, 64]))
    """
    size = (resize, resize) if isinstance(resize, int) else resize
    if batch_size < 1 or (size is not None and min(size) < 1):
        raise ValueError(f"batch_size {batch_size} and resize {resize} must be at least 1")
    train, test = (Examples.of(load(split=name, root=root)) for name in ("train", "test"))
    return Batches(train, batch_size, True, size), Batches(test, batch_size, False, size)
