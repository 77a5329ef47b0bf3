"""The command line: `python -m trainer`, also installed as fmnist-train."""

import os
import sys

if __name__ == "__main__" and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120
    # The current folder, which `python -m` puts first: a random.py or queue.py there is none of Python's modules.
    sys.path.append(sys.path.pop(0))

import argparse
import gc
import importlib
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from fmnist_fetch.console.output import flush_streams, open_streams, print_error
from fmnist_fetch.console.parser import Parser
from fmnist_fetch.errors import FetchError, from_exception
from trainer.invocation import LIMITS, MAX_LEARNING_RATE, install_command, is_launched, trainer_command

COMMANDS = {"train": "fit", "evaluate": "evaluate", "predict": "predict"}
"""The module of each command, which has a function of the same name."""
INTERRUPTED = 130
BUG_HINT = "If there is memory enough for data of this size, this is a bug: report it with these two lines."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code of the process; without a command it trains."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["train", *words]
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        options = parser().parse_args(words)
        Path.cwd()  # Where that has been deleted, torch's libraries would end the process.
        import_torch()
        name = COMMANDS[options.command]  # the modules of other commands are not loaded
        getattr(importlib.import_module(f"trainer.{name}"), name)(options)
    except Exception as exc:
        error = from_exception(exc, BUG_HINT)
        # Only the first process reports: the errors of the others are its consequences.
        if not is_launched() or os.environ["RANK"] == "0" or getattr(error, "every_process", False):
            print_error(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted before the first epoch", "Run the same command again.")
        return INTERRUPTED
    return 0


def import_torch() -> None:
    """Import torch with the garbage collector off.

    The import creates about 100,000 objects that live to the end of the process. The collector would traverse them
    repeatedly, which takes a third of the import time.

    Raises:
        FetchError: It is not installed.
    """
    # GNU OpenMP's threads spin while they wait. With long spinning, training takes ten times as long when another
    # program needs the cores; without spinning, twice as long when none does. torch reads this when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if is_launched():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a C++ stack trace for each missing process
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
    """Return the parser; an option of training that is not given is None: the book or the checkpoint has its value."""
    top = Parser(
        prog=trainer_command(),
        description="Softmax regression on Fashion-MNIST, from scratch. Without a command it trains.",
        epilog=f"The options of training: {trainer_command('train', '--help')}",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="{train,evaluate,predict}")
    train = commands.add_parser("train", help="train, and write a run folder (the default)")
    train.add_argument("--dataset", metavar="NAME", help="a name or a manifest (fashion-mnist)")
    for flag, kind, text in (
        ("--epochs", whole(*LIMITS["epochs"]), "how often to go through the training images (10)"),
        ("--batch-size", whole(*LIMITS["batch_size"]), "images in a step (256)"),
        ("--learning-rate", rate, "length of a step (0.1)"),
        ("--seed", whole(*LIMITS["seed"]), "of the first weights and of every shuffle (0)"),
        ("--threads", whole(*LIMITS["threads"]), "threads of torch (2; under torchrun 1 in each process)"),
    ):
        train.add_argument(flag, type=kind, metavar="N", help=text)
    train.add_argument("--out", type=Path, metavar="FOLDER", help="the run (runs/fashion-mnist)")
    train.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint, also a finished run with more epochs"
    )
    train.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    train.add_argument("--live", action="store_true", help="also draw the curves in a window")
    train.add_argument("--no-pictures", dest="pictures", action="store_false", help="draw nothing")
    evaluate = commands.add_parser("evaluate", help="test a finished run and check its summary")
    predict = commands.add_parser("predict", help="label test images or own pictures")
    for finished in (evaluate, predict):
        finished.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    predict.add_argument("items", nargs="*", metavar="INDEX|IMAGE", help="test image or picture")
    predict.add_argument("--resize", action="store_true", help="scale pictures of any size, and make colours grey")
    predict.add_argument("--invert", action="store_true", help="turn dark on bright into bright on dark")
    predict.add_argument("--top", type=whole(1, 10**9), default=3, metavar="K", help="labels to print (3)")
    for each in (train, evaluate, predict):
        each.add_argument("--root", type=Path, help="where the data is (FMNIST_ROOT, or ./data)")
    return top


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the parser of an option that takes a whole number from LEAST to MOST."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return int(text)

    return parse


def rate(text: str) -> float:
    """Parse a learning rate."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= MAX_LEARNING_RATE:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and up to {MAX_LEARNING_RATE}")
    return number


def script() -> NoReturn:
    """Run one command and end the process at once; the entry point of fmnist-train."""
    open_streams()
    code = main()
    try:
        flush_streams()
    except FetchError as error:
        print_error(error.message, error.hint)
        code = code or error.exit_code
    # All files are closed and on the disk by now. Unloading the modules of torch would take another 0.1 s.
    os._exit(code)


if __name__ == "__main__":
    script()
