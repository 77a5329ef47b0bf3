"""The data and the models of the English edition 1.0 (PyTorch, chapters 3.3 to 3.5 and 4.2 to 4.5).

Source: https://d2l.ai, the same chapters. Names, parameters and results are those of the book. The base classes are in
oo_design.py.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_fetch.tensors.arrays import load
from trainer.d2l.drawing import show_images
from trainer.d2l.oo_design import Batch, DataModule, HyperParameters, Module
from trainer.d2l.zh import get_fashion_mnist_labels
from trainer.data import Batches, Examples, ImageDataset


class SyntheticRegressionData(DataModule):
    """Random data for linear regression: y = Xw + b + noise."""

    def __init__(
        self,
        w: Tensor,
        b: float,
        noise: float = 0.01,
        num_train: int = 1000,
        num_val: int = 1000,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        count = num_train + num_val
        self.X = torch.randn(count, len(w))
        self.y = self.X @ w.reshape(-1, 1) + b + torch.randn(count, 1) * noise

    def get_dataloader(self, train: bool) -> Any:
        """Return the batches for training, shuffled, or for validation, in order."""
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class SGD(HyperParameters):
    """Minibatch stochastic gradient descent, from scratch."""

    def __init__(self, params: Sequence[Tensor], lr: float) -> None:
        self.save_hyperparameters()

    def step(self) -> None:
        """Take one step against the gradient."""
        for param in self.params:
            if param.grad is not None:
                param -= self.lr * param.grad

    def zero_grad(self) -> None:
        """Set all gradients to 0."""
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


class LinearRegressionScratch(Module):
    """Linear regression, from scratch."""

    def __init__(self, num_inputs: int, lr: float, sigma: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.w = torch.normal(0, sigma, (num_inputs, 1), requires_grad=True)
        self.b = torch.zeros(1, requires_grad=True)

    def forward(self, X: Any) -> Any:
        """Return Xw + b."""
        return X @ self.w + self.b

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the mean of half the squared errors."""
        return ((y_hat - y) ** 2 / 2).mean()

    def configure_optimizers(self) -> Any:
        """Return the optimizer from scratch."""
        return SGD([self.w, self.b], self.lr)


class LinearRegression(Module):
    """Linear regression with the layers of torch."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.LazyLinear(1)
        self.net.weight.data.normal_(0, 0.01)
        self.net.bias.data.fill_(0)

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared error."""
        return functional.mse_loss(y_hat, y)

    def get_w_b(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias."""
        return self.net.weight.data, self.net.bias.data


class FashionMNIST(DataModule):
    """Fashion-MNIST from the verified tensor file, without a download."""

    def __init__(self, batch_size: int = 64, resize: tuple[int, int] = (28, 28)) -> None:
        super().__init__()
        self.save_hyperparameters()
        size = None if tuple(resize) == (28, 28) else (resize[0], resize[1])
        self.train, self.val = (ImageDataset(Examples.of(load(split=name)), size) for name in ("train", "test"))

    def text_labels(self, indices: Iterable[Any]) -> list[str]:
        """Translate numbers 0 to 9 into text labels."""
        return get_fashion_mnist_labels(indices)

    def get_dataloader(self, train: bool) -> Any:
        """Return the batches of the training images, shuffled, or of the test images, in order."""
        dataset = self.train if train else self.val
        return Batches(dataset.examples, self.batch_size, train, dataset.size)

    def visualize(self, batch: Batch, nrows: int = 1, ncols: int = 8, labels: Sequence[str] = ()) -> None:
        """Show the first images of a batch with the given labels, or with their true ones."""
        X, y = batch
        show_images(X.squeeze(1), nrows, ncols, titles=labels or self.text_labels(y))


class Classifier(Module):
    """The base class of classifiers."""

    def validation_step(self, batch: Batch) -> None:
        """Draw loss and accuracy of a batch."""
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=False)

    def accuracy(self, Y_hat: Tensor, Y: Tensor, averaged: bool = True) -> Tensor:
        """Return the share of correct predictions; without `averaged`, 1 or 0 for each."""
        predicted = Y_hat.reshape(-1, Y_hat.shape[-1]).argmax(dim=1).type(Y.dtype)
        correct = (predicted == Y.reshape(-1)).float()
        return correct.mean() if averaged else correct

    def loss(self, Y_hat: Tensor, Y: Tensor, averaged: bool = True) -> Tensor:
        """Return the mean cross-entropy; without `averaged`, that of each example."""
        scores = Y_hat.reshape(-1, Y_hat.shape[-1])
        return functional.cross_entropy(scores, Y.reshape(-1), reduction="mean" if averaged else "none")

    def layer_summary(self, X_shape: Sequence[int]) -> None:
        """Print the output shape of each layer for an input of a shape."""
        X = torch.randn(*X_shape)
        for layer in self.net:
            X = layer(X)
            print(layer.__class__.__name__, "output shape:\t", X.shape)


class SoftmaxRegression(Classifier):
    """Softmax regression with the layers of torch."""

    def __init__(self, num_outputs: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))
