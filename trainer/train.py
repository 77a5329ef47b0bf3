"""The training loop: epochs of stochastic gradient descent, as a generator.

This module does not print, write files or draw. The caller does so after each epoch, and may stop there.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from fmnist_fetch.errors import FetchError
from fmnist_fetch.tensors.split import Split
from trainer.data import Examples, flatten
from trainer.distributed import SINGLE_PROCESS, ProcessGroup
from trainer.softmax import Model, gradient, is_correct, log_softmax, logits, losses

TEST_BATCH_SIZE = 1024
"""The number of images; with 1,000, a test takes a third longer."""


@dataclass(frozen=True)
class Settings:
    """The settings that determine the results of a run; the defaults are those of the book.

    >>> from trainer import Settings
    >>> Settings(seed=5).epochs, Settings(seed=5).batch_size
    (10, 256)
    """

    dataset: str = "fashion-mnist"
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 0.1
    seed: int = 0
    # A step multiplies (10, 784) by (784, 256), too little work for many threads. With a fixed number of threads,
    # machines with few and with many cores compute the same bits.
    threads: int = 2


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch: loss (nats) and accuracy while training, then the accuracy on the test images.

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
    examples: Examples | Split,
    test: Examples | Split,
    settings: Settings,
    *,
    after: int = 0,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Epoch]:
    """Train a model in place, and yield the results of each epoch.

    Args:
        model: The model.
        examples: The training images, (N, 28, 28) uint8, with their labels.
        test: The test images with their labels.
        settings: The settings.
        after: The number of the last epoch that is done already.
        group: The processes that train together; each takes its shard of every batch, and the step is the same.

    Raises:
        FetchError: The loss is no longer finite.
        FormatError: The images are not grey with one byte a pixel, or the labels do not fit.

    >>> import fmnist_fetch, trainer
    >>> images, test = (fmnist_fetch.load(split=name) for name in ("train", "test"))
    >>> settings = trainer.Settings(epochs=1)
    >>> for epoch in trainer.train_epochs(trainer.Model.fresh(seed=0), images, test, settings):
    ...     print(epoch.number, epoch.test_accuracy > 0.7)
    1 True
    """
    examples, test = (Examples.of(data, group.device) for data in (examples, test))
    orders = islice(shuffles(len(examples), settings.seed), after, settings.epochs)
    for number, order in enumerate(orders, start=after + 1):
        epoch = EpochRecord(number, order.split(settings.batch_size), examples.labels, group, len(model.bias))
        for rows, labels, recorded, batch_size in epoch.batches():
            pixels = flatten(examples.images.index_select(0, rows))  # (n, 28, 28) uint8 -> (n, 784) float32
            log_probabilities = log_softmax(logits(model.weight, model.bias, pixels))  # (n, 10)
            gradients = gradient(log_probabilities, labels, pixels)  # (10, 784), (10,)
            group.average_gradients(gradients, len(rows), batch_size)
            model.step(gradients, settings.learning_rate)
            recorded.copy_(log_probabilities)
        yield epoch.finish(measure_accuracy(model, test))


class EpochRecord:
    """The batches of one epoch, and its loss and accuracy.

    Both are computed at the end from the log-probabilities of all batches: to read them after each of 235 batches would
    synchronise with the device 470 times an epoch.
    """

    def __init__(
        self, number: int, batches: tuple[Tensor, ...], labels: Tensor, group: ProcessGroup, classes: int
    ) -> None:
        self._started = time.perf_counter()
        self._number, self._group = number, group
        self._sizes = [len(rows) for rows in batches]
        self._shards = [group.shard(rows) for rows in batches]
        self._labels = labels[torch.cat(self._shards)]  # (N,)
        self._recorded = torch.empty(len(self._labels), classes, device=group.device)  # (N, 10)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        """Iterate over the batches, of each the shard for this process.

        Yields:
            The rows (n,) and labels (n,) of the shard, the memory for its log-probabilities (n, 10), and the number of
            rows of the whole batch.
        """
        lengths = [len(rows) for rows in self._shards]
        return zip(self._shards, self._labels.split(lengths), self._recorded.split(lengths), self._sizes, strict=True)

    def finish(self, test_accuracy: float) -> Epoch:
        """Return the results of the epoch. Raises a FetchError if the loss is inf or nan."""
        counts = torch.stack((losses(self._recorded, self._labels), is_correct(self._recorded, self._labels)))  # (2, N)
        loss, correct = (total / sum(self._sizes) for total in self._group.sum_columns(counts))
        if not math.isfinite(loss):
            raise FetchError(
                f"the training loss of epoch {self._number} is {loss}: the steps were too long",
                hint="Train with a smaller --learning-rate; the book uses 0.1.",
            )
        return Epoch(self._number, loss, correct, test_accuracy, round(time.perf_counter() - self._started, 4))


def shuffles(count: int, seed: int) -> Iterator[Tensor]:
    """Yield the order of the training images in each epoch, without end: (count,) int64 permutations.

    All come from one generator, so the order of epoch k depends only on the seed and on k. A resumed run draws the
    orders of the finished epochs again, so that no generator state is saved. All processes of a group draw the same.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(count, generator=generator)


def score_images(model: Model, images: Tensor) -> Tensor:
    """Score any number of images, in batches: (N, 28, 28) uint8 -> (N, 10)."""
    batches = images.split(TEST_BATCH_SIZE)
    return torch.cat([logits(model.weight, model.bias, flatten(batch)) for batch in batches])


def measure_accuracy(model: Model, test: Examples) -> float:
    """Return the share of the images that the model labels correctly."""
    return int(is_correct(score_images(model, test.images), test.labels).sum()) / len(test)


def missed_bounds(history: list[Epoch]) -> str | None:
    """Return which bounds at the end of the book's chapter the last epoch misses, as text; None if it misses none.

    They apply to Fashion-MNIST after 5 epochs: after 4, a correct run still misses the bound of the loss by 0.001.
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
