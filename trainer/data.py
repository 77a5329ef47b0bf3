"""From the tensor file to batches: uint8 stays uint8 until the batch.

The file is memory-mapped, so nothing is read that no batch asks for, and no worker process is needed: picking 256 rows
and widening them takes less time than handing them from one process to another would.
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
        """Share the memory of a split with torch; other devices than the CPU get a copy, still uint8.

        Raises a FormatError unless the split holds grey images of one byte a pixel with labels of known classes.
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

    def pick(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Copy out some examples: (n,) int64 -> (n, 28, 28) uint8, (n,) int64."""
        # images[rows] gives the same bytes, but visits them one by one: ten times slower for uint8.
        return self.images.index_select(0, rows), self.labels.index_select(0, rows)


def to_pixels(images: Tensor) -> Tensor:
    """Widen grey values to float32 in [0, 1], same shape, the very values of torchvision's ToTensor."""
    return images.to(torch.float32).div_(255)


def flatten(images: Tensor) -> Tensor:
    """Lay each image out as one row of pixels: (N, 28, 28) uint8 -> (N, 784) float32 in [0, 1]."""
    return to_pixels(images).flatten(1)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize grey images: (N, H, W) uint8 -> (N, height, width) uint8.

    Bilinear with antialiasing, in whole grey values: the interpolation of torchvision's Resize.
    """
    # Widened first, the images would end up to half a grey value away from Pillow's, and later.
    stretched = functional.interpolate(images[:, None], size, mode="bilinear", antialias=True)
    return stretched[:, 0]  # (N, 1, height, width) -> (N, height, width)


@dataclass(frozen=True)
class ImageDataset:
    """Examples one by one, as the datasets of torchvision give them: X (1, height, width) float32 in [0, 1], and y.

    torch.utils.data.DataLoader takes it as it is, with worker processes too. `data` and `targets` are the images
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
    """Batches to iterate over as often as wanted, as the book's DataLoader gives them.

    Each is X (n, 1, height, width) float32 in [0, 1] and y (n,) int64; the last one may be shorter. A shuffled pass
    draws its order from torch's own generator, so torch.manual_seed makes it repeatable.
    """

    examples: Examples
    batch_size: int
    shuffle: bool
    size: tuple[int, int] | None = None

    @property
    def dataset(self) -> ImageDataset:
        """The examples one by one."""
        return ImageDataset(self.examples, self.size)

    def __len__(self) -> int:
        """Count the batches of one pass, the short last one included."""
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin a new pass."""
        count = len(self.examples)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)  # (N,)
        for rows in order.split(self.batch_size):
            images, labels = self.examples.pick(rows)  # (n, 28, 28) uint8, (n,)
            if self.size is not None:
                images = resized(images, self.size)  # (n, height, width) uint8
            yield to_pixels(images)[:, None], labels  # (n, 1, height, width) float32


def load_data_fashion_mnist(
    batch_size: int,
    resize: int | tuple[int, int] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> tuple[Batches, Batches]:
    """Give the book's two iterators: training images shuffled, test images in order.

    `resize` is a side in pixels or (height, width). Raises a FetchError when the data is absent or damaged, a
    ValueError for sizes below 1. After d2l's function of the same name.

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
