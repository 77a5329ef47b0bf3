"""The helpers of the book *Dive into Deep Learning* under the names that the book gives them.

For code that was written along the book: where it says `from d2l import torch as d2l`, write `from trainer import d2l`.
zh.py has the Chinese edition (PyTorch, chapters 2.4 to 3.7); oo_design.py and en.py have the classes of the English
edition 1.0 (chapters 3.2 to 3.5 and 4.2 to 4.5). Names, parameters and results are those of the book. Two things
differ: the data comes from the verified tensor file, without downloads or worker processes; and figures are also shown
outside of notebooks, in a window that does not block the program, or in PNG files in the working folder.

    >>> from trainer import d2l
    >>> train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size=256)
    >>> X, y = next(iter(test_iter))
    >>> X.shape, d2l.get_fashion_mnist_labels(y[:3])
    (torch.Size([256, 1, 28, 28]), ['ankle boot', 'pullover', 'trouser'])
"""

# ruff: noqa: F403, F405 (the namespace of the book is put together from five modules)

import collections
import importlib
import inspect
import math
import os
import random
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the book's own name)
from torch.utils import data

from trainer.d2l.drawing import *
from trainer.d2l.en import *
from trainer.d2l.oo_design import *
from trainer.d2l.ops import *
from trainer.d2l.zh import *
from trainer.data import load_data_fashion_mnist

__all__ = [
    "SGD", "Accumulator", "Animator", "Classifier", "DataModule", "F", "FashionMNIST", "HyperParameters",
    "LinearRegression", "LinearRegressionScratch", "Module", "ProgressBoard", "SoftmaxRegression",
    "SyntheticRegressionData", "Timer", "Trainer", "abs", "accuracy", "add_to_class", "arange", "argmax", "astype",
    "batch_matmul", "collections", "concat", "cos", "cosh", "cpu", "data", "evaluate_accuracy", "evaluate_loss",
    "exp", "expand_dims", "eye", "float32", "get_dataloader_workers", "get_fashion_mnist_labels", "gpu", "inspect",
    "int32", "int64", "linreg", "linspace", "load_array", "load_data_fashion_mnist", "log", "math", "matmul",
    "meshgrid", "nn", "nn_Module", "normal", "np", "num_gpus", "numpy", "ones", "ones_like", "os", "plot",
    "predict_ch3", "pyplot", "rand", "randn", "random", "reduce_mean", "reduce_sum", "repeat", "reshape", "set_axes",
    "set_figsize", "sgd", "show_images", "sigmoid", "sin", "sinh", "size", "squared_loss", "stack", "swapaxes",
    "synthetic_data", "sys", "tanh", "tensor", "time", "to", "torch", "train_ch3", "train_epoch_ch3", "transpose",
    "try_all_gpus", "try_gpu", "use_svg_display", "zeros", "zeros_like",
]  # fmt: skip

# Other modules in the namespace of the book's d2l, imported on first use: they are slow, or may not be installed.
_LATER = {
    "display": "IPython.display",
    "backend_inline": "matplotlib_inline.backend_inline",
    "torchvision": "torchvision",
    "transforms": "torchvision.transforms",
    "pd": "pandas",
}


def __getattr__(name: str) -> Any:
    if name == "plt":
        return pyplot()
    if name in _LATER:
        return importlib.import_module(_LATER[name])
    raise AttributeError(f"module 'trainer.d2l' has no attribute {name!r}")
