"""The names under which the book calls tensor operations in all of its frameworks, for torch.

They take what torch's own functions and methods take; `axis` and `keepdims` are other words for `dim` and `keepdim`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

nn_Module = nn.Module  # noqa: N816 (the book's own name)

float32, int32, int64 = torch.float32, torch.int32, torch.int64

arange, eye, linspace, meshgrid, tensor = torch.arange, torch.eye, torch.linspace, torch.meshgrid, torch.tensor
ones, ones_like, zeros, zeros_like = torch.ones, torch.ones_like, torch.zeros, torch.zeros_like
normal, rand, randn = torch.normal, torch.rand, torch.randn
abs, cos, cosh, exp, log = torch.abs, torch.cos, torch.cosh, torch.exp, torch.log
sigmoid, sin, sinh, tanh = torch.sigmoid, torch.sin, torch.sinh, torch.tanh
batch_matmul, concat, matmul, stack = torch.bmm, torch.cat, torch.matmul, torch.stack


def _method(name: str) -> Callable[..., Any]:
    """Return a function that calls this method of its first argument."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(x, name)(*args, **kwargs)

    return call


argmax, astype, expand_dims, size = _method("argmax"), _method("type"), _method("unsqueeze"), _method("numel")
reduce_mean, reduce_sum, repeat, reshape = _method("mean"), _method("sum"), _method("repeat"), _method("reshape")
swapaxes, to, transpose = _method("swapaxes"), _method("to"), _method("t")


def numpy(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Call x.numpy, without the gradient."""
    return x.detach().numpy(*args, **kwargs)


def cpu() -> torch.device:
    """Return the CPU."""
    return torch.device("cpu")


def gpu(i: int = 0) -> torch.device:
    """Return GPU number `i`, whether it exists or not."""
    return torch.device(f"cuda:{i}")


def num_gpus() -> int:
    """Return how many GPUs this machine has."""
    return torch.cuda.device_count()


def try_gpu(i: int = 0) -> torch.device:
    """Return GPU number `i` if it exists, else the CPU."""
    return gpu(i) if num_gpus() > i else cpu()


def try_all_gpus() -> list[torch.device]:
    """Return all GPUs, or the CPU if there is none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]
