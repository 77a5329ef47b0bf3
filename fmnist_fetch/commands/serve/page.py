"""The server's page for people with a browser: what is there, in which state, and the line to type."""

from html import escape

from fmnist_fetch.commands.serve.files import ServedFiles
from fmnist_fetch.manifest.model import Manifest

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>fmnist-fetch: datasets in this network</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }}
code, kbd {{ font-family: monospace; overflow-wrap: anywhere }}
kbd {{ background: #eee; color: #111; padding: .3em .6em; display: inline-block }}
td, th {{ text-align: left; padding: 0 1em 0 0; vertical-align: top }}
</style>
<h1>Datasets in this network</h1>
{sections}
<p>Every byte is checked against its SHA-256 on arrival, so this server need not be trusted.</p>
</html>
"""
_SECTION = """<h2>{title}: {state}</h2>
<p>In a clone or kit of fmnist-fetch, type<br><kbd>{line}</kbd></p>
<table>
<tr><th>file<th>bytes<th>state<th>SHA-256</tr>
{rows}
</table>
"""


def line(shelf: ServedFiles, manifest: Manifest, base: str) -> str:
    """What a student types to get MANIFEST's files from the server at the URL BASE."""
    dataset = "" if manifest is shelf.manifests[0] else f"DATASET={manifest.name} "
    return f"make data {dataset}MIRROR={base.rstrip('/')}{shelf.folder(manifest)}"


def state_of(shelf: ServedFiles, manifest: Manifest) -> str:
    """How much of MANIFEST's files is verified: "complete", "absent", or a share."""
    good, pieces = 0, 0
    for file in manifest.files:
        item = shelf.find(shelf.folder(manifest) + file.name)
        good += len(item.good()) if item else 0
        pieces += len(file.pieces)
    return "complete" if good == pieces else f"{good} of {pieces} pieces" if good else "absent"


def page(shelf: ServedFiles, base: str) -> str:
    """The page, for a browser that has come to the URL BASE."""
    return _PAGE.format(sections="".join(_section(shelf, manifest, base) for manifest in shelf.manifests))


def _section(shelf: ServedFiles, manifest: Manifest, base: str) -> str:
    rows = []
    for file in manifest.files:
        path = shelf.folder(manifest) + file.name
        item = shelf.find(path)
        good = len(item.good()) if item else 0
        whole = good == len(file.pieces)
        state = "complete" if whole else f"{good} of {len(file.pieces)} pieces" if good else "absent"
        name = f'<a href="{escape(path)}">{escape(file.name)}</a>' if whole else escape(file.name)
        rows.append(f"<tr><td>{name}<td>{file.size:,}<td>{state}<td><code>{file.sha256}</code></tr>")
    return _SECTION.format(
        title=escape(manifest.title or manifest.name),
        state=state_of(shelf, manifest),
        line=escape(line(shelf, manifest, base)),
        rows="\n".join(rows),
    )
