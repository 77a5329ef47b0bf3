"""Validation of what is read from a run folder, which a stranger may have written.

The functions raise a ValueError with the first fault; the callers add the file, and a hint with a command.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import torch

from trainer.invocation import LIMITS, MAX_LEARNING_RATE
from trainer.softmax import Model
from trainer.train import Epoch, Settings

MAX_SUMMARY_BYTES = 16 * 1024 * 1024
MAX_WEIGHTS = 2**28
"""1 GiB of float32. A sparse file can claim far more numbers than fit into memory."""
_MAX_NAME_CHARACTERS = 4096
_INFINITY = float("inf")


class Metadata(NamedTuple):
    """The metadata of a model or a checkpoint; the digests are those of the data, by split and role."""

    settings: Settings
    digests: dict[str, str]
    classes: tuple[str, ...]
    history: tuple[Epoch, ...]


class Summary(NamedTuple):
    """The part of summary.json that another test can confirm."""

    metadata: Metadata
    test_accuracy: float
    model_digest: str


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; refuse NaN and Infinity, which Python's parser accepts although JSON does not have them."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_metadata(table: object) -> Metadata:
    """Check the metadata of a model or a checkpoint: types, finite numbers, bounds."""
    found = _table(table, "the metadata")
    settings = _settings(_table(found.get("settings"), "settings"))
    digests = _table(found.get("data"), "data")
    for name, digest in digests.items():
        _check_digest(digest, f"the digest of {name:.80}")
    classes = found.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes is not a list of names")
    lines = found.get("history", [])
    if not isinstance(lines, list) or len(lines) > settings.epochs:
        raise ValueError("history is not a list of at most as many epochs as the settings have")
    history = tuple(_epoch(line, number) for number, line in enumerate(lines, start=1))
    return Metadata(settings, dict(digests), tuple(classes), history)


def parse_summary(text: bytes) -> Summary:
    """Check the text of summary.json."""
    if len(text) > MAX_SUMMARY_BYTES:
        raise ValueError(f"it is longer than {MAX_SUMMARY_BYTES:,} bytes")
    table = _table(parse_json(text), "the summary")
    final = _table(table.get("final"), "final")
    _check_share(final.get("test_accuracy"), "test_accuracy")
    _check_digest(table.get("model_sha256"), "model_sha256")
    return Summary(parse_metadata(table), final["test_accuracy"], table["model_sha256"])


def check_layout(tensors: Mapping[str, tuple[str, list[int]]]) -> None:
    """Check type and shape of the tensors in a model file, before their values are read."""
    if tensors.keys() != {"weight", "bias"}:
        raise ValueError("it does not consist of a weight and a bias")
    (weight_type, weight), (bias_type, bias) = tensors["weight"], tensors["bias"]
    if (weight_type, bias_type) != ("F32", "F32"):
        raise ValueError(f"its weight is {weight_type} and its bias {bias_type}, not F32")
    if len(weight) != 2 or bias != weight[:1] or 0 in weight:
        raise ValueError(f"its weight {tuple(weight)} does not fit its bias {tuple(bias)}")
    if weight[0] * weight[1] > MAX_WEIGHTS:
        raise ValueError(f"its weight {tuple(weight)} has more than {MAX_WEIGHTS:,} numbers")


def check_finite(model: Model) -> None:
    """Check that no parameter, and no score of an image with pixels in [0, 1], is NaN or infinite."""
    bounds = model.weight.abs().sum(dim=1) + model.bias.abs()  # (10,)
    if not torch.isfinite(bounds).all():
        raise ValueError("it has weights that are NaN, infinite or too large")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a table")
    return value


def _settings(table: dict[str, Any]) -> Settings:
    _check_names(table, Settings, "settings")
    dataset, rate = table["dataset"], table["learning_rate"]
    if not isinstance(dataset, str) or not 0 < len(dataset) <= _MAX_NAME_CHARACTERS or "\0" in dataset:
        raise ValueError("dataset is not a name")
    if type(rate) is not float or not 0 < rate <= MAX_LEARNING_RATE:
        raise ValueError("learning_rate is not a number above 0")
    for name, (least, most) in LIMITS.items():
        # True and False are of type int too, for isinstance.
        if type(table[name]) is not int or not least <= table[name] <= most:
            raise ValueError(f"{name} is not a whole number from {least} to {most}")
    return Settings(**table)


def _epoch(value: object, number: int) -> Epoch:
    table = _table(value, f"epoch {number}")
    _check_names(table, Epoch, f"epoch {number}")
    if type(table["number"]) is not int or table["number"] != number:
        raise ValueError(f"epoch {number} of the history has another number")
    for name in ("train_loss", "seconds"):
        if type(table[name]) not in (int, float) or not -_INFINITY < table[name] < _INFINITY:
            raise ValueError(f"{name} of epoch {number} is not a finite number")
    for name in ("train_accuracy", "test_accuracy"):
        _check_share(table[name], f"{name} of epoch {number}")
    return Epoch(**table)


def _check_names(table: dict[str, Any], kind: type[Settings] | type[Epoch], name: str) -> None:
    if table.keys() != {field.name for field in fields(kind)}:
        raise ValueError(f"{name} has other keys than expected")


def _check_share(value: object, name: str) -> None:
    # NaN is not between any two numbers.
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{name} is not a number from 0 to 1")


def _check_digest(value: object, name: str) -> None:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"{name} is not a SHA-256")
