"""Whether an unpacked kit is as it was packed. make asks this before it installs anything.

It stands alone on the standard library, and is run as a script: what it would import might be what is damaged.
"""

import hashlib
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SUMS = "SHA256SUMS"
WHEELS = "wheels"
MIRROR = "mirror"
TARGET = f"{WHEELS}/TARGET"
NAMED = 8
_LINE = re.compile(r"([0-9a-f]{64})  ([^/].*)")


def faults(folder: Path, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the files of the kit in FOLDER whose path begins with BELOW: the path, and the fault.

    A folder without SHA256SUMS is no kit, and has no faults.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match:
            yield SUMS, f"is damaged in line {number}"
        elif match[2].startswith(below) and (fault := _fault(folder / match[2], match[1])):
            yield match[2], fault


def other_machine(folder: Path) -> str | None:
    """Why the wheels of the kit in FOLDER are not for this Python on this machine, or None: they may well be."""
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


def digest_of(path: Path) -> str:
    """The SHA-256 of the file at PATH; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(words: list[str]) -> int:
    """Check the kit in the current folder, all of it or what lies below the first of WORDS; say what is wrong."""
    folder = Path()
    found = dict(faults(folder, *words[:1]))
    bearable = {path: fault for path, fault in found.items() if path.startswith(f"{MIRROR}/")}
    for path, fault in bearable.items():
        print(f"note: {path} {fault}; its good pieces are used", file=sys.stderr)
    fatal = [f"{path} {fault}" for path, fault in found.items() if path not in bearable]
    if fatal:
        more = f"\n  and {len(fatal) - NAMED} more" if len(fatal) > NAMED else ""
        hint = "Unpack the kit again, or copy it again; if you changed these files yourself, delete SHA256SUMS."
        return _complain("this kit is damaged:" + "".join(f"\n  {fault}" for fault in fatal[:NAMED]) + more, hint)
    if complaint := other_machine(folder):
        hint = "Name another Python (make ... PYTHON=python3.12), or pack a kit for this one: fmnist-fetch kit --help"
        return _complain(complaint, hint)
    return 0


def _fault(path: Path, sha256: str) -> str | None:
    try:
        return None if digest_of(path) == sha256 else "is damaged"
    except FileNotFoundError:
        return "is missing"
    except OSError as exc:
        return f"can't be read ({exc.strerror})"


def _complain(message: str, hint: str) -> int:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
