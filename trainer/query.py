"""Questions to a finished run: how good is it on the test images, and what does it see in a picture."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fmnist_fetch.errors import FormatError, UsageError
from fmnist_fetch.tensors.arrays import load
from trainer.data import Examples, flatten
from trainer.pictures import read_picture
from trainer.run import Run, open_finished
from trainer.screen import say
from trainer.softmax import Model, accuracy, cross_entropy, logits, top
from trainer.train import scores_of

FIRST = range(6)


def evaluate_run(options: Namespace) -> None:
    """Test a run's model anew, and hold the result against the run's own summary.

    Raises an IntegrityError if model, data or accuracy are not those of summary.json.
    """
    run, model = open_finished(options.run)
    torch.set_num_threads(run.settings.threads)
    split = load(run.settings.dataset, "test", options.root)
    test = fitting(run, model, Examples.of(split))
    scores = scores_of(model, test.images)  # (N, 10)
    right = float(accuracy(scores, test.labels))
    say(f"test loss {float(cross_entropy(scores, test.labels)):.4f}   test acc {right:.4f}   {len(test):,} images")
    for label, name in enumerate(run.classes):
        own = test.labels == label  # (N,) bool
        if own.any():
            say(f"  {name:12} {float(accuracy(scores[own], test.labels[own])):.4f}")
    digests = {f"test_{role}": digest for role, digest in split.digests.items()}
    run.check_claims(right, digests)
    say(f"{run.folder}: model, data and accuracy are as summary.json says")


def predict_with_run(options: Namespace) -> None:
    """Print the likeliest labels of test images or own pictures, best first."""
    run, model = open_finished(options.run)
    for name, image in asked_images(run, model, options):
        scores = logits(model.weight, model.bias, flatten(image))  # (1, 10)
        chances, labels = top(scores, min(options.top, len(run.classes)))  # (1, k), (1, k)
        say(name)
        for chance, label in zip(chances[0].tolist(), labels[0].tolist(), strict=True):
            say(f"  {run.classes[label]:12} {chance:.4f}")


def asked_images(run: Run, model: Model, options: Namespace) -> Iterator[tuple[str, Tensor]]:
    """Give each image asked for with its title, as (1, 28, 28) uint8; the first test images if none is.

    The test images are opened only for an index. Raises a UsageError for an index that isn't there.
    """
    asked = options.items or [str(index) for index in FIRST]
    test = None
    for item in asked:
        if not item.isdecimal():
            side = int(model.weight.shape[1] ** 0.5)
            yield item, read_picture(Path(item), side, side)
            continue
        if test is None:
            test = Examples.of(load(run.settings.dataset, "test", options.root))
            fitting(run, model, test)
        if int(item) >= len(test):
            raise UsageError(
                f"there is no test image {item}, only 0 to {len(test) - 1}",
                hint="Name an index in that range, or a picture file.",
            )
        index = int(item)
        yield f"test image {index} ({run.classes[test.labels[index]]})", test.images[index][None]


def fitting(run: Run, model: Model, test: Examples) -> Examples:
    """Give the examples back; raises a FormatError if the model is for images of another size."""
    pixels = test.images[0].numel()
    if model.weight.shape == (len(run.classes), pixels):
        return test
    raise FormatError(
        f"the model in {run.folder} has weights {tuple(model.weight.shape)}, the images {pixels} pixels",
        hint="Name the run that was trained on this data set.",
    )
