"""Check whether an unpacked kit is as it was packed; make runs this before it installs anything.

It is a script that needs the standard library only: what it would import might be what is damaged.
"""

import errno
import hashlib
import os
import platform
import re
import stat
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

SUMS = "SHA256SUMS"
WHEELS = "wheels"
MIRROR = "mirror"
TARGET = f"{WHEELS}/TARGET"
MAX_LISTED = 8
LARGEST_SUMS_BYTES = 16 * 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64})  ([^/].*)")
_COUNT = re.compile(r"# ([0-9]{1,9}) files")


def count_line(count: int) -> str:
    """Return the last line of SHA256SUMS, by which a list that was cut off is recognised; sha256sum skips it."""
    return f"# {count} files"


def faults(folder: Path, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the files of the kit in FOLDER whose path begins with BELOW: the path, and the fault.

    A folder without SHA256SUMS is no kit, and has no faults.
    """
    try:
        with _open(folder / SUMS) as file:
            lines = file.read(LARGEST_SUMS_BYTES).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as exc:
        yield SUMS, f"cannot be read ({exc.strerror})"
        return
    count = _COUNT.fullmatch(lines.pop()) if lines else None
    if count is None or int(count[1]) != len(lines):
        yield SUMS, "is cut off: its last line is not the number of files that it lists"
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match or ".." in match[2].split("/"):
            yield SUMS, f"is damaged in line {number}"
        elif match[2].startswith(below) and (fault := _fault(folder / match[2], match[1])):
            yield match[2], fault


def other_machine(folder: Path) -> str | None:
    """Return why the wheels of the kit in FOLDER are not for this Python on this machine, or None."""
    try:
        python, machine = (folder / TARGET).read_text(encoding="utf-8", errors="replace").split()[:2]
    except (OSError, ValueError):
        return None
    ours = "{}.{}".format(*sys.version_info)
    if python != ours:
        return f"the wheels of this kit are for Python {python}, and this is Python {ours} ({sys.executable})"
    if machine != platform.machine().lower():
        return f"the wheels of this kit are for {machine}, and this machine is {platform.machine()}"
    return None


def main(words: list[str]) -> int:
    """Check the kit in the current folder, or what is below the first of WORDS; print what is wrong."""
    folder = Path()
    found = dict(faults(folder, *words[:1]))
    usable = {path: fault for path, fault in found.items() if path.startswith(f"{MIRROR}/")}
    for path, fault in usable.items():
        print(f"note: {_shown(path)} {fault}; its good pieces are used", file=sys.stderr)
    fatal = [f"{_shown(path)} {fault}" for path, fault in found.items() if path not in usable]
    if fatal:
        more = f"\n  and {len(fatal) - MAX_LISTED} more" if len(fatal) > MAX_LISTED else ""
        hint = "Unpack the kit again, or copy it again; if you changed these files yourself, delete SHA256SUMS."
        return _print_error(
            "this kit is damaged:" + "".join(f"\n  {fault}" for fault in fatal[:MAX_LISTED]) + more, hint
        )
    if message := other_machine(folder):
        hint = "Name another Python (make ... PYTHON=python3.12), or pack a kit for this one: fmnist-fetch kit --help"
        return _print_error(message, hint)
    return 0


def _fault(path: Path, sha256: str) -> str | None:
    try:
        with _open(path) as file:
            return None if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "is damaged"
    except FileNotFoundError:
        return "is missing"
    except OSError as exc:
        return f"cannot be read ({exc.strerror})"


def _open(path: Path) -> FileIO:
    """Open the file at PATH; raise OSError where something else is there, which would be waited for."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is not a file")
    return open(number, "rb", buffering=0)


def _shown(path: str) -> str:
    """Return PATH with the characters escaped that a terminal would obey."""
    return path if path.isprintable() else ascii(path)[1:-1]


def _print_error(message: str, hint: str) -> int:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
