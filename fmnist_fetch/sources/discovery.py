"""Which places to ask for a dataset's files: the user's, local copies, servers nearby, mirrors, the package."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from fmnist_fetch.errors import SourceError
from fmnist_fetch.events import Listener, silent
from fmnist_fetch.manifest.caches import cache_folder
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.sources.base import FetchOptions, Source, Tier
from fmnist_fetch.sources.debian import DebianSource
from fmnist_fetch.sources.folder import Folder
from fmnist_fetch.sources.mirror import parse_mirror
from fmnist_fetch.storage.layout import Layout, resolved, user_path

# Not compiled here: few runs need it, and every run would wait for it.
_SEPARATORS = r"(?i)\s+|[,;](?=[a-z]+://)"


def find_sources(layout: Layout, options: FetchOptions, notify: Listener = silent) -> list[Source]:
    """Find the sources to ask, in order; NOTIFY is told what the local network has.

    Raises:
        UsageError: A mirror is neither a URL nor a folder, or the local network is to be asked offline.
    """
    manifest = layout.manifest
    found: list[Source] = list(_chosen(manifest, options))
    if not options.only_mirrors:
        found += _copies(layout)
    if options.lan:
        from fmnist_fetch.sources.lan import find_servers

        # Each has the files where a root has them.
        servers = find_servers(notify, offline=options.offline)
        found += [_http(f"{url}{quote(manifest.folder)}/raw/", Tier.LAN) for url in servers]
    if not (options.only_mirrors or options.offline):
        found += [_http(url, Tier.MIRROR) for url in manifest.mirrors]
        if manifest.debian:
            found.append(DebianSource(manifest.debian, manifest.files, layout.work))
    # A folder that the user named is asked even where it has none of the files, and says so.
    return [
        one
        for one in found
        if one.tier is Tier.USER or not isinstance(one, Folder) or any(map(one.candidates, manifest.files))
    ]


def explain(error: SourceError, found: Sequence[Source], options: FetchOptions) -> SourceError:
    """Return the error of a download from FOUND, with what is known about the reason that there were no more."""
    if options.only_mirrors and not found:
        why = "offline, only folders can be asked, and no mirror is one" if options.offline else "no mirror is named"
        error = SourceError(f"only mirrors are to be asked, but {why}", hint="Add --mirror URL or --mirror FOLDER.")
    if options.lan and not any(source.tier is Tier.LAN for source in found):
        from fmnist_fetch.sources.lan import advice

        error.hint = advice(error.hint)
    return error


def _copies(layout: Layout) -> Iterator[Folder]:
    """Return the folders in which other tools leave copies of this dataset."""
    manifest, own = layout.manifest, resolved(layout.raw)
    folders = [cache_folder(tool, place) for tool, place in manifest.caches.items()]
    for folder in (*folders, *map(user_path, manifest.local)):
        if resolved(folder) != own:
            yield Folder(folder, Tier.LOCAL)
    if manifest.debian:
        yield Folder(Path(manifest.debian.folder), Tier.LOCAL, spliced=True)


def _chosen(manifest: Manifest, options: FetchOptions) -> Iterator[Source]:
    for mirror in (*options.mirrors, *_mirrors_by_environment()):
        place = parse_mirror(mirror)
        if isinstance(place, Path):
            yield Folder(place, Tier.USER, subfolders=(f"{manifest.folder}/raw", "mirror"))
        elif not options.offline:
            yield _http(place, Tier.USER)


def _mirrors_by_environment() -> list[str]:
    """Return the mirrors that FMNIST_MIRRORS names, separated by blanks or commas; one folder may have blanks."""
    text = os.environ.get("FMNIST_MIRRORS", "").strip()
    if os.path.isdir(user_path(text)):  # noqa: PTH112 - one that is closed to us is none
        return [text] if text else []
    return [one for one in re.split(_SEPARATORS, text) if one]


def _http(url: str, tier: Tier) -> Source:
    # Imported where it is needed: a complete root, or a local copy, is dealt with before requests is even loaded.
    from fmnist_fetch.sources.http.source import HttpSource

    return HttpSource(url, tier)
