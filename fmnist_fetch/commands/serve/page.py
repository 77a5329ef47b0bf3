"""The server's page for browsers: what is here, what to do with it, and what is still being downloaded.

It needs no script and loads nothing: one click on a command selects all of it, the systems are radio buttons. Its
parts and its style are in the files page.html and page.css beside this module.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple, Self

from fmnist_fetch.commands.serve.files import ServedFile, ServedFiles
from fmnist_fetch.console.formatting import counted
from fmnist_fetch.download.standalone.script import script_name
from fmnist_fetch.errors import escaped, size
from fmnist_fetch.manifest.catalog import DATASET, names
from fmnist_fetch.manifest.model import Manifest

REFRESH_S = 10
"""How often the page is loaded again while something is arriving."""
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_, *_NAMED = re.split(r"<!-- part (\w+) -->\n", Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
_PARTS = dict(zip(_NAMED[::2], _NAMED[1::2], strict=True))


class State(NamedTuple):
    """How much of some files is verified; as a string "complete, 30.9 MB", "12.3 MB of 30.9 MB" or "absent"."""

    good: int
    total: int

    @classmethod
    def of(cls, files: Sequence[ServedFile]) -> Self:
        """Return the state of files."""
        return cls(sum(file.good_bytes for file in files), sum(file.file.size for file in files))

    @property
    def kind(self) -> str:
        """The state in one word."""
        return "complete" if self.good == self.total else "partial" if self.good else "absent"

    @property
    def share(self) -> str:
        """The verified share, rounded down."""
        return f"{100 * self.good // self.total} %"

    def __str__(self) -> str:
        if self.kind == "partial":
            return f"{size(self.good)} of {size(self.total)}"
        return f"complete, {size(self.total)}" if self.kind == "complete" else "absent"


def mirror_url(files: ServedFiles, manifest: Manifest, base: str) -> str:
    """Return the URL of MANIFEST's files on the server at the URL BASE, as a mirror's."""
    return base.rstrip("/") + files.folder(manifest)


def command_line(files: ServedFiles, manifest: Manifest, base: str, target: str = "data") -> str:
    """Return the make command for MANIFEST with the server at the URL BASE; TARGET is data or train."""
    name = _dataset(manifest)
    dataset = "" if name == DATASET else f"DATASET={name} "
    return f"make {target} {dataset}MIRROR={mirror_url(files, manifest, base)}"


def page(files: ServedFiles, wheels: Sequence[ServedFile], base: str, *, windows: bool = False) -> str:
    """Return the page of FILES, as they were last inspected, and WHEELS, for a browser that reaches the server at BASE.

    For one that runs on Windows, the commands of that system are shown first.
    """
    base = escape(base)  # the names of files and manifests have no characters that must be escaped
    states = {manifest.name: State.of(files.of(manifest)) for manifest in files.manifests}
    present = [manifest for manifest in files.manifests if states[manifest.name].good]
    absent = [manifest for manifest in files.manifests if manifest not in present]
    present.sort(key=lambda manifest: states[manifest.name].kind)  # complete before partial
    first = [manifest for manifest in present if manifest is files.manifests[0]] or present[:1]
    body = [_steps(files, manifest, base, windows=windows) for manifest in first] or [_PARTS["empty"]]
    body += [_dataset_card(files, manifest, base, with_commands=manifest not in first) for manifest in present]
    if wheels:
        total = size(sum(wheel.file.size for wheel in wheels))
        body.append(_part("wheels", count=counted(len(wheels), "wheel"), total=total, base=base))
    if absent:
        titles = ", ".join(_title(manifest) for manifest in absent)
        body.append(f'<p class="absent">Not on this server: {titles}.</p>')
    arriving = any(states[manifest.name].kind == "partial" for manifest in present)
    refresh = f'\n<meta http-equiv="refresh" content="{REFRESH_S}">' if arriving else ""
    return _part("page", refresh=refresh, style=_STYLE, base=base, body="\n".join(body))


def _part(part: str, /, **values: object) -> str:
    return _PARTS[part].format_map(values)


def _steps(files: ServedFiles, manifest: Manifest, base: str, *, windows: bool) -> str:
    name, script = _dataset(manifest), script_name(manifest)
    return _part(
        "steps",
        title=_title(manifest),
        posix="" if windows else " checked",
        windows=" checked" if windows else "",
        manifest_posix=_manifest_download(manifest, base),
        manifest_windows=_manifest_download(manifest, base, "py"),
        data=command_line(files, manifest, base),
        train=command_line(files, manifest, base, "train"),
        mirror=mirror_url(files, manifest, base),
        fetched="" if name == DATASET else f" {name}",
        trained="" if name == DATASET else f" --dataset {name}",
        script=script,
        script_posix=_part("download", python="python3", base=base, name=script),
        script_windows=_part("download", python="py", base=base, name=script),
    )


def _manifest_download(manifest: Manifest, base: str, python: str = "python3") -> str:
    """Return the command that downloads the manifest, where the catalogue does not have it.

    It needs Python alone: Ubuntu, for one, comes without curl.
    """
    name = _dataset(manifest)
    return _part("download", python=python, base=base, name=name) if name.endswith(".toml") else ""


def _dataset_card(files: ServedFiles, manifest: Manifest, base: str, *, with_commands: bool) -> str:
    served = files.of(manifest)
    state = State.of(served)
    commands = f"{_manifest_download(manifest, base)}<pre>{command_line(files, manifest, base)}</pre>"
    digests = [f"<dt>{escape(file.file.name)}</dt><dd><code>{file.file.sha256}</code></dd>" for file in served]
    arriving = state.kind == "partial"
    return _part(
        "dataset",
        title=_title(manifest),
        kind=state.kind,
        state=escape(str(state)),
        progress=_part("arriving", good=state.good, total=state.total, share=state.share) if arriving else "",
        rows="\n".join(_row(files.folder(manifest), file) for file in served),
        commands=f"<p>In the folder of the project:</p>\n{commands}\n" if with_commands else "",
        digests="\n".join(digests),
    )


def _row(folder: str, file: ServedFile) -> str:
    state, name = State.of([file]), escape(file.file.name)
    link = f'<a href="{escape(folder)}{name}">{name}</a>' if state.kind == "complete" else name
    shown = state.share if state.kind == "partial" else state.kind
    return f'<tr><td>{link}</td><td class="number">{size(file.file.size)}</td><td>{shown}</td></tr>'


def _title(manifest: Manifest) -> str:
    """Return the title as HTML, without characters that turn the direction of the text around it."""
    return escape(escaped(manifest.title or manifest.name))


def _dataset(manifest: Manifest) -> str:
    """Return what DATASET must be: a name of the catalogue, or the file name of the manifest that is served here."""
    return manifest.name if manifest.name in names() else f"{manifest.name}.toml"
