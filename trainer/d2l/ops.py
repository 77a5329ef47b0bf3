"""The names under which the book calls tensor operations in all of its frameworks, for torch.

They take what torch's own functions and methods take; `axis` and `keepdims` are other words for `dim` and `keepdim`.
"""

from typing import Any

import torch
from torch import Tensor, nn

nn_Module = nn.Module  # noqa: N816 (the book's own name)

float32, int32, int64 = torch.float32, torch.int32, torch.int64

arange, eye, linspace, meshgrid, ones, ones_like, tensor, zeros, zeros_like = (
    *(torch.arange, torch.eye, torch.linspace, torch.meshgrid, torch.ones),
    *(torch.ones_like, torch.tensor, torch.zeros, torch.zeros_like),
)
normal, rand, randn = torch.normal, torch.rand, torch.randn
abs, cos, cosh, exp, log, sigmoid, sin, sinh, tanh = (
    *(torch.abs, torch.cos, torch.cosh, torch.exp, torch.log),
    *(torch.sigmoid, torch.sin, torch.sinh, torch.tanh),
)
batch_matmul, concat, matmul, stack = torch.bmm, torch.cat, torch.matmul, torch.stack


def argmax(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Call x.argmax."""
    return x.argmax(*args, **kwargs)


def astype(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Call x.type."""
    return x.type(*args, **kwargs)


def expand_dims(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.unsqueeze."""
    return x.unsqueeze(*args, **kwargs)


def numpy(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Call x.numpy, without the gradient."""
    return x.detach().numpy(*args, **kwargs)


def reduce_mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.mean."""
    return x.mean(*args, **kwargs)


def reduce_sum(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.sum."""
    return x.sum(*args, **kwargs)


def repeat(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.repeat."""
    return x.repeat(*args, **kwargs)


def reshape(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.reshape."""
    return x.reshape(*args, **kwargs)


def size(x: Tensor, *args: Any, **kwargs: Any) -> int:
    """Call x.numel."""
    return int(x.numel(*args, **kwargs))


def swapaxes(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.swapaxes."""
    return x.swapaxes(*args, **kwargs)


def to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.to."""
    return x.to(*args, **kwargs)


def transpose(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call x.t."""
    return x.t(*args, **kwargs)


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
