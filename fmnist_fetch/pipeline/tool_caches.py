"""The files as published, in the caches of other tools, under the names that they look for."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fmnist_fetch.download.engine import download
from fmnist_fetch.errors import DiskError, FetchError, UsageError, disk
from fmnist_fetch.events import Listener
from fmnist_fetch.manifest.caches import HOMES, cache_folder
from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.sources.base import FetchOptions, Tier
from fmnist_fetch.sources.folder import Folder
from fmnist_fetch.storage.atomic import sweep, unfinished
from fmnist_fetch.storage.durability import sync_folder
from fmnist_fetch.storage.files import verifies
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.part_file import remove_leftovers


def caches_of(manifest: Manifest, tools: Sequence[str]) -> dict[str, Path]:
    """Return the folders in which TOOLS look for the dataset; raises UsageError for one that has none."""
    for tool in tools:
        if tool not in HOMES:
            raise UsageError(f"there is no tool {tool!r} to share with", hint=f"Known: {', '.join(HOMES)}.")
        if tool not in manifest.caches:
            others = f"{' and '.join(manifest.caches)} can. Or load" if manifest.caches else "Load"
            raise UsageError(
                f"{tool} can't read {manifest.name} from the files as they are published",
                hint=f"{others} it with fmnist_fetch.load() or from the tensor file.",
            )
    return {tool: cache_folder(tool, manifest.caches[tool]) for tool in tools}


def share(layout: Layout, tool: str, folder: Path, options: FetchOptions, listener: Listener) -> None:
    """Complete FOLDER, the cache of TOOL, with the files as published; what is right there is left alone.

    Files of the root are linked, where the file system can do that. Otherwise the folder is completed piece by piece
    like a root, from the root and, for what that lacks, from the dataset's other sources. Raises FetchError and its
    kinds, which say that the dataset itself is complete.
    """
    sweep(folder)
    manifest = layout.manifest
    try:
        wrong = [file for file in manifest.files if not verifies(folder / file.name, file.size, file.sha256)]
        if wanting := [file for file in wrong if not _link(layout.published(file), folder / file.name, file)]:
            from fmnist_fetch.sources.discovery import find_sources  # seldom needed

            sources = [Folder(layout.raw, Tier.OWN), *find_sources(layout, options, listener)]
            download(wanting, folder, sources, options, listener)
        if wrong:
            with disk(folder):
                sync_folder(folder)
        remove_leftovers(folder, [file.name for file in manifest.files])
    except FetchError as exc:
        variable, _ = HOMES[tool]
        other = f", or choose another with {variable}=FOLDER" if variable else ""
        remedy = f"Free some space or repair this folder{other}; run again." if isinstance(exc, DiskError) else exc.hint
        exc.hint = f"{manifest.name} itself is complete under {layout.root}. {remedy}"
        raise


def _link(source: Path, path: Path, file: DataFile) -> bool:
    """Give the file SOURCE the second name PATH, if it is right and the file system can; return whether it has it."""
    beside = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link to a symbolic link would be one more symbolic link.
        os.link(source.resolve(), beside)
        if verifies(beside, file.size, file.sha256):
            beside.replace(path)
            return True
    except (OSError, NotImplementedError, AttributeError):
        # This system has no links: then the folder gets a copy.
        pass
    finally:
        with suppress(OSError):
            beside.unlink()
    return False
