"""Real notebooks, run by a real kernel, with all outputs of their cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from processes import environment


class Cell(NamedTuple):
    """A cell after its run: the outputs below it, and how often they were redrawn."""

    outputs: list[dict[str, Any]]
    redrawn: int

    @property
    def kinds(self) -> list[str]:
        """The kinds of output: display_data, execute_result, stream, error."""
        return [output["output_type"] for output in self.outputs]


def run_notebook(sources: Sequence[str], folder: Path, **variables: str) -> list[Cell]:
    """Run a notebook with these cells in FOLDER; a cell that fails does not stop the others."""
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    v4 = pytest.importorskip("nbformat.v4", reason="nbformat is not installed")
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    redrawn = dict.fromkeys(range(len(sources)), 0)

    class Client(nbclient.NotebookClient):  # type: ignore[misc,name-defined]
        def process_message(self, message: dict[str, Any], cell: Any, index: int) -> Any:
            redrawn[index] += message["msg_type"] == "update_display_data"
            return super().process_message(message, cell, index)

    resources = {"metadata": {"path": str(folder)}}
    client = Client(notebook, kernel_name="python3", resources=resources, allow_errors=True, timeout=120)
    client.execute(env=environment(**variables))
    return [Cell(cell["outputs"], redrawn[index]) for index, cell in enumerate(notebook["cells"])]


def code_of(notebook: Path) -> list[str]:
    """Return the sources of the code cells of a notebook on the disk."""
    return ["".join(cell["source"]) for cell in stored_cells(notebook) if cell["cell_type"] == "code"]


def stored_cells(notebook: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook as they are on the disk, with the stored outputs."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells
