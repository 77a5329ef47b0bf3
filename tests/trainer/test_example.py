"""The trainer in a notebook: curves that are redrawn in place, and the example in the repository."""

import ast
import struct
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: run make train first")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: run make train first")

from notebooks import code_of, run_notebook, stored_cells
from tinydata import REPOSITORY, Tiny

TRAINING = """
import fmnist_fetch
import trainer

settings = trainer.Settings(epochs=2)
train, test = (fmnist_fetch.load({!r}, split, root={!r}) for split in ("train", "test"))
curves = trainer.Curves(epochs=settings.epochs)
for epoch in trainer.train_epochs(trainer.Model.fresh(settings.seed), train, test, settings):
    curves.add(epoch)
print(epoch.number)
"""


def size_of(output: dict[str, Any]) -> tuple[int, int]:
    """Return width and height in pixels of the image of an output."""
    picture = b64decode(output["data"]["image/png"])
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">2I", picture[16:24])
    return width, height


def test_two_epochs_are_one_picture_that_is_redrawn_once(tiny: Tiny, tmp_path: Path) -> None:
    (cell,) = run_notebook([TRAINING.format(str(tiny.manifest), str(tiny.root))], tmp_path)
    assert sorted(cell.kinds) == ["display_data", "stream"]
    assert cell.redrawn == 1
    picture = next(output for output in cell.outputs if output["output_type"] == "display_data")
    assert size_of(picture) == (960, 960)
    assert picture["metadata"]["image/png"] == {"width": 480, "height": 480}


EXAMPLE = REPOSITORY / "examples" / "softmax.ipynb"


def test_the_example_runs_as_it_stands(real_root: Path, tmp_path: Path) -> None:
    # One thread: two on a machine with busy cores wait for each other more than they work.
    cells = run_notebook(code_of(EXAMPLE), tmp_path, FMNIST_ROOT=str(real_root), OMP_NUM_THREADS="1")
    colab, fetch, look, train, predict, book = cells
    assert [cell.kinds for cell in (colab, fetch, look)] == [[], [], ["execute_result"]]
    assert look.outputs[0]["data"]["text/html"].count("<img") == 10
    assert sorted(train.kinds) == ["display_data", "stream"]
    assert train.redrawn == 9
    (printed,) = [output["text"] for output in train.outputs if output["output_type"] == "stream"]
    assert 0.82 < float(printed.removeprefix("test accuracy ")) < 0.84
    assert (predict.kinds, book.kinds) == (["display_data"], ["display_data", "display_data"])
    assert book.redrawn == 2


def test_the_example_is_stored_as_it_was_run_with_no_trace_of_a_machine() -> None:
    code = [cell for cell in stored_cells(EXAMPLE) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [[output["output_type"] for output in cell["outputs"]] for cell in code]
    assert [len(outputs) for outputs in kinds] == [0, 0, 1, 2, 1, 2]
    text = EXAMPLE.read_text(encoding="utf-8")
    assert not [trace for trace in ("/home/", "/Users/", "/tmp/", "/root", "Traceback") if trace in text]


def test_the_example_imports_two_names_and_says_first_how_to_open_it() -> None:
    source = "\n".join(code for code in code_of(EXAMPLE) if "%pip" not in code)
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [name.name for node in imports for name in node.names] == ["fmnist_fetch", "trainer"]
    assert "`make notebook`" in "".join(stored_cells(EXAMPLE)[0]["source"])
