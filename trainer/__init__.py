"""Softmax regression on Fashion-MNIST, from scratch: readable, offline, in seconds.

    >>> import trainer
    >>> train_batches, test_batches = trainer.load_data_fashion_mnist(batch_size=256)
    >>> images, labels = next(iter(test_batches))
    >>> images.shape, labels[:3]
    (torch.Size([256, 1, 28, 28]), tensor([9, 2, 1]))

The command is `python -m trainer`, or fmnist-train.

Read in this order: softmax.py (the mathematics), data.py (from the tensor file to batches), train.py (the loop),
checkpoint.py (what outlives a power cut), run.py (what a run leaves behind), plots.py (the pictures), ranks.py (more
than one process), job.py and query.py (the verbs), __main__.py (the command line); pictures.py and screen.py are small
helpers. d2l.py holds the helpers of the book *Dive into Deep Learning* under the names that the book gives them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer import d2l
    from trainer.data import load_data_fashion_mnist
    from trainer.plots import Curves
    from trainer.softmax import Model
    from trainer.train import Epoch, Settings

__all__ = ["Curves", "Epoch", "Model", "Settings", "d2l", "load_data_fashion_mnist"]

_ROOMS = {
    "Curves": "plots",
    "Epoch": "train",
    "Model": "softmax",
    "Settings": "train",
    "load_data_fashion_mnist": "data",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that `import trainer` costs no torch."""
    if name == "d2l":
        return importlib.import_module("trainer.d2l")
    if name not in _ROOMS:
        raise AttributeError(f"module 'trainer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trainer.{_ROOMS[name]}"), name)
