"""From the tensor file to arrays; one chain of digests from the published files to the first batch."""

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fmnist_fetch.errors import (
    FetchError,
    FormatError,
    IntegrityError,
    UsageError,
    dangling_link,
    from_exception,
    in_clone,
)
from fmnist_fetch.manifest.catalog import DATASET, find
from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.storage.files import Stamp, UnsafeFileError, is_settled, open_regular
from fmnist_fetch.storage.layout import DEFAULT_ROOT, Layout, absolute, is_file, lookup_folders
from fmnist_fetch.tensors.tensor_file import TensorFile, metadata, preamble

if TYPE_CHECKING:
    from fmnist_fetch.tensors.split import Split


_verified: set[tuple[Stamp, str, str]] = set()
"""What this process has verified: the stamp of a tensor file, a tensor in it, and its digest."""


def equals_tensor(layout: Layout, file: DataFile, digest: str) -> bool:
    """Return whether FILE's payload has this DIGEST and its tensor the same values, which verifies both at once."""
    try:
        with TensorFile(layout.tensors) as stored, open_regular(layout.payload(file)) as payload:
            return stored.digest_if_equal(file.tensor, payload) == digest
    except (OSError, ValueError, KeyError, FormatError):
        return False


def is_intact(layout: Layout, digests: Mapping[str, str], proven: Collection[str] = ()) -> bool:
    """Return whether the tensor file is there and every byte of it is what an assembly would write.

    Args:
        layout: Where the tensor file is.
        digests: The SHA-256 of each payload, by the name of its tensor.
        proven: The tensors that equal their verified payloads, and are not hashed themselves.
    """
    manifest = layout.manifest
    try:
        with TensorFile(layout.tensors) as stored:
            mean, std = stored.statistics if manifest.mean is None else (manifest.mean, manifest.std)
            headers = {file.tensor: stored.tensors[file.tensor].header for file in manifest.files}
            return (
                stored.preamble == preamble(headers, metadata(manifest, digests, mean, std))
                and stored.size == max(tensor.stop for tensor in stored.tensors.values())
                and all(name in proven or stored.digest(name) == digest for name, digest in digests.items())
            )
    except (OSError, ValueError, KeyError, FormatError):
        return False


def load(
    dataset: str | os.PathLike[str] = "fashion-mnist",
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    *,
    verify: bool | Literal["always"] = True,
) -> "Split":
    """Return the images and labels of a split as numpy arrays; opens no socket.

    The arrays map the tensor file: they take no memory until they are used, writing to them leaves the file as it is,
    and a later change of the file in place shows in them.

    Args:
        dataset: A name from the catalogue, or the path of a manifest.
        split: The split, as the manifest names it.
        root: The folder with the data; where it is None, the first of FMNIST_ROOT, ./data and ../data that has it.
        verify: Hash the bytes of the split and compare them with the digests that the manifest pins. True remembers
            what was verified until the process ends, as long as the file has the same size, time and inode; "always"
            hashes at each call; False only maps.

    Raises:
        FetchError: The data is not there; the hint is the command that downloads it.
        DiskError: The data can't be read.
        IntegrityError: The data is damaged.
        UsageError: There is no such dataset or split.

    >>> import fmnist_fetch
    >>> test = fmnist_fetch.load(split="test")
    >>> test.images.shape, test.images.dtype, test.classes[test.labels[0]]
    ((10000, 28, 28), dtype('uint8'), 'ankle boot')
    """
    try:
        import numpy as np
    except ModuleNotFoundError as exc:
        if exc.name != "numpy":
            raise
        # Nothing but loading needs it, and it is nine tenths of an installation: so it is an extra.
        hint = "Run: pip install numpy, or pip install 'fmnist-fetch[load]'"
        raise FetchError("load needs numpy, which is not installed", hint=hint) from exc
    from fmnist_fetch.tensors.split import Split  # here, since who fetches has no use for what shows arrays to people

    manifest = find(dataset)
    names = _files_of(manifest, split)
    layouts = [Layout(folder, manifest) for folder in lookup_folders(root)]
    layout = next((layout for layout in layouts if is_file(layout.tensors)), layouts[0])
    command = _command(dataset, layout)
    try:
        with TensorFile(layout.tensors) as stored:
            digests = {
                role: file.payload.sha256 or stored.metadata[f"sha256.{file.tensor}"] for role, file in names.items()
            }
            for role, file in names.items():
                if verify and not _verifies(stored, file.tensor, digests[role], again=verify == "always"):
                    raise IntegrityError(f"{layout.tensors}: {file.tensor} is damaged", hint=command)
            arrays = {role: stored.array(file.tensor) for role, file in names.items()}
            mean, std = stored.statistics
    except OSError as exc:
        raise _unreadable([layout, *layouts], exc, command) from exc
    except (FormatError, KeyError, ValueError) as exc:
        raise IntegrityError(f"{layout.tensors} is damaged: {getattr(exc, 'message', exc)}", hint=command) from exc
    images, labels = arrays.get("images", np.empty(0, np.uint8)), arrays.get("labels", np.empty(0, np.int64))
    if labels.dtype.kind != "f":
        labels = labels.astype(np.int64)
    return Split(images, labels, manifest.classes, mean, std, manifest.name, split, digests)


def _files_of(manifest: Manifest, split: str) -> dict[str, DataFile]:
    """Return the files of SPLIT by role. Raises a UsageError if there are none."""
    names = {file.role: file for file in manifest.files if file.split == split}
    if not names:
        known = ", ".join(dict.fromkeys(file.split for file in manifest.files))
        raise UsageError(f"{manifest.name} has no split {split!r}", hint=f"Its splits: {known}.")
    return names


def _unreadable(layouts: Sequence[Layout], exc: OSError, command: str) -> FetchError:
    """Return why the tensor file of the first of LAYOUTS can't be read; COMMAND helps unless the disk refuses it."""
    first, *others = dict.fromkeys(str(absolute(layout.tensors)) for layout in layouts)
    if isinstance(exc, UnsafeFileError):
        return FetchError(f"{first}: {exc.strerror or exc}", hint=command)
    if not isinstance(exc, FileNotFoundError) or dangling_link(first):
        return from_exception(exc)
    return FetchError(f"{first} is not there" + (f", nor is {' or '.join(others)}" if others else ""), hint=command)


def _verifies(stored: TensorFile, tensor: str, digest: str, *, again: bool) -> bool:
    """Return whether TENSOR has this DIGEST; hash it only where that is not known yet, or AGAIN."""
    known = stored.stamp, tensor, digest
    if known in _verified and not again:
        return True
    if stored.digest(tensor) != digest:
        return False
    if is_settled(stored.stamp):
        _verified.add(known)
    return True


def _command(dataset: str | os.PathLike[str], layout: Layout) -> str:
    """Return the command that downloads the dataset to where LOAD looks for it: make's in a clone, else ours."""
    name, root = os.fspath(dataset), str(absolute(layout.root))
    if in_clone():
        words = ["make", "data", *([] if name == DATASET else [f"DATASET={name}"])]
        words += [] if absolute(layout.root) == absolute(Path(DEFAULT_ROOT)) else [f"ROOT={root}"]
    else:
        words = ["fmnist-fetch", "fetch", *([] if name == DATASET else [name]), "--root", root]
    return f"Run: {shlex.join(words)}"
