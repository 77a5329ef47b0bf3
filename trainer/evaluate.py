"""The command evaluate: test a finished run again, and check its summary."""

from argparse import Namespace

import torch

from fmnist_fetch.console.output import write_line
from fmnist_fetch.tensors.arrays import load
from trainer.data import Examples
from trainer.run_dir import open_finished
from trainer.softmax import accuracy, cross_entropy
from trainer.train import score_images


def evaluate(options: Namespace) -> None:
    """Test the model of a run again, and compare the result with the summary of the run.

    Raises:
        IntegrityError: Model, data or accuracy are not those of summary.json.
    """
    run, model = open_finished(options.run, options.root)
    torch.set_num_threads(run.settings.threads)
    split = load(run.settings.dataset, "test", options.root)
    test = Examples.of(split)
    run.check_model(model, test.images[0].numel())
    scores = score_images(model, test.images)  # (N, 10)
    overall = float(accuracy(scores, test.labels))
    loss = float(cross_entropy(scores, test.labels))
    write_line(f"test loss {loss:.4f}   test acc {overall:.4f}   {len(test):,} images")
    for label, name in enumerate(run.classes):
        members = test.labels == label  # (N,) bool
        if members.any():
            write_line(f"  {name:12} {float(accuracy(scores[members], test.labels[members])):.4f}")
    digests = {f"test_{role}": digest for role, digest in split.digests.items()}
    run.check_summary(overall, digests)
    write_line(f"{run.folder}: model, data and accuracy are as summary.json says")
