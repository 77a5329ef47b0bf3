"""Softmax regression as the book has it (Dive into Deep Learning, 3.5 and 3.6): train_book.py ROOT EPOCHS

torchvision and a DataLoader with 4 workers, W as (784, 10), autograd; without the pictures.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import real_torchvision  # noqa: F401
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import FashionMNIST

Loader = Iterable[tuple[Tensor, Tensor]]
batch_size, num_inputs, num_outputs, lr = 256, 784, 10, 0.1


def load(train: bool) -> Loader:
    """The book's load_data_fashion_mnist."""
    data = FashionMNIST(sys.argv[1], train=train, transform=transforms.ToTensor())
    loader: Any = DataLoader(data, batch_size, shuffle=train, num_workers=4)
    return loader  # type: ignore[no-any-return]


def net(X: Tensor) -> Tensor:  # noqa: N803
    """softmax(XW + b)"""
    scores = torch.exp(torch.matmul(X.reshape((-1, num_inputs)), W) + b)
    return scores / scores.sum(1, keepdim=True)


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """Return how many predictions are right."""
    return float((y_hat.argmax(dim=1).type(y.dtype) == y).sum())


def train_epoch(batches: Loader) -> tuple[float, float]:
    """The book's train_epoch_ch3: mean loss and accuracy."""
    loss = right = count = 0.0
    for X, y in batches:  # noqa: N806
        y_hat = net(X)
        losses = -torch.log(y_hat[range(len(y_hat)), y])
        losses.sum().backward()
        with torch.no_grad():
            for parameter in (W, b):
                assert parameter.grad is not None
                parameter -= lr * parameter.grad / len(X)
                parameter.grad.zero_()
        loss += float(losses.sum())
        right += accuracy(y_hat, y)
        count += y.numel()
    return loss / count, right / count


def evaluate(batches: Loader) -> float:
    """The book's evaluate_accuracy."""
    right = count = 0.0
    with torch.no_grad():
        for X, y in batches:  # noqa: N806
            right += accuracy(net(X), y)
            count += y.numel()
    return right / count


W = torch.normal(0, 0.01, size=(num_inputs, num_outputs), requires_grad=True)
b = torch.zeros(num_outputs, requires_grad=True)


def main() -> None:
    """The book's train_ch3."""
    train, test = load(train=True), load(train=False)
    found = 0.0
    for epoch in range(int(sys.argv[2])):
        loss, right = train_epoch(train)
        found = evaluate(test)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, train {right:.3f}, test {found:.3f}", flush=True)
    Path("accuracy").write_text(str(found))


if __name__ == "__main__":
    main()
