"""The helpers of the book *Dive into Deep Learning*, chapters 3.5 to 3.7, under the names that the book gives them.

For code that was written along the book: where it says `from d2l import torch as d2l`, write `from trainer import d2l`.
Names, parameters and results are the book's; two things differ. The data comes from the tensor file, without downloads
or worker processes. And pictures appear outside a notebook too: in a window that doesn't stop the program, or, without
a screen, in PNG files in the folder that the program runs in.

    >>> from trainer import d2l
    >>> train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size=256)
    >>> X, y = next(iter(test_iter))
    >>> X.shape, d2l.get_fashion_mnist_labels(y[:3])
    (torch.Size([256, 1, 28, 28]), ['ankle boot', 'pullover', 'trouser'])
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainer import plots
from trainer.data import load_data_fashion_mnist
from trainer.train import Epoch, closing_check

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Accumulator",
    "Animator",
    "accuracy",
    "evaluate_accuracy",
    "get_fashion_mnist_labels",
    "load_data_fashion_mnist",
    "predict_ch3",
    "sgd",
    "show_images",
    "train_ch3",
    "train_epoch_ch3",
]

TEXT_LABELS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

Net = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Updater = torch.optim.Optimizer | Callable[[int], object]
Pairs = Iterable[tuple[Tensor, Tensor]]

_numbers = count(1)


def __getattr__(name: str) -> Any:
    """Import `d2l.plt` when it is asked for."""
    if name == "plt":
        from matplotlib import pyplot

        return pyplot
    raise AttributeError(f"module 'trainer.d2l' has no attribute {name!r}")


def get_fashion_mnist_labels(labels: Iterable[Any]) -> list[str]:
    """Translate numbers 0 to 9 into the text labels of Fashion-MNIST."""
    return [TEXT_LABELS[int(label)] for label in labels]


def show_images(
    imgs: Sequence[Any] | Tensor,
    num_rows: int,
    num_cols: int,
    titles: Sequence[str] | None = None,
    scale: float = 1.5,
) -> "list[Axes]":
    """Show images (height, width) in a grid, with titles above them, and give back the axes."""
    display = _new_display("images", num_cols * scale, num_rows * scale)
    display.figure.set_layout_engine("constrained")
    axes = [display.figure.add_subplot(num_rows, num_cols, i + 1) for i in range(num_rows * num_cols)]
    for index, (place, image) in enumerate(zip(axes, imgs, strict=False)):
        place.imshow(image.numpy() if isinstance(image, Tensor) else image)
        place.set(xticks=[], yticks=[])
        if titles:
            place.set_title(titles[index])
    display.show()
    return axes


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """Count the right predictions: scores (N, 10) or labels (N,), against labels (N,)."""
    if y_hat.ndim > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    return float((y_hat.type(y.dtype) == y).sum())


def evaluate_accuracy(net: Net, data_iter: Pairs) -> float:
    """Give the share of a data set that NET labels rightly."""
    if isinstance(net, nn.Module):
        net.eval()
    metric = Accumulator(2)  # right predictions, predictions
    with torch.no_grad():
        for X, y in data_iter:
            metric.add(accuracy(net(X), y), y.numel())
    return metric[0] / metric[1]


class Accumulator:
    """N running sums."""

    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: Any) -> None:
        """Add a number to each of the sums."""
        self.data = [total + float(number) for total, number in zip(self.data, args, strict=True)]

    def reset(self) -> None:
        """Set all sums to 0."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, idx: int) -> float:
        """Give one of the sums."""
        return self.data[idx]


class Animator:
    """Lines that are redrawn with every point added."""

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Sequence[float] | None = None,
        ylim: Sequence[float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
    ) -> None:
        self._display = _new_display("animator", *figsize)
        self.fig = self._display.figure
        self.fig.subplots_adjust(0.13, 0.18, 0.97, 0.95)
        self.axes = [self.fig.add_subplot(nrows, ncols, i + 1) for i in range(nrows * ncols)]
        limits = {"xlim": xlim, "ylim": ylim}
        self._style: dict[str, Any] = {"xlabel": xlabel, "ylabel": ylabel, "xscale": xscale, "yscale": yscale}
        self._style |= {name: limit for name, limit in limits.items() if limit is not None}
        self._legend = list(legend or [])
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []
        self.fmts = fmts

    def add(self, x: Any, y: Any) -> None:
        """Add a point to each line: one x or one for each, one y or one for each; None skips a line."""
        ys = list(y) if hasattr(y, "__len__") else [y]
        xs = list(x) if hasattr(x, "__len__") else [x] * len(ys)
        self.X = self.X or [[] for _ in ys]
        self.Y = self.Y or [[] for _ in ys]
        for index, (a, b) in enumerate(zip(xs, ys, strict=True)):
            if a is not None and b is not None:
                self.X[index].append(float(a))
                self.Y[index].append(float(b))
        self._redraw()

    def _redraw(self) -> None:
        axes = self.axes[0]
        axes.clear()
        for line_x, line_y, fmt in zip(self.X, self.Y, self.fmts, strict=False):
            axes.plot(line_x, line_y, fmt)
        axes.set(**self._style)
        if self._legend:
            axes.legend(self._legend)
        axes.grid()
        self._display.show()


def sgd(params: Iterable[Tensor], lr: float, batch_size: int) -> None:
    """Take one step of minibatch stochastic gradient descent, and clear the gradients."""
    with torch.no_grad():
        for param in params:
            if param.grad is not None:
                param -= lr * param.grad / batch_size
                param.grad.zero_()


def train_epoch_ch3(net: Net, train_iter: Pairs, loss: Loss, updater: Updater) -> tuple[float, float]:
    """Train NET for one epoch; give back mean loss and accuracy, gathered while training.

    LOSS gives a value for each example. UPDATER is an optimizer of torch, or a function of the batch size.
    """
    if isinstance(net, nn.Module):
        net.train()
    metric = Accumulator(3)  # sum of losses, right predictions, examples
    for X, y in train_iter:
        y_hat = net(X)
        batch_losses = loss(y_hat, y)
        if isinstance(updater, torch.optim.Optimizer):
            updater.zero_grad()
            batch_losses.mean().backward()
            updater.step()
        else:
            batch_losses.sum().backward()
            updater(X.shape[0])
        metric.add(float(batch_losses.detach().sum()), accuracy(y_hat, y), y.numel())
    return metric[0] / metric[2], metric[1] / metric[2]


def train_ch3(net: Net, train_iter: Pairs, test_iter: Pairs, loss: Loss, num_epochs: int, updater: Updater) -> None:
    """Train NET, drawing the three curves after each epoch.

    Where the book ends with assertions, this warns, and only after the 5 epochs from which its bounds hold.
    """
    legend = ["train loss", "train acc", "test acc"]
    animator = Animator(xlabel="epoch", xlim=[1, max(num_epochs, 2)], ylim=[0.3, 0.9], legend=legend)
    history = []
    for epoch in range(num_epochs):
        train_metrics = train_epoch_ch3(net, train_iter, loss, updater)
        test_acc = evaluate_accuracy(net, test_iter)
        animator.add(epoch + 1, (*train_metrics, test_acc))
        history.append(Epoch(epoch + 1, *train_metrics, test_acc, 0.0))
    if misses := closing_check(history):
        warnings.warn(f"{misses}: look at learning rate and data", stacklevel=2)


def predict_ch3(net: Net, test_iter: Pairs, n: int = 6) -> None:
    """Show the first N test images, each under its true label over the predicted one."""
    X, y = next(iter(test_iter))
    trues, preds = (get_fashion_mnist_labels(labels) for labels in (y, net(X).argmax(dim=1)))
    titles = [f"{true}\n{pred}" for true, pred in zip(trues, preds, strict=True)]
    show_images(X[0:n, 0], 1, n, titles=titles[0:n])


def _new_display(name: str, width: float, height: float) -> plots.Display:
    """A notebook's cell, else a window, else a numbered PNG file in the working folder."""
    if plots.in_notebook():
        return plots.Display(plots.new_figure(width, height))
    if plots.has_screen():
        return plots.Display(plots.new_figure(width, height, window=True), window=True)
    path = Path(f"{name}-{next(_numbers)}.png")
    print(f"note: there is no screen, so this picture is in {path.absolute()}", file=sys.stderr)
    return plots.Display(plots.new_figure(width, height), path)
