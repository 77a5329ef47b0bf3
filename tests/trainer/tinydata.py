"""A small dataset that looks like the real one, and helpers for processes and folders."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.toml import dumps, loads
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.tensors.writer import Assembly

REPOSITORY = Path(__file__).parents[2]

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Tiny:
    """A dataset of 10 classes that a model can learn: 600 training images, 200 test images, 28 x 28."""

    root: Path
    manifest: Path

    @property
    def options(self) -> list[str]:
        """The options that name it on the command line."""
        return ["--dataset", str(self.manifest), "--root", str(self.root)]

    @property
    def tensor_file(self) -> Path:
        """The path of its tensor file."""
        return next(self.root.rglob("*.safetensors"))


def make_tiny(folder: Path, name: str = "tiny", seed: int = 5) -> Tiny:
    """Write the tensor file of the dataset and the manifest that pins it."""
    generator = np.random.default_rng(seed)
    templates = generator.integers(0, 200, (10, 28, 28))
    arrays = {}
    for split, count in (("train", 600), ("test", 200)):
        labels = generator.integers(0, 10, count).astype(np.uint8)
        noise = generator.integers(-55, 56, (count, 28, 28))
        arrays[split, "images"] = (templates[labels] + noise).clip(0, 255).astype(np.uint8)
        arrays[split, "labels"] = labels
    manifest_path = folder / f"{name}.toml"
    manifest_path.write_text(_manifest_text(arrays, name))
    manifest = find(str(manifest_path))
    layout = Layout(folder / "data", manifest)
    layout.raw.mkdir(parents=True)
    for file in manifest.files:
        layout.payload(file).write_bytes(_idx(arrays[file.split, file.role]))
    with Assembly(layout) as assembly:
        assembly.complete({file.tensor: file.sha256 for file in manifest.files})
    return Tiny(folder / "data", manifest_path)


def _idx(array: Bytes) -> bytes:
    return IdxHeader("u1", array.shape).dumps() + array.tobytes()


def _manifest_text(arrays: dict[tuple[str, str], Bytes], name: str) -> str:
    classes = ", ".join(f'"thing {number}"' for number in range(10))
    lines = ["format = 1", f'name = "{name}"', 'folder = "Tiny"', f"classes = [{classes}]"]
    for (split, role), array in arrays.items():
        data = _idx(array)
        lines += ["[[files]]", f'name = "{split}-{role}"', f'split = "{split}"', f'role = "{role}"']
        lines += [f"size = {len(data)}", f'sha256 = "{hashlib.sha256(data).hexdigest()}"']
    text = "\n".join(lines) + "\n"
    return dumps(loads(text.encode(), name))


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a child process: the packages of this repository, no screen, no FMNIST_ROOT."""
    kept = {key: value for key, value in os.environ.items() if key not in ("FMNIST_ROOT", "DISPLAY")}
    path = os.pathsep.join([str(REPOSITORY), kept.pop("PYTHONPATH", "")])
    return {**kept, "PYTHONPATH": path, **settings}


def complaint(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return the two lines of an error; assert that there are no others."""
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error, hint


def listing(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder with its bytes, to see that nothing changed."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
