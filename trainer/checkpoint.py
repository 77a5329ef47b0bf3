"""What outlives a power cut: parameters and their story in one safetensors file, written whole or not at all.

No pickle: a safetensors file is a length, a JSON header and the bytes of the tensors, so opening a stranger's run
executes nothing. The story (settings, history, data digests) is JSON in the header, in the same file as the parameters:
two files could be torn apart between two renames.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fmnist_fetch.errors import DiskError, FetchError, FormatError, disk
from fmnist_fetch.storage.atomic import write_all, write_atomically
from trainer.softmax import Model

# One key only: safetensors writes several in random order, and the same run must give the same bytes.
STORY = "trainer"


@contextmanager
def run_disk(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the disk in this block into a DiskError that tells how to move the run."""
    try:
        with disk(path):
            yield
    except DiskError as error:
        hint = "Make room or mend the permissions there, or choose another folder with --out FOLDER."
        raise DiskError(error.message, hint=hint) from error


def replace_file(path: Path, content: bytes) -> None:
    """Replace PATH by CONTENT in one step: a reader sees the old file or the new one, nothing between.

    Raises a DiskError.
    """
    with run_disk(path), write_atomically(path, len(content)) as file:
        write_all(file, content)


def save_model(path: Path, model: Model, story: dict[str, Any]) -> None:
    """Write the parameters with their story; the same parameters and story give the same bytes."""
    tensors = {"weight": model.weight.cpu(), "bias": model.bias.cpu()}
    replace_file(path, save(tensors, {STORY: json.dumps(story, sort_keys=True)}))


def load_model(path: Path) -> tuple[Model, dict[str, Any]]:
    """Read what save_model wrote. Raises FormatError if it isn't that, FetchError if it isn't there."""
    if not path.exists():
        raise FetchError(
            f"there is no {path.name} in {path.parent}",
            hint=f"Train first, or finish the run: python -m trainer --resume --out {path.parent}",
        )
    try:
        with run_disk(path), safe_open(path, framework="pt") as file:
            # Copied to where torch puts its own tensors. In the file they stand where the story's length put them, and
            # where memory is not aligned to 16 bytes, a matrix product adds in another order, to other last bits.
            model = Model(file.get_tensor("weight").clone(), file.get_tensor("bias").clone())
            story: dict[str, Any] = json.loads(file.metadata()[STORY])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path} is not a model of this trainer: {error}",
            hint=f"Train again: python -m trainer --out {path.parent}",
        ) from error
    if model.weight.ndim != 2 or model.bias.shape != model.weight.shape[:1]:
        raise FormatError(
            f"{path} holds a weight {tuple(model.weight.shape)} that doesn't fit its bias",
            hint=f"Train again: python -m trainer --out {path.parent}",
        )
    return model, story
