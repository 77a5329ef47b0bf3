"""Several processes that train one model: torchrun starts them, gloo (CPU) or nccl (CUDA) adds up their steps.

Every process keeps the whole model and the whole data set, and draws the same order; only the rows of each batch are
dealt out. Their gradients are averaged by the number of rows, so that the step is the one that a single process takes.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from fmnist_fetch.errors import UsageError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Team:
    """This process's place (rank, from 0) among all that train together (size)."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    def share(self, batch: Tensor) -> Tensor:
        """Take this process's part of a batch, on the device: (..., n) -> (..., about n / size)."""
        return batch[..., self.rank :: self.size].to(self.device)

    def average(self, step: Sequence[Tensor], mine: int, whole: int) -> None:
        """Replace, in place, the gradients of MINE rows by those of the WHOLE batch."""
        if self.size == 1:
            return
        flat = torch.cat([part.flatten() for part in step]) * (mine / whole)  # (7850,)
        distributed.all_reduce(flat)  # one message a step, not one a tensor
        for part, summed in zip(step, flat.split([part.numel() for part in step]), strict=True):
            part.copy_(summed.view_as(part))

    def total(self, tally: Tensor) -> list[float]:
        """Sum each row of a tally over its columns and over all processes, in float64: (k, N) -> k numbers."""
        sums = tally.cpu().double().sum(dim=1)  # (k,)
        if self.size > 1:
            sums = sums.to(self.device)
            distributed.all_reduce(sums)
        numbers: list[float] = sums.tolist()
        return numbers

    def tell(self, message: dict[str, Any]) -> dict[str, Any]:
        """Give rank 0's message to all; JSON, because torch's own way to send objects is pickle."""
        if self.size == 1:
            return message
        text = json.dumps(message).encode()
        length = torch.tensor([len(text)], device=self.device)
        distributed.broadcast(length, src=0)
        body = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == 0:
            body.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        distributed.broadcast(body, src=0)
        told: dict[str, Any] = json.loads(bytes(body.tolist()))
        return told

    def copy_from_first(self, *tensors: Tensor) -> None:
        """Overwrite the tensors, in place, with rank 0's."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def leave(self) -> None:
        """Close the connections to the other processes."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


ALONE = Team()


def join(device: str = "auto") -> Team:
    """Join the processes that torchrun started, or train alone; DEVICE is auto, cpu, cuda or mps.

    Raises a UsageError for a device that this machine or this build of torch hasn't got.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device, size)
    if size > 1:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Team(rank, size, chosen)


def _device(name: str, size: int) -> torch.device:
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if size > 1:
        usable["mps"] = False  # gloo can't add up tensors that live there
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if usable[device])
    if not usable[name]:
        raise UsageError(f"device {name} can't be used here", hint="Train with --device cpu.")
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)
