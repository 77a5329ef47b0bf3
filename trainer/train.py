"""The loop: epochs of stochastic gradient descent, as a generator that the caller drives.

Rule of this room: it neither prints nor writes nor draws. Whoever iterates does, after each epoch, or stops.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from fmnist_fetch.errors import FetchError
from trainer.data import Examples, flatten
from trainer.ranks import ALONE, Team
from trainer.softmax import Model, gradient, hits, log_softmax, logits, losses

# A step multiplies (10, 784) by (784, 256): too little for many threads to share, and a fixed number gives
# the same bits on machines with few and with many cores.
THREADS = 2
TEST_BATCH = 1024
"""Images scored at a time; with 1,000 a test takes a third longer."""


@dataclass(frozen=True)
class Settings:
    """What a run's numbers depend on; the defaults are the book's job.

    >>> from trainer import Model, Settings
    >>> from trainer.data import Examples
    >>> from trainer.train import train
    >>> from fmnist_fetch import load
    >>> examples, test = (Examples.of(load(split=name)) for name in ("train", "test"))
    >>> for epoch in train(Model.fresh(seed=0), examples, test, Settings(epochs=1)):
    ...     print(epoch.number, epoch.test_accuracy > 0.7)
    1 True
    """

    dataset: str = "fashion-mnist"
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 0.1
    seed: int = 0
    threads: int = THREADS


@dataclass(frozen=True)
class Epoch:
    """One epoch's numbers: loss (nats) and accuracy gathered while training, then the test's accuracy.

    >>> from trainer import Epoch
    >>> Epoch(number=1, train_loss=0.78, train_accuracy=0.75, test_accuracy=0.77, seconds=0.2).test_accuracy
    0.77
    """

    number: int
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float


@torch.inference_mode()
def train(
    model: Model,
    examples: Examples,
    test: Examples,
    settings: Settings,
    *,
    after: int = 0,
    team: Team = ALONE,
) -> Iterator[Epoch]:
    """Train MODEL in place from the epoch that follows AFTER, and yield each epoch's numbers when it ends.

    With a TEAM every process takes its share of every batch, and the shares add up to the same step. Raises a
    FetchError when the loss is no longer a number.
    """
    orders = islice(shuffles(len(examples), settings.seed), after, settings.epochs)
    for number, order in enumerate(orders, start=after + 1):
        started = time.perf_counter()
        batches = order.split(settings.batch_size)
        shares = [team.share(rows) for rows in batches]
        mine, sizes = torch.cat(shares), list(map(len, shares))  # (N,)
        labels = examples.labels[mine]  # (N,)
        # Kept batch by batch and counted once: to read numbers out of each would stop the device 470 times an epoch.
        kept = torch.empty(len(mine), len(model.bias), device=team.device)  # (N, 10)
        for whole, rows, truth, place in zip(batches, shares, labels.split(sizes), kept.split(sizes), strict=True):
            pixels = flatten(examples.images.index_select(0, rows))  # (n, 28, 28) uint8 -> (n, 784) float32
            log_probabilities = log_softmax(logits(model.weight, model.bias, pixels))  # (n, 10)
            step = gradient(log_probabilities, truth, pixels)  # (10, 784), (10,)
            team.average(step, len(rows), len(whole))
            for parameter, slope in zip((model.weight, model.bias), step, strict=True):
                parameter.sub_(slope, alpha=settings.learning_rate)
            place.copy_(log_probabilities)
        tally = torch.stack((losses(kept, labels), hits(kept, labels)))  # (2, N)
        loss, right = team.total(tally)
        yield Epoch(
            number,
            finite(loss / len(examples), number),
            right / len(examples),
            evaluate(model, test),
            round(time.perf_counter() - started, 4),
        )


def shuffles(count: int, seed: int) -> Iterator[Tensor]:
    """Give the orders in which the epochs visit the training images: (count,) int64 permutations without end.

    All from one generator, so epoch k's order depends on the seed and on k alone: a resumed run draws the orders of the
    epochs behind it once more and needs no generator's state, and every process of a team draws the same ones.
    """
    dice = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(count, generator=dice)


def scores_of(model: Model, images: Tensor) -> Tensor:
    """Score any number of images, some at a time: (N, 28, 28) uint8 -> (N, 10)."""
    return torch.cat([logits(model.weight, model.bias, flatten(some)) for some in images.split(TEST_BATCH)])


def evaluate(model: Model, test: Examples) -> float:
    """Give the share of TEST that the model labels rightly."""
    return int(hits(scores_of(model, test.images), test.labels).sum()) / len(test)


def finite(loss: float, epoch: int) -> float:
    """Give the loss back; raises a FetchError if it is inf or nan."""
    if math.isfinite(loss):
        return loss
    raise FetchError(
        f"the training loss of epoch {epoch} is {loss}: the steps were too long",
        hint="Train with a smaller --learning-rate; the book's is 0.1.",
    )


def closing_check(history: list[Epoch]) -> str | None:
    """Hold the book's closing bounds against the last epoch; tell what misses them, None if nothing does.

    Meant for Fashion-MNIST from 5 epochs on: after 4 even a healthy run misses the bound on the loss by 0.001.
    """
    if len(history) < 5:
        return None
    last, misses = history[-1], []
    if not last.train_loss < 0.5:
        misses.append(f"the training loss is {last.train_loss:.4f}, not below 0.5")
    for name, value in (("training", last.train_accuracy), ("test", last.test_accuracy)):
        if not 0.7 < value <= 1:
            misses.append(f"the {name} accuracy is {value:.4f}, not above 0.7")
    return "; ".join(misses) or None
