"""The helpers of the book under its names: what each of them returns."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402

from fmnist_fetch.tensors.arrays import load  # noqa: E402
from tinydata import Tiny  # noqa: E402
from trainer import d2l  # noqa: E402
from trainer.data import Batches, Examples, to_pixels  # noqa: E402


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import matplotlib as mpl
    from matplotlib import pyplot

    before = mpl.get_backend()
    mpl.use("Agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    yield
    pyplot.close("all")
    mpl.use(before)


@pytest.fixture
def iterators(tiny: Tiny) -> tuple[Batches, Batches]:
    train, test = (Examples.of(load(str(tiny.manifest), name, tiny.root)) for name in ("train", "test"))
    return Batches(train, 32, shuffle=True), Batches(test, 32, shuffle=False)


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
    assert animator.fig is animator.axes[0].figure


def test_a_timer_keeps_all_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.5, 10.0, 12.0])
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    timer = d2l.Timer()
    assert timer.stop() == 1.5
    timer.start()
    assert timer.stop() == 2.0
    assert (timer.avg(), timer.sum(), timer.cumsum()) == (1.75, 3.5, [1.5, 3.5])


def test_a_plot_draws_one_x_against_several_y_and_a_y_alone_against_its_positions() -> None:
    x = np.arange(3)
    d2l.plot(x, [x * 2, torch.ones(3)], "x", "f(x)", legend=["a", "b"], ylim=(0, 5))
    axes = d2l.plt.gca()
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [[0, 2, 4], [1, 1, 1]]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_ylim()) == ("x", "f(x)", (0, 5))
    d2l.plot([3.0, 4.0])
    again = d2l.plt.gca()
    assert again is not axes  # the first image stays as it was
    (line,) = again.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1], [3.0, 4.0])
    assert sorted(path.name for path in Path().glob("plot-*.png")) != []


def test_a_plot_into_the_second_axes_of_a_figure_stays_in_that_figure() -> None:
    figure = d2l.plt.figure()
    for number in (1, 2):
        d2l.plt.subplot(1, 2, number)
        d2l.plot([1, 2, number])
    assert d2l.plt.gcf() is figure
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]


def test_hyperparameters_are_the_arguments_but_for_those_ignored() -> None:
    class Model(d2l.HyperParameters):
        def __init__(self, a: int, b: int, c: int) -> None:
            _hidden = a
            self.save_hyperparameters(ignore=["c"])

    model = Model(1, 2, 3)
    assert model.hparams == {"a": 1, "b": 2}
    assert not hasattr(model, "c")


@pytest.mark.parametrize("place", ["data", "../data"])
def test_the_data_is_found_here_or_beside_as_the_book_keeps_it(place: str, real_root: Path) -> None:
    Path(place).symlink_to(real_root)
    train_iter, test_iter = d2l.load_data_fashion_mnist(256)
    assert (len(train_iter), len(test_iter)) == (235, 40)
    assert Path(d2l.DataModule().root).samefile(real_root)
    assert len(d2l.FashionMNIST().val) == 10_000


def test_a_board_draws_the_mean_of_every_n_points_as_one() -> None:
    board = d2l.ProgressBoard("x", display=False)
    for number in range(5):
        board.draw(number, 10 * number, "line", every_n=2)
    assert board.data["line"] == [(0.5, 5.0), (2.5, 25.0)]


def test_the_dataset_of_a_batch_iterator_is_one_that_torchs_loader_takes(iterators: tuple[Batches, Batches]) -> None:
    dataset = iterators[0].dataset
    loader = torch.utils.data.DataLoader(dataset, 600, num_workers=1, multiprocessing_context="spawn")
    (images, labels) = next(iter(loader))
    assert torch.equal(images[:, 0], to_pixels(dataset.data))
    assert torch.equal(labels, dataset.targets)
    assert dataset[0][0].shape == (1, 28, 28)
    with pytest.raises(IndexError):
        dataset[600]


# Every name that the PyTorch cells of the chapters use as d2l.NAME, or define for later chapters.
ZH = """
    Accumulator Animator Timer accuracy argmax astype evaluate_accuracy evaluate_loss exp
    get_dataloader_workers get_fashion_mnist_labels linreg load_array load_data_fashion_mnist log matmul
    normal numpy ones plot plt predict_ch3 reduce_mean reduce_sum reshape set_axes set_figsize sgd show_images
    size squared_loss synthetic_data tensor torch train_ch3 train_epoch_ch3 try_all_gpus try_gpu
    use_svg_display zeros
"""
EN = """
    Classifier DataModule FashionMNIST HyperParameters LinearRegression LinearRegressionScratch Module
    ProgressBoard SGD SoftmaxRegression SyntheticRegressionData Trainer add_to_class argmax astype cpu exp
    float32 gpu log matmul nn_Module normal num_gpus numpy ones plot plt rand randn reduce_mean reduce_sum
    reshape set_figsize show_images tensor to try_gpu use_svg_display zeros
"""


@pytest.mark.parametrize("name", sorted({*ZH.split(), *EN.split()}))
def test_every_name_of_the_chapters_is_there(name: str) -> None:
    assert hasattr(d2l, name)


def test_a_name_of_no_chapter_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        d2l.train_ch99  # noqa: B018
    assert "Animator" in dir(d2l)
