"""The mathematics, compared with autograd and the cross-entropy of torch."""

import math
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from tinydata import environment  # noqa: E402
from trainer.softmax import (  # noqa: E402
    Model,
    accuracy,
    cross_entropy,
    gradient,
    is_correct,
    log_softmax,
    logits,
    losses,
    top_k,
)

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.01, 1.0, 30.0, 1e4])


def batch(seed: int, scale: float, rows: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Draw scores (rows, 10), labels (rows,) and pixels (rows, 784)."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((rows, 10), generator=generator) * scale
    return scores, torch.randint(0, 10, (rows,), generator=generator), torch.rand((rows, 784), generator=generator)


@given(seeds, scales)
def test_the_softmax_and_the_loss_are_those_of_torch(seed: int, scale: float) -> None:
    scores, labels, _ = batch(seed, scale)
    assert torch.allclose(log_softmax(scores), functional.log_softmax(scores, dim=1), rtol=1e-5, atol=1e-6)
    assert torch.allclose(cross_entropy(scores, labels), functional.cross_entropy(scores, labels), rtol=1e-5)


@given(seeds, scales)
def test_the_gradient_by_hand_is_that_of_autograd(seed: int, scale: float) -> None:
    _, labels, pixels = batch(seed, scale)
    weight, bias = torch.randn((10, 784)).mul(scale / 28).requires_grad_(), torch.zeros(10, requires_grad=True)
    functional.cross_entropy(pixels @ weight.T + bias, labels).backward()
    with torch.no_grad():
        by_hand = gradient(log_softmax(logits(weight, bias, pixels)), labels, pixels)
    for mine, theirs in zip(by_hand, (weight.grad, bias.grad), strict=True):
        assert mine.shape == theirs.shape
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_textbook_softmax_overflows_at_89_where_this_one_does_not() -> None:
    scores = torch.tensor([[89.0, 0.0]])
    assert (scores.exp() / scores.exp().sum()).isnan().any()
    assert log_softmax(scores).tolist() == [[0.0, -89.0]]


def test_a_probability_that_rounds_to_zero_costs_much_but_not_infinitely_much() -> None:
    scores = torch.tensor([[0.0, 1e4]])
    assert log_softmax(scores).exp()[0, 0] == 0
    assert float(losses(log_softmax(scores), torch.tensor([0]))) == 1e4


def test_the_worked_example_of_the_book() -> None:
    probabilities = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]])
    labels = torch.tensor([0, 2])
    picked = losses(probabilities.log(), labels)
    assert picked.exp().reciprocal().tolist() == pytest.approx([0.1, 0.5])
    assert picked.tolist() == pytest.approx([2.3026, 0.6931], abs=1e-4)
    assert float(cross_entropy(probabilities.log(), labels)) == pytest.approx((2.3026 + 0.6931) / 2, abs=1e-4)
    assert float(accuracy(probabilities, labels)) == 0.5
    assert is_correct(probabilities, labels).tolist() == [False, True]


def test_a_score_is_the_image_times_a_row_of_the_weight_plus_the_bias() -> None:
    weight, bias = torch.arange(6.0).view(2, 3), torch.tensor([10.0, 20.0])
    assert logits(weight, bias, torch.tensor([[1.0, 0.0, 2.0]])).tolist() == [[14.0, 33.0]]


def test_a_fresh_model_has_normal_weights_of_spread_a_hundredth_and_no_bias() -> None:
    model = Model.fresh(seed=1)
    assert model.weight.shape == (10, 784)
    assert float(model.weight.std()) == pytest.approx(0.01, rel=0.05)
    assert float(model.weight.mean()) == pytest.approx(0, abs=0.0005)
    assert model.bias.tolist() == [0.0] * 10
    assert not torch.equal(model.weight, Model.fresh(seed=2).weight)


def test_the_first_loss_of_a_model_that_knows_nothing_is_the_logarithm_of_ten() -> None:
    _, labels, pixels = batch(3, 1.0, rows=500)
    model = Model.fresh(0)
    assert float(cross_entropy(logits(model.weight, model.bias, pixels), labels)) == pytest.approx(
        math.log(10), abs=0.1
    )


def test_the_likeliest_labels_come_with_their_probabilities_best_first() -> None:
    chances, labels = top_k(torch.tensor([[0.1, 0.6, 0.3]]).log(), 2)
    assert labels.tolist() == [[1, 2]]
    assert chances[0].tolist() == pytest.approx([0.6, 0.3])


FIRST_AND_SECOND = """
import os, torch
from trainer.softmax import log_softmax
scores = torch.rand(2560, 10)
differing = 0
for _ in range(200):
    if not (child := os.fork()):
        torch.set_num_threads(2)
        torch.rand(10, 784) @ torch.rand(784, 2560)  # now both threads are awake
        os._exit(0 if torch.equal(log_softmax(scores), log_softmax(scores)) else 1)
    differing += os.waitpid(child, 0)[1] != 0
print(differing)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork, and so many whole processes take minutes")
def test_the_first_softmax_of_a_process_has_the_bits_of_all_later_ones() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_AND_SECOND], env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
