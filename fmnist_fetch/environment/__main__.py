"""The set-up as a program: `python -m fmnist_fetch.environment data|train|test|serve|kit|dev`.

Any Python 3 can read this module, so that an old one can report that it is too old.
"""

import sys

OLDEST = (3, 11)


def main() -> int:
    """Run the command line of this process, and return the exit code."""
    if sys.version_info < OLDEST:
        found = "{}.{}".format(*sys.version_info[:2])
        print(f"error: Python 3.11 or newer is needed, and {sys.executable} is {found}", file=sys.stderr)
        print("hint: name another one: make data PYTHON=python3.12", file=sys.stderr)
        return 1
    from fmnist_fetch.environment.setup import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
