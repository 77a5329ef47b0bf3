"""The command line: `python -m trainer`, also installed as fmnist-train."""

import argparse
import gc
import importlib
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from fmnist_fetch.console.output import print_error
from fmnist_fetch.errors import FetchError, UsageError, from_exception
from trainer.invocation import LARGEST, LARGEST_RATE, install_command, is_launched, trainer_command

VERBS = {"train": "fit", "evaluate": "evaluate", "predict": "predict"}  # the module, and the function in it
INTERRUPTED = 130
BUG_HINT = "If there is memory enough for data of this size, this is a bug: report it with these two lines."


class Parser(argparse.ArgumentParser):
    """argparse, with its errors in the two lines of all other errors."""

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError."""
        raise UsageError(message, hint=f"Run: {trainer_command('--help')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process; without a verb it trains."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] not in [[verb] for verb in (*VERBS, "-h", "--help")]:
        words = ["train", *words]
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        options = parser().parse_args(words)
        import_torch()
        verb(options.verb)(options)
    except Exception as exc:
        error = from_exception(exc, BUG_HINT)
        # Of several processes only the first reports: the errors of the others follow from its own.
        if not is_launched() or os.environ["RANK"] == "0" or getattr(error, "every_process", False):
            print_error(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted before the first epoch", "Run the same command again.")
        return INTERRUPTED
    return 0


def verb(name: str) -> Callable[[argparse.Namespace], None]:
    """Import what a verb needs, and nothing else."""
    module = importlib.import_module(f"trainer.{VERBS[name]}")
    run: Callable[[argparse.Namespace], None] = getattr(module, VERBS[name])
    return run


def import_torch() -> None:
    """Import torch without counting its garbage. Raises a FetchError if it is not installed.

    The import makes some 100,000 objects that live to the end of the process. The collector would walk through them
    again and again meanwhile: a third of the time that the import takes.
    """
    # GNU OpenMP's threads spin while they wait. Long spinning makes a training ten times slower where another program
    # needs the cores too, no spinning makes it twice as slow where none does. torch reads this when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if is_launched():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a stack trace in C++ for each process that is missing
    gc.disable()
    try:
        importlib.import_module("torch")
        importlib.import_module("safetensors")
    except ModuleNotFoundError as error:
        raise FetchError(
            f"{error.name} is not installed, which the trainer needs",
            hint=f"Run: {install_command()}",
        ) from error
    gc.freeze()
    gc.enable()


def parser() -> Parser:
    """Describe the verbs and their options; an option that is not given has the value of the book or the checkpoint."""
    top = Parser(
        prog="python -m trainer",
        description="Softmax regression on Fashion-MNIST, from scratch. Without a verb it trains.",
        epilog="The options of training: python -m trainer train --help",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="{train,evaluate,predict}")
    train = verbs.add_parser("train", help="train, and write a run folder (the default)")
    train.add_argument("--dataset", metavar="NAME", help="a name or a manifest (fashion-mnist)")
    for flag, kind, text in (
        ("--epochs", positive, "how often to go through the training images (10)"),
        ("--batch-size", positive, "images in a step (256)"),
        ("--learning-rate", rate, "length of a step (0.1)"),
        ("--seed", seed, "of the first weights and of every shuffle (0)"),
        ("--threads", threads, "threads of torch (2; under torchrun 1 in each process)"),
    ):
        train.add_argument(flag, type=kind, metavar="N", help=text)
    train.add_argument("--out", type=Path, metavar="FOLDER", help="the run (runs/fashion-mnist)")
    train.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint, also a finished run with more epochs"
    )
    train.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    train.add_argument("--live", action="store_true", help="also draw the curves in a window")
    train.add_argument("--no-pictures", dest="pictures", action="store_false", help="draw nothing")
    evaluate = verbs.add_parser("evaluate", help="test a finished run and check its summary")
    predict = verbs.add_parser("predict", help="label test images or own pictures")
    for finished in (evaluate, predict):
        finished.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    predict.add_argument("items", nargs="*", metavar="INDEX|IMAGE", help="test image or picture")
    predict.add_argument("--resize", action="store_true", help="scale pictures of any size, and make colours grey")
    predict.add_argument("--invert", action="store_true", help="turn dark on bright into bright on dark")
    predict.add_argument("--top", type=positive, default=3, metavar="K", help="labels to print (3)")
    for each in (train, evaluate, predict):
        each.add_argument("--root", type=Path, help="where the data is (FMNIST_ROOT, or ./data)")
    return top


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    if number > LARGEST["epochs"]:
        raise argparse.ArgumentTypeError(f"{text} is more than {LARGEST['epochs']}")
    return number


def threads(text: str) -> int:
    """Read a number of threads."""
    number = positive(text)
    if number > LARGEST["threads"]:
        raise argparse.ArgumentTypeError(f"{text} is more than {LARGEST['threads']}")
    return number


def seed(text: str) -> int:
    """Read a seed: a whole number from 0 to 4294967295."""
    number = int(text)
    if not 0 <= number <= LARGEST["seed"]:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {LARGEST['seed']}")
    return number


def rate(text: str) -> float:
    """Read a finite number above 0."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    if number > LARGEST_RATE:
        raise argparse.ArgumentTypeError(f"{text} is more than {LARGEST_RATE}")
    return number


def script() -> NoReturn:
    """Run one command and end the process at once; the entry point of fmnist-train."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are written, closed and on the disk by now. To tear down torch's modules would take 0.1 s more.
    os._exit(code)


if __name__ == "__main__":
    script()
