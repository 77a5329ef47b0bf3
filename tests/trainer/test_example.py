"""The trainer in a notebook: curves that are redrawn in place, and the example that is shipped."""

import struct
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

from notebooks import code_of, run_notebook
from tinydata import REPOSITORY, Tiny

TRAINING = """
from fmnist_fetch import load
from trainer import Curves, Model, Settings
from trainer.data import Examples
from trainer.train import train

settings = Settings(epochs=2)
examples, test = (Examples.of(load({!r}, split, root={!r})) for split in ("train", "test"))
curves = Curves(epochs=settings.epochs)
for epoch in train(Model.fresh(settings.seed), examples, test, settings):
    curves.add(epoch)
print(epoch.number)
"""


def size_of(output: dict[str, Any]) -> tuple[int, int]:
    """Width and height in pixels of the picture of an output."""
    picture = b64decode(output["data"]["image/png"])
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">2I", picture[16:24])
    return width, height


def test_two_epochs_are_one_picture_that_is_redrawn_once(tiny: Tiny, tmp_path: Path) -> None:
    (cell,) = run_notebook([TRAINING.format(str(tiny.manifest), str(tiny.root))], tmp_path)
    assert sorted(cell.kinds) == ["display_data", "stream"]
    assert cell.redrawn == 1
    picture = next(output for output in cell.outputs if output["output_type"] == "display_data")
    assert size_of(picture) == (960, 720)
    assert picture["metadata"]["image/png"] == {"width": 480, "height": 360}


def test_the_example_runs_as_it_stands(real_root: Path, tmp_path: Path) -> None:
    sources = code_of(REPOSITORY / "examples" / "softmax.ipynb")
    # One thread: two on a machine whose cores are taken wait for each other more than they work.
    cells = run_notebook(sources, tmp_path, FMNIST_ROOT=str(real_root), OMP_NUM_THREADS="1")
    fetch, look, train, predict, book = cells
    assert [cell.kinds for cell in (fetch, look)] == [[], ["execute_result"]]
    assert look.outputs[0]["data"]["text/html"].count("<img") == 10
    assert sorted(train.kinds) == ["display_data", "stream"]
    assert train.redrawn == 9
    (told,) = [output["text"] for output in train.outputs if output["output_type"] == "stream"]
    assert 0.82 < float(told.removeprefix("test accuracy ")) < 0.84
    assert (predict.kinds, book.kinds) == (["display_data"], ["display_data", "display_data"])
    assert book.redrawn == 2
