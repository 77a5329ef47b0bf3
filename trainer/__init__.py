"""Softmax regression on Fashion-MNIST, from scratch and offline.

    >>> import trainer
    >>> train_batches, test_batches = trainer.load_data_fashion_mnist(batch_size=256)
    >>> images, labels = next(iter(test_batches))
    >>> images.shape, labels[:3]
    (torch.Size([256, 1, 28, 28]), tensor([9, 2, 1]))

The command is `python -m trainer`, or fmnist-train.

Read in this order: softmax.py (the mathematics), data.py (from the tensor file to batches), train.py (the loop),
checkpoint.py (one file that survives a power cut), validation.py (what is checked when it is read), run_dir.py (what
a run writes), plots.py and pictures.py (its pictures), distributed.py (several processes), fit.py, evaluate.py and
predict.py (the commands), __main__.py (the command line). picture_file.py reads the user's own pictures, invocation.py
formats the commands in hints. d2l/ contains the helpers of the book *Dive into Deep Learning* under their names there.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer import d2l
    from trainer.data import load_data_fashion_mnist
    from trainer.pictures import show_predictions
    from trainer.plots import Curves
    from trainer.softmax import Model
    from trainer.train import Epoch, Settings
    from trainer.train import train as train_epochs

__all__ = [
    "Curves",
    "Epoch",
    "Model",
    "Settings",
    "d2l",
    "load_data_fashion_mnist",
    "show_predictions",
    "train_epochs",
]

# The module and the attribute of each name; `train` is the name of a module already.
_MODULES = {
    "Curves": ("plots", "Curves"),
    "Epoch": ("train", "Epoch"),
    "Model": ("softmax", "Model"),
    "Settings": ("train", "Settings"),
    "load_data_fashion_mnist": ("data", "load_data_fashion_mnist"),
    "show_predictions": ("pictures", "show_predictions"),
    "train_epochs": ("train", "train"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import trainer` does not load torch."""
    if name == "d2l":
        return importlib.import_module("trainer.d2l")
    if name not in _MODULES:
        raise AttributeError(f"module 'trainer' has no attribute {name!r}")
    module, attribute = _MODULES[name]
    return getattr(importlib.import_module(f"trainer.{module}"), attribute)
