"""Code that was written along the book runs with `from trainer import d2l`."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

from torch import Tensor, nn  # noqa: E402

from fmnist_fetch.tensors.arrays import load  # noqa: E402
from tinydata import Tiny  # noqa: E402
from trainer import d2l  # noqa: E402
from trainer.data import Batches, Examples  # noqa: E402


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import matplotlib as mpl

    before = mpl.get_backend()
    mpl.use("Agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    yield
    mpl.use(before)


@pytest.fixture
def iterators(tiny: Tiny) -> tuple[Batches, Batches]:
    train, test = (Examples.of(load(str(tiny.manifest), name, tiny.root)) for name in ("train", "test"))
    return Batches(train, 32, shuffle=True), Batches(test, 32, shuffle=False)


def test_the_chapter_from_scratch_runs_as_it_is_printed(iterators: tuple[Batches, Batches]) -> None:
    train_iter, test_iter = iterators
    weight = torch.normal(0, 0.01, size=(784, 10), requires_grad=True)
    bias = torch.zeros(10, requires_grad=True)

    def net(images: Tensor) -> Tensor:
        powers: Tensor = torch.exp(torch.matmul(images.reshape((-1, weight.shape[0])), weight) + bias)
        return powers / powers.sum(1, keepdim=True)

    def cross_entropy(y_hat: Tensor, y: Tensor) -> Tensor:
        picked: Tensor = torch.log(y_hat[range(len(y_hat)), y])
        return -picked

    def updater(batch_size: int) -> None:
        d2l.sgd([weight, bias], 0.1, batch_size)

    before = d2l.evaluate_accuracy(net, test_iter)
    d2l.train_ch3(net, train_iter, test_iter, cross_entropy, 3, updater)
    d2l.predict_ch3(net, test_iter)
    assert d2l.evaluate_accuracy(net, test_iter) > max(before, 0.9)
    assert sorted(path.name.split("-")[0] for path in Path().glob("*.png")) == ["animator", "images"]


def test_the_concise_chapter_runs_as_it_is_printed(iterators: tuple[Batches, Batches]) -> None:
    train_iter, test_iter = iterators
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    loss = nn.CrossEntropyLoss(reduction="none")
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    d2l.train_ch3(net, train_iter, test_iter, loss, 3, trainer)
    assert d2l.evaluate_accuracy(net, test_iter) > 0.9


def test_an_epoch_gives_mean_loss_and_accuracy(iterators: tuple[Batches, Batches]) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.zeros_(net[1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(net[1].bias)  # type: ignore[arg-type]
    still = torch.optim.SGD(net.parameters(), lr=0.0)
    loss, accuracy = d2l.train_epoch_ch3(net, iterators[0], nn.CrossEntropyLoss(reduction="none"), still)
    assert loss == pytest.approx(math.log(10))
    assert accuracy == pytest.approx(float((iterators[0].examples.labels == 0).double().mean()))


def test_a_training_that_fails_warns_instead_of_asserting(iterators: tuple[Batches, Batches]) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    still = torch.optim.SGD(net.parameters(), lr=0.0)
    with pytest.warns(UserWarning, match="not below 0.5"):
        d2l.train_ch3(net, *iterators, nn.CrossEntropyLoss(reduction="none"), 5, still)


def test_accuracy_counts_right_rows_as_the_books_example_has_it() -> None:
    y_hat, y = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]]), torch.tensor([0, 2])
    assert d2l.accuracy(y_hat, y) / len(y) == 0.5
    assert d2l.accuracy(torch.tensor([0, 1]), y) == 1


def test_sgd_steps_along_the_mean_gradient_and_clears_it() -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    (weight * torch.tensor([4.0, 8.0])).sum().backward()
    d2l.sgd([weight], lr=0.5, batch_size=2)
    assert weight.tolist() == [0.0, 0.0]
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 0.0]


def test_an_accumulator_keeps_running_sums() -> None:
    metric = d2l.Accumulator(2)
    metric.add(1, torch.tensor(2.0))
    metric.add(3, 4)
    assert (metric[0], metric[1]) == (4.0, 6.0)
    metric.reset()
    assert metric.data == [0.0, 0.0]


def test_labels_are_translated_to_the_ten_text_labels() -> None:
    assert d2l.get_fashion_mnist_labels(torch.tensor([9, 2, 1, 1, 6, 1])) == [
        *("ankle boot", "pullover", "trouser", "trouser", "shirt", "trouser"),
    ]


def test_images_are_shown_with_their_titles_and_the_axes_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    axes = d2l.show_images(torch.rand(3, 28, 28), 2, 2, titles=["a", "b", "c"])
    assert [place.get_title() for place in axes] == ["a", "b", "c", ""]
    (picture,) = Path().glob("images-*.png")
    assert str(picture.absolute()) in capsys.readouterr().err


def test_an_animator_draws_one_line_for_each_value_and_skips_none() -> None:
    animator = d2l.Animator(xlabel="epoch", xlim=[1, 3], ylim=[0, 1], legend=["a", "b"])
    animator.add(1, (0.5, None))
    animator.add(2, (0.6, 0.7))
    assert (animator.X, animator.Y) == ([[1.0, 2.0], [2.0]], [[0.5, 0.6], [0.7]])
    assert len(animator.axes[0].lines) == 2
    assert animator.axes[0].get_xlim() == (1, 3)


def test_every_helper_of_the_chapter_is_there_under_the_books_name() -> None:
    for name in d2l.__all__:
        assert callable(getattr(d2l, name))
    assert callable(d2l.plt.show)
    with pytest.raises(AttributeError):
        d2l.train_ch99  # noqa: B018
