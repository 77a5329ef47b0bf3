"""The mathematics of softmax regression: scores, loss and gradient, by hand and without overflow.

Knows tensors only: no file, no clock, no random number that was not asked for with a seed. The shapes use N for the
rows of a batch; 784 pixels and 10 classes stand for whatever the dataset has.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

INITIAL_SPREAD = 0.01

# MKL makes these two ready when they are first called. What a second thread computes in that moment is wrong in the
# fourth digit, and of a hundred equal runs one then ends with other bits. So the first call is one thread's.
torch.ones(1).exp().log()


@dataclass(frozen=True)
class Model:
    """The parameters, updated in place while training: weight (10, 784) and bias (10,), float32.

    The weight is the book's W transposed: a row is one class's template of 28 x 28 pixels, and both matrix products of
    a step then run along contiguous memory, which makes an epoch twice as fast.

    >>> import torch
    >>> from trainer import Model
    >>> from trainer.softmax import logits, top
    >>> model = Model.fresh(seed=0)
    >>> scores = logits(model.weight, model.bias, torch.zeros(1, 784))  # a black image, and no training yet
    >>> scores.shape, top(scores, 1)[0]
    (torch.Size([1, 10]), tensor([[0.1000]]))
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fresh(cls, seed: int, classes: int = 10, pixels: int = 784) -> "Model":
        """Draw W from N(0, 0.01) (0.01 is the standard deviation, as in the book) and set b to 0."""
        dice = torch.Generator().manual_seed(seed)
        weight = torch.randn((classes, pixels), generator=dice) * INITIAL_SPREAD  # (10, 784)
        return cls(weight, torch.zeros(classes))


def logits(weight: Tensor, bias: Tensor, pixels: Tensor) -> Tensor:
    """Score every class for every image: (10, 784), (10,), (N, 784) float32 in [0, 1] -> (N, 10)."""
    scores = weight @ pixels.T  # (10, 784) @ (784, N) -> (10, N)
    # Copied, not only seen the other way round: every later step goes along the rows.
    return scores.T.contiguous() + bias  # (N, 10)


def log_softmax(scores: Tensor) -> Tensor:
    """Turn scores into the logarithms of probabilities: (N, 10) -> (N, 10), every row's exp sums to 1.

    Why not exp(scores) / exp(scores).sum()? In float32 exp overflows above 88.7, and inf / inf is nan. Softmax doesn't
    change when a constant is taken off a row, so the row's maximum goes first: the largest exponent is then 0, the sum
    lies between 1 and 10, and nothing can overflow.
    """
    shifted = scores - scores.amax(dim=1, keepdim=True)  # (N, 10), every row's largest is 0
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()  # (N, 10) - (N, 1)


def losses(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Give each image's cross-entropy in nats from its log_softmax: (N, 10), (N,) int64 -> (N,).

    Why does only one class enter? The cross-entropy is -sum(y * log p) over the classes, and the label y is one-hot:
    nine of the ten terms are multiplied by 0, so it is enough to pick the true class's log p. The others aren't
    forgotten: they stand in the sum under the softmax.

    Why are no probabilities asked for? One below 1e-45 is 0 in float32, and log 0 is -inf. The fused form never leaves
    the logarithm: an image that is wrong by 10,000 costs 10,000 and not inf.
    """
    return -log_probabilities.gather(1, labels[:, None])[:, 0]  # (N, 1) -> (N,)


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Average the losses over the batch: (N, 10), (N,) int64 -> ()."""
    return losses(log_softmax(scores), labels).mean()


def gradient(log_probabilities: Tensor, labels: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Derive cross_entropy by weight and bias: (N, 10), (N,) int64, (N, 784) -> (10, 784), (10,).

    The derivative of an image's loss by its scores is softmax minus one-hot: what the model believes minus what is so.
    The chain rule does the rest, since a score is the image times a row of the weight.
    """
    errors = log_probabilities.exp()  # (N, 10), the probabilities
    errors.scatter_(1, labels[:, None], -1, reduce="add")  # minus one-hot
    errors /= len(labels)  # the loss is a mean
    return errors.T @ pixels, errors.sum(dim=0)  # (10, N) @ (N, 784) -> (10, 784)


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    """Tell for each row whether its largest score is the label's: (N, 10), (N,) int64 -> (N,) bool."""
    return scores.argmax(dim=1) == labels


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Give the share of rows whose largest score is the label's: (N, 10), (N,) int64 -> ()."""
    return hits(scores, labels).sum() / len(labels)


def top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Give the likeliest classes, best first: (N, 10) -> probabilities (N, count), labels (N, count) int64."""
    best = log_softmax(scores).exp().topk(count, dim=1)
    return best.values, best.indices
