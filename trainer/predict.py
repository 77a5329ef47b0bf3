"""The command predict: print the most likely labels of test images or of the user's own pictures."""

import math
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fmnist_fetch.console.output import write_line
from fmnist_fetch.errors import FormatError, UsageError
from fmnist_fetch.tensors.arrays import load
from trainer.data import Examples, flatten
from trainer.invocation import trainer_command
from trainer.picture_file import looks_inverted, read_picture
from trainer.run_dir import Run, open_finished
from trainer.softmax import Model, logits, top_k

DEFAULT_INDICES = range(6)


def predict(options: Namespace) -> None:
    """Run the command predict."""
    run, model = open_finished(options.run, options.root)
    for title, image in requested_images(run, model, options):
        scores = logits(model.weight, model.bias, flatten(image))  # (1, 10)
        probabilities, labels = top_k(scores, min(options.top, len(run.classes)))  # (1, k), (1, k)
        write_line(title)
        for probability, label in zip(probabilities[0].tolist(), labels[0].tolist(), strict=True):
            write_line(f"  {run.classes[label]:12} {probability:.4f}")


def requested_images(run: Run, model: Model, options: Namespace) -> Iterator[tuple[str, Tensor]]:
    """Yield a title and an image (1, 28, 28) uint8 for each item, or for the first test images if there are none.

    The test images are loaded only if an item is an index.

    Raises:
        UsageError: An index is out of range, or there is no such file.
        FormatError: A picture cannot be used.
    """
    test = None
    for item in options.items or [str(index) for index in DEFAULT_INDICES]:
        if not item.isdecimal():
            yield item, own_picture(Path(item), side_of(model, options), options)
            continue
        if test is None:
            test = Examples.of(load(run.settings.dataset, "test", options.root))
            run.check_model(model, test.images[0].numel())
        index = int(item)
        if index >= len(test):
            raise UsageError(
                f"there is no test image {item}, only 0 to {len(test) - 1}",
                hint="Name an index in that range, or a picture file.",
            )
        yield f"test image {index} ({run.classes[test.labels[index]]})", test.images[index][None]


def side_of(model: Model, options: Namespace) -> int:
    """Return the height and width of the images of a model. Raises a FormatError if they are not square."""
    pixels = model.weight.shape[1]
    side = math.isqrt(pixels)
    if side * side != pixels:
        raise FormatError(
            f"the model in {options.run} is for images of {pixels} pixels, which are not square",
            hint=f"Name the index of a test image: {trainer_command('predict', options.run, 0)}",
        )
    return side


def own_picture(path: Path, side: int, options: Namespace) -> Tensor:
    """Read a picture as the options say: -> (1, side, side) uint8.

    Raises:
        UsageError: There is no such file.
        FormatError: It is not a picture, does not fit, or has a bright background.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is neither a picture file nor the index of a test image",
            hint=f"Name a file, or an index from 0: {trainer_command('predict', options.run, 0, 1)}",
        )
    words = ["--root", options.root] if options.root else []
    again = ["predict", options.run, path, *words]
    resizing = trainer_command(*again, "--resize", *(["--invert"] if options.invert else []))
    image = read_picture(path, side, resize=options.resize, invert=options.invert, hint=f"Scale it: {resizing}")
    if looks_inverted(image):
        other = [] if options.invert else ["--invert"]
        scaling = ["--resize"] if options.resize else []
        raise FormatError(
            f"{path} has a bright background where the training images have a black one",
            hint=f"It looks inverted: try {'without ' if options.invert else ''}--invert:"
            f" {trainer_command(*again, *scaling, *other)}",
        )
    return torch.from_numpy(image)[None]  # (1, 28, 28)
