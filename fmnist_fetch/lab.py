"""The verbs for machines without the internet: kit packs for them, serve shares a root with them."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fmnist_fetch.arguments import DATASET, add_verb, size, whole
from fmnist_fetch.catalogue import find, names
from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Listener, Stepped
from fmnist_fetch.layout import Layout, root_folder
from fmnist_fetch.screen import say

PORT = 8000


def add_verbs(verbs: Any) -> None:
    """Add kit and serve to argparse's VERBS."""
    summary = "pack project, data and wheels into one tar for machines without a network"
    kit = add_verb(verbs, "kit", _kit, summary, "dist/fmnist-lab-kit.tar")
    kit.add_argument("out", type=Path, metavar="OUT.tar", help="the tar to write")
    kit.add_argument("--python", metavar="3.12", help="for machines with this Python (default: this one's)")
    kit.add_argument("--platform", metavar="TAG", help="for another platform, such as manylinux_2_28_x86_64")
    kit.add_argument("--no-wheels", action="store_true", help="pack no wheels, for labs with a package index")
    kit.add_argument("--part-size", type=size(1), metavar="2G", help="cut the tar into parts, which cat joins")
    kit.add_argument(
        "--wheels", type=Path, default=Path("dist/wheels"), metavar="FOLDER", help="keep wheels in FOLDER (dist/wheels)"
    )
    kit.add_argument("--torch", metavar="WHICH", help="the build of torch, such as torch==2.13.0+cpu")
    kit.add_argument("--torch-index", default="", metavar="URL", help="the index that has this build")
    summary = "share the data under the root with the local network, read-only"
    serve = add_verb(verbs, "serve", _serve, summary, "--port 8000")
    serve.add_argument("--host", default="0.0.0.0", metavar="H", help="the address to serve at (default: every one)")
    serve.add_argument(
        "--port", type=whole(0, 65535, "port"), default=PORT, metavar="P", help=f"the port to serve at (default {PORT})"
    )


def _kit(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    from fmnist_fetch import kit
    from fmnist_fetch.progress import listener
    from fmnist_fetch.target import Target
    from fmnist_fetch.wheels import Store, demand_tools

    tell = listener("none" if options.quiet else options.progress, sys.stderr)
    target = Target.parse(options.python, options.platform)
    checkout = Path(__file__).parents[1]
    project = kit.Project.at(checkout)
    for name in kit.changes(checkout):
        tell(Stepped(f"note: {name} is packed as committed, without its later changes"))
    manifest = find(DATASET)
    data = kit.mirror(manifest, Layout(options.root, manifest))
    wheels = []
    if not options.no_wheels:
        demand_tools()
        seen = sys.stderr.isatty() and options.progress != "none" and not options.quiet
        store = Store(options.wheels, target, tell, torch_index=options.torch_index, verbose=seen)
        wheels = kit.wheelhouse(store.bring(project.requirements(options.torch)), target)
    words = target.words if wheels else "machines with a package index"
    packed = kit.pack(options.out, project, data, wheels, words, options.part_size, tell)
    first, last = packed.paths[0], packed.paths[-1]
    say(options, f"{first if first == last else f'{first} to {last.name}'}: {packed.size / 1e6:,.1f} MB")
    say(options, f"  {packed.files} files, {packed.wheels} of them wheels; for {words}")
    join = f"tar xf {first.name}" if first == last else f"cat {options.out.name}.* | tar xf -"
    say(options, f"  on the lab machine: {join} && cd {kit.TOP} && make data && make train")
    return {"paths": [str(path) for path in packed.paths], "files": packed.files, "size": packed.size}


def _serve(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    try:
        from fmnist_fetch.serve import serve
        from fmnist_fetch.shelf import Shelf
    except ModuleNotFoundError as exc:
        hint = "Run: make serve, or pip install 'fmnist-fetch[serve]'"
        raise FetchError(f"serve needs {exc.name}, which is not installed", hint=hint) from exc
    root = root_folder(options.root)
    manifests = [find(name) for name in sorted(names(), key=lambda name: name != DATASET)]
    serve(Shelf(root, manifests), options.host, options.port, partial(say, options))
    return {"root": str(root)}
