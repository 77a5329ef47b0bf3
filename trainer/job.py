"""One training run from the command to the run folder: settle, prepare, train and record, finish.

Imports torch, so __main__.py imports this room late, when the command line has been understood.
"""

from argparse import Namespace
from dataclasses import asdict, fields
from pathlib import Path

import torch

from fmnist_fetch.errors import FetchError
from fmnist_fetch.tensors.arrays import load
from fmnist_fetch.tensors.split import Split
from trainer import plots
from trainer.data import Examples
from trainer.plots import Curves
from trainer.ranks import Team, join
from trainer.run import CONFUSION, CURVES, PREDICTIONS, Run, reopen
from trainer.screen import complain, say
from trainer.softmax import Model
from trainer.train import Epoch, Settings, closing_check, scores_of, train

PICTURED = 16


class InterruptedRunError(FetchError):
    """Ctrl-C or SIGTERM came while training."""

    exit_code = 130


def train_and_record(options: Namespace) -> None:
    """Train as the command says, and leave a run folder. Raises a FetchError also when the closing check fails."""
    team = join(options.device)
    run: Run | None = None
    try:
        run, saved = settle(options, team)
        # Several processes share the cores among themselves; threads of each would get in the others' way.
        torch.set_num_threads(run.settings.threads if team.size == 1 else 1)
        splits = [load(run.settings.dataset, name, options.root) for name in ("train", "test")]
        model = prepare(run, saved, splits, team)
        curves = open_curves(options, run) if team.rank == 0 else None
        examples, test = (Examples.of(split, team.device) for split in splits)
        follow(run, model, examples, test, curves, team)
    except KeyboardInterrupt:
        raise interrupted(run, options) from None
    finally:
        team.leave()
    if team.rank == 0:
        close(run, splits[0].dataset)
    if curves is not None:
        curves.linger()


def interrupted(run: Run | None, options: Namespace) -> InterruptedRunError:
    """Say what is safe on the disk, and the command that goes on from there."""
    if run is None or not run.digests:
        return InterruptedRunError("interrupted before the first epoch", hint="Run the same command again.")
    root = f" --root {options.root}" if options.root else ""
    return InterruptedRunError(
        f"interrupted after epoch {len(run.history)} of {run.settings.epochs}; the checkpoint is kept",
        hint=f"Go on with: python -m trainer --resume --out {run.folder}{root}",
    )


def settle(options: Namespace, team: Team) -> tuple[Run, Model | None]:
    """Find out what to train: from the command, or from the checkpoint, which rank 0 reads for all."""
    named = {field.name: getattr(options, field.name) for field in fields(Settings)}
    given = {name: value for name, value in named.items() if value is not None}
    folder = options.out or Path("runs", Path(given.get("dataset", Settings.dataset)).stem)
    run, model = Run(folder, Settings(**given)), None
    if options.resume and team.rank == 0:
        run, model = reopen(folder, given) or (run, None)
        if model is None:
            say(f"there is no checkpoint in {folder} yet: beginning with epoch 1")
    told = team.tell({"settings": asdict(run.settings), "history": [asdict(e) for e in run.history]})
    run.settings = Settings(**told["settings"])
    run.history = [Epoch(**epoch) for epoch in told["history"]]
    return run, model


def prepare(run: Run, saved: Model | None, splits: list[Split], team: Team) -> Model:
    """Give every process the model to go on from, and make the folder ready."""
    digests = {f"{s.name}_{role}": digest for s in splits for role, digest in s.digests.items()}
    if saved is not None:
        run.check_data(digests)
    run.digests, run.classes = digests, splits[0].classes
    model = saved or Model.fresh(run.settings.seed, len(run.classes), splits[0].images[0].size)
    if team.rank == 0:
        run.begin(model)
    model = Model(model.weight.to(team.device), model.bias.to(team.device))
    team.copy_from_first(model.weight, model.bias)
    return model


def open_curves(options: Namespace, run: Run) -> Curves | None:
    """Make the picture of the curves; None, with a note, where matplotlib is missing or nobody wants pictures."""
    if not options.pictures:
        return None
    try:
        curves = Curves(run.folder / CURVES, epochs=run.settings.epochs, live=options.live)
    except ModuleNotFoundError as error:
        missing = FetchError(
            f"{error.name} is not installed, so this run draws no pictures",
            hint="Run: python -m pip install matplotlib",
        )
        complain(missing, "note")
        return None
    if run.history:
        curves.add(*run.history)
    return curves


def follow(run: Run, model: Model, examples: Examples, test: Examples, curves: Curves | None, team: Team) -> None:
    """Go through the epochs; after each one print it, make it safe and draw it. Rank 0 does so for all."""
    history = list(run.history)
    for epoch in train(model, examples, test, run.settings, after=len(history), team=team):
        history.append(epoch)
        if team.rank == 0:
            say(told(epoch))
            run.record(model, history)
        if curves is not None:
            curves.add(epoch)
    if team.rank == 0:
        run.finish(model, device=str(team.device), processes=team.size)
    if curves is not None:
        draw_result(run, model, test)


def told(epoch: Epoch) -> str:
    """Say an epoch in one line."""
    return (
        f"epoch {epoch.number:2}   train loss {epoch.train_loss:.4f}"
        f"   train acc {epoch.train_accuracy:.4f}   test acc {epoch.test_accuracy:.4f}"
    )


def draw_result(run: Run, model: Model, test: Examples) -> None:
    """Draw what the trained model makes of the test images: predictions.png and confusion.png."""
    predicted = scores_of(model, test.images).argmax(dim=1)  # (N,)
    kinds = len(run.classes)
    counts = torch.bincount(test.labels * kinds + predicted, minlength=kinds**2)  # (100,)
    true_names, predicted_names = (
        [run.classes[label] for label in labels[:PICTURED].tolist()] for labels in (test.labels, predicted)
    )
    first = test.images[:PICTURED].cpu().numpy()
    plots.save(run.folder / PREDICTIONS, plots.predictions(first, true_names, predicted_names))
    table = counts.view(kinds, kinds).cpu().numpy()  # (10, 10), a row for each true class
    plots.save(run.folder / CONFUSION, plots.confusion(table, run.classes))


def close(run: Run, dataset: str) -> None:
    """Say where the run is. Raises a FetchError if it misses the bounds that the book has for Fashion-MNIST."""
    say(f"the run is in {run.folder}")
    misses = closing_check(run.history) if dataset == Settings.dataset else None
    if misses:
        raise FetchError(
            f"after {len(run.history)} epochs {misses}",
            hint=f"Look at {run.folder / CURVES}: a loss that still falls wants more --epochs, one that"
            f" jumps a smaller --learning-rate; the book's job is --learning-rate {Settings.learning_rate}"
            f" --batch-size {Settings.batch_size}.",
        )
