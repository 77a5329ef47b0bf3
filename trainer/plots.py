"""The pictures of a run. They never wait for anybody and need no display.

Drawn with matplotlib's figures and their Agg canvas, not with pyplot: no window system is asked, nothing is shown, and
a script without a screen gets the same files as a laptop. Only `--live` opens a window.
"""

import importlib
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.checkpoint import replace_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from trainer.train import Epoch

LINES = (
    ("train_loss", "train loss", "-", "tab:blue"),
    ("train_accuracy", "train acc", "--", "tab:purple"),
    ("test_accuracy", "test acc", "-.", "tab:green"),
)


class Display:
    """Where a figure is seen: a cell of a notebook, a window, a PNG file. Showing it again replaces it there.

    The file is replaced in one step, so a viewer can keep it open.
    """

    def __init__(self, figure: "Figure", path: Path | None = None, *, window: bool = False) -> None:
        self.figure = figure
        self.path = path
        self.window = window
        self._cell: Any = None

    def show(self) -> None:
        """Show the figure as it now is, and come back at once. Raises a DiskError for the file."""
        if self.path is not None:
            save(self.path, self.figure)
        if self.window:
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()
        if in_notebook():
            self._show_in_cell()

    def _show_in_cell(self) -> None:
        ipython = importlib.import_module("IPython.display")
        # Twice the points at half the size, so that letters are sharp on a fine screen.
        picture = ipython.Image(data=png(self.figure, 2 * self.figure.dpi), retina=True)
        if self._cell is None:
            self._cell = ipython.display(picture, display_id=True)
        else:
            self._cell.update(picture)


class Curves:
    """The three curves of the book, redrawn with every epoch: x epoch, y from 0.3 to 0.9.

    They are drawn into the PNG file PATH, into the cell of a notebook, and with `live` into a window that never stops
    the training. Where there is no screen for the window, a note says so.

    >>> from pathlib import Path
    >>> from trainer import Curves, Epoch
    >>> curves = Curves(Path("curves.png"), epochs=10)
    >>> curves.add(Epoch(number=1, train_loss=0.78, train_accuracy=0.75, test_accuracy=0.77, seconds=0.2))
    >>> Path("curves.png").exists()
    True
    """

    def __init__(self, path: Path | None = None, *, epochs: int = 10, live: bool = False) -> None:
        if live and not has_screen():
            note = "there is no screen for --live; the curves are in the run folder all the same"
            print(f"note: {note}", file=sys.stderr)
            live = False
        self.epochs = epochs
        self.history: list[Epoch] = []
        self.figure = new_figure(4.8, 3.6, window=live)
        self._display = Display(self.figure, path, window=live)

    def add(self, *epochs: "Epoch") -> None:
        """Append epochs and redraw once. Raises a DiskError if the file can't be written."""
        self.history += epochs
        self._draw(self.figure)
        self._display.show()

    def linger(self) -> None:
        """Leave a window open until it is closed, if somebody sits at the terminal."""
        if self._display.window and sys.stdin.isatty():
            print("close the window to end", flush=True)
            with suppress(KeyboardInterrupt):
                importlib.import_module("matplotlib.pyplot").show(block=True)

    def _draw(self, figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        figure.clear()
        axes = figure.add_axes((0.11, 0.14, 0.86, 0.82))
        numbers = [epoch.number for epoch in self.history]
        values: list[float] = []
        for attribute, label, style, colour in LINES:
            line = [getattr(epoch, attribute) for epoch in self.history]
            mark = "o" if len(line) == 1 else None  # a line of one point would not be seen
            axes.plot(numbers, line, style, color=colour, label=label, marker=mark)
            values += line
        axes.set(xlabel="epoch", xlim=(1, max([self.epochs, *numbers, 2])))
        axes.set(ylim=(min([0.3, *values]), max([0.9, *values])))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(loc="center right", framealpha=0.9)


def new_figure(width: float, height: float, *, window: bool = False) -> "Figure":
    """Make an empty figure, in inches; without a window it belongs to nobody but its holder.

    The margins are fixed: to let matplotlib find them would double the time of every drawing.
    """
    if window:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(width, height))
        pyplot.show(block=False)
        return figure
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def has_screen() -> bool:
    """Tell whether matplotlib finds a screen and a toolkit to open windows with."""
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windowed: list[str] = backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    return pyplot.get_backend().lower() in windowed


def png(figure: "Figure", dpi: float | None = None) -> bytes:
    """Draw a figure as the bytes of a PNG file, with DPI dots per inch or as many as the figure has."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi or figure.dpi)
    return file.getvalue()


def save(path: Path, figure: "Figure") -> None:
    """Write a figure as a PNG file, in one step. Raises a DiskError."""
    replace_file(path, png(figure))


def in_notebook() -> bool:
    """Tell whether a Jupyter kernel runs this code, which can redraw a cell's output."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def predictions(
    images: "NDArray[np.uint8]", true: Sequence[str], predicted: Sequence[str], columns: int = 8
) -> "Figure":
    """Draw images (n, 28, 28) in rows, each under its true label over the predicted one.

    A wrong prediction is marked by more than colour: a frame, and a cross before the label.
    """
    rows = -(-len(images) // columns)
    figure = new_figure(1.25 * columns, 1.75 * rows)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.88, wspace=0.1, hspace=0.4)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1, xticks=[], yticks=[])
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        right = true[index] == predicted[index]
        label = predicted[index] if right else f"\u2717 {predicted[index]}"
        colour = "black" if right else "tab:red"
        axes.set_title(f"{true[index]}\n{label}", fontsize=10, color=colour)
        axes.spines[:].set(color=colour, linewidth=0.8 if right else 3)
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
    axes.set_title(f"{counts.trace() / counts.sum():.2%} of {counts.sum():,} test images right")
    return figure
