"""The command train: train one run and write its folder.

This module imports torch, so __main__.py imports it only after it has parsed the command line.
"""

import re
from argparse import Namespace
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import Any

import torch

from fmnist_fetch.console.output import write_line
from fmnist_fetch.errors import FetchError, FormatError, UsageError
from fmnist_fetch.tensors.arrays import load
from fmnist_fetch.tensors.split import Split
from trainer.data import Examples
from trainer.distributed import ProcessGroup, init_process_group
from trainer.invocation import default_folder, switches, train_command
from trainer.pictures import Pictures
from trainer.run_dir import CURVES, Run, differences, free_folder, open_checkpoint, set_aside
from trainer.softmax import Model
from trainer.train import Epoch, Settings, missed_bounds, train


class InterruptedRunError(FetchError):
    """Ctrl-C or SIGTERM arrived while training."""

    exit_code = 130


def fit(options: Namespace) -> None:
    """Run the command train.

    Raises:
        FetchError: Or one of its kinds; also where the finished run misses the bounds of the book.
    """
    group = init_process_group(options.device)
    run: Run | None = None
    pictures: Pictures | None = None
    try:
        run, saved = open_run(options, group)
        # Several processes share the cores, and more threads in each would compete for them.
        torch.set_num_threads(run.settings.threads if group.world_size == 1 else 1)
        splits = [load(run.settings.dataset, name, options.root) for name in ("train", "test")]
        model = prepare(run, saved, splits, group)
        pictures = Pictures(run, options) if group.is_first else None
        examples, test = (Examples.of(split, group.device) for split in splits)
        run_epochs(run, model, examples, test, pictures, group)
    except KeyboardInterrupt:
        # A second Ctrl-C ends the drawing, and the message stays.
        with suppress(KeyboardInterrupt):
            if pictures is not None:
                pictures.flush()
        raise interrupted(run, options) from None
    except RuntimeError as error:
        if group.world_size == 1:
            raise
        raise lost_process(run, options, error) from error
    finally:
        group.destroy()
    if pictures is not None:
        report(run, splits[0].dataset)
        pictures.wait_for_window()


def open_run(options: Namespace, group: ProcessGroup) -> tuple[Run, Model | None]:
    """Return the run to train: a new one, or the rest of an interrupted one. Rank 0 decides for all processes."""
    given = given_settings(options)
    folder = options.out or default_folder(given.get("dataset"))
    run, model = Run(folder, Settings(**given), options.root), None
    if group.is_first:
        run, model = (resume if options.resume else continue_or_start)(run, given, options)
    shared = group.broadcast_json({"settings": asdict(run.settings), "history": [asdict(e) for e in run.history]})
    run.settings = Settings(**shared["settings"])
    run.history = [Epoch(**epoch) for epoch in shared["history"]]
    return run, model


def given_settings(options: Namespace) -> dict[str, Any]:
    """Return the settings that the command names."""
    named = {field.name: getattr(options, field.name) for field in fields(Settings)}
    return {name: value for name, value in named.items() if value is not None}


def resume(new: Run, given: dict[str, Any], options: Namespace) -> tuple[Run, Model | None]:
    """Open the run in the folder for --resume. Settings that are not on the command line are those of the run."""
    found = open_checkpoint(new, given)
    if found is None:
        write_line(f"there is no checkpoint in {new.folder} yet: beginning with epoch 1")
        return new, None
    return accept(*found, given, options)


def continue_or_start(new: Run, given: dict[str, Any], options: Namespace) -> tuple[Run, Model | None]:
    """Continue an interrupted run of the same settings, or start a new one."""
    try:
        found = open_checkpoint(new, given)
    except FormatError:  # it cannot be continued; `prepare` moves it aside
        return new, None
    if found is None or not found[0].history or found[0].is_finished:
        return new, None
    wanted = {name: value for name, value in asdict(new.settings).items() if name != "epochs" or name in given}
    return accept(*found, wanted, options)


def accept(run: Run, model: Model, wanted: dict[str, Any], options: Namespace) -> tuple[Run, Model]:
    """Continue a run with the wanted number of epochs. Raises a UsageError if its other settings differ."""
    begun_with = run.settings.epochs
    if unlike := differences(run, wanted):
        words, settings = switches(options), {**asdict(Settings()), **given_settings(options)}
        beside = train_command(settings, free_folder(run.folder), run.root, more=words)
        raise UsageError(
            f"{run.folder} has a run (epoch {len(run.history)} of {begun_with}) with {'; '.join(unlike)}",
            hint=f"Start another run beside it: {beside} - or continue it: {run.resume_command(*words)}",
        )
    epochs = wanted.get("epochs", begun_with)
    run.settings = replace(run.settings, epochs=epochs)
    changed = f" (it was started for {begun_with})" if epochs != begun_with else ""
    write_line(f"continuing the run in {run.folder} after epoch {len(run.history)} of {epochs}{changed}")
    return run, model


def prepare(run: Run, saved: Model | None, splits: list[Split], group: ProcessGroup) -> Model:
    """Prepare the folder, and return the model to start from in every process."""
    digests = {f"{s.name}_{role}": digest for s in splits for role, digest in s.digests.items()}
    pixels, classes = splits[0].images[0].size, splits[0].classes
    if saved is not None:
        run.check_data(digests)
    run.digests, run.classes = digests, classes
    if saved is not None:
        run.check_model(saved, pixels)
    model = saved or Model.fresh(run.settings.seed, len(classes), pixels)
    if group.is_first:
        if saved is None and (aside := set_aside(run.folder)):
            write_line(f"the earlier run in {run.folder} is kept in {aside}")
        run.begin(model)
    model = Model(model.weight.to(group.device), model.bias.to(group.device))
    group.broadcast(model.weight, model.bias)
    return model


def run_epochs(
    run: Run, model: Model, examples: Examples, test: Examples, pictures: Pictures | None, group: ProcessGroup
) -> None:
    """Train all epochs. After each one, rank 0 saves it, prints it and draws it."""
    history = list(run.history)
    for epoch in train(model, examples, test, run.settings, after=len(history), group=group):
        history.append(epoch)
        if pictures is not None:
            run.record(model, history)
            write_line(
                f"epoch {epoch.number:2}   train loss {epoch.train_loss:.4f}"
                f"   train acc {epoch.train_accuracy:.4f}   test acc {epoch.test_accuracy:.4f}"
            )
            pictures.add(epoch)
    if pictures is not None:
        run.finish(model, device=str(group.device), processes=group.world_size)
        pictures.finish(model, test)


def interrupted(run: Run | None, options: Namespace) -> InterruptedRunError:
    """Return the error for an interrupted run, with what is saved and the command that continues it."""
    if run is None or not run.history:
        return InterruptedRunError("interrupted before the first epoch", hint="Run the same command again.")
    words = switches(options)
    if run.is_finished and len(run.history) == run.settings.epochs:
        message = f"interrupted while drawing pictures; the trained model is in {run.folder}"
        return InterruptedRunError(message, hint=f"Draw the pictures again: {run.resume_command(*words)}")
    return InterruptedRunError(
        f"interrupted after epoch {len(run.history)} of {run.settings.epochs}; the checkpoint is kept",
        hint=f"Continue with: {run.command(*words)}",
    )


def lost_process(run: Run | None, options: Namespace, error: RuntimeError) -> FetchError:
    """Return the error for another process of the group that ended or stopped answering."""
    # The first sentence of the message of torch.distributed, without the position in its source.
    line = (str(error).splitlines() or [type(error).__name__])[0]
    reason = re.sub(r"\[/\S+\] ", "", line).partition(". ")[0]
    return FetchError(
        f"another process of this training ended or does not answer, after epoch {len(run.history if run else ())}:"
        f" {reason}",
        hint="Look at its messages, then run the same torchrun command again, or in one process: "
        f"{run.command(*switches(options)) if run else 'it'}",
    )


def report(run: Run, dataset: str) -> None:
    """Print where the run is. Raises a FetchError if it misses the bounds of the book for Fashion-MNIST."""
    write_line(f"the run is in {run.folder}")
    misses = missed_bounds(run.history) if dataset == Settings.dataset else None
    if misses:
        raise FetchError(
            f"after {len(run.history)} epochs {misses}",
            hint=f"Look at {run.folder / CURVES}: a loss that still falls needs more --epochs, one that"
            f" jumps a smaller --learning-rate; the book uses --learning-rate {Settings.learning_rate}"
            f" --batch-size {Settings.batch_size}.",
        )
