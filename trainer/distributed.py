"""Data-parallel training: torchrun starts several processes, and gloo (CPU) or nccl (CUDA) sums their gradients.

Every process has the whole model and the whole dataset, and shuffles in the same order; each batch is sharded among
them. Their gradients are averaged with the number of rows as weight, so the step is that of a single process.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from fmnist_fetch.errors import FetchError, UsageError
from trainer.invocation import is_launched

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store  # missing in some builds of torch

CPU = torch.device("cpu")
RENDEZVOUS_TIMEOUT_S = 30


class MissingProcessError(FetchError):
    """Another process of the group did not connect. Each process reports it: rank 0 may be the one that is missing."""

    every_process = True


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process (from 0) among all that train together (world_size), and its device."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one process that prints and writes."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """Return the part of a batch for this process, on its device: (..., n) -> (..., about n / world_size)."""
        return batch[..., self.rank :: self.world_size].to(self.device)

    def average_gradients(self, gradients: Sequence[Tensor], rows: int, batch_size: int) -> None:
        """Replace, in place, the gradients over ROWS rows of this process by those over the whole batch."""
        if self.world_size == 1:
            return
        flat = torch.cat([part.flatten() for part in gradients]) * (rows / batch_size)  # (7850,)
        dist.all_reduce(flat)  # one message for each step instead of one for each tensor
        for part, total in zip(gradients, flat.split([part.numel() for part in gradients]), strict=True):
            part.copy_(total.view_as(part))

    def sum_columns(self, values: Tensor) -> list[float]:
        """Sum each row of VALUES over its columns and over all processes, in float64: (k, N) -> k numbers."""
        sums = values.cpu().double().sum(dim=1)  # (k,)
        if self.world_size > 1:
            sums = sums.to(self.device)
            dist.all_reduce(sums)
        numbers: list[float] = sums.tolist()
        return numbers

    def broadcast(self, *tensors: Tensor) -> None:
        """Overwrite the tensors, in place, with those of rank 0."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def broadcast_json(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the message of rank 0 in every process, sent as JSON, since torch would pickle it."""
        if self.world_size == 1:
            return message
        text = json.dumps(message).encode()
        length = torch.tensor([len(text)], device=self.device)
        self.broadcast(length)
        body = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.is_first:
            body.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        self.broadcast(body)
        received: dict[str, Any] = json.loads(bytes(body.tolist()))
        return received

    def destroy(self) -> None:
        """Close the connections to the other processes."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()


SINGLE_PROCESS = ProcessGroup()


def init_process_group(device: str = "auto") -> ProcessGroup:
    """Join the processes that torchrun started, or return a group of this process alone.

    Raises:
        UsageError: This machine or build of torch lacks the device, or RANK and WORLD_SIZE contradict each other.
        MissingProcessError: Another process did not connect within RENDEZVOUS_TIMEOUT_S.
    """
    if not is_launched():
        return ProcessGroup(device=_device(device, 1))
    try:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        rank, world_size = -1, 0
    if not 0 <= rank < world_size:
        raise UsageError(
            f"RANK={os.environ['RANK']} and WORLD_SIZE={os.environ['WORLD_SIZE']} are not the rank and size of a group",
            hint="Start with torchrun, or unset RANK and WORLD_SIZE to train in one process.",
        )
    chosen = _device(device, world_size)
    if world_size > 1:
        dist.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo", store=_meet(rank, world_size), rank=rank, world_size=world_size
        )
    return ProcessGroup(rank, world_size, chosen)


def _meet(rank: int, world_size: int) -> "Store":
    """Wait until all processes are connected, and return the store through which they find each other.

    torch waits in C++, where Ctrl-C has no effect, so it waits in a thread, for which the main thread waits.
    """
    from torch.distributed.rendezvous import rendezvous

    outcome: list[Store | Exception] = []

    def wait() -> None:
        try:
            timeout = timedelta(seconds=RENDEZVOUS_TIMEOUT_S)
            store, _, _ = next(rendezvous("env://", rank, world_size, timeout=timeout))
            store.set(f"trainer/{rank}", "here")
            store.wait([f"trainer/{other}" for other in range(world_size)], timeout)
            outcome.append(store)
        except Exception as error:
            outcome.append(error)

    thread = Thread(target=wait, daemon=True)
    thread.start()
    deadline = time.monotonic() + 1.2 * RENDEZVOUS_TIMEOUT_S
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.1)
    if outcome and not isinstance(outcome[0], Exception):
        return outcome[0]
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    raise MissingProcessError(
        f"not all of the {world_size} processes connected to {place} within {RENDEZVOUS_TIMEOUT_S} s",
        hint="Start all of them with torchrun, or unset RANK and WORLD_SIZE to train in one process.",
    )


def _device(name: str, world_size: int) -> torch.device:
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if world_size > 1:
        usable["mps"] = False  # gloo cannot sum tensors there
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if usable[device])
    if not usable[name]:
        raise UsageError(f"device {name} is not available here", hint="Train with --device cpu.")
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)
