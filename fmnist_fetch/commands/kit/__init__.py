"""The command kit: pack project, data and wheels for machines without the internet."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fmnist_fetch.commands.arguments import add_command
from fmnist_fetch.console.output import print_line
from fmnist_fetch.console.progress import ProgressState
from fmnist_fetch.errors import size
from fmnist_fetch.events import Message
from fmnist_fetch.manifest.catalog import DATASET, find
from fmnist_fetch.storage.layout import Layout


def add_parser(subparsers: Any) -> None:
    """Add the command kit."""
    summary = "pack project, data and wheels into one tar for machines without a network"
    kit = add_command(subparsers, "kit", _kit, summary, "dist/fmnist-lab-kit.tar")
    kit.add_argument("out", type=Path, metavar="OUT.tar", help="the tar to write")
    kit.add_argument("--python", metavar="3.12", help="for machines with this Python (default: this one's)")
    kit.add_argument("--platform", metavar="TAG", help="for another platform, such as win_amd64")
    kit.add_argument("--no-wheels", action="store_true", help="pack no wheels, for labs with a package index")
    kit.add_argument("--wheels", type=Path, metavar="FOLDER", help="keep wheels in FOLDER (wheels)")


def _kit(options: argparse.Namespace, _state: ProgressState) -> dict[str, Any]:
    from fmnist_fetch.commands.kit import pack
    from fmnist_fetch.commands.kit.wheels import Target, fetch_wheels, select_wheels
    from fmnist_fetch.console.progress import listener
    from fmnist_fetch.environment.lock import PROJECT, STORE

    listen = listener("none" if options.quiet else options.progress, sys.stderr)
    target = Target.parse(options.python, options.platform)
    project = pack.Project.at(PROJECT)
    for name in pack.uncommitted(PROJECT):
        listen(Message(f"note: {name} is packed as committed, without its later changes"))
    data = pack.data_entries(Layout(options.root, find(DATASET)))
    paths, wheels = [], []
    if not options.no_wheels:
        selected = select_wheels(project.lock(), target)
        paths = fetch_wheels(selected, options.wheels or PROJECT / STORE, PROJECT, listen)
        wheels = pack.wheel_entries(paths, target)
    machine = target.description if wheels else "machines with a package index"
    files, length = pack.pack(options.out, project, data, wheels, machine, listen), options.out.stat().st_size
    print_line(options, f"{options.out}: {size(length)}")
    print_line(options, f"  {files} files, {len(paths)} of them wheels; for {machine}")
    commands = "; the commands are in LAB.txt there" if " on win" in machine else " && make data && make train"
    print_line(options, f"  on the lab machine: tar xf {options.out.name} && cd {pack.TOP}{commands}")
    return {"paths": [str(options.out)], "files": files, "size": length}
