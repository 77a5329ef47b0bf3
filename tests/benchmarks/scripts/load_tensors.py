"""Seconds to the training images and labels as tensors, once torch is imported: load_tensors.py ROOT HOW [again]"""

import statistics
import sys
import time
from pathlib import Path
from typing import Literal

import torch

root, how = Path(sys.argv[1]), sys.argv[2]
raw = root / "FashionMNIST" / "raw"
VERIFY: dict[str, bool | Literal["always"]] = {"load": True, "map": False, "always": "always"}


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (60000, 28, 28) uint8 and labels (60000,)."""
    if how in VERIFY:
        import fmnist_fetch

        split = fmnist_fetch.load(root=root, verify=VERIFY[how])
        return torch.from_numpy(split.images), torch.from_numpy(split.labels)
    if how == "safetensors":
        from safetensors.torch import load_file

        tensors = load_file(root / "FashionMNIST" / "processed" / "fashion-mnist.safetensors")
        return tensors["train_images"], tensors["train_labels"].long()
    if how == "numpy":
        import numpy as np

        images = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8)
        return torch.from_numpy(images), torch.from_numpy(labels).long()
    data = FashionMNIST(root, train=True)
    return data.data, data.targets


if how == "torchvision":
    import real_torchvision  # noqa: F401
    from torchvision.datasets import FashionMNIST

times = []
for _ in range(21 if "again" in sys.argv else 1):
    began = time.perf_counter()
    images, labels = load()
    times.append(time.perf_counter() - began)
assert images.shape == (60000, 28, 28)
assert (int(images.sum()), int(labels.sum())) == (3_431_114_169, 270_000)
print(statistics.median(times[1:] or times))
