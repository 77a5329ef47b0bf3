"""The server's page for browsers: what is here, what to do with it, and what is still being downloaded.

It needs no script and loads nothing: one click on a command selects all of it, the systems are radio buttons.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from fmnist_fetch.commands.serve.files import ServedFile, ServedFiles
from fmnist_fetch.commands.serve.page_style import STYLE
from fmnist_fetch.console.formatting import counted, size
from fmnist_fetch.manifest.catalog import names
from fmnist_fetch.manifest.model import Manifest

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
<p>Every byte is verified against its SHA-256 when it arrives, so nobody needs to trust this server.</p>
</footer>
</body>
</html>
"""
_STEPS = """<section class="card steps">
<h2>Three steps to a trained model</h2>
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
<p>Run it again after an interruption: it goes on where it was.</p>
<div class="posix">{data_posix}</div>
<div class="windows">{data_windows}</div></li>
<li><h3>Train</h3>
<p>The curves and pictures are written to <code>runs</code>.</p>
<div class="posix">{train_posix}</div>
<div class="windows">{train_windows}</div></li>
</ol>
<p class="tip">One click selects a whole line.</p>
</section>
"""
_EMPTY = """<section class="card">
<h2>No data is here yet</h2>
<p>Whoever runs this server fills it with one command, on the same machine and in the folder of the project:</p>
<pre>make data</pre>
<p>The server may go on running: each verified piece is shared as soon as it arrives. Then load this page again.</p>
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
{command}<details><summary>SHA-256 digests</summary>
<dl>
{digests}
</dl></details>
</section>
"""
_WHEELS = """<section class="card">
<h2>Python packages <span class="badge complete">{count}, {total}</span></h2>
<p>The steps above take them from here, and need no other network. They are also an index for pip and uv:</p>
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


def command_line(files: ServedFiles, manifest: Manifest, base: str) -> str:
    """Return the command that downloads MANIFEST's files from the server at the URL BASE."""
    dataset = "" if manifest is files.manifests[0] else f"DATASET={_dataset(manifest)} "
    return f"make data {dataset}MIRROR={mirror_url(files, manifest, base)}"


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
    present.sort(key=lambda manifest: states[manifest.name].kind)  # complete before partial
    absent = [manifest for manifest in files.manifests if manifest not in present]
    body = [_steps(files, base, windows=windows)] if present else [_EMPTY]
    body += [_dataset_card(files, manifest, base) for manifest in present]
    if wheels:
        total = size(sum(wheel.file.size for wheel in wheels))
        body.append(_WHEELS.format(count=counted(len(wheels), "wheel"), total=total, base=escape(base)))
    if absent:
        titles = ", ".join(escape(manifest.title or manifest.name) for manifest in absent)
        body.append(f'<p class="absent">Not on this server: {titles}.</p>')
    arriving = any(states[manifest.name].kind == "partial" for manifest in present)
    refresh = f'\n<meta http-equiv="refresh" content="{REFRESH_S}">' if arriving else ""
    return _PAGE.format(refresh=refresh, style=STYLE, base=escape(base), body="\n".join(body))


def _steps(files: ServedFiles, base: str, *, windows: bool) -> str:
    main = files.manifests[0]
    mirror = mirror_url(files, main, base)
    checked = (" checked", "") if not windows else ("", " checked")
    return _STEPS.format(
        posix=checked[0],
        windows=checked[1],
        data_posix=_line(command_line(files, main, base)),
        data_windows=_line(f"py -m fmnist_fetch.environment data --mirror {mirror}")
        + _line(rf".venv\Scripts\fmnist-fetch fetch --mirror {mirror}"),
        train_posix=_line(f"make train MIRROR={mirror}"),
        train_windows=_line(f"py -m fmnist_fetch.environment train --mirror {mirror}")
        + _line(r".venv\Scripts\fmnist-train"),
    )


def _dataset_card(files: ServedFiles, manifest: Manifest, base: str) -> str:
    served = files.of(manifest)
    state = _State.of(served)
    progress = _ARRIVING.format(good=state.good, total=state.total, share=state.share)
    digests = [f"<dt>{escape(file.file.name)}</dt><dd><code>{file.file.sha256}</code></dd>" for file in served]
    return _DATASET.format(
        title=escape(manifest.title or manifest.name),
        kind=state.kind,
        state=escape(str(state)),
        progress=progress if state.kind == "partial" else "",
        rows="\n".join(_row(files.folder(manifest), file) for file in served),
        command="" if manifest is files.manifests[0] else _commands(files, manifest, base),
        digests="\n".join(digests),
    )


def _row(folder: str, file: ServedFile) -> str:
    state, name = _State.of([file]), escape(file.file.name)
    link = f'<a href="{escape(folder)}{name}">{name}</a>' if file.complete else name
    shown = state.share if state.kind == "partial" else state.kind
    return f'<tr><td>{link}</td><td class="number">{size(file.file.size)}</td><td>{shown}</td></tr>'


def _commands(files: ServedFiles, manifest: Manifest, base: str) -> str:
    """Return the commands for a dataset that is not the first one; its manifest comes from here, unless it is known."""
    path = _dataset(manifest)
    lines = [_line(command_line(files, manifest, base))]
    if path.endswith(".toml"):
        lines.insert(0, _line(f"curl -O {base}{path}"))
    return f"<p>In the folder of the project:</p>\n{''.join(lines)}\n"


def _dataset(manifest: Manifest) -> str:
    """Return what DATASET must be: a name of the catalogue, or the file name of the manifest that is served here."""
    return manifest.name if manifest.name in names() else f"{manifest.name}.toml"


def _line(command: str) -> str:
    return f"<pre>{escape(command)}</pre>"
