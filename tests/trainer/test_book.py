"""Code along the chapters of *Dive into Deep Learning* runs unchanged: as a program, with windows, and in a notebook.

The programs were written for these tests, after the steps of the chapters.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

from notebooks import run_notebook
from tinydata import environment

PLOTTING = """
from trainer import d2l
import numpy as np

def square(x):
    return x ** 2

d2l.use_svg_display()
points = np.arange(0, 2, 0.2)
d2l.plot(points, [square(points), 2 * points - 1], 'x', 'f(x)', legend=['f', 'tangent'])
"""

POINTS = """
from trainer import d2l
import torch

d2l.set_figsize((5, 3))
throws = torch.randint(0, 6, (100,)).float()
d2l.plt.plot(throws.cumsum(0).numpy(), label='sum')
d2l.plt.axhline(y=250, color='black', linestyle='dashed')
d2l.plt.legend();
"""

LINEAR_REGRESSION = """
from trainer import d2l
import torch
from torch import nn

w, b = d2l.tensor([2, -3.4]), 4.2
features, labels = d2l.synthetic_data(w, b, 500)
d2l.set_figsize()
d2l.plt.scatter(d2l.numpy(features[:, 1]), d2l.numpy(labels), 1);
weight = d2l.normal(0, 0.01, (2, 1), requires_grad=True)
bias = d2l.zeros(1, requires_grad=True)
timer = d2l.Timer()
for epoch in range(5):
    for X, y in d2l.load_array((features, labels), 10):
        d2l.squared_loss(d2l.linreg(X, weight, bias), y).sum().backward()
        d2l.sgd([weight, bias], 0.03, len(X))
assert timer.stop() > 0
assert (w - d2l.reshape(weight, w.shape)).abs().max() < 0.05
loss = d2l.evaluate_loss(lambda X: d2l.linreg(X, weight, bias), [(features, labels)], d2l.squared_loss)
assert loss < 0.01, loss
"""

SOFTMAX = """
from trainer import d2l
import torch
from IPython import display

train_iter, test_iter = d2l.load_data_fashion_mnist(256)
X, y = next(iter(train_iter))
d2l.show_images(X[:18].reshape(18, 28, 28), 2, 9, titles=d2l.get_fashion_mnist_labels(y[:18]));
W = torch.normal(0, 0.01, size=(784, 10), requires_grad=True)
b = torch.zeros(10, requires_grad=True)

def net(X):
    powers = d2l.exp(d2l.matmul(d2l.reshape(X, (-1, W.shape[0])), W) + b)
    return powers / d2l.reduce_sum(powers, 1, keepdim=True)

def cross_entropy(y_hat, y):
    return -d2l.log(y_hat[range(len(y_hat)), y])

def updater(batch_size):
    return d2l.sgd([W, b], 0.1, batch_size)

d2l.train_ch3(net, train_iter, test_iter, cross_entropy, 2, updater)
d2l.predict_ch3(net, test_iter)
assert d2l.evaluate_accuracy(net, test_iter) > 0.75
"""

# As readers of the forum paste it: classes of their own, with the names and the structure of the book.
PASTED = """
from trainer import d2l
import torch
from torch import nn
from IPython import display

class Accumulator:
    def __init__(self, n):
        self.data = [0.0] * n
    def add(self, *numbers):
        self.data = [a + float(b) for a, b in zip(self.data, numbers)]
    def __getitem__(self, index):
        return self.data[index]

class Animator:
    def __init__(self, xlabel, xlim, ylim, legend, fmts=('-', 'm--', 'g-.')):
        d2l.use_svg_display()
        self.fig, self.axes = d2l.plt.subplots(1, 1, figsize=(3.5, 2.5))
        self.config = lambda: d2l.set_axes(self.axes, xlabel, None, xlim, ylim, 'linear', 'linear', legend)
        self.lines, self.fmts = None, fmts
    def add(self, x, ys):
        self.lines = self.lines or [([], []) for _ in ys]
        self.axes.cla()
        for (xs, line), y, fmt in zip(self.lines, ys, self.fmts):
            xs.append(x)
            line.append(y)
            self.axes.plot(xs, line, fmt)
        self.config()
        display.display(self.fig)
        display.clear_output(wait=True)

class Trainer:
    def __init__(self, net, loss, optimizer, train_iter, test_iter):
        self.net, self.loss, self.optimizer = net, loss, optimizer
        self.train_iter, self.test_iter = train_iter, test_iter
    def fit(self, epochs):
        animator = Animator('epoch', [1, epochs], [0.3, 0.9], ['train loss', 'train acc', 'test acc'])
        for epoch in range(epochs):
            metric = Accumulator(3)
            for X, y in self.train_iter:
                scores = self.net(X)
                values = self.loss(scores, y)
                self.optimizer.zero_grad()
                values.mean().backward()
                self.optimizer.step()
                with torch.no_grad():
                    metric.add(values.sum(), d2l.accuracy(scores, y), d2l.size(y))
            test = d2l.evaluate_accuracy(self.net, self.test_iter)
            animator.add(epoch + 1, (metric[0] / metric[2], metric[1] / metric[2], test))
        return test

net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
trainer = Trainer(net, nn.CrossEntropyLoss(reduction='none'), optimizer, *d2l.load_data_fashion_mnist(256))
assert trainer.fit(2) > 0.75
"""

CLASSES = """
import torch
from torch import nn
from torch.nn import functional as F
from trainer import d2l

class Bag(d2l.HyperParameters):
    def __init__(self, a, b):
        self.save_hyperparameters(ignore=['b'])

@d2l.add_to_class(Bag)
def show(self):
    return self.a

assert Bag(a=1, b=2).show() == 1

board = d2l.ProgressBoard('x')
for x in torch.arange(0, 3, 0.1):
    board.draw(x, torch.sin(x), 'sin', every_n=2)
    board.draw(x, torch.cos(x), 'cos', every_n=10)

class Line(d2l.Module):
    def __init__(self, num_inputs, lr, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.w = d2l.normal(0, sigma, (num_inputs, 1), requires_grad=True)
        self.b = d2l.zeros(1, requires_grad=True)

@d2l.add_to_class(Line)
def forward(self, X):
    return d2l.matmul(X, self.w) + self.b

@d2l.add_to_class(Line)
def loss(self, y_hat, y):
    return d2l.reduce_mean((y_hat - y) ** 2 / 2)

@d2l.add_to_class(Line)
def configure_optimizers(self):
    return d2l.SGD([self.w, self.b], self.lr)

data = d2l.SyntheticRegressionData(w=d2l.tensor([2, -3.4]), b=4.2)
X, y = next(iter(data.train_dataloader()))
assert X.shape == (32, 2) and len(data.train_dataloader()) == 32
model = Line(2, lr=0.03)
d2l.Trainer(max_epochs=3).fit(model, data)
assert (data.w - d2l.reshape(model.w, data.w.shape)).abs().max() < 0.3
concise = d2l.LinearRegression(lr=0.03)
d2l.Trainer(max_epochs=2, gradient_clip_val=100).fit(concise, data)
assert len(concise.get_w_b()) == 2
"""

CLASSIFICATION = """
import torch
from torch import nn
from trainer import d2l

data = d2l.FashionMNIST(resize=(32, 32))
assert (len(data.train), len(data.val)) == (60000, 10000)
assert data.train[0][0].shape == (1, 32, 32)
data.visualize(next(iter(data.val_dataloader())))

@d2l.add_to_class(d2l.FashionMNIST)
def set_num_workers(self, num_workers):
    self.num_workers = num_workers

@d2l.add_to_class(d2l.FashionMNIST)
def get_dataloader(self, train):
    data = self.train if train else self.val
    return torch.utils.data.DataLoader(data, self.batch_size, shuffle=train, num_workers=self.num_workers)

class Softmax(d2l.Classifier):
    def __init__(self, num_inputs, num_outputs, lr, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.W = torch.normal(0, sigma, size=(num_inputs, num_outputs), requires_grad=True)
        self.b = torch.zeros(num_outputs, requires_grad=True)

    def parameters(self):
        return [self.W, self.b]

    def forward(self, X):
        powers = d2l.exp(d2l.matmul(d2l.reshape(X, (-1, self.W.shape[0])), self.W) + self.b)
        return powers / d2l.reduce_sum(powers, 1, keepdims=True)

    def loss(self, y_hat, y):
        return -d2l.reduce_mean(d2l.log(y_hat[list(range(len(y_hat))), y]))

data = d2l.FashionMNIST(batch_size=256)
data.set_num_workers(0)
model = Softmax(num_inputs=784, num_outputs=10, lr=0.1)
d2l.Trainer(max_epochs=1).fit(model, data)
X, y = next(iter(data.val_dataloader()))
preds = d2l.argmax(model(X), axis=1)
assert d2l.reduce_mean(d2l.astype(preds == y, d2l.float32)) > 0.7
wrong = d2l.astype(preds, y.dtype) != y
labels = [a + '\\n' + b for a, b in zip(data.text_labels(y[wrong]), data.text_labels(preds[wrong]))]
data.visualize([X[wrong], y[wrong]], labels=labels)

class Concise(d2l.Classifier):
    def __init__(self, num_outputs, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))

model = Concise(num_outputs=10, lr=0.1)
d2l.Trainer(max_epochs=1).fit(model, data)
assert d2l.evaluate_accuracy(model, data.val_dataloader()) > 0.7
"""

PROGRAMS = {
    "plotting": (PLOTTING, ["plot"]),
    "points": (POINTS, ["figure"]),
    "linear regression": (LINEAR_REGRESSION, ["figure"]),
    "softmax": (SOFTMAX, ["images", "animator", "images"]),
    "pasted": (PASTED, ["figure"]),
    "classes": (CLASSES, ["board", "board", "board"]),
    "classification": (CLASSIFICATION, ["images", "board", "images", "board"]),
}


def run(program: str, folder: Path, *launcher: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run PROGRAM in FOLDER."""
    (folder / "program.py").write_text(program)
    return subprocess.run(
        [*launcher, sys.executable, "program.py"],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1", **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def demand(program: str) -> None:
    """Skip a program that needs what is not installed."""
    if "IPython" in program:
        pytest.importorskip("IPython", reason="IPython is not installed: run make train first")


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_a_program_without_a_screen_each_picture_is_a_file_that_is_named_once(
    name: str, real_root: Path, tmp_path: Path
) -> None:
    program, pictures = PROGRAMS[name]
    demand(program)
    done = run(program, tmp_path, FMNIST_ROOT=str(real_root))
    assert done.returncode == 0, done.stderr
    notes = [line.rpartition("is in ")[2] for line in done.stderr.splitlines() if line.startswith("note: ")]
    expected = [str(tmp_path / f"{picture}-{number}.png") for number, picture in enumerate(pictures, start=1)]
    assert notes == expected
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in notes)


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="xvfb-run is not installed: apt install xvfb")
@pytest.mark.parametrize("name", PROGRAMS)
def test_with_a_screen_each_picture_is_a_window_that_does_not_stop_the_program(
    name: str, real_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    program, _ = PROGRAMS[name]
    demand(program)
    counting = "\nprint('windows', len(d2l.plt.get_fignums()))\n"
    done = run(program + counting, tmp_path, "xvfb-run", "-a", FMNIST_ROOT=str(real_root), MPLBACKEND="TkAgg")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == len(PROGRAMS[name][1])
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_a_notebook_each_picture_is_in_its_cell(name: str, real_root: Path, tmp_path: Path) -> None:
    program, pictures = PROGRAMS[name]
    (cell,) = run_notebook([program], tmp_path, FMNIST_ROOT=str(real_root), OMP_NUM_THREADS="1")
    assert "error" not in cell.kinds, cell.outputs
    shown = [kind for kind in cell.kinds if kind == "display_data"]
    assert len(shown) == len(pictures)
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "module://no_such.backend", "TkAgg"])
def test_a_backend_that_shows_nothing_here_is_replaced_by_files(backend: str, tmp_path: Path) -> None:
    done = run(PLOTTING, tmp_path, MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plot-1.png").exists()


def test_show_writes_the_figures_and_a_figure_that_the_program_saved_is_not_written_again(tmp_path: Path) -> None:
    program = """
from trainer import d2l
d2l.plt.plot([1, 2])
d2l.plt.show()
d2l.plt.plot([2, 1])
d2l.plt.savefig("mine.png")
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["figure-1.png", "mine.png"]
