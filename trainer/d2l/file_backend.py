"""A matplotlib backend for programs without a screen: plt.show() writes each open figure to a PNG file.

Its name is "module://trainer.d2l.file_backend". The files are numbered and written to the working folder. A figure that
was not shown is written when the program ends, unless the program saved it.
"""

import atexit
import io
import sys
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.checkpoint import replace_file

NAME = "module://trainer.d2l.file_backend"

_paths: "WeakKeyDictionary[Figure, Path]" = WeakKeyDictionary()
_numbers = count(1)


def write(figure: Figure, name: str = "figure") -> Path:
    """Write a figure to its file. Create one after a name if it has none yet, and print its path."""
    path = _paths.get(figure)
    if path is None:
        # All files share one sequence of numbers, so that they sort in the order of the program.
        path = _paths[figure] = Path(f"{name}-{next(_numbers)}.png")
        print(f"note: there is no screen, so this picture is in {path.absolute()}", file=sys.stderr, flush=True)
    content = io.BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight")  # as notebooks show it, with all labels
    replace_file(path, content.getvalue())
    figure.stale = False
    return path


class FigureManager(FigureManagerBase):
    """The manager of a figure that is shown as a file."""

    def show(self) -> None:
        """Write the figure to its file."""
        write(self.canvas.figure)

    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:
        """Write all open figures and close them, as a window is closed before plt.show() returns."""
        from matplotlib import pyplot

        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            write(figure)
            if block is not False:
                pyplot.close(figure)


class FigureCanvas(FigureCanvasAgg):
    """An Agg canvas that remembers whether its figure was written."""

    manager_class = FigureManager

    def print_figure(self, *args: Any, **kwargs: Any) -> Any:
        """Write the figure, as savefig does."""
        result = super().print_figure(*args, **kwargs)
        self.figure.stale = False
        return result


@atexit.register
def write_unseen() -> None:
    """Write the figures that the program drew and neither showed nor saved."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    for number in pyplot.get_fignums() if pyplot else ():
        figure = pyplot.figure(number)  # type: ignore[union-attr]
        if figure.stale and figure.axes and isinstance(figure.canvas, FigureCanvas):
            write(figure)
