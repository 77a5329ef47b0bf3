"""The mathematics of softmax regression: scores, loss and gradient, computed by hand and without overflow.

The functions take and return tensors; they use no files, no clock, and no random numbers without a seed. In the shapes,
N is the number of rows of a batch; 784 pixels and 10 classes stand for those of the dataset.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

INITIAL_STD = 0.01


@dataclass(frozen=True)
class Model:
    """The parameters, updated in place while training: weight (10, 784) and bias (10,), float32.

    The weight is the book's W transposed: a row is the template of one class, 28 x 28 pixels. Both matrix products of
    a step then read contiguous memory, which halves the time of an epoch.

    >>> import torch
    >>> from trainer import Model
    >>> from trainer.softmax import logits, top_k
    >>> model = Model.fresh(seed=0)
    >>> scores = logits(model.weight, model.bias, torch.zeros(1, 784))  # a black image, and no training yet
    >>> scores.shape, top_k(scores, 1)[0]
    (torch.Size([1, 10]), tensor([[0.1000]]))
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fresh(cls, seed: int, classes: int = 10, pixels: int = 784) -> "Model":
        """Draw W from N(0, 0.01) (0.01 is the standard deviation, as in the book) and set b to 0."""
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn((classes, pixels), generator=generator) * INITIAL_STD  # (10, 784)
        return cls(weight, torch.zeros(classes))

    def step(self, gradients: tuple[Tensor, Tensor], learning_rate: float) -> None:
        """Take one step of gradient descent in place, against the gradients of weight (10, 784) and bias (10,)."""
        for parameter, slope in zip((self.weight, self.bias), gradients, strict=True):
            parameter.sub_(slope, alpha=learning_rate)


def logits(weight: Tensor, bias: Tensor, pixels: Tensor) -> Tensor:
    """Score every class for every image: (10, 784), (10,), (N, 784) float32 in [0, 1] -> (N, 10)."""
    scores = weight @ pixels.T  # (10, 784) @ (784, N) -> (10, N)
    # Copied instead of transposed as a view, since every later operation reads along the rows.
    return scores.T.contiguous() + bias  # (N, 10)


def log_softmax(scores: Tensor) -> Tensor:
    """Turn scores into the logarithms of probabilities: (N, 10) -> (N, 10); the exp of each row sums to 1.

    exp(scores) / exp(scores).sum() would overflow: in float32, exp is inf above 88.7, and inf / inf is nan. Softmax is
    the same when a constant is subtracted from a row. With the maximum of the row subtracted, the largest exponent is 0
    and the sum is between 1 and 10.
    """
    warm_up()
    shifted = scores - scores.amax(dim=1, keepdim=True)  # (N, 10), the largest of each row is 0
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()  # (N, 10) - (N, 1)


@cache
def warm_up() -> None:
    """Call exp and log once in this process, on one number and therefore in one thread.

    MKL initialises both functions in their first call. Results that a second thread computes at that moment are wrong
    in the fourth digit, so that one of a hundred equal runs ends with other bits.
    """
    torch.ones(1).exp().log()


def losses(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image in nats, from its log_softmax: (N, 10), (N,) int64 -> (N,).

    The cross-entropy is -sum(y * log p) over the classes. The label y is one-hot, so nine of the ten terms are 0, and
    log p of the true class remains. The scores of the other classes matter in the sum of the softmax.

    Logarithms are used instead of probabilities because a probability below 1e-45 is 0 in float32, and log 0 is -inf.
    With logarithms, the loss of an image whose score is wrong by 10,000 is 10,000 and not inf.
    """
    return -log_probabilities.gather(1, labels[:, None])[:, 0]  # (N, 1) -> (N,)


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Average the losses over the batch: (N, 10), (N,) int64 -> ()."""
    return losses(log_softmax(scores), labels).mean()


def gradient(log_probabilities: Tensor, labels: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of cross_entropy: (N, 10), (N,) int64, (N, 784) -> weight (10, 784), bias (10,).

    The derivative of the loss of an image with respect to its scores is softmax minus one-hot. By the chain rule, the
    gradient of the weight is the product of that and the image, since a score is the image times a row of the weight.
    """
    errors = log_probabilities.exp()  # (N, 10), the probabilities
    errors.scatter_(1, labels[:, None], -1, reduce="add")  # minus one-hot
    errors /= len(labels)  # the loss is a mean
    return errors.T @ pixels, errors.sum(dim=0)  # (10, N) @ (N, 784) -> (10, 784)


def is_correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Return for each row whether its largest score is that of the label: (N, 10), (N,) int64 -> (N,) bool."""
    return scores.argmax(dim=1) == labels


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the share of rows whose largest score is that of the label: (N, 10), (N,) int64 -> ()."""
    return is_correct(scores, labels).sum() / len(labels)


def top_k(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the most likely classes, best first: (N, 10) -> probabilities (N, count), labels (N, count) int64."""
    best = log_softmax(scores).exp().topk(count, dim=1)
    return best.values, best.indices
