"""The pictures: right, never in the way, and not missed where matplotlib is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tinydata import Command, Tiny, environment  # noqa: E402
from trainer import Curves, Epoch, plots  # noqa: E402

HISTORY = [Epoch(number, 0.9 / number, 0.5 + number / 20, 0.6, 0.1) for number in range(1, 6)]


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """The lines of a figure's first axes by their labels."""
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in figure.axes[0].lines
    }


def test_the_three_curves_of_the_book_show_every_epoch(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.png")
    for epoch in HISTORY:
        curves.add(epoch)
    drawn = lines(curves.figure)
    assert list(drawn) == ["train loss", "train acc", "test acc"]
    assert drawn["train loss"] == ([1, 2, 3, 4, 5], [epoch.train_loss for epoch in HISTORY])
    assert curves.figure.axes[0].get_ylim() == pytest.approx((0.9 / 5, 0.9))


def test_the_axes_are_the_books_unless_a_value_lies_beyond(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.png", epochs=10)
    curves.add(Epoch(1, 0.78, 0.75, 0.78, 0.1))
    assert curves.figure.axes[0].get_xlim() == (1, 10)
    assert curves.figure.axes[0].get_ylim() == (0.3, 0.9)
    curves.add(Epoch(2, 2.3, 0.1, 0.1, 0.1))
    assert curves.figure.axes[0].get_ylim() == (0.1, 2.3)


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
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["bag\nbag", "coat\n\u2717 shirt", "shirt\nshirt"]
    assert [axes.title.get_color() for axes in figure.axes] == ["black", "tab:red", "black"]


def test_the_confusion_has_a_row_for_each_true_class_and_the_share_of_right_ones() -> None:
    figure = plots.confusion(np.array([[3, 1], [0, 4]]), ["bag", "coat"])
    axes = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == "87.50% of 8 test images right"


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
        "hint: Run: python -m pip install matplotlib",
    ]
    assert (tmp_path / "run" / "summary.json").exists()
    assert list((tmp_path / "run").glob("*.png")) == []


def test_live_without_a_screen_says_so_and_draws_the_file(tiny: Tiny, tmp_path: Path, command: Command) -> None:
    done = command(*tiny.options, "--out", tmp_path / "run", "--epochs", 2, "--live", MPLBACKEND="Agg")
    assert done.returncode == 0
    assert "no screen for --live" in done.stderr
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="xvfb-run is not installed: apt install xvfb")
def test_live_redraws_a_window_and_does_not_wait_for_it(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    words = [sys.executable, "-m", "trainer", *tiny.options, "--out", str(tmp_path / "run"), "--epochs", "3", "--live"]
    environ = environment(MPLBACKEND="TkAgg")
    done = subprocess.run(
        ["xvfb-run", "-a", *words], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
