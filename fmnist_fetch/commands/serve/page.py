"""The server's page for browsers: what is here, what to do with it, and what is still being downloaded.

It needs no script and loads nothing: one click on a command selects all of it, the systems are radio buttons.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from fmnist_fetch.commands.serve.files import ServedFile, ServedFiles
from fmnist_fetch.commands.serve.page_style import STYLE
from fmnist_fetch.console.formatting import counted
from fmnist_fetch.errors import escaped, size
from fmnist_fetch.manifest.catalog import DATASET, names
from fmnist_fetch.manifest.model import Manifest
from fmnist_fetch.manifest.script import script_name

REFRESH_S = 10
"""How often the page is loaded again while something is arriving."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">{refresh}
<title>Datasets in this network</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Datasets in this network</h1>
<p>Shared by <b>fmnist-fetch</b> at <code>{base}</code></p>
</header>
<main>
{body}
</main>
<footer>
<p>The project verifies every byte of the data and packages on arrival, so that nobody needs to trust this server.</p>
</footer>
</body>
</html>
"""
_STEPS = """<section class="card steps">
<h2>{title} in three steps</h2>
<input type="radio" name="system" id="posix"{posix}>
<label for="posix">Linux, macOS</label>
<input type="radio" name="system" id="windows"{windows}>
<label for="windows">Windows</label>
<ol>
<li><h3>Open a terminal in the project</h3>
<p>In a clone or an unpacked kit of fmnist-fetch, with Python 3.11 or newer.</p>
<div class="posix"><pre>cd fmnist-fetch</pre></div>
<div class="windows"><pre>cd fmnist-fetch</pre></div></li>
<li><h3>Download the data</h3>
<p>Run it again after an interruption: it continues.</p>
<div class="posix">{data_posix}</div>
<div class="windows">{data_windows}</div></li>
<li><h3>Train</h3>
<p>The curves and pictures are written to <code>runs</code>.</p>
<div class="posix">{train_posix}</div>
<div class="windows">{train_windows}</div></li>
</ol>
<div class="script">
<h3>Or only the files, without the project</h3>
<p>One file of Python 3.8 or newer downloads and verifies them. The script itself is not verified: run it if you know
whose server this is.</p>
<div class="posix">{script_posix}</div>
<div class="windows">{script_windows}</div>
</div>
<p class="tip">One click selects a whole line.</p>
</section>
"""
_EMPTY = """<section class="card">
<h2>No data is here yet</h2>
<p>The person who runs this server can fill it with one command, on the same machine and in the folder of the project.
The terminal in which the server runs shows the command with the folder that is shared:</p>
<pre>make data ROOT=FOLDER</pre>
<p>The server can continue to run: each verified piece is shared as soon as it arrives. Then load this page again.</p>
</section>
"""
_DATASET = """<section class="card dataset">
<h2>{title} <span class="badge {kind}">{state}</span></h2>
{progress}<table>
<thead><tr><th>File</th><th class="number">Size</th><th>State</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
{commands}<details><summary>SHA-256 digests</summary>
<dl>
{digests}
</dl></details>
</section>
"""
_WHEELS = """<section class="card">
<h2>Python packages <span class="badge complete">{count}, {total}</span></h2>
<p>With this server as MIRROR, make takes them from here and needs no other network. They are also an index for pip and
uv:</p>
<pre>{base}simple/</pre>
</section>
"""
_ARRIVING = """<p class="progress"><progress value="{good}" max="{total}">{share}</progress>
<span>{share}, still arriving: the verified part can be downloaded already</span></p>
"""


class _State(NamedTuple):
    """How much of some files is verified."""

    good: int
    total: int

    @classmethod
    def of(cls, files: Sequence[ServedFile]) -> "_State":
        return cls(sum(file.good_bytes for file in files), sum(file.file.size for file in files))

    @property
    def kind(self) -> str:
        return "complete" if self.good == self.total else "partial" if self.good else "absent"

    @property
    def share(self) -> str:
        return f"{100 * self.good // self.total} %"

    def __str__(self) -> str:
        if self.kind == "partial":
            return f"{size(self.good)} of {size(self.total)}"
        return f"complete, {size(self.total)}" if self.kind == "complete" else "absent"


def state_of(files: Sequence[ServedFile]) -> str:
    """Return how much of FILES is verified: "complete, 30.9 MB", "12.3 MB of 30.9 MB" or "absent"."""
    return str(_State.of(files))


def mirror_url(files: ServedFiles, manifest: Manifest, base: str) -> str:
    """Return the URL of MANIFEST's files on the server at the URL BASE, as a mirror's."""
    return base.rstrip("/") + files.folder(manifest)


def command_line(files: ServedFiles, manifest: Manifest, base: str, target: str = "data") -> str:
    """Return the make command for MANIFEST with the server at the URL BASE; TARGET is data or train."""
    name = _dataset(manifest)
    dataset = "" if name == DATASET else f"DATASET={name} "
    return f"make {target} {dataset}MIRROR={mirror_url(files, manifest, base)}"


def page(files: ServedFiles, wheels: Sequence[ServedFile], base: str, *, windows: bool = False) -> str:
    """Return the page for a browser.

    Args:
        files: What is served, as it was last inspected.
        wheels: The Python packages that are here.
        base: The URL under which the browser reaches the server.
        windows: Whether the browser runs on Windows, whose commands are then shown first.
    """
    states = {manifest.name: _State.of(files.of(manifest)) for manifest in files.manifests}
    present = [manifest for manifest in files.manifests if states[manifest.name].good]
    absent = [manifest for manifest in files.manifests if manifest not in present]
    present.sort(key=lambda manifest: states[manifest.name].kind)  # complete before partial
    first = [manifest for manifest in present if manifest is files.manifests[0]] or present[:1]
    body = [_steps(files, manifest, base, windows=windows) for manifest in first] or [_EMPTY]
    body += [_dataset_card(files, manifest, base, with_commands=manifest not in first) for manifest in present]
    if wheels:
        total = size(sum(wheel.file.size for wheel in wheels))
        body.append(_WHEELS.format(count=counted(len(wheels), "wheel"), total=total, base=escape(base)))
    if absent:
        titles = ", ".join(_title(manifest) for manifest in absent)
        body.append(f'<p class="absent">Not on this server: {titles}.</p>')
    arriving = any(states[manifest.name].kind == "partial" for manifest in present)
    refresh = f'\n<meta http-equiv="refresh" content="{REFRESH_S}">' if arriving else ""
    return _PAGE.format(refresh=refresh, style=STYLE, base=escape(base), body="\n".join(body))


def _steps(files: ServedFiles, manifest: Manifest, base: str, *, windows: bool) -> str:
    mirror = mirror_url(files, manifest, base)
    download, fetch, train = _commands_of_windows(manifest, mirror)
    name = script_name(manifest)
    checked = (" checked", "") if not windows else ("", " checked")
    return _STEPS.format(
        title=_title(manifest),
        posix=checked[0],
        windows=checked[1],
        data_posix=_lines(_manifest_download(manifest, base), command_line(files, manifest, base)),
        data_windows=_lines(_manifest_download(manifest, base, "py"), download, fetch),
        train_posix=_lines(command_line(files, manifest, base, "train")),
        train_windows=_lines(download.replace(" data ", " train "), train),
        script_posix=_lines(_download(base, name), f"python3 {name}"),
        script_windows=_lines(_download(base, name, "py"), f"py {name}"),
    )


def _commands_of_windows(manifest: Manifest, mirror: str) -> tuple[str, str, str]:
    """Return the commands of a system without make: set up what fetching needs, fetch, train."""
    name = _dataset(manifest)
    fetched, trained = ("", "") if name == DATASET else (f" {name}", f" --dataset {name}")
    return (
        f"py -m fmnist_fetch.environment data --mirror {mirror}",
        rf".venv\Scripts\fmnist-fetch fetch{fetched} --mirror {mirror}",
        rf".venv\Scripts\fmnist-train{trained}",
    )


def _manifest_download(manifest: Manifest, base: str, python: str = "python3") -> str:
    """Return the command that downloads the manifest, where the catalogue does not have it."""
    name = _dataset(manifest)
    return _download(base, name, python) if name.endswith(".toml") else ""


def _download(base: str, name: str, python: str = "python3") -> str:
    """Return a command that downloads a file with Python alone: Ubuntu, for one, comes without curl."""
    return f"{python} -c \"from urllib.request import *; urlretrieve('{base}{name}', '{name}')\""


def _dataset_card(files: ServedFiles, manifest: Manifest, base: str, *, with_commands: bool) -> str:
    served = files.of(manifest)
    commands = _lines(_manifest_download(manifest, base), command_line(files, manifest, base))
    state = _State.of(served)
    progress = _ARRIVING.format(good=state.good, total=state.total, share=state.share)
    digests = [f"<dt>{escape(file.file.name)}</dt><dd><code>{file.file.sha256}</code></dd>" for file in served]
    return _DATASET.format(
        title=_title(manifest),
        kind=state.kind,
        state=escape(str(state)),
        progress=progress if state.kind == "partial" else "",
        rows="\n".join(_row(files.folder(manifest), file) for file in served),
        commands=f"<p>In the folder of the project:</p>\n{commands}\n" if with_commands else "",
        digests="\n".join(digests),
    )


def _row(folder: str, file: ServedFile) -> str:
    state, name = _State.of([file]), escape(file.file.name)
    link = f'<a href="{escape(folder)}{name}">{name}</a>' if file.complete else name
    shown = state.share if state.kind == "partial" else state.kind
    return f'<tr><td>{link}</td><td class="number">{size(file.file.size)}</td><td>{shown}</td></tr>'


def _title(manifest: Manifest) -> str:
    """Return the title as HTML, without characters that turn the direction of the text around it."""
    return escape(escaped(manifest.title or manifest.name))


def _dataset(manifest: Manifest) -> str:
    """Return what DATASET must be: a name of the catalogue, or the file name of the manifest that is served here."""
    return manifest.name if manifest.name in names() else f"{manifest.name}.toml"


def _lines(*commands: str) -> str:
    return "".join(f"<pre>{escape(command)}</pre>" for command in commands if command)
