"""Model files: parameters and their metadata in one safetensors file, which is replaced in one step.

There is no pickle: a safetensors file is a length, a JSON header and the bytes of the tensors, so opening the run of a
stranger executes nothing. The metadata (settings, history, data digests) is JSON in the same file as the parameters,
since a crash between two renames could leave two files that do not belong together.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fmnist_fetch.errors import DiskError, disk
from fmnist_fetch.storage.atomic import write_all, write_atomically
from fmnist_fetch.storage.files import open_regular
from trainer.softmax import Model
from trainer.validation import check_finite, check_layout, parse_json

# A single key, since safetensors writes several in random order, and the same run must give the same bytes.
METADATA_KEY = "trainer"


@contextmanager
def run_disk(path: Path) -> Iterator[None]:
    """Convert an OSError of the block to a DiskError whose hint names the option for another run folder."""
    try:
        with disk(path):
            yield
    except DiskError as error:
        hint = "Free some space or fix the permissions there, or name another run folder: --out FOLDER (RUN=FOLDER)."
        raise DiskError(error.message, hint=hint) from error


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new one.

    Raises:
        DiskError: It cannot be written.
    """
    with run_disk(path), write_atomically(path, len(content)) as file:
        write_all(file, content)


def save_model(path: Path, model: Model, metadata: dict[str, Any]) -> None:
    """Write the parameters with their metadata; equal parameters and metadata give equal bytes."""
    tensors = {"weight": model.weight.cpu(), "bias": model.bias.cpu()}
    replace_file(path, save(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True)}))


def load_model(path: Path) -> tuple[Model, dict[str, Any]]:
    """Read a model and its metadata, a JSON table that `parse_metadata` checks.

    Raises:
        ValueError: It is not a model of finite float32 numbers.
        DiskError: It is not a regular file, or cannot be read.
    """
    try:
        with run_disk(path), open_regular(path), safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
            check_layout({name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()})
            # Copied into memory that torch aligns: in the file the tensors follow metadata of any length, and in memory
            # that is not aligned to 16 bytes, a matrix product adds in another order, which changes the last bits.
            model = Model(file.get_tensor("weight").clone(), file.get_tensor("bias").clone())
            check_finite(model)
            return model, parse_json(file.metadata()[METADATA_KEY])
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
