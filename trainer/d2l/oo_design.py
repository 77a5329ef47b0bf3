"""The base classes of the English edition 1.0 (PyTorch, chapter 3.2) for parameters, plots, models, data and trainers.

Source: https://d2l.ai, chapter 3.2. Names, parameters and results are those of the book; methods can be added and
replaced by add_to_class, as the book and its readers do.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import data as torch_data

from fmnist_fetch.storage.layout import lookup_folders
from trainer.d2l.drawing import Limits, Picture, scale_axes
from trainer.d2l.ops import gpu

Function = TypeVar("Function", bound=Callable[..., Any])
Batch = Sequence[Tensor]


def add_to_class(Class: type) -> Callable[[Function], Function]:
    """Return a decorator that makes a function a method of a class, and of its existing objects."""

    def add(function: Function) -> Function:
        setattr(Class, function.__name__, function)
        return function

    return add


class HyperParameters:
    """The base class of classes that save their arguments as attributes."""

    hparams: dict[str, Any]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # what save_hyperparameters saved

    def save_hyperparameters(self, ignore: Sequence[str] = ()) -> None:
        """Save the local variables of the caller, but self and private ones, as attributes and in `hparams`."""
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        variables = caller.f_locals if caller else {}
        left_out = {"self", *ignore}
        self.hparams = {k: v for k, v in variables.items() if k not in left_out and not k.startswith("_")}
        for name, value in self.hparams.items():
            setattr(self, name, value)


class Point(NamedTuple):
    """A point of a line."""

    x: float
    y: float


class ProgressBoard(HyperParameters):
    """A plot whose lines grow while a program runs."""

    xlabel: str | None
    xlim: Limits
    fig: Any
    axes: Any

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        xlim: Limits = None,
        ylim: Limits = None,
        xscale: str = "linear",
        yscale: str = "linear",
        ls: Sequence[str] = ("-", "--", "-.", ":"),
        colors: Sequence[str] = ("C0", "C1", "C2", "C3"),
        fig: Any = None,
        axes: Any = None,
        figsize: tuple[float, float] = (3.5, 2.5),
        display: bool = True,
    ) -> None:
        self.save_hyperparameters()
        self.raw_points: dict[str, list[Point]] = {}
        self.data: dict[str, list[Point]] = {}
        self._picture: Picture | None = None

    def draw(self, x: float, y: float, label: str, every_n: int = 1) -> None:
        """Add a point to a line; the mean of every `every_n` points is drawn."""
        waiting = self.raw_points.setdefault(label, [])
        line = self.data.setdefault(label, [])
        waiting.append(Point(float(x), float(y)))
        if len(waiting) < every_n:
            return
        line.append(Point(*(sum(values) / len(waiting) for values in zip(*waiting, strict=True))))
        waiting.clear()
        if self.display:
            self._redraw()

    def _redraw(self) -> None:
        if self._picture is None:
            self._picture = Picture("board", self.fig, self.figsize)
            self.fig = self._picture.figure
            self.axes = self.axes or self.fig.add_subplot()
            self.fig.set_layout_engine("constrained")
        axes = self.axes
        axes.cla()
        for (label, line), style, color in zip(self.data.items(), self.ls, self.colors, strict=False):
            mark = "o" if len(line) == 1 else None  # a line of one point would be invisible
            axes.plot(
                *zip(*line, strict=True) if line else ([], []), linestyle=style, color=color, marker=mark, label=label
            )
        scale_axes(axes, self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale)
        axes.legend()
        self._picture.show()


class Module(nn.Module, HyperParameters):
    """The base class of models; a subclass has a `net` or a `forward`, a `loss`, and a learning rate `lr`."""

    trainer: "Trainer"
    lr: float
    net: Any
    plot_train_per_epoch: float
    plot_valid_per_epoch: float

    def __init__(self, plot_train_per_epoch: int = 2, plot_valid_per_epoch: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch, one number."""
        raise NotImplementedError

    def forward(self, X: Any) -> Any:
        """Return the output of `net`."""
        if not hasattr(self, "net"):
            raise NotImplementedError("the model has no net; give it one, or a method forward")
        return self.net(X)

    def plot(self, key: str, value: Any, train: bool) -> None:
        """Add a point to the plot of this model, while training or at the end of an epoch."""
        self.board.xlabel = "epoch"
        trainer = self.trainer
        if train:
            x = trainer.train_batch_idx / trainer.num_train_batches
            every = trainer.num_train_batches / self.plot_train_per_epoch
        else:
            x = trainer.epoch + 1
            every = trainer.num_val_batches / self.plot_valid_per_epoch
        y = float(value.detach() if isinstance(value, Tensor) else value)
        self.board.draw(x, y, ("train_" if train else "val_") + key, every_n=max(1, int(every)))

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, and draw it."""
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Draw the loss of a batch."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    def configure_optimizers(self) -> Any:
        """Return the optimizer: SGD with the learning rate `lr`."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def apply_init(self, inputs: Sequence[Any], init: Callable[[nn.Module], None] | None = None) -> None:
        """Run the model once, so that lazy layers get their size, then initialise it."""
        self.forward(*inputs)
        if init is not None:
            self.net.apply(init)


class DataModule(HyperParameters):
    """The base class of data.

    Args:
        root: The folder of the data; None for the first of FMNIST_ROOT, ./data and ../data that has it.
        num_workers: The number of processes that load the data; 0, because the images are in memory.
    """

    def __init__(self, root: str | None = None, num_workers: int = 0) -> None:
        folders = [str(folder) for folder in lookup_folders(None)]
        root = root or next((folder for folder in folders if Path(folder, "FashionMNIST").is_dir()), folders[-1])
        self.save_hyperparameters(ignore=["folders"])

    def get_dataloader(self, train: bool) -> Any:
        """Return the batches for training or for validation."""
        raise NotImplementedError

    def train_dataloader(self) -> Any:
        """Return the batches for training."""
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Any:
        """Return the batches for validation."""
        return self.get_dataloader(train=False)

    def get_tensorloader(
        self, tensors: Sequence[Tensor], train: bool, indices: slice = slice(0, None)
    ) -> "torch_data.DataLoader[Any]":
        """Return batches of the rows INDICES of tensors; shuffled for training."""
        dataset = torch_data.TensorDataset(*(tensor[indices] for tensor in tensors))
        return torch_data.DataLoader(dataset, self.batch_size, shuffle=train)


class Trainer(HyperParameters):
    """The training of a model on data.

    Args:
        max_epochs: How often to go through the training data.
        num_gpus: How many GPUs to look for; only the first one is used.
        gradient_clip_val: The largest norm of the gradient; 0 for any.
    """

    def __init__(self, max_epochs: int, num_gpus: int = 0, gradient_clip_val: float = 0) -> None:
        self.save_hyperparameters()
        self.gpus = [gpu(i) for i in range(min(num_gpus, torch.cuda.device_count()))]

    def prepare_data(self, data: DataModule) -> None:
        """Set and count the batches of the data."""
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader) if self.val_dataloader is not None else 0

    def prepare_model(self, model: Module) -> None:
        """Set the model, on the GPU if there is one."""
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        if self.gpus:
            model.to(self.gpus[0])
        self.model = model

    def prepare_batch(self, batch: Batch) -> Batch:
        """Return a batch on the device of the model."""
        return [tensor.to(self.gpus[0]) for tensor in batch] if self.gpus else batch

    def fit(self, model: Module, data: DataModule) -> None:
        """Train a model on data, and draw its curves."""
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.train_batch_idx = self.val_batch_idx = 0
        for epoch in range(self.max_epochs):
            self.epoch = epoch
            self.fit_epoch()

    def fit_epoch(self) -> None:
        """Train for one epoch, then measure on the validation data."""
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            with torch.no_grad():  # for optimizers from scratch, which change parameters by hand
                loss.backward()
                if self.gradient_clip_val > 0:
                    self.clip_gradients(self.gradient_clip_val, self.model)
                self.optim.step()
            self.train_batch_idx += 1
        if self.val_dataloader is None:
            return
        self.model.eval()
        for batch in self.val_dataloader:
            with torch.no_grad():
                self.model.validation_step(self.prepare_batch(batch))
            self.val_batch_idx += 1

    def clip_gradients(self, grad_clip_val: float, model: Module) -> None:
        """Scale the gradients of a model down to a norm if theirs is larger."""
        gradients = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
        norm = torch.sqrt(torch.stack([(gradient**2).sum() for gradient in gradients]).sum())
        if norm > grad_clip_val:
            for gradient in gradients:
                gradient *= grad_clip_val / norm
