"""The pictures of a run: drawn while it trains and at its end, into its folder."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fmnist_fetch.errors import escaped
from fmnist_fetch.tensors.split import Split
from trainer import plots
from trainer.data import Examples
from trainer.plots import Curves
from trainer.run_dir import CONFUSION, CURVES, PREDICTIONS, Run
from trainer.softmax import Model
from trainer.train import Epoch, score_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREDICTION_COUNT = 16
DRAWING_INTERVAL_S = 1.0
"""The least time between two drawings of the curves."""
DRAWING_SHARE = 0.1
"""The largest share of the time that drawing may take, where one drawing takes longer than a tenth of a second."""


def show_predictions(model: Model, test: Split, path: Path | None = None) -> None:
    """Show the first test images under their true and their predicted labels: in the cell of a notebook, or in PATH.

    >>> from pathlib import Path
    >>> import fmnist_fetch, trainer
    >>> trainer.show_predictions(trainer.Model.fresh(seed=0), fmnist_fetch.load(split="test"), Path("predictions.png"))
    """
    examples = Examples.of(test)
    predicted = score_images(model, examples.images[:PREDICTION_COUNT]).argmax(dim=1)  # (n,)
    plots.Display(prediction_figure(examples, predicted, test.classes), path).show()


def confusion_figure(test: Examples, predicted: Tensor, classes: Sequence[str]) -> "Figure":
    """Return the figure of how often each true class was predicted as each class."""
    number = len(classes)
    counts = torch.bincount(test.labels * number + predicted, minlength=number**2)  # (100,)
    return plots.confusion(counts.view(number, number).cpu().numpy(), classes)  # (10, 10), a row for each true class


def prediction_figure(test: Examples, predicted: Tensor, classes: Sequence[str]) -> "Figure":
    """Draw the first test images with the labels PREDICTED, (N,) int64 or only as many as are drawn."""
    true, guessed = (
        [classes[label] for label in labels[:PREDICTION_COUNT].tolist()] for labels in (test.labels, predicted)
    )
    return plots.predictions(test.images[:PREDICTION_COUNT].cpu().numpy(), true, guessed)


class Pictures:
    """The pictures of a run. Whatever goes wrong with one is a note: a picture must not cost a training.

    The curves are drawn at the end, and between two epochs only where enough time has passed since the last drawing. A
    training of less than a second draws once: to import matplotlib and to draw takes as long as its epochs. Imported
    in a thread beside them, it saves nothing: both need the interpreter's lock.
    """

    def __init__(self, run: Run, options: Namespace) -> None:
        self._run = run
        self._options = options
        self._curves: Curves | None = None
        self._enabled = options.pictures
        self._pending: list[Epoch] = list(run.history)
        self._drawn_at, self._drawing_s = time.monotonic(), 0.0
        if options.live:
            self._draw(CURVES, self._open)
            self.flush()

    def add(self, epoch: Epoch) -> None:
        """Take EPOCH, and draw the curves if it is time to."""
        self._pending.append(epoch)
        interval = max(DRAWING_INTERVAL_S, self._drawing_s / DRAWING_SHARE)
        if self._options.live or time.monotonic() - self._drawn_at > interval:
            self.flush()

    def flush(self) -> None:
        """Draw the curves up to the last epoch."""
        if self._pending:
            started = time.monotonic()
            self._draw(CURVES, self._draw_pending)
            self._drawn_at = time.monotonic()
            self._drawing_s = self._drawn_at - started

    def finish(self, model: Model, test: Examples) -> None:
        """Draw what the trained model makes of the test images: predictions.png and confusion.png."""
        self.flush()
        if self._enabled:
            predicted = score_images(model, test.images).argmax(dim=1)  # (N,)
            classes = self._run.classes
            self._save(PREDICTIONS, lambda: prediction_figure(test, predicted, classes))
            self._save(CONFUSION, lambda: confusion_figure(test, predicted, classes))

    def wait_for_window(self) -> None:
        """Keep the window of --live open until it is closed, if somebody is at the terminal."""
        if self._curves:
            self._draw(CURVES, self._curves.linger)

    def _open(self) -> Curves:
        run = self._run
        title = f"Softmax regression on {Path(run.settings.dataset).stem}"
        path = run.folder / CURVES
        self._curves = Curves(path, epochs=run.settings.epochs, live=self._options.live, title=title)
        return self._curves

    def _draw_pending(self) -> None:
        epochs, self._pending = self._pending, []
        (self._curves or self._open()).add(*epochs)

    def _save(self, name: str, make: "Callable[[], Figure]") -> None:
        self._draw(name, lambda: plots.save(self._run.folder / name, make()))

    def _draw(self, name: str, draw: Callable[[], object]) -> None:
        if not self._enabled:
            return
        try:
            draw()
        except Exception as error:
            self._enabled = False
            reason = f"{type(error).__name__}: {getattr(error, 'message', error)}"
            note = f"{name} could not be drawn ({reason}); the training is not affected"
            hint = f"Draw the pictures when that is fixed: {self._run.resume_command()}"
            if isinstance(error, ModuleNotFoundError):
                note = f"{error.name} is not installed, so this run draws no pictures"
                hint = f"Run: {sys.executable} -m pip install {error.name}"
            print(f"note: {escaped(note)}\nhint: {escaped(hint)}", file=sys.stderr, flush=True)
