"""The verb kit: pack project, data and wheels for machines without the internet."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fmnist_fetch.commands.arguments import add_verb, size
from fmnist_fetch.console.output import say
from fmnist_fetch.environment.lock import STORE
from fmnist_fetch.events import Listener, Message
from fmnist_fetch.manifest.catalog import DATASET, find
from fmnist_fetch.storage.layout import Layout

CHECKOUT = Path(__file__).parents[3]


def add_verbs(verbs: Any) -> None:
    """Add kit to argparse's VERBS."""
    summary = "pack project, data and wheels into one tar for machines without a network"
    kit = add_verb(verbs, "kit", _kit, summary, "dist/fmnist-lab-kit.tar")
    kit.add_argument("out", type=Path, metavar="OUT.tar", help="the tar to write")
    kit.add_argument("--python", metavar="3.12", help="for machines with this Python (default: this one's)")
    kit.add_argument("--platform", metavar="TAG", help="for another platform, such as manylinux_2_28_x86_64")
    kit.add_argument("--no-wheels", action="store_true", help="pack no wheels, for labs with a package index")
    kit.add_argument("--part-size", type=size(1), metavar="2G", help="cut the tar into parts, which cat joins")
    kit.add_argument(
        "--wheels", type=Path, default=CHECKOUT / STORE, metavar="FOLDER", help="keep wheels in FOLDER (wheels)"
    )


def _kit(options: argparse.Namespace, _kept: Listener) -> dict[str, Any]:
    from fmnist_fetch.commands.kit import pack
    from fmnist_fetch.commands.kit.target import Target
    from fmnist_fetch.commands.kit.wheels import bring, choose
    from fmnist_fetch.console.progress import listener

    tell = listener("none" if options.quiet else options.progress, sys.stderr)
    target = Target.parse(options.python, options.platform)
    project = pack.Project.at(CHECKOUT)
    for name in pack.changes(CHECKOUT):
        tell(Message(f"note: {name} is packed as committed, without its later changes"))
    manifest = find(DATASET)
    data = pack.mirror(manifest, Layout(options.root, manifest))
    wheels = []
    if not options.no_wheels:
        paths = bring(choose(project.lock(), target), options.wheels, CHECKOUT, tell)
        wheels = pack.wheelhouse(paths, target)
    words = target.words if wheels else "machines with a package index"
    packed = pack.pack(options.out, project, data, wheels, words, options.part_size, tell)
    first, last = packed.paths[0], packed.paths[-1]
    say(options, f"{first if first == last else f'{first} to {last.name}'}: {packed.size / 1e6:,.1f} MB")
    say(options, f"  {packed.files} files, {packed.wheels} of them wheels; for {words}")
    join = f"tar xf {first.name}" if first == last else f"cat {options.out.name}.* | tar xf -"
    say(options, f"  on the lab machine: {join} && cd {pack.TOP} && make data && make train")
    return {"paths": [str(path) for path in packed.paths], "files": packed.files, "size": packed.size}
