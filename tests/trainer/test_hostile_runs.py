"""Run folders of strangers: they are read correctly or refused in two lines, and never changed."""

import json
import math
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from tinydata import Tiny, listing  # noqa: E402
from trainer.__main__ import main  # noqa: E402
from trainer.invocation import LIMITS  # noqa: E402

MODEL, CHECKPOINT, SUMMARY = "model.safetensors", "checkpoint.safetensors", "summary.json"
HUGE = 10**400

Table = dict[str, Any]
Refusal = Callable[..., str]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a finished run that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def refusal(tiny: Tiny, run: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Return a function that returns the facts with which a command refuses the run, without a change on the disk."""

    def refuse(command: str, code: int = 6) -> str:
        capsys.readouterr()
        before, threads = listing(run), torch.get_num_threads()
        given = ["--resume", "--out"] if command == "train" else []
        more = ["0"] if command == "predict" else ["--no-pictures"] if command == "train" else []
        assert main([command, *given, str(run), *more, "--root", str(tiny.root)]) == code
        error, hint = capsys.readouterr().err.splitlines()
        assert error.startswith(f"error: {run}") or str(run) in error
        assert hint.startswith("hint: ")
        assert str(tiny.root) in hint
        assert listing(run) == before
        assert torch.get_num_threads() in (threads, 2)
        return error

    return refuse


def rewrite(path: Path, tensors: Callable[[Table], object], metadata: Callable[[Table], object]) -> None:
    """Change a model file: its tensors by name, and its metadata; what a function returns replaces the metadata."""
    with safe_open(path, framework="pt") as file:
        content = {name: file.get_tensor(name).clone() for name in ("weight", "bias")}
        story = json.loads(file.metadata()["trainer"])
    tensors(content)
    changed = metadata(story)
    save_file(content, path, {"trainer": json.dumps(story if changed is None else changed)})


def keep(_: Table) -> None:
    """Change nothing."""


def setting(name: str, value: object) -> Callable[[Table], None]:
    return lambda story: story["settings"].update({name: value})


def first_number(value: float) -> Callable[[Table], None]:
    return lambda content: content["weight"].view(-1)[:1].fill_(value)


HOSTILE_METADATA: dict[str, Callable[[Table], object]] = {
    "a million threads": setting("threads", 10**6),
    "no thread": setting("threads", 0),
    "half a thread": setting("threads", 0.5),
    "true threads": setting("threads", True),
    "threads in words": setting("threads", "two"),
    "epochs beyond every number": setting("epochs", HUGE),
    "a negative number of epochs": setting("epochs", -1),
    "an endless batch": setting("batch_size", 10**20),
    "a batch of nothing": setting("batch_size", 0),
    "a negative seed": setting("seed", -1),
    "a large seed": setting("seed", 2**64),
    "a rate that is NaN": setting("learning_rate", math.nan),
    "an infinite rate": setting("learning_rate", math.inf),
    "a rate beyond float32": setting("learning_rate", 1e300),
    "a whole rate without end": setting("learning_rate", HUGE),
    "a dataset that is a number": setting("dataset", 7),
    "a dataset with a zero byte": setting("dataset", "a\0b"),
    "a dataset without a name": setting("dataset", ""),
    "an unknown setting": setting("momentum", 0.9),
    "a setting that is missing": lambda story: story["settings"].pop("seed") and None,
    "settings in a list": lambda story: story.update(settings=[1]),
    "metadata in a list": lambda story: [story],
    "metadata that is a number": len,
    "data in a list": lambda story: story.update(data=[]),
    "a digest that is a number": lambda story: story["data"].update(test_images=1),
    "a digest that is short": lambda story: story["data"].update(test_images="abc"),
    "classes that are a text": lambda story: story.update(classes="0123456789"),
    "classes that are numbers": lambda story: story.update(classes=list(range(10))),
    "a class too few": lambda story: story["classes"].pop() and None,
    "no class": lambda story: story["classes"].clear(),
}

HOSTILE_TENSORS: dict[str, Callable[[Table], object]] = {
    "a weight that is NaN": first_number(math.nan),
    "an infinite weight": first_number(-math.inf),
    "a bias that is NaN": lambda content: content["bias"].fill_(math.nan),
    "weights whose scores overflow": lambda content: content["weight"].fill_(3e38),
    "float64": lambda content: content.update(weight=content["weight"].double()),
    "float16": lambda content: content.update(bias=content["bias"].half()),
    "whole numbers": lambda content: content.update({k: v.long() for k, v in content.items()}),
    "truth values": lambda content: content.update({k: v.bool() for k, v in content.items()}),
    "a flat weight": lambda content: content.update(weight=content["weight"].flatten()),
    "a deep weight": lambda content: content.update(weight=content["weight"][None]),
    "a bias of another length": lambda content: content.update(bias=torch.zeros(9)),
    "a bias of one number": lambda content: content.update(bias=torch.tensor(0.0)),
    "images without a pixel": lambda content: content.update(weight=torch.zeros(10, 0)),
    "images of another size": lambda content: content.update(weight=torch.zeros(10, 783)),
    "a tensor more": lambda content: content.update(more=torch.zeros(1)),
    "no bias": lambda content: content.pop("bias") is None,
}


def test_an_own_picture_is_refused_by_a_model_of_images_that_are_not_square(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(run / MODEL, HOSTILE_TENSORS["images of another size"], keep)
    (tmp_path / "own.png").touch()
    assert main(["predict", str(run), str(tmp_path / "own.png")]) == 6
    error, hint = capsys.readouterr().err.splitlines()
    assert "783 pixels, which are not square" in error
    assert hint.endswith(f"predict {run} 0")


HOSTILE_HISTORIES: dict[str, Callable[[Table], object]] = {
    "a history that is a table": lambda story: story.update(history={}),
    "an epoch that is a number": lambda story: story["history"].append(3),
    "an epoch too many": lambda story: story["history"].append({**story["history"][-1], "number": 3}),
    "epochs in another order": lambda story: story["history"].reverse(),
    "a loss that is NaN": lambda story: story["history"][0].update(train_loss=math.nan),
    "a loss without end": lambda story: story["history"][0].update(train_loss="1e999"),
    "an accuracy above 1": lambda story: story["history"][0].update(test_accuracy=1.5),
    "seconds in words": lambda story: story["history"][0].update(seconds="long"),
    "an epoch with another name in it": lambda story: story["history"][0].update(loss=1),
}


@pytest.mark.parametrize("damage", HOSTILE_METADATA)
def test_a_model_with_impossible_metadata_is_refused(run: Path, refusal: Refusal, damage: str) -> None:
    for name in (MODEL, CHECKPOINT):
        rewrite(run / name, keep, HOSTILE_METADATA[damage])
    for command in ("evaluate", "predict", "train"):
        refusal(command)


@pytest.mark.parametrize("damage", HOSTILE_TENSORS)
def test_a_model_with_impossible_tensors_is_refused(run: Path, refusal: Refusal, damage: str) -> None:
    for name in (MODEL, CHECKPOINT):
        rewrite(run / name, HOSTILE_TENSORS[damage], keep)
    for command in ("evaluate", "predict", "train"):
        refusal(command)


@pytest.mark.parametrize("damage", HOSTILE_HISTORIES)
def test_a_checkpoint_with_an_impossible_history_is_refused(run: Path, refusal: Refusal, damage: str) -> None:
    rewrite(run / CHECKPOINT, keep, HOSTILE_HISTORIES[damage])
    refusal("train")


HOSTILE_SUMMARIES: dict[str, Callable[[Table], object]] = {
    "an accuracy that is NaN": lambda table: table["final"].update(test_accuracy=math.nan),
    "an accuracy without end": lambda table: table["final"].update(test_accuracy=HUGE),
    "an accuracy in words": lambda table: table["final"].update(test_accuracy="good"),
    "a true accuracy": lambda table: table["final"].update(test_accuracy=True),
    "a digest that is a number": lambda table: table.update(model_sha256=7),
    "a final that is a list": lambda table: table.update(final=[]),
    "NaN in a place that is not compared": lambda table: table.update(seconds=math.nan),
    "settings that are missing": lambda table: table.pop("settings") and None,
}


@pytest.mark.parametrize("damage", HOSTILE_SUMMARIES)
def test_a_summary_with_impossible_values_is_no_success(run: Path, refusal: Refusal, damage: str) -> None:
    table = json.loads((run / SUMMARY).read_text())
    HOSTILE_SUMMARIES[damage](table)
    (run / SUMMARY).write_text(json.dumps(table))
    assert SUMMARY in refusal("evaluate")


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "[" * 100_000, '{"final": ' + "9" * 5000 + "}", "\udcff"])
def test_a_summary_that_is_no_summary_is_refused(run: Path, refusal: Refusal, text: str) -> None:
    (run / SUMMARY).write_bytes(text.encode(errors="surrogateescape"))
    assert SUMMARY in refusal("evaluate")


def test_a_summary_of_other_settings_or_data_than_the_models_is_no_success(run: Path, refusal: Refusal) -> None:
    whole = json.loads((run / SUMMARY).read_text())
    settings, data = {**whole["settings"], "seed": 77}, {**whole["data"], "train_images": "0" * 64}
    final = {**whole["final"], "test_accuracy": 0.1234}
    for changed in (
        {"settings": settings}, {"data": data}, {"classes": ["?"] * 10}, {"model_sha256": "0" * 64}, {"final": final}
    ):  # fmt: skip
        (run / SUMMARY).write_text(json.dumps({**whole, **changed}))
        assert SUMMARY in refusal("evaluate", 3)


def test_a_model_that_was_exchanged_is_no_success(run: Path, refusal: Refusal) -> None:
    rewrite(run / MODEL, lambda content: content["bias"].add_(1e-7), keep)
    assert SUMMARY in refusal("evaluate", 3)


def test_the_hint_for_a_damaged_summary_writes_it_again(
    tiny: Tiny, run: Path, refusal: Refusal, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (run / MODEL).read_bytes()
    (run / SUMMARY).write_text("{}")
    refusal("evaluate")
    assert main(["--resume", "--out", str(run), "--root", str(tiny.root), "--no-pictures"]) == 0
    assert main(["evaluate", str(run), "--root", str(tiny.root)]) == 0
    assert "as summary.json says" in capsys.readouterr().out
    assert (run / MODEL).read_bytes() == whole


def test_the_hint_for_a_damaged_checkpoint_keeps_what_was_asked_for_and_works(
    tiny: Tiny, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (MODEL, CHECKPOINT):
        rewrite(run / name, first_number(math.nan), keep)
    damaged = listing(run)
    assert main(["--resume", *tiny.options, "--out", str(run), "--epochs", "1"]) == 6
    hint = capsys.readouterr().err.splitlines()[1]
    words = shlex.split(hint.removeprefix("hint: Train again: "))
    assert "trainer" in words
    assert main([*words[words.index("trainer") + 1 :], "--no-pictures"]) == 0
    assert listing(tmp_path / "run-2") == damaged
    assert main(["evaluate", str(run), "--root", str(tiny.root)]) == 0


def test_the_most_threads_that_a_run_may_name_work(tiny: Tiny, run: Path) -> None:
    used = torch.get_num_threads()
    for name in (MODEL, CHECKPOINT):
        rewrite(run / name, keep, setting("threads", LIMITS["threads"][1]))
    try:
        assert main(["--resume", "--out", str(run), "--root", str(tiny.root), "--no-pictures"]) == 0
        assert main(["evaluate", str(run), "--root", str(tiny.root)]) == 0
    finally:
        torch.set_num_threads(used)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    tiny: Tiny, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words, code in (
        (SUMMARY, ["evaluate", str(run)], 6),
        (MODEL, ["evaluate", str(run)], 5),
        (CHECKPOINT, ["--resume", "--out", str(run)], 5),
    ):
        (run / name).unlink()
        os.mkfifo(run / name)
        assert main([*words, "--root", str(tiny.root)]) == code
        assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    "words", ["--threads 1000000", "--epochs 1" + "0" * 30, "--batch-size 1" + "0" * 30, "--learning-rate 1e300"]
)
def test_the_command_line_takes_no_number_that_a_run_folder_may_not_hold(
    tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "run"), *words.split()]) == 2
    assert "is not a" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_pillow_tries_only_the_formats_of_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: run make train first")
    from fmnist_fetch.errors import FormatError
    from trainer.picture_file import FORMATS, read_picture

    image.init()
    assert set(FORMATS) <= image.OPEN.keys()
    assert not {"EPS", "WMF", "FLI", "PDF"} & set(FORMATS)
    for kind in ("EPS", "PCX", "SGI"):
        other = tmp_path / "drawing.png"
        image.new("L", (28, 28), 9).save(other, kind)
        with pytest.raises(FormatError):
            read_picture(other, 28, resize=True, invert=False, hint="")
    for kind in FORMATS:
        path = tmp_path / f"picture.{kind.lower()}"
        image.new("L", (28, 28), 9).save(path, kind)
        assert read_picture(path, 28, resize=True, invert=False, hint="").shape == (28, 28)
