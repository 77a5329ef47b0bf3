"""The pictures: they are right, they never stop a training, and they exist wherever matplotlib does."""

import math
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

import matplotlib as mpl  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402

from tinydata import Command, Tiny, environment  # noqa: E402
from trainer import Curves, Epoch, Settings, fit, plots  # noqa: E402
from trainer.__main__ import parser  # noqa: E402
from trainer.pictures import Pictures  # noqa: E402
from trainer.run_dir import Run  # noqa: E402

HISTORY = [Epoch(number, 0.9 / number, 0.5 + number / 20, 0.6, 0.1) for number in range(1, 6)]


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Return the lines of AXES by their labels."""
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
    }


def test_loss_and_accuracy_have_axes_of_their_own_and_show_every_epoch(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.png", title="Softmax regression on tiny")
    for epoch in HISTORY:
        curves.add(epoch)
    loss, accuracy = curves.figure.axes
    assert lines(loss) == {"train": ([1, 2, 3, 4, 5], [epoch.train_loss for epoch in HISTORY])}
    assert list(lines(accuracy)) == ["train", "test"]
    assert lines(accuracy)["test"] == ([1, 2, 3, 4, 5], [0.6] * 5)
    assert curves.figure.get_suptitle() == "Softmax regression on tiny"
    assert (loss.get_ylabel(), accuracy.get_ylabel(), accuracy.get_xlabel()) == ("loss (nats)", "accuracy", "epoch")
    assert len({line.get_linestyle() for line in accuracy.lines}) == 2


def test_the_name_and_the_last_value_of_a_line_are_beside_its_end_and_never_touch(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.png")
    curves.add(Epoch(1, 0.78, 0.801, 0.8, 0.1))
    loss, accuracy = curves.figure.axes
    assert [text.get_text() for text in loss.texts] == ["train 0.780"]
    lower, upper = accuracy.texts
    assert [text.get_text() for text in (lower, upper)] == ["test 0.800", "train 0.801"]
    assert upper.get_position()[1] - lower.get_position()[1] == pytest.approx(plots.LABEL_DISTANCE_SHARE)


def test_the_axes_are_fixed_unless_a_value_is_beyond(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.png", epochs=10)
    curves.add(Epoch(1, 0.78, 0.75, 0.78, 0.1))
    loss, accuracy = curves.figure.axes
    assert loss.get_xlim() == accuracy.get_xlim() == (1, 10)
    assert (loss.get_ylim(), accuracy.get_ylim()) == ((0.3, 0.9), (0.7, 0.9))
    curves.add(Epoch(2, 2.3, 0.1, 0.1, 0.1))
    loss, accuracy = curves.figure.axes
    assert (loss.get_ylim(), accuracy.get_ylim()) == ((0.3, 2.3), (0.1, 0.9))


@pytest.mark.parametrize("values", [[1e3, 1e12, 1e30], [0.7, 500.0, 9.0], [0.7, math.inf], [math.nan]])
def test_a_loss_that_diverges_is_drawn_all_the_same(values: list[float], tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.png")
    for number, value in enumerate(values, start=1):
        curves.add(Epoch(number, value, 0.1, 0.1, 0.1))
    scale = curves.figure.axes[0].get_yscale()
    assert scale == ("log" if math.isfinite(values[-1]) else "linear")
    assert (tmp_path / "curves.png").exists()


def test_the_file_is_redrawn_after_each_epoch_and_never_half_written(tmp_path: Path) -> None:
    path = tmp_path / "run" / "curves.png"
    curves = Curves(path)
    seen = []
    for epoch in HISTORY:
        curves.add(epoch)
        seen.append(path.read_bytes())
        assert list(path.parent.iterdir()) == [path]
    assert len(set(seen)) == len(HISTORY)
    assert all(picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82") for picture in seen)


def test_predictions_stand_under_the_true_labels_and_wrong_ones_are_marked() -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    figure = plots.predictions(images, ["bag", "coat", "shirt"], ["bag", "shirt", "shirt"])
    (axes,) = figure.axes
    heading, *labels = axes.texts
    assert (
        heading.get_text() == "above: the true label   below: the prediction, \u2717 if it is wrong   (2 of 3 correct)"
    )
    assert [text.get_text() for text in labels] == ["bag\nbag", "coat\n\u2717 shirt", "shirt\nshirt"]
    assert [text.get_color() for text in labels] == ["black", plots.ORANGE, "black"]
    frames = [(frame.get_edgecolor(), frame.get_linewidth()) for frame in axes.patches]
    assert frames == [(to_rgba("black"), 0.8), (to_rgba(plots.ORANGE), 3), (to_rgba("black"), 0.8)]


def test_each_image_stands_under_its_labels_and_inside_the_figure() -> None:
    figure = plots.predictions(np.zeros((10, 28, 28), np.uint8), ["bag"] * 10, ["bag"] * 10, columns=4)
    (axes,) = figure.axes
    width, height = figure.get_size_inches()
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, width), (height, 0))
    places = []
    for image, text in zip(axes.images, axes.texts[1:], strict=True):
        left, right, bottom, top = image.get_extent()
        assert 0 <= left < right <= width
        assert text.get_position()[1] < top < bottom <= height
        assert text.get_position()[0] == pytest.approx((left + right) / 2)
        places.append((round(top, 6), round(left, 6)))
    assert places == sorted(set(places))
    assert len({top for top, _ in places}) == 3


def test_the_confusion_has_a_row_for_each_true_class_and_the_share_of_right_ones() -> None:
    figure = plots.confusion(np.array([[3, 1], [0, 4]]), ["bag", "coat"])
    axes = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == "87.50% of 8 test images correct"


def test_a_missing_matplotlib_costs_the_pictures_and_not_the_training(
    tiny: Tiny, tmp_path: Path, command: Command
) -> None:
    broken = tmp_path / "path" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('no matplotlib', name='matplotlib')")
    path = os.pathsep.join([str(broken.parent), environment()["PYTHONPATH"]])
    done = command(*tiny.options, "--out", tmp_path / "run", "--epochs", 2, PYTHONPATH=path)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "note: matplotlib is not installed, so this run draws no pictures",
        f"hint: Run: {sys.executable} -m pip install matplotlib",
    ]
    assert (tmp_path / "run" / "summary.json").exists()
    assert list((tmp_path / "run").glob("*.png")) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("figure", "raise ImportError('matplotlib_inline is broken')"),
        ("ticker", "raise ValueError('bad')"),
        ("backends/__init__", "1 / 0"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_note_beside_a_finished_run(
    tiny: Tiny, tmp_path: Path, command: Command, module: str, line: str
) -> None:
    broken = tmp_path / "path" / "matplotlib"
    (broken / module).parent.mkdir(parents=True)
    (broken / "__init__.py").write_text(f"__path__.append({str(Path(mpl.__file__).parent)!r})\n")
    (broken / f"{module}.py").write_text(line)
    path = os.pathsep.join([str(broken.parent), environment()["PYTHONPATH"]])
    out = tmp_path / "run"
    done = command(*tiny.options, "--out", out, "--epochs", 2, PYTHONPATH=path)
    assert done.returncode == 0
    note, hint = done.stderr.splitlines()
    assert note.startswith("note: curves.png could not be drawn (")
    assert hint.startswith("hint: Draw the pictures when that is fixed: ")
    assert {"model.safetensors", "summary.json", "metrics.jsonl"} <= {path.name for path in out.iterdir()}
    drawn = subprocess.run(hint.rpartition(": ")[2], shell=True, env=environment(), capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert (out / "curves.png").exists()


@pytest.mark.parametrize("more", [[], ["--live"]])
def test_a_backend_that_does_not_exist_costs_no_training(
    tiny: Tiny, tmp_path: Path, command: Command, more: list[str]
) -> None:
    backend = "module://no_such_package.backend"
    done = command(*tiny.options, "--out", tmp_path / "run", "--epochs", 2, *more, MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert (tmp_path / "run" / "curves.png").exists() or "note: " in done.stderr


def test_live_without_a_screen_says_so_and_draws_the_file(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    done = command(*tiny.options, "--out", tmp_path / "run", "--epochs", 2, "--live", MPLBACKEND="Agg")
    assert done.returncode == 0
    assert "no screen for --live" in done.stderr
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that the pictures see, as the only item of a list."""
    now = [0.0]
    monkeypatch.setattr("trainer.pictures.time", Namespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return the pictures of a new run."""
    return Pictures(Run(tmp_path, Settings()), Namespace(pictures=True, live=False, root=None))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the numbers of the epochs that each drawing adds to the curves."""
    found: list[tuple[int, ...]] = []
    monkeypatch.setattr(Curves, "add", lambda _, *epochs: found.append(tuple(epoch.number for epoch in epochs)))
    return found


def test_curves_are_drawn_at_the_end_and_between_epochs_once_a_second_has_passed(
    clock: list[float], pictures: Pictures, drawn: list[tuple[int, ...]]
) -> None:
    for clock[0], epoch in zip((0.5, 1.5, 2.0, 2.4), HISTORY, strict=False):
        pictures.add(epoch)
    assert drawn == [(1, 2)]
    pictures.flush()
    pictures.flush()
    assert drawn == [(1, 2), (3, 4)]


def test_a_slow_drawing_takes_no_more_than_a_tenth_of_the_time(
    clock: list[float], pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def add(_: Curves, *_epochs: Epoch) -> None:
        drawn.append(clock[0])
        clock[0] += 3

    monkeypatch.setattr(Curves, "add", add)
    for clock[0], epoch in zip((2, 30, 36, 60), HISTORY, strict=False):
        pictures.add(epoch)
    assert drawn == [2, 36]


@pytest.mark.usefixtures("clock")
def test_a_continued_run_draws_the_epochs_from_before_too(tmp_path: Path, drawn: list[tuple[int, ...]]) -> None:
    pictures = Pictures(Run(tmp_path, Settings(), history=HISTORY[:2]), Namespace(pictures=True, live=False, root=None))
    pictures.add(HISTORY[2])
    pictures.flush()
    assert drawn == [(1, 2, 3)]


def test_a_second_interrupt_ends_the_drawing_and_the_message_names_the_command_that_continues(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(run: Run, *_others: object) -> None:
        run.history.append(HISTORY[0])
        raise KeyboardInterrupt

    def flush(_pictures: Pictures) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "run_epochs", train)
    monkeypatch.setattr(Pictures, "flush", flush)
    options = parser().parse_args(["train", *tiny.options, "--out", str(tmp_path / "run"), "--epochs", "2"])
    # An interrupt that comes through would end pytest.
    with pytest.raises(BaseException, match="interrupted after epoch 1 of 2; the checkpoint is kept") as caught:
        fit.fit(options)
    assert isinstance(caught.value, fit.InterruptedRunError)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="xvfb-run is not installed: apt install xvfb")
def test_live_redraws_a_window_and_does_not_wait_for_it(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    words = [sys.executable, "-m", "trainer", *tiny.options, "--out", str(tmp_path / "run"), "--epochs", "3", "--live"]
    environ = environment(MPLBACKEND="TkAgg")
    done = subprocess.run(
        ["xvfb-run", "-a", *words], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
