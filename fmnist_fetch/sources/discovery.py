"""Which places to ask for a dataset's files: the user's, local copies, servers nearby, mirrors, the package."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from fmnist_fetch.errors import SourceError, UsageError
from fmnist_fetch.events import Listener, silent
from fmnist_fetch.manifest.caches import cache_folder
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.manifest.validation import is_url
from fmnist_fetch.sources.base import FetchOptions, Source, Tier
from fmnist_fetch.sources.debian import DebianSource
from fmnist_fetch.sources.folder import Folder
from fmnist_fetch.storage.layout import Layout, resolved, user_path

# Not compiled here: few runs need them, and every run would wait for it.
_SEPARATORS = r"(?i)\s+|[,;](?=[a-z]+://)"
_NEARLY_A_URL = r"(?i)(?P<scheme>h[a-z]{1,5}:[/\\]*)?(?P<rest>([^@/\\]+@)?[a-z0-9.-]+(?P<port>:[0-9]+)?([/\\].*)?)"
_HINT = "Give a URL that begins with http:// or https://, or the path of a folder with the files."


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
        found += _servers(manifest, options, notify)
    if not (options.only_mirrors or options.offline):
        found += [_http(url, Tier.MIRROR) for url in manifest.mirrors]
        if manifest.debian:
            found.append(DebianSource(manifest.debian, manifest.files, layout.work))
    # A folder that the user named is asked even where it has none of the files, and says so.
    return [one for one in found if one.tier is Tier.USER or _has_any(one, manifest)]


def explain(error: SourceError, found: Sequence[Source], options: FetchOptions) -> SourceError:
    """Return the error of a download from FOUND, with what is known about the reason that there were no more."""
    if options.only_mirrors and not found:
        why = "offline, only folders can be asked, and no mirror is one" if options.offline else "no mirror is named"
        error = SourceError(f"only mirrors are to be asked, but {why}", hint="Add --mirror URL or --mirror FOLDER.")
    if options.lan and not any(source.tier is Tier.LAN for source in found):
        from fmnist_fetch.sources.lan import advice

        error.hint = advice(error.hint)
    return error


def _has_any(source: Source, manifest: Manifest) -> bool:
    return not isinstance(source, Folder) or any(map(source.candidates, manifest.files))


def _copies(layout: Layout) -> Iterator[Folder]:
    """Return the folders in which other tools leave copies of this dataset."""
    manifest, own = layout.manifest, resolved(layout.raw)
    folders = [cache_folder(tool, place) for tool, place in manifest.caches.items()]
    for folder in (*folders, *map(user_path, manifest.local)):
        if resolved(folder) != own:
            yield Folder(folder, Tier.LOCAL)
    if manifest.debian:
        yield Folder(Path(manifest.debian.folder), Tier.LOCAL, spliced=True)


def _servers(manifest: Manifest, options: FetchOptions, notify: Listener) -> Iterator[Source]:
    """Yield the servers of the local network; each has the files where a root has them."""
    from fmnist_fetch.sources.lan import find_servers

    for url in find_servers(notify, offline=options.offline):
        yield _http(f"{url}{quote(manifest.folder)}/raw/", Tier.LAN)


def _chosen(manifest: Manifest, options: FetchOptions) -> Iterator[Source]:
    for mirror in (*options.mirrors, *_mirrors_by_environment()):
        if is_url(mirror.strip()):
            if not options.offline:
                yield _http(mirror.strip(), Tier.USER)
        elif mirror and os.path.isdir(folder := _folder(mirror)):  # noqa: PTH112 - one that is closed to us is none
            yield Folder(folder, Tier.USER, subfolders=(f"{manifest.folder}/raw", "mirror"))
        else:
            # Here, since a run that finds everything in its place must not load what HTTP needs.
            from fmnist_fetch.sources.diagnosis import redact

            facts = f"the mirror {redact(mirror)!r} is neither a URL nor a folder that is there"
            url = _meant_url(mirror)
            raise UsageError(
                facts, hint=f"If it is a URL, write: --mirror {shlex.quote(redact(url))}" if url else _HINT
            )


def _folder(mirror: str) -> Path:
    """Return the folder that MIRROR names, as a path or as a file: URL."""
    return Path(unquote(urlsplit(mirror).path)) if mirror.lower().startswith("file:///") else user_path(mirror)


def _meant_url(mirror: str) -> str | None:
    """Return the URL that MIRROR can mean, which is none: a mistyped scheme, or a host with a port and no scheme."""
    match = re.fullmatch(_NEARLY_A_URL, mirror)
    if match is None or not (match["scheme"] or match["port"]):
        return None
    secure = "s" if "s" in (match["scheme"] or "").lower() else ""
    url = f"http{secure}://{match['rest']}".replace("\\", "/")
    return url if is_url(url) else None


def _mirrors_by_environment() -> list[str]:
    """Return the mirrors that FMNIST_MIRRORS names, separated by blanks or commas; one folder may have blanks."""
    text = os.environ.get("FMNIST_MIRRORS", "").strip()
    if os.path.isdir(user_path(text)):  # noqa: PTH112 - as above
        return [text] if text else []
    return [one for one in re.split(_SEPARATORS, text) if one]


def _http(url: str, tier: Tier) -> Source:
    # Imported where it is needed: a complete root, or a local copy, is dealt with before requests is even loaded.
    from fmnist_fetch.sources.http.source import HttpSource

    return HttpSource(url, tier)
