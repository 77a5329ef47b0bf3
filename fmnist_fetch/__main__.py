"""The command line as a program: `python -m fmnist_fetch`, also installed as fmnist-fetch.

An interrupt has to be orderly from the first moment on, while the other rooms are being loaded too.
"""

import gc
import os
import signal
import sys

INTERRUPTED = 130
SELDOM = 100_000
"""Objects made until the garbage collector looks: at its usual pace it would go through every import several times."""
ROOMY = 30 * 1024 * 1024
"""Glibc takes the largest block that was freed as a measure of how much it keeps (mallopt(3), M_MMAP_THRESHOLD). Less,
and the memory of every buffer would go back to the system and come anew, with a page fault for each 4 KiB of it."""


def main() -> None:
    """Load the command line, run it and end the process at once."""
    gc.set_threshold(SELDOM)
    bytes(ROOMY)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)
    from fmnist_fetch.cli import main as run

    try:
        run()
    except SystemExit as end:
        # All is written, closed and said by now. To take the modules apart first would only cost time.
        os._exit(end.code if isinstance(end.code, int) else 0)


def _stop(_number: int, _frame: object) -> None:
    """End at once: nothing has begun. An exception would come out in the middle of somebody's import."""
    if sys.stderr is not None:
        os.write(2, b"error: interrupted\nhint: Nothing has begun. Run the same command again.\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
