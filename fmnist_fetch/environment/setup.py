"""The command line of the set-up, and its steps: the environment, the tools that fetch, the rest with the engine."""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from fmnist_fetch.errors import DiskError, FetchError, SourceError, UsageError, disk

if TYPE_CHECKING:
    from fmnist_fetch.environment.install import SitePackages
    from fmnist_fetch.environment.lock import Lock, Wheel
    from fmnist_fetch.environment.store import Store
    from fmnist_fetch.events import Listener

PROJECT = Path(__file__).parents[2]
NAME = "pylock.toml"
STRAY = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "__PYVENV_LAUNCHER__")
"""Variables that would let the environment's interpreter find other modules than its own."""
TOOLS = ("packaging", "installer")


def run(words: Sequence[str]) -> int:
    """Do what WORDS ask for, and return the exit code; an error is two lines."""
    options = parser().parse_args(words)
    try:
        if options.group == "lock":
            _lock()
            return 0
        if options.group == "train" and options.root is not None:
            _demand_data(options.dataset, options.root)
        _set_up(options, words)
    except FetchError as exc:
        # Most people see this through make, which has a variable for the option.
        hint = exc.hint.replace(
            "--mirror URL or --mirror FOLDER", "MIRROR=URL or MIRROR=FOLDER (without make: --mirror)"
        )
        print(f"error: {exc.message}\nhint: {hint}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("\nerror: interrupted\nhint: Run the same command again; what has arrived is kept.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    description = "Set up the tools of this project from pylock.toml."
    parser = argparse.ArgumentParser(prog="python -m fmnist_fetch.environment", description=description)
    groups = ["fetch", "data", "train", "notebook", "test", "serve", "kit", "dev", "lock"]
    parser.add_argument("group", choices=groups, help="what to set up; lock: make pylock.toml anew")
    parser.add_argument("--venv", default=".venv", help="the environment (default: %(default)s)")
    parser.add_argument("--mirror", action="append", default=[], help="a URL or folder to ask first; repeatable")
    parser.add_argument("--lan", action="store_true", help="look for servers in the local network, and ask them too")
    parser.add_argument("--offline", action="store_true", help="open no socket")
    parser.add_argument("--root", help="train: look for the data here before anything is downloaded")
    parser.add_argument("--dataset", default="fashion-mnist", help=argparse.SUPPRESS)
    return parser


class Options(NamedTuple):
    """What is to be set up: the GROUP of the lock, in the environment VENV, with wheels from MIRRORS first.

    With LAN, the servers of the local network come after the mirrors.
    """

    group: str
    venv: Path
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    lan: bool = False


def _set_up(options: argparse.Namespace, words: Sequence[str]) -> None:
    from fmnist_fetch.storage.layout import checked_path

    group, mirrors = "" if options.group == "fetch" else options.group, tuple(filter(None, options.mirror))
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")) and not checked_path(mirror).is_dir():
            raise UsageError(
                f"the mirror {mirror!r} is neither a URL nor a folder that is there",
                hint="Give a URL that begins with http:// or https://, or the path of a folder with the files.",
            )
    venv = checked_path(options.venv).absolute()
    set_up(Options(group, venv, mirrors, options.offline, options.lan), words)


def _demand_data(dataset: str, root: str) -> None:
    """Raise FetchError where the tensor file of DATASET is not under ROOT: nothing else is of use without it."""
    from fmnist_fetch.manifest.catalog import find
    from fmnist_fetch.storage.layout import Layout

    tensors = Layout(root, find(dataset)).tensors
    if not tensors.exists():
        variables = f" DATASET={quote(dataset)}" if dataset != "fashion-mnist" else ""
        variables += f" ROOT={quote(root)}" if root != "data" else ""
        raise FetchError(f"{tensors} is not there", hint=f"Run: make data{variables} (or fmnist-fetch fetch)")


def _lock() -> None:
    from fmnist_fetch.environment.relock import relock
    from fmnist_fetch.storage.atomic import write_all, write_atomically

    try:
        text = relock(PROJECT)
    except FileNotFoundError as exc:
        raise UsageError("uv is not installed", hint="Run: make lock, or pip install uv") from exc
    except subprocess.CalledProcessError as exc:
        raise DiskError("uv found no versions that fit together", hint="Read what it says above.") from exc
    with write_atomically(PROJECT / NAME) as file:
        write_all(file, text.encode())


def set_up(options: Options, words: Sequence[str]) -> None:
    """Set up what OPTIONS name; WORDS are the arguments, for the environment's own interpreter, which does the rest.

    Raises FetchError and its kinds; all that has arrived is kept.
    """
    if is_set_up(options.venv, options.group):
        return
    if not _inside(options.venv):
        from fmnist_fetch.environment.install import create

        create(options.venv, interpreter(options.venv))
        _go_on_inside(options.venv, words)
    with _alone(options.venv):
        _fill(options)


def is_set_up(venv: Path, group: str) -> bool:
    """Return whether GROUP is set up in VENV with this lock and this project; make is told so by the time of a file."""
    path = _stamp(venv, group)
    try:
        if path.read_text(encoding="utf-8") != _inputs() or not interpreter(venv).exists():
            return False
        os.utime(path)
    except OSError:
        return False
    return True


def _stamp(venv: Path, group: str) -> Path:
    return venv / (group or "fetch")


def _inputs() -> str:
    """Return a digest of what an environment is made from."""
    found = hashlib.sha256()
    for name in (NAME, "pyproject.toml"):
        with disk(PROJECT / name):
            found.update((PROJECT / name).read_bytes())
    return found.hexdigest()


def interpreter(venv: Path) -> Path:
    """Return the path of the interpreter of the environment VENV."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _inside(venv: Path) -> bool:
    return Path(sys.prefix).resolve() == venv.resolve()


def _go_on_inside(venv: Path, words: Sequence[str]) -> NoReturn:
    environment = {name: value for name, value in os.environ.items() if name not in STRAY}
    command = [str(interpreter(venv)), "-m", "fmnist_fetch.environment", *words]
    os.chdir(PROJECT)
    sys.stdout.flush()
    if os.name == "nt":
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
    os.execve(command[0], command, environment)


def _fill(options: Options) -> None:
    if is_set_up(options.venv, options.group):
        return
    # Imported where they are needed: most runs find everything done.
    import tomllib

    from fmnist_fetch.environment.display import Display
    from fmnist_fetch.environment.indexes import Configuration
    from fmnist_fetch.environment.install import SitePackages
    from fmnist_fetch.environment.lock import STORE, Lock
    from fmnist_fetch.environment.store import Sources, Store
    from fmnist_fetch.sources.lan import advice, find_servers

    inputs, lock = _inputs(), Lock.read(PROJECT / NAME)
    configuration = Configuration.read()
    configuration.apply()
    display = Display()
    servers = find_servers(display, offline=options.offline) if options.lan else []
    sources = Sources(PROJECT, options.mirrors, configuration, offline=options.offline, servers=servers)
    store, packages = Store(PROJECT / STORE, sources, display), SitePackages()
    try:
        _bootstrap(lock, store, packages)
        _install(_selected(lock, options.group), store, packages, display)
    except SourceError as exc:
        exc.hint = exc.hint if servers or not options.lan else advice(exc.hint)
        raise
    table = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages.install_project(PROJECT, table)
    if sys.dont_write_bytecode:
        _write_bytecode(_SLOW_IMPORTS.get(options.group, ""))
    for group in {options.group, ""}:
        path = _stamp(options.venv, group)
        with disk(path):
            path.write_text(inputs, encoding="utf-8")


_SLOW_IMPORTS = {
    "": "requests, tqdm, filelock",
    "data": "numpy",
    "train": "numpy, torch.nn.functional, safetensors, matplotlib.pyplot, matplotlib.backends.backend_agg",
}


def _write_bytecode(modules: str) -> None:
    """Import MODULES once with bytecode written, as their first import does unless PYTHONDONTWRITEBYTECODE forbids it.

    Without it every start would compile them again, which takes seconds. What is compiled is in the environment only.
    """
    if modules:
        subprocess.run([sys.executable, "-I", "-c", f"import {modules}"], cwd=sys.prefix, check=False)


_OTHER_PYTHON = "Use CPython 3.11 to 3.14 on Linux, macOS (arm64) or Windows: make PYTHON=python3.12"


def _bootstrap(lock: "Lock", store: "Store", packages: "SitePackages") -> None:
    """Install what the engine needs, which is what the nameless group has, with the standard library alone."""
    tools = [lock.tool(name) for name in TOOLS]
    installed = packages.versions()
    if any(installed.get(tool.package) != tool.version for tool in tools):
        store.fetch_first(store.missing(tools))
        sys.path[:0] = [str(store.path(tool)) for tool in tools]
    wheels = [wheel for wheel in lock.select("") if installed.get(wheel.package) != wheel.version]
    store.fetch_first(store.missing(wheels))
    packages.install([store.path(wheel) for wheel in wheels])


def _install(wheels: "Sequence[Wheel]", store: "Store", packages: "SitePackages", tell: "Listener") -> None:
    """Bring and install those of WHEELS that are not installed."""
    from fmnist_fetch.environment.install import demand_space
    from fmnist_fetch.events import Message

    installed = packages.versions()
    wanted = [wheel for wheel in wheels if installed.get(wheel.package) != wheel.version]
    if not wanted:
        return
    missing = store.missing(wanted)
    download = sum(wheel.size or 0 for wheel in missing)
    demand_space(packages.folder, download, sum(wheel.size or 0 for wheel in wanted))
    if missing:
        tell(Message(f"downloading {_counted(missing)}, {download / 1e6:.1f} MB"))
        store.fetch(missing)
    tell(Message(f"installing {_counted(wanted)}"))
    packages.install([store.path(wheel) for wheel in wanted])


def _selected(lock: "Lock", group: str) -> "list[Wheel]":
    try:
        return lock.select(group)
    except LookupError as exc:
        raise FetchError(f"pylock.toml has no wheels for this machine: {exc}", hint=_OTHER_PYTHON) from exc


def _counted(wheels: "Sequence[Wheel]") -> str:
    return "1 package" if len(wheels) == 1 else f"{len(wheels)} packages"


@contextmanager
def _alone(venv: Path) -> Iterator[None]:
    """Wait until no other process sets up VENV; where the file system has no locks, go on without."""
    with disk(venv), open(venv / ".lock", "a+b") as file:
        with suppress(OSError):
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
        yield
