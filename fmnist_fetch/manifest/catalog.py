"""The datasets that are known by name, and the way from a name or a path to a manifest."""

import os
from pathlib import Path

from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.model import Manifest

DATASET = "fashion-mnist"
"""The one that is meant where none is named."""
# What people call it elsewhere: by their letters alone, these are nearer to mnist.
_ALSO_CALLED = dict.fromkeys(("fmnist", "f-mnist", "fashion", "mnist-fashion"), DATASET)
_FOLDER = Path(__file__).parents[1] / "datasets"
_SUFFIX = ".toml"
LARGEST_MANIFEST_BYTES = 16 * 1024 * 1024
"""The digests of the pieces of 60 GB."""


def names() -> list[str]:
    """Return the names of the datasets that come with the package."""
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in _FOLDER.iterdir() if entry.name.endswith(_SUFFIX))


def find(dataset: str | os.PathLike[str]) -> Manifest:
    """Return the manifest of DATASET: a name from the catalogue, or a path that ends in .toml.

    Raises UsageError for an unknown name or a file that can't be read, ManifestError for the faults in it.
    """
    from fmnist_fetch.manifest.toml import loads  # here, since the help of all commands needs the names only

    known = names()
    choices = f"Known: {', '.join(known)}; or give the path of a manifest (FILE.toml)."
    if not isinstance(dataset, str | os.PathLike):
        raise UsageError(f"a dataset is a name or a path, not {dataset!r}", hint=choices)
    dataset = os.fspath(dataset)
    if dataset.endswith(_SUFFIX):
        manifest = loads(_read(dataset), dataset)
        _check_place(manifest, dataset)
        return manifest
    if dataset not in known:
        near = _nearest(dataset.lower(), known)
        guess = f"Did you mean {near}? " if near else ""
        raise UsageError(f"there is no dataset called {dataset!r}", hint=f"{guess}{choices}")
    return loads((_FOLDER / f"{dataset}{_SUFFIX}").read_bytes(), f"{dataset}{_SUFFIX}")


def _read(path: str) -> bytes:
    try:
        place = Path(path).expanduser()
        # A pipe would be waited for.
        if place.exists() and not place.is_file():
            raise OSError("it is not a file")
        with open(place, "rb") as file:
            data = file.read(LARGEST_MANIFEST_BYTES + 1)
        if len(data) > LARGEST_MANIFEST_BYTES:
            raise OSError(f"it is longer than {LARGEST_MANIFEST_BYTES:,} bytes")
        return data
    except (OSError, RuntimeError, ValueError) as exc:
        raise UsageError(
            f"the manifest {path} can't be read: {getattr(exc, 'strerror', None) or exc}",
            hint=f"Check the path, or name a dataset of the catalogue: {', '.join(names())}.",
        ) from exc


def _check_place(manifest: Manifest, path: str) -> None:
    """Raise UsageError where MANIFEST would replace a dataset of the catalogue by another one."""
    for known in map(find, names()):
        taken = {known.name.lower(), known.folder.lower()}
        if taken & {manifest.name.lower(), manifest.folder.lower()} and _content(manifest) != _content(known):
            raise UsageError(
                f"{path} takes the place of {known.title}, which is in the catalogue, and is another dataset",
                hint=f'Give it another name and folder, such as "my-{known.name}" and "My{known.folder}".',
            )


def _content(manifest: Manifest) -> tuple[object, ...]:
    """Return the parts of MANIFEST that determine the files on the disk."""
    return manifest.name, manifest.folder, manifest.classes, manifest.mean, manifest.std, manifest.files


def _nearest(word: str, known: list[str]) -> str | None:
    """Return the dataset among KNOWN whose name, or another word for it, is most like WORD; None where none is."""
    from difflib import get_close_matches

    near = get_close_matches(word, [*known, *_ALSO_CALLED], n=1, cutoff=0.5)
    return _ALSO_CALLED.get(near[0], near[0]) if near else None
