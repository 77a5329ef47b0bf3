"""The run folder: what a run leaves behind, and what it goes on from.

The checkpoint is the one truth. It is written first after each epoch; metrics.jsonl is derived from it anew each time,
so that the two can't disagree after an interruption.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from fmnist_fetch.errors import FetchError, FormatError, IntegrityError, UsageError
from fmnist_fetch.storage.atomic import sweep
from trainer.checkpoint import load_model, replace_file, run_disk, save_model
from trainer.softmax import Model
from trainer.train import Epoch, Settings

CHECKPOINT, MODEL, METRICS, SUMMARY = (
    "checkpoint.safetensors",
    "model.safetensors",
    "metrics.jsonl",
    "summary.json",
)
CURVES, PREDICTIONS, CONFUSION = "curves.png", "predictions.png", "confusion.png"


@dataclass
class Run:
    """A run in its folder: settings, data digests, and the epochs that are safe on the disk."""

    folder: Path
    settings: Settings
    digests: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    history: list[Epoch] = field(default_factory=list)

    def begin(self, model: Model) -> None:
        """Make the folder ready: the model to begin with is its checkpoint; what earlier runs left goes.

        Files that no run writes stay. Raises a DiskError.
        """
        self.record(model, self.history)
        with run_disk(self.folder):
            for name in (MODEL, SUMMARY, CURVES, PREDICTIONS, CONFUSION):
                (self.folder / name).unlink(missing_ok=True)
        sweep(self.folder)

    def record(self, model: Model, history: list[Epoch]) -> None:
        """Make the epochs up to here safe: the checkpoint, then metrics.jsonl from it. Raises a DiskError."""
        epochs = [asdict(epoch) for epoch in history]
        save_model(self.folder / CHECKPOINT, model, {**self._story(), "history": epochs})
        self.history = list(history)
        lines = [json.dumps({"epoch": line.pop("number"), **line}) for line in epochs]
        text = "".join(f"{line}\n" for line in lines)
        replace_file(self.folder / METRICS, text.encode())

    def finish(self, model: Model, *, device: str, processes: int) -> None:
        """Write model.safetensors and summary.json, the result that somebody else can check."""
        save_model(self.folder / MODEL, model, self._story())
        summary = {
            **self._story(),
            "final": {k: v for k, v in asdict(self.history[-1]).items() if k != "seconds"},
            "seconds": round(sum(epoch.seconds for epoch in self.history), 4),
            "model_sha256": self.model_digest(),
            "device": device,
            "processes": processes,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": numpy.__version__,
            },
        }
        replace_file(self.folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())

    def _story(self) -> dict[str, Any]:
        """What the result depends on, and nothing that differs between two equal runs."""
        return {
            "settings": asdict(self.settings),
            "data": self.digests,
            "classes": list(self.classes),
        }

    def check_data(self, digests: dict[str, str]) -> None:
        """Raise an IntegrityError unless these are digests of the data that the run was trained on."""
        if not digests.items() <= self.digests.items():
            raise IntegrityError(
                f"{self.folder} was trained on other bytes of {self.settings.dataset}",
                hint="Give the same --root as then, or train anew without --resume.",
            )

    def check_claims(self, test_accuracy: float, digests: dict[str, str]) -> None:
        """Hold a new test against summary.json. Raises an IntegrityError if the two differ."""
        self.check_data(digests)
        try:
            summary = json.loads((self.folder / SUMMARY).read_bytes())
            claimed, pinned = summary["final"]["test_accuracy"], summary["model_sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(
                f"{self.folder / SUMMARY} can't be read: {type(error).__name__}",
                hint=f"Finish the run: python -m trainer --resume --out {self.folder}",
            ) from error
        found = self.model_digest()
        # Another processor may round another way, and then an image on the border changes sides.
        if found != pinned or abs(claimed - test_accuracy) > 0.001:
            raise IntegrityError(
                f"{self.folder / SUMMARY} speaks of accuracy {claimed:.4f} and model {pinned:.8}...,"
                f" but here are {test_accuracy:.4f} and {found:.8}...",
                hint=f"Train again: python -m trainer --out {self.folder}",
            )

    def model_digest(self) -> str:
        """Hash model.safetensors: SHA-256, lower-case hex."""
        with run_disk(self.folder):
            return hashlib.sha256((self.folder / MODEL).read_bytes()).hexdigest()


def reopen(folder: Path, wanted: dict[str, Any]) -> tuple[Run, Model] | None:
    """Open an interrupted run to go on with it; None if no checkpoint is there yet.

    WANTED are the settings that the command names: they must be the run's own, only epochs may grow. Raises a
    UsageError if they aren't, a FormatError for a checkpoint that can't be read.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    model, story = load_model(path)
    run = _run(folder, story)
    for name, value in wanted.items():
        if name != "epochs" and value != getattr(run.settings, name):
            raise UsageError(
                f"{folder} was begun with {name} {getattr(run.settings, name)}, not {value}",
                hint="Leave the option out to go on with the run, or --resume to begin anew.",
            )
    epochs = max(wanted.get("epochs", run.settings.epochs), len(run.history))
    run.settings = Settings(**{**asdict(run.settings), "epochs": epochs})
    return run, model


def open_finished(folder: Path) -> tuple[Run, Model]:
    """Open a finished run, to evaluate it or predict with it. Raises a FetchError if it isn't there."""
    if not folder.is_dir():
        raise FetchError(f"there is no run folder {folder}", hint=f"Train first: python -m trainer --out {folder}")
    model, story = load_model(folder / MODEL)
    return _run(folder, story), model


def _run(folder: Path, story: dict[str, Any]) -> Run:
    history = [Epoch(**line) for line in story.get("history", [])]
    return Run(folder, Settings(**story["settings"]), story["data"], tuple(story["classes"]), history)
