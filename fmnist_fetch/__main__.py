"""The command line as a program: `python -m fmnist_fetch`, also installed as `fmnist-fetch`.

An interrupt has to end the program in order from the first moment on, also while the other modules are loaded.
"""

import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    # The current folder, which `python -m` puts first: a random.py or queue.py there is none of Python's modules.
    sys.path.append(sys.path.pop(0))

import gc
import os
import signal

INTERRUPTED = 130
LARGEST_FREED_BYTES = 30 * 1024 * 1024
"""The largest block freed so far decides how much freed memory glibc keeps (mallopt(3), M_MMAP_THRESHOLD). Otherwise
the memory of each buffer returns to the system and comes back with a page fault for each 4 KiB: in a whole `fetch` of
the four files 13,058 page faults instead of 8,382, and 2 % more processor time (median of 30 runs each, in turns)."""
GC_THRESHOLD = 100_000
"""Objects made until the garbage collector looks: at its usual pace it would go through every import several times."""


def main() -> None:
    """Load the command line, run it and end the process."""
    if sys.version_info < (3, 11):  # noqa: UP036 - who runs it from a clone may have an older one
        version = ".".join(map(str, sys.version_info[:2]))
        _exit_early(1, f"Python {version} is too old", "Use Python 3.11 or newer: python3.11 -m fmnist_fetch")
    gc.set_threshold(GC_THRESHOLD)
    bytes(LARGEST_FREED_BYTES)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted_early)
    try:
        from fmnist_fetch import cli
    except Exception as exc:
        _exit_early(1, f"fmnist-fetch is not installed completely ({exc})", "Install it again.")
    try:
        cli.prepare_process()
        code = cli.run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt as exc:
        # Before the command began, or the second one, from somebody who is in a hurry.
        code = cli.interrupted(exc)
    code = cli.finish_process(code)
    # Everything is written and closed by now. Clearing the modules away would only take time.
    os._exit(code)


def _interrupted_early(_number: int, _frame: object) -> None:
    """End at once: nothing has begun. An exception would come out in the middle of an import."""
    _exit_early(INTERRUPTED, "interrupted", "Nothing has begun. Run the same command again.")


def _exit_early(code: int, message: str, hint: str) -> None:
    if sys.stderr is not None:
        os.write(2, f"error: {message}\nhint: {hint}\n".encode())
    os._exit(code)


if __name__ == "__main__":
    main()
