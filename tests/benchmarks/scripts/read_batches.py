"""Seconds of one pass over the training images: read_batches.py ROOT trainer|numpy|WORKERS

WORKERS is the number of a DataLoader's worker processes.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

root, how = sys.argv[1:]


def by_hand() -> Iterator[tuple[Any, Any]]:
    """Yield batches from the memory-mapped arrays."""
    import numpy as np

    import fmnist_fetch

    train = fmnist_fetch.load(root=root)
    order = np.random.default_rng(0).permutation(len(train.labels))
    for start in range(0, len(order), 256):
        rows = order[start : start + 256]
        yield train.images[rows].astype(np.float32) / 255, train.labels[rows]


def batches() -> Iterable[tuple[Any, Any]]:
    """Return the batches to read."""
    if how == "numpy":
        return by_hand()
    if how == "trainer":
        from trainer.data import load_data_fashion_mnist

        return load_data_fashion_mnist(256, root=root)[0]
    import real_torchvision  # noqa: F401
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import FashionMNIST

    data = FashionMNIST(root, train=True, transform=transforms.ToTensor())
    return DataLoader(data, 256, shuffle=True, num_workers=int(how))


def main() -> None:
    """Read, count, and print the seconds."""
    source = batches()
    began = time.perf_counter()
    count = total = 0
    for images, labels in source:
        count += len(images)
        total += int(labels.sum())
    seconds = time.perf_counter() - began
    assert (count, total) == (60_000, 270_000)
    print(seconds)


if __name__ == "__main__":
    main()
