"""Lines for the person at the screen. A screen that has gone away never stops a training."""

import os
import sys

from fmnist_fetch.errors import FetchError


def say(line: str) -> None:
    """Print a line of results at once, or nothing if nobody reads any more (`python -m trainer | head -1`)."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open to the end of the process)


def complain(error: FetchError, severity: str = "error") -> None:
    """Print the two lines of an error on stderr: what is so, and what to type."""
    print(f"{severity}: {error.message}\nhint: {error.hint}", file=sys.stderr, flush=True)
