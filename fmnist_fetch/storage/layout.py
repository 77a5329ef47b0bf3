"""Where things are under the root. torchvision and d2l read the raw folder as it is."""

import os
import re
import shlex
from functools import cache
from pathlib import Path

from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.model import DataFile, Manifest

DEFAULT_ROOT = "data"
# What an editor of texts makes of them too.
_QUOTES = {"''", '""', "\u2018\u2019", "\u201c\u201d"}


def root_folder(root: str | os.PathLike[str] | None) -> Path:
    """ROOT, else the environment's FMNIST_ROOT, else ./data. Raises UsageError as `checked_path` does."""
    return checked_path(root or os.environ.get("FMNIST_ROOT") or DEFAULT_ROOT)


def checked_path(text: str | os.PathLike[str]) -> Path:
    """Return a path that the user gave, with ~ as the home folder.

    Raises:
        UsageError: It is blank, no path or a URL, begins with a variable, is in quotes or names an unknown home:
            something that a shell should have replaced, and that nobody means as the name of a folder.
    """
    try:
        path = os.fsdecode(text)
    except TypeError:
        path = ""
    if not path.strip() or "\0" in path:
        raise UsageError(f"{text!r} is not a path", hint="Give the path of a file or a folder.")
    hint = f"Give the path itself; for a folder that really has this name: {shlex.quote(f'./{path}')}"
    if path.startswith(("$", "`")) or (path.startswith("%") and "%" in path[1:]):
        raise UsageError(f"the path {path} begins with a variable that nothing has replaced", hint=hint)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        raise UsageError(f"{path} is a URL where a path is wanted", hint=hint)
    if len(path) > 1 and path[0] + path[-1] in _QUOTES:
        inner = shlex.quote(path[1:-1])
        raise UsageError(f"the path {path} has quotes around it", hint=f"Leave out one pair of quotes: {inner}")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"the path {path} begins with a home folder that is not known", hint=hint) from None


def lookup_folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """Return the roots to search for a dataset: ROOT alone if it is given, else FMNIST_ROOT, ./data and ../data.

    The last one is where the book *Dive into Deep Learning* keeps its data.
    """
    if root:
        return [checked_path(root)]
    return list(dict.fromkeys([root_folder(None), Path(DEFAULT_ROOT), Path(os.pardir, DEFAULT_ROOT)]))


def user_path(text: str | os.PathLike[str]) -> Path:
    """TEXT as a path, with ~ as the user's home folder; as it is for a user who has none."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def absolute(path: Path) -> Path:
    """Return a path as an absolute one; as it is where the current folder has been deleted."""
    try:
        return path.absolute()
    except OSError:
        return path


def resolved(path: Path) -> Path:
    """Return a path without symbolic links; as it is where they form a loop or the current folder has been deleted."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def is_file(path: Path) -> bool:
    """Whether PATH is a file that can be seen; a folder that is closed to us has none."""
    try:
        return path.is_file()
    except OSError:
        return False


class Layout:
    """The paths of one dataset under a root, and the manifest that they belong to."""

    def __init__(self, root: str | os.PathLike[str] | None, manifest: Manifest) -> None:
        self.manifest = manifest
        self.root = root_folder(root)
        self.raw = self.root / manifest.folder / "raw"
        # The paths of thousands of files are asked for again and again.
        self._within_raw = cache(self.raw.joinpath)
        self.processed = self.root / manifest.folder / "processed"
        self.tensors = self.processed / f"{manifest.name}.safetensors"
        self.work = self.root / manifest.folder / ".debian"
        self.lock = self.root / manifest.folder / ".lock"

    def published(self, file: DataFile) -> Path:
        """Return the file as its mirrors publish it."""
        return self._within_raw(file.name)

    def payload(self, file: DataFile) -> Path:
        """Return the unpacked IDX file."""
        return self._within_raw(file.payload.name)
