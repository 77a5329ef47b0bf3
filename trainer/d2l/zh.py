"""The helpers of the Chinese edition (PyTorch, chapters 2.4 to 3.7): functions, and training by train_ch3.

Source: https://zh.d2l.ai, chapters 3.1 to 3.7. Names, parameters and results are those of the book.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import data

from trainer.d2l.drawing import Limits, Picture, set_axes, show_images
from trainer.train import Epoch, missed_bounds

TEXT_LABELS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

Net = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Updater = torch.optim.Optimizer | Callable[[int], object]
Pairs = Iterable[tuple[Tensor, Tensor]]


class Timer:
    """A stopwatch that records its times, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start to measure."""
        self.tik = time.time()

    def stop(self) -> float:
        """Record the time since the last start, and return it."""
        self.times.append(time.time() - self.tik)
        return self.times[-1]

    def avg(self) -> float:
        """Return the mean of all times."""
        return sum(self.times) / len(self.times)

    def sum(self) -> float:
        """Return the sum of all times."""
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """Return the sum of the first time, of the first two, and so on."""
        return list(accumulate(self.times))


def synthetic_data(w: Tensor, b: float | Tensor, num_examples: int) -> tuple[Tensor, Tensor]:
    """Draw X from N(0, 1) and y = Xw + b + noise of N(0, 0.01): -> (N, len(w)), (N, 1)."""
    X = torch.normal(0, 1, (num_examples, len(w)))
    y = X @ w + b
    y += torch.normal(0, 0.01, y.shape)
    return X, y.reshape(-1, 1)


def linreg(X: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Return the linear model Xw + b."""
    return X @ w + b


def squared_loss(y_hat: Tensor, y: Tensor) -> Tensor:
    """Return half the squared error of each example, in the shape of Y_HAT."""
    return (y_hat - y.reshape(y_hat.shape)) ** 2 / 2


def sgd(params: Iterable[Tensor], lr: float, batch_size: int) -> None:
    """Take one step of minibatch stochastic gradient descent, and clear the gradients."""
    with torch.no_grad():
        for param in params:
            if param.grad is not None:
                param -= lr * param.grad / batch_size
                param.grad.zero_()


def load_array(data_arrays: Sequence[Tensor], batch_size: int, is_train: bool = True) -> "data.DataLoader[Any]":
    """Return batches of the rows of tensors; shuffled for training."""
    return data.DataLoader(data.TensorDataset(*data_arrays), batch_size, shuffle=is_train)


def get_dataloader_workers() -> int:
    """Return 0: the images are in memory, so worker processes would only copy them.

    The book says 4, which fails on Windows in a program without `if __name__ == "__main__"`.
    """
    return 0


def get_fashion_mnist_labels(labels: Iterable[Any]) -> list[str]:
    """Translate numbers 0 to 9 into the text labels of Fashion-MNIST."""
    return [TEXT_LABELS[int(label)] for label in labels]


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """Count the correct predictions: scores (N, 10) or labels (N,), against labels (N,)."""
    if y_hat.ndim > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    return float((y_hat.type(y.dtype) == y).sum())


def evaluate_accuracy(net: Net, data_iter: Pairs) -> float:
    """Return the share of a dataset that a model labels correctly."""
    if isinstance(net, nn.Module):
        net.eval()
    metric = Accumulator(2)  # correct predictions, predictions
    with torch.no_grad():
        for X, y in data_iter:
            metric.add(accuracy(net(X), y), y.numel())
    return metric[0] / metric[1]


def evaluate_loss(net: Net, data_iter: Pairs, loss: Loss) -> float:
    """Return the mean loss of a model on a dataset; `loss` returns a value for each example."""
    metric = Accumulator(2)  # sum of losses, examples
    for X, y in data_iter:
        out = net(X)
        batch_losses = loss(out, y.reshape(out.shape))
        metric.add(batch_losses.detach().sum(), batch_losses.numel())
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
        """Return one of the sums."""
        return self.data[idx]


class Animator:
    """A plot that is redrawn with every point."""

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Limits = None,
        ylim: Limits = None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
    ) -> None:
        self._picture = Picture("animator", size=figsize)
        self.fig = self._picture.figure
        self.fig.set_layout_engine("constrained")
        self.axes: list[Any] = [self.fig.add_subplot(nrows, ncols, i + 1) for i in range(nrows * ncols)]
        self.config_axes: Callable[[], None] = lambda: set_axes(
            self.axes[0], xlabel, ylabel, xlim, ylim, xscale, yscale, legend
        )
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
        self.axes[0].cla()
        for line_x, line_y, fmt in zip(self.X, self.Y, self.fmts, strict=False):
            self.axes[0].plot(line_x, line_y, fmt)
        self.config_axes()
        self._picture.show()


def train_epoch_ch3(net: Net, train_iter: Pairs, loss: Loss, updater: Updater) -> tuple[float, float]:
    """Train a model for one epoch; return the mean loss and the accuracy, measured while training.

    The loss returns a value for each example; the updater is an optimizer of torch or a function of the batch size.
    """
    if isinstance(net, nn.Module):
        net.train()
    metric = Accumulator(3)  # sum of losses, correct predictions, examples
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
        metric.add(batch_losses.detach().sum(), accuracy(y_hat, y), y.numel())
    return metric[0] / metric[2], metric[1] / metric[2]


def train_ch3(net: Net, train_iter: Pairs, test_iter: Pairs, loss: Loss, num_epochs: int, updater: Updater) -> None:
    """Train a model, and draw the three curves after each epoch.

    Instead of the assertions of the book, this issues a warning, and only after at least 5 epochs.
    """
    legend = ["train loss", "train acc", "test acc"]
    animator = Animator(xlabel="epoch", xlim=[1, max(num_epochs, 2)], ylim=[0.3, 0.9], legend=legend)
    history = []
    for epoch in range(num_epochs):
        train_metrics = train_epoch_ch3(net, train_iter, loss, updater)
        test_acc = evaluate_accuracy(net, test_iter)
        animator.add(epoch + 1, (*train_metrics, test_acc))
        history.append(Epoch(epoch + 1, *train_metrics, test_acc, 0.0))
    if misses := missed_bounds(history):
        warnings.warn(f"{misses}: look at learning rate and data", stacklevel=2)


def predict_ch3(net: Net, test_iter: Pairs, n: int = 6) -> None:
    """Show the first n test images, each with its true label above the predicted one."""
    X, y = next(iter(test_iter))
    trues, preds = (get_fashion_mnist_labels(labels) for labels in (y, net(X).argmax(dim=1)))
    titles = [f"{true}\n{pred}" for true, pred in zip(trues, preds, strict=True)]
    show_images(X[0:n, 0], 1, n, titles=titles[0:n])
