"""The figures of a run, as PNG files, in the cell of a notebook, or with `--live` in a window.

They are drawn with matplotlib's figures and the Agg canvas, not with pyplot, so they need no screen and never block.
"""

import importlib
import io
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.checkpoint import replace_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from trainer.train import Epoch

# Colours that colour-blind readers can distinguish (Okabe and Ito), and line styles for print in grey.
BLUE, ORANGE = "#0072B2", "#D55E00"
LOSS_LINES = (("train_loss", "train", "-", BLUE),)
ACCURACY_LINES = (("train_accuracy", "train", "-", BLUE), ("test_accuracy", "test", "--", ORANGE))
LOG_SCALE_FROM = 20.0
"""The ratio of the largest loss to the smallest above which its axis is logarithmic."""
FILE_DPI = 150
"""Dots per inch of the files: curves.png is 720 pixels wide, and legible when shown at 480."""
CELL_WIDTH_IN, CELL_HEIGHT_IN, IMAGE_SIDE_IN, HEADING_HEIGHT_IN = 1.25, 1.75, 1.12, 0.35
"""The sizes in predictions.png: of an image with its labels, of the image alone, and of the line above all of them."""
LABEL_DISTANCE_SHARE = 0.08
"""The least distance between two labels beside lines, as a share of the height of the axes."""


class Display:
    """A place where a figure is shown: a cell of a notebook, a window, a PNG file. Showing it again replaces it there.

    The file is replaced in one step, so a viewer can keep it open.
    """

    def __init__(self, figure: "Figure", path: Path | None = None, *, window: bool = False) -> None:
        self.figure = figure
        self.path = path
        self.window = window
        self._cell: Any = None

    def show(self) -> None:
        """Show the present state of the figure, and return at once. Raises a DiskError for the file."""
        if self.path is not None:
            save(self.path, self.figure)
        if self.window:
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()
        if in_notebook():
            self._show_in_cell()

    def _show_in_cell(self) -> None:
        ipython = importlib.import_module("IPython.display")
        # Twice the resolution at half the size, so that text is sharp on a high-resolution screen.
        picture = ipython.Image(data=png(self.figure, 2 * self.figure.dpi), retina=True)
        if self._cell is None:
            self._cell = ipython.display(picture, display_id=True)
        else:
            self._cell.update(picture)


class Curves:
    """The curves of a training, redrawn with every epoch: the loss above, both accuracies below.

    They are drawn to a PNG file, to the cell of a notebook, and with `live` to a window that does not block the
    training. Without a screen for the window, a note is printed.

    >>> from pathlib import Path
    >>> from trainer import Curves, Epoch
    >>> curves = Curves(Path("curves.png"), epochs=10)
    >>> curves.add(Epoch(number=1, train_loss=0.78, train_accuracy=0.75, test_accuracy=0.77, seconds=0.2))
    >>> Path("curves.png").exists()
    True
    """

    def __init__(
        self, path: Path | None = None, *, epochs: int = 10, live: bool = False, title: str = "Softmax regression"
    ) -> None:
        if live and not has_screen():
            note = "there is no screen for --live; the curves are in the run folder all the same"
            print(f"note: {note}", file=sys.stderr)
            live = False
        self.epochs = epochs
        self.title = title
        self.history: list[Epoch] = []
        self.figure = new_figure(4.8, 4.8, window=live)
        self._display = Display(self.figure, path, window=live)

    def add(self, *epochs: "Epoch") -> None:
        """Append epochs and redraw once. Raises a DiskError if the file cannot be written."""
        self.history += epochs
        self._draw()
        self._display.show()

    def linger(self) -> None:
        """Wait until the user closes the window, if there is one and stdin is a terminal."""
        if self._display.window and sys.stdin and sys.stdin.isatty():
            print("close the window to end", flush=True)
            with suppress(KeyboardInterrupt):
                importlib.import_module("matplotlib.pyplot").show(block=True)

    def _draw(self) -> None:
        self.figure.clear()
        self.figure.suptitle(self.title, x=0.49, y=0.975, fontsize=12)
        loss = self.figure.add_axes((0.14, 0.54, 0.64, 0.37))
        accuracy = self.figure.add_axes((0.14, 0.11, 0.64, 0.37), sharex=loss)
        self._draw_lines(loss, LOSS_LINES, (0.3, 0.9))
        self._draw_lines(accuracy, ACCURACY_LINES, (0.7, 0.9))
        loss.set_ylabel("loss (nats)")
        loss.tick_params(labelbottom=False)
        accuracy.set(xlabel="epoch", ylabel="accuracy")

    def _draw_lines(
        self, axes: "Axes", lines: Sequence[tuple[str, str, str, str]], limits: tuple[float, float]
    ) -> None:
        """Draw lines, each with its name and last value beside it; widen the limits of the axis to fit all values."""
        from matplotlib.ticker import MaxNLocator

        numbers = [epoch.number for epoch in self.history]
        ends, values = [], []
        for attribute, name, style, colour in lines:
            line = [float(getattr(epoch, attribute)) for epoch in self.history]
            mark = "o" if len(line) == 1 else None  # a line of one point would be invisible
            axes.plot(numbers, line, style, color=colour, label=name, marker=mark, linewidth=2, clip_on=False)
            values += [value for value in line if math.isfinite(value)]
            ends += [(line[-1], f"{name} {line[-1]:.3g}" if line[-1] > 1 else f"{name} {line[-1]:.3f}", colour)]
        low, high = min([limits[0], *values]), max([limits[1], *values])
        if values and max(values) > LOG_SCALE_FROM * max(min(values), limits[0]):
            axes.set_yscale("log")
            low, high = 0.8 * min(values), 1.25 * max(values)
        axes.set(xlim=(1, max([self.epochs, *numbers, 2])), ylim=(low, high))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        label_ends(axes, ends)


def label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Write labels to the right of the axes at the height of their values, but far enough from each other."""
    to_share = axes.transData + axes.transAxes.inverted()
    height = -math.inf
    for value, text, colour in sorted(ends):
        share = to_share.transform((1, value))[1] if math.isfinite(value) else 1
        height = max(min(share, 1), height + LABEL_DISTANCE_SHARE)
        axes.text(1.03, height, text, transform=axes.transAxes, color=colour, va="center", fontsize=10)


def new_figure(width: float, height: float, *, window: bool = False) -> "Figure":
    """Return an empty figure of this size in inches, which pyplot knows only if it has a window.

    The margins are fixed: a layout engine would double the time of every drawing.
    """
    if window:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(width, height))
        pyplot.show(block=False)
        return figure
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def has_screen() -> bool:
    """Return whether matplotlib finds a screen and a toolkit for windows."""
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windowed: list[str] = backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    name = pyplot.get_backend().lower()
    return name in windowed and can_load(name)


@cache
def can_load(backend: str) -> bool:
    """Return whether a backend works here: the configured one may lack its toolkit or a screen."""
    from matplotlib import pyplot

    try:
        pyplot.switch_backend(backend)
    except ImportError:
        return False
    return True


def png(figure: "Figure", dpi: float | None = None) -> bytes:
    """Return a figure as the bytes of a PNG file, in a resolution in dots per inch or in that of the figure."""
    file = io.BytesIO()
    # A tenth more bytes for a fifth less time than with PIL's own level.
    figure.savefig(file, format="png", dpi=dpi or figure.dpi, pil_kwargs={"compress_level": 1})
    return file.getvalue()


def save(path: Path, figure: "Figure") -> None:
    """Write a figure as a PNG file, in one step. Raises a DiskError."""
    replace_file(path, png(figure, FILE_DPI))


def in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel."""
    return "IPython" in sys.modules and bool(importlib.import_module("fmnist_fetch.console.notebook").in_notebook())


def predictions(
    images: "NDArray[np.uint8]", true: Sequence[str], predicted: Sequence[str], columns: int = 8
) -> "Figure":
    """Draw images (n, 28, 28) in rows, each under its true label over the predicted one.

    A wrong prediction is marked by a frame and a cross before the label, not by colour alone.
    """
    from matplotlib.patches import Rectangle

    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    width, height = max(CELL_WIDTH_IN * columns, 5.0), CELL_HEIGHT_IN * rows + HEADING_HEIGHT_IN
    figure = new_figure(width, height)
    # One Axes for all images, in inches from the upper left corner: an Axes for each takes twice as long to draw.
    axes = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    correct = sum(a == b for a, b in zip(true, predicted, strict=True))
    heading = (
        f"above: the true label   below: the prediction, \u2717 if it is wrong   ({correct} of {len(true)} correct)"
    )
    axes.text(width / 2, 0.22, heading, ha="center", va="center", fontsize=10 if columns > 6 else 8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        middle, bottom = width * (column + 0.5) / columns, HEADING_HEIGHT_IN + CELL_HEIGHT_IN * (row + 1) - 0.1
        left, top = middle - IMAGE_SIDE_IN / 2, bottom - IMAGE_SIDE_IN
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(left, left + IMAGE_SIDE_IN, bottom, top))
        right = true[index] == predicted[index]
        label = predicted[index] if right else f"\u2717 {predicted[index]}"
        colour = "black" if right else ORANGE
        axes.text(middle, top - 0.08, f"{true[index]}\n{label}", ha="center", va="bottom", fontsize=10, color=colour)
        frame = Rectangle(
            (left, top), IMAGE_SIDE_IN, IMAGE_SIDE_IN, fill=False, color=colour, linewidth=0.8 if right else 3
        )
        axes.add_patch(frame)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def confusion(counts: "NDArray[np.int64]", classes: Sequence[str]) -> "Figure":
    """Draw counts (10, 10), a row for each true class, a column for each predicted one."""
    figure = new_figure(6.4, 6.2)
    axes = figure.add_axes((0.16, 0.16, 0.81, 0.79))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true")
    for row in ticks:
        for column in ticks:
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(counts[row, column]),
                    ha="center", va="center", fontsize=8, color=colour,
                )  # fmt: skip
    axes.set_title(f"{counts.trace() / counts.sum():.2%} of {counts.sum():,} test images correct")
    return figure
