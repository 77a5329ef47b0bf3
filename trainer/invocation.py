"""The commands in hints. They work where they are printed, with the options that the user gave.

In a clone that is `make train`; elsewhere `python -m trainer` or fmnist-train, as the user started it.
"""

import os
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_fetch.storage.layout import root_folder

PROJECT = Path(__file__).parents[1]
DEFAULT_DATASET = "fashion-mnist"
# What torchrun sets. Under SLURM or in an IDE, some of these may be set without it, but never all.
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# The defaults of all settings; they are not repeated in a hint.
DEFAULTS = {"dataset": DEFAULT_DATASET, "epochs": 10, "batch_size": 256, "learning_rate": 0.1, "seed": 0, "threads": 2}
LIMITS = {"epochs": (1, 10**9), "batch_size": (1, 10**9), "seed": (0, 2**32 - 1), "threads": (1, 1024)}
"""The least and the greatest value of each setting, on the command line and in a run folder."""
MAX_LEARNING_RATE = 3e38
"""A step is computed in float32, the type of the parameters, whose maximum is 3.4e38."""


def default_folder(dataset: str | None) -> Path:
    """Return the default run folder of a dataset."""
    return Path("runs", Path(dataset or DEFAULT_DATASET).stem)


def train_command(
    settings: Mapping[str, Any], folder: Path, root: Path | None = None, *, more: Sequence[str] = ()
) -> str:
    """Return the command that trains a run, with its settings that are not defaults, and MORE arguments."""
    chosen = {name: value for name, value in settings.items() if value != DEFAULTS[name]}
    dataset = chosen.pop("dataset", DEFAULT_DATASET)
    out = str(folder) if folder != default_folder(dataset) else ""
    named = dataset if dataset != DEFAULT_DATASET else ""
    data = str(root) if root and root != root_folder(None) else ""
    if _in_clone():
        epochs = str(chosen.pop("epochs", ""))
        words = shlex.join([*_flags(chosen), *more])
        values = {"DATASET": named, "ROOT": data, "RUN": out, "EPOCHS": epochs, "TRAIN": words}
        # The Makefile does not expand the paths; TRAIN and EPOCHS, which it expands, contain no $.
        given = [f"{name}={value}" for name, value in values.items() if value]
        return _join(["make", "train", *given])
    return _join([*_program(), *_flags({"dataset": named, "out": out, "root": data, **chosen}), *more])


def install_command() -> str:
    """Return the command that installs what the trainer needs."""
    if _in_clone():
        return "make train"
    packages = ["torch", "safetensors", "numpy", "matplotlib"]
    # On other systems than Linux, the builds of torch on PyPI are without CUDA.
    index = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"] if sys.platform == "linux" else []
    return _join([sys.executable, "-m", "pip", "install", *packages, *index])


def is_launched() -> bool:
    """Return whether torchrun started this process, as one of several."""
    return all(os.environ.get(name) for name in LAUNCHER_VARIABLES)


def switches(options: Namespace) -> list[str]:
    """Return the options of the user that are not settings, as arguments."""
    words = ["--device", options.device] if options.device != "auto" else []
    words += ["--live"] if options.live else []
    return words + ([] if options.pictures else ["--no-pictures"])


def trainer_command(*words: object) -> str:
    """Return the command that starts the trainer with these arguments, as the user started it."""
    return _join([*_program(), *map(str, words)])


def _in_clone() -> bool:
    return Path.cwd() == PROJECT and (PROJECT / "Makefile").exists()


def _flags(values: Mapping[str, Any]) -> list[str]:
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in values.items() if value != "")
    return [word for pair in pairs for word in pair]


def _program() -> list[str]:
    """Return the command that starts the trainer here, by its bare name only if the shell finds this program by it."""
    script = Path(sys.argv[0])
    if script.stem == "fmnist-train":
        return ["fmnist-train" if _is_found("fmnist-train", script) else str(script)]
    for name in ("python", "python3"):
        if _is_found(name, Path(sys.executable)):
            return [name, "-m", "trainer"]
    here, python = Path.cwd(), Path(sys.executable)
    return [str(python.relative_to(here) if python.is_relative_to(here) else python), "-m", "trainer"]


def _is_found(name: str, program: Path) -> bool:
    found = shutil.which(name)
    return found is not None and os.path.abspath(found) == os.path.abspath(program)  # noqa: PTH100 (keeps links)


def _join(words: list[str]) -> str:
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
