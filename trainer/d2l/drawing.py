"""The figures of the book, in the cell of a notebook, in a window, or in files.

In a notebook, pyplot's inline backend shows them, as in the book. In a program with a screen, each figure is a window
that does not block the program. Without a screen, each figure is a PNG file in the working folder.
"""

import atexit
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from torch import Tensor

from trainer import plots

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Limits = Sequence[float] | None

_plotted: "WeakSet[Axes]" = WeakSet()
_windows: "WeakSet[Figure]" = WeakSet()


def pyplot() -> Any:
    """Return matplotlib.pyplot; without a notebook and a screen, with the backend that writes files."""
    from matplotlib import pyplot as plt

    if not plots.in_notebook() and not plt.get_fignums() and not plots.has_screen() and _is_plain(plt):
        from trainer.d2l import file_backend

        plt.switch_backend(file_backend.NAME)
    return plt


def _is_plain(plt: Any) -> bool:
    """Return whether the backend shows nothing: it is one of matplotlib's for files, or cannot be loaded."""
    from matplotlib.backends.registry import BackendFilter, backend_registry

    name = str(plt.get_backend()).lower()
    # A program that a notebook started inherits the backend of notebooks.
    quiet = name in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE) or "inline" in name
    return quiet or not plots.can_load(name)


class Picture:
    """A figure that is redrawn in one place."""

    def __init__(self, name: str, figure: "Figure | None" = None, size: tuple[float, float] = (3.5, 2.5)) -> None:
        self._name = name
        plt = pyplot()
        # A figure that belongs to pyplot would be shown a second time at the end of the cell.
        owned = plots.new_figure(*size) if plots.in_notebook() else plt.figure(figsize=size)
        self.figure: Figure = owned if figure is None else figure
        self._display = plots.Display(self.figure)

    def show(self) -> None:
        """Show the present state of the figure, and return at once."""
        self._display.show()  # in the cell of a notebook
        show_figure(self.figure, self._name)


def show_figure(figure: "Figure", name: str) -> None:
    """Show a figure of pyplot, and return at once; a notebook shows it at the end of the cell."""
    if plots.in_notebook():
        return
    if plots.has_screen():
        if figure not in _windows:
            _windows.add(figure)
            pyplot().show(block=False)
        figure.canvas.draw_idle()
        figure.canvas.flush_events()
        return
    from trainer.d2l import file_backend

    file_backend.write(figure, name)


@atexit.register
def wait_for_windows() -> None:
    """At the end of the program, wait until the user closes the windows, if stdin is a terminal."""
    if any(_windows) and sys.stdin and sys.stdin.isatty() and (numbers := pyplot().get_fignums()):
        print(f"close the {'window' if len(numbers) == 1 else 'windows'} to end", flush=True)
        pyplot().show()


def use_svg_display() -> None:
    """Use SVG figures in a notebook; do nothing elsewhere."""
    if plots.in_notebook():
        importlib.import_module("matplotlib_inline.backend_inline").set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Set the size in inches of later figures."""
    use_svg_display()
    pyplot().rcParams["figure.figsize"] = figsize


def scale_axes(
    axes: "Axes", xlabel: str | None, ylabel: str | None, xlim: Limits, ylim: Limits, xscale: str, yscale: str
) -> None:
    """Label and scale axes; for a limit of None, matplotlib chooses it."""
    axes.set(xlabel=xlabel or "", ylabel=ylabel or "", xscale=xscale, yscale=yscale)
    if xlim is not None:
        axes.set_xlim(*xlim)
    if ylim is not None:
        axes.set_ylim(*ylim)


def set_axes(
    axes: "Axes",
    xlabel: str | None,
    ylabel: str | None,
    xlim: Limits,
    ylim: Limits,
    xscale: str,
    yscale: str,
    legend: Sequence[str] | None,
) -> None:
    """Label and scale axes, with a legend and a grid."""
    scale_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale)
    if legend:
        axes.legend(legend)
    axes.grid()


def plot(
    X: Any,
    Y: Any = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] | None = None,
    xlim: Limits = None,
    ylim: Limits = None,
    xscale: str = "linear",
    yscale: str = "linear",
    fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
    figsize: tuple[float, float] = (3.5, 2.5),
    axes: "Axes | None" = None,
) -> None:
    """Draw lines: one X for all or one for each, against one Y or several; without Y, X against its positions."""
    set_figsize(figsize)
    if axes is None:
        axes = pyplot().gca()
        if axes in _plotted:  # each cell of the book begins with a new figure; in a program, nothing else does
            axes = pyplot().figure().add_subplot()
    lines = _as_lines(X) if Y is None else _as_lines(Y)
    places: list[Any] = [None] if Y is None else _as_lines(X)
    if len(places) != len(lines):
        places = places * len(lines)
    axes.cla()
    for x, y, fmt in zip(places, lines, fmts, strict=False):
        y = _values(y)
        axes.plot(range(len(y)) if x is None or not len(x) else _values(x), y, fmt)
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)
    _plotted.add(axes)
    figure: Any = axes.figure
    show_figure(figure, "plot")


def _as_lines(values: Any) -> list[Any]:
    """Return values as a list of lines; a sequence of numbers is one line."""
    one = values.ndim == 1 if hasattr(values, "ndim") else not hasattr(values[0], "__len__")
    return [values] if one else list(values)


def _values(line: Any) -> Any:
    return line.detach().cpu() if isinstance(line, Tensor) else line


def show_images(
    imgs: Any, num_rows: int, num_cols: int, titles: Sequence[str] | None = None, scale: float = 1.5
) -> "NDArray[np.object_]":
    """Show images (height, width) in a grid, with titles above them, and return the axes."""
    figsize = (num_cols * scale, num_rows * scale)
    figure, grid = pyplot().subplots(num_rows, num_cols, figsize=figsize, squeeze=False, layout="constrained")
    axes: NDArray[np.object_] = grid.flatten()
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    for index, (axis, image) in enumerate(zip(axes, imgs, strict=False)):
        axis.imshow(image.detach().cpu().numpy() if isinstance(image, Tensor) else image)
        if titles and index < len(titles):
            axis.set_title(titles[index])
    show_figure(figure, "images")
    return axes
