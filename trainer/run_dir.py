"""The run folder: the files that a run writes, and continues from.

The checkpoint is authoritative. After each epoch it is written first, and metrics.jsonl is derived from it, so that the
two agree after an interruption.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from fmnist_fetch.errors import FetchError, FormatError, IntegrityError
from fmnist_fetch.storage.atomic import sweep
from fmnist_fetch.storage.files import open_regular
from trainer.checkpoint import load_model, replace_file, run_disk, save_model
from trainer.invocation import train_command
from trainer.softmax import Model
from trainer.train import Epoch, Settings
from trainer.validation import MAX_SUMMARY_BYTES, Summary, parse_metadata, parse_summary

CHECKPOINT, MODEL, METRICS, SUMMARY = "checkpoint.safetensors", "model.safetensors", "metrics.jsonl", "summary.json"
CURVES, PREDICTIONS, CONFUSION = "curves.png", "predictions.png", "confusion.png"
RESULTS = (MODEL, SUMMARY, CURVES, PREDICTIONS, CONFUSION)


@dataclass
class Run:
    """A run in its folder: settings, where the data is (for hints), its digests, and the epochs that are saved."""

    folder: Path
    settings: Settings
    root: Path | None = None
    digests: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    history: list[Epoch] = field(default_factory=list)

    def command(self, *more: str) -> str:
        """Return the command that trains this run again, or goes on with it; MORE are other arguments."""
        return train_command(asdict(self.settings), self.folder, self.root, more=more)

    def resume_command(self, *more: str) -> str:
        """Return the command that resumes this run, which has its settings in its checkpoint."""
        return train_command({}, self.folder, self.root, more=["--resume", *more])

    def begin(self, model: Model) -> None:
        """Save the initial model as the checkpoint, and remove the results of an earlier run, but no other files."""
        self.record(model, self.history)
        with run_disk(self.folder):
            for name in RESULTS:
                (self.folder / name).unlink(missing_ok=True)
        sweep(self.folder)

    def record(self, model: Model, history: list[Epoch]) -> None:
        """Save the epochs so far: first the checkpoint, then metrics.jsonl. Raises a DiskError."""
        epochs = [asdict(epoch) for epoch in history]
        save_model(self.folder / CHECKPOINT, model, {**self._metadata(), "history": epochs})
        self.history = list(history)
        lines = [json.dumps({"epoch": line.pop("number"), **line}) for line in epochs]
        text = "".join(f"{line}\n" for line in lines)
        replace_file(self.folder / METRICS, text.encode())

    def finish(self, model: Model, *, device: str, processes: int) -> None:
        """Write the results, model.safetensors and summary.json, which others can check. Raises a DiskError."""
        save_model(self.folder / MODEL, model, self._metadata())
        summary = {
            **self._metadata(),
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

    @property
    def is_finished(self) -> bool:
        """Whether the folder has the results of this run."""
        return (self.folder / MODEL).exists() and (self.folder / SUMMARY).exists()

    def _metadata(self) -> dict[str, Any]:
        """Return what the result depends on, and nothing that differs between equal runs."""
        return {
            "settings": asdict(self.settings),
            "data": self.digests,
            "classes": list(self.classes),
        }

    def check_data(self, digests: dict[str, str]) -> None:
        """Raise an IntegrityError unless the run was trained on data with these digests."""
        if not digests.items() <= self.digests.items():
            raise IntegrityError(
                f"{self.folder} was trained on other bytes of {self.settings.dataset}",
                hint="Name the --root of that time, or another folder for a new run.",
            )

    def check_model(self, model: Model, pixels: int) -> None:
        """Raise a FormatError unless a model is for images of this many pixels and for the classes of this run."""
        if model.weight.shape != (len(self.classes), pixels):
            beside = train_command(asdict(self.settings), free_folder(self.folder), self.root)
            raise FormatError(
                f"the model in {self.folder} has weights {tuple(model.weight.shape)}, the images {pixels} pixels"
                f" and {len(self.classes)} classes",
                hint=f"Train beside it: {beside}",
            )

    def check_summary(self, test_accuracy: float, digests: dict[str, str]) -> None:
        """Compare the result of another test with summary.json. Raises an IntegrityError if they differ."""
        self.check_data(digests)
        summary = self._summary()
        found, claimed, pinned = self.model_digest(), summary.test_accuracy, summary.model_digest
        again = f"Train again: {self.command()}"
        # Another processor may round differently, which changes the class of an image at the boundary.
        # Every comparison with NaN is false, so the condition states what must be true.
        if not (found == pinned and abs(claimed - test_accuracy) <= 0.001):
            raise IntegrityError(
                f"{self.folder / SUMMARY} records accuracy {claimed:.4f} and model {pinned:.8}...,"
                f" but the test gives {test_accuracy:.4f} and {found:.8}...",
                hint=again,
            )
        recorded = summary.metadata
        if (recorded.settings, recorded.digests, recorded.classes) != (self.settings, self.digests, self.classes):
            raise IntegrityError(
                f"{self.folder / SUMMARY} records other settings, data or classes than the model", hint=again
            )

    def _summary(self) -> Summary:
        path = self.folder / SUMMARY
        try:
            with open_regular(path) as file:
                return parse_summary(file.read(MAX_SUMMARY_BYTES + 1))
        except (OSError, ValueError) as error:
            reason = type(error).__name__ if isinstance(error, OSError) else str(error)
            raise FormatError(
                f"{path} cannot be read: {reason}",
                hint=f"Write it again: {self.resume_command()}",
            ) from error

    def model_digest(self) -> str:
        """Return the SHA-256 of model.safetensors in lower-case hex."""
        with run_disk(self.folder):
            return hashlib.sha256((self.folder / MODEL).read_bytes()).hexdigest()


def open_checkpoint(new: Run, given: Mapping[str, Any]) -> tuple[Run, Model] | None:
    """Open the run that is in the folder of a new one; return None if there is no checkpoint.

    Raises:
        FormatError: The checkpoint cannot be read; the hint repeats the settings that were GIVEN on the command line.
    """
    path = new.folder / CHECKPOINT
    return _open(path, new.root, given) if path.exists() else None


def open_finished(folder: Path, root: Path | None = None) -> tuple[Run, Model]:
    """Open a finished run, to evaluate it or predict with it.

    Raises:
        FetchError: There is no finished run.
        FormatError: Its model cannot be read.
    """
    if not folder.is_dir():
        hint = f"Train first: {train_command({}, folder, root)}"
        raise FetchError(f"there is no run folder {folder}", hint=hint)
    if not (folder / MODEL).exists():
        command = train_command({}, folder, root, more=["--resume"])
        raise FetchError(f"there is no {MODEL} in {folder}", hint=f"Train first, or finish the run: {command}")
    return _open(folder / MODEL, root, {})


def set_aside(folder: Path) -> Path | None:
    """Move the files of an earlier run to a new folder beside it; return that, or None if there is nothing to keep.

    Other files stay. The checkpoint is moved last, so that the run can be completed from it after an interruption.

    Raises:
        DiskError: A file cannot be moved.
    """
    names = [name for name in (*RESULTS, METRICS, CHECKPOINT) if (folder / name).exists()]
    begun = METRICS in names and (folder / METRICS).stat().st_size == 0  # not one epoch was finished
    if begun or not {MODEL, SUMMARY, METRICS, CHECKPOINT} & set(names):
        return None
    aside = free_folder(folder)
    with run_disk(aside):
        aside.mkdir(parents=True)
        for name in names:
            (folder / name).rename(aside / name)
    return aside


def free_folder(folder: Path) -> Path:
    """Return the first of FOLDER-2, FOLDER-3 and so on that does not exist."""
    named = folder if folder.name else folder.absolute()
    number = 2
    while named.with_name(f"{named.name}-{number}").exists():
        number += 1
    return named.with_name(f"{named.name}-{number}")


def differences(run: Run, wanted: Mapping[str, Any]) -> list[str]:
    """Describe the settings in which a run differs from the wanted ones.

    Another number of epochs is no difference unless the run has more already: an epoch does not depend on later ones.
    """
    found = [
        f"{name.replace('_', ' ')} {getattr(run.settings, name)}, not {value}"
        for name, value in wanted.items()
        if name != "epochs" and value != getattr(run.settings, name)
    ]
    if len(run.history) > wanted.get("epochs", len(run.history)):
        found.append(f"{len(run.history)} epochs done, more than {wanted['epochs']}")
    return found


def _open(path: Path, root: Path | None, given: Mapping[str, Any]) -> tuple[Run, Model]:
    """Read a model or a checkpoint. Raises a FormatError."""
    try:
        model, table = load_model(path)
        metadata = parse_metadata(table)
        if len(metadata.classes) != len(model.bias):
            raise ValueError(f"it names {len(metadata.classes)} classes and has weights for {len(model.bias)}")
    except ValueError as error:
        hint = f"Train again: {train_command(given, path.parent, root)}"
        raise FormatError(f"{path} is not a model of this trainer: {error}", hint=hint) from error
    settings, digests, classes, history = metadata
    return Run(path.parent, settings, root, digests, classes, list(history)), model
