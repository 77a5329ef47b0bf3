"""The rows: the program and its peers, each as the command line of its user, in the folder that it fills."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.materials import Served
from benchmarks.measure import Peer, PeerError
from fmnist_fetch.sources.base import FetchOptions

OURS = "fmnist-fetch"
ZLIB = "fmnist-fetch, with zlib only"
CURL = "curl, download only"
CURL_PARALLEL = "curl --parallel, 4 connections, download only"
CURL_SYNC = "curl; sync"
CURL_COPY = "curl; cp; sync"
COREUTILS = "curl; sha256sum -c; gzip -dk"
OPENSSL = "curl; openssl sha256; igzip -dk"
TORCHVISION = "torchvision FashionMNIST(download=True)"
POOCH = "pooch, download and check"
HUB = "huggingface_hub http_get, download only"
SEED = "the course's loop: requests, 8 KiB, download only"
LOOP = "a loop: requests.get, sha256, write"
WGET = "wget, download only"
ARIA = "aria2c, download only"
ARIA_CHECK = "aria2c --checksum"
ARIA_METALINK = "aria2c, Metalink with piece hashes"

SCRIPTS = Path(__file__).parent / "scripts"
# As on a machine without a wheel of isal.
WITHOUT_ISAL = "import sys; sys.modules['isal'] = None; from fmnist_fetch.__main__ import main; main()"


def ours(served: Served, urls: Iterable[str], name: str = OURS, *, jobs: int | None = None, isal: bool = True) -> Peer:
    """Return the program: download, verify, unpack, verify, write the tensor file, fsync."""
    program = ("-m", "fmnist_fetch") if isal else ("-c", WITHOUT_ISAL)
    mirrors = [word for url in urls for word in ("--mirror", url)]
    count = ("--jobs", str(jobs)) if jobs else ()
    argv = (sys.executable, *program, "fetch", served.dataset, "--root", ".", *mirrors, "--only-mirrors", *count)
    return Peer(name, argv, right(served, unpacked=True, tensors=True))


def curl(served: Served, url: str) -> Peer:
    """Return curl, one file after the other on one connection, nothing checked."""
    return Peer(CURL, ("sh", "-c", _curl(served, url)), right(served), needs=("curl",))


def curl_parallel(served: Served, url: str) -> Peer:
    """Return curl on as many connections as the program has, nothing checked."""
    return Peer(
        CURL_PARALLEL,
        ("sh", "-c", f"{_curl(served, url)} --parallel --parallel-max {FetchOptions().jobs}"),
        right(served),
        needs=("curl",),
    )


def curl_sync(served: Served, url: str) -> Peer:
    """Return curl and an fsync of its files, as the program does."""
    command = f"{_curl(served, url)} && sync -- {_names(served)}"
    return Peer(CURL_SYNC, ("sh", "-c", command), right(served), needs=("curl",))


def curl_copy(served: Served, url: str) -> Peer:
    """Return curl and as many bytes on the disk as the program writes beside a file that needs no unpacking."""
    copies = "mkdir copies && cp -- *-ubyte copies && sync -- *-ubyte copies/*"
    return Peer(CURL_COPY, ("sh", "-c", f"{_curl(served, url)} && {copies}"), right(served), needs=("curl",))


def coreutils(served: Served, url: str) -> Peer:
    """Return the three lines of a careful user."""
    command = (
        f"{_curl(served, url)} && sha256sum --quiet -c {shlex.quote(str(served.sums))} && gzip -dk {_names(served)}"
    )
    return Peer(COREUTILS, ("sh", "-c", command), right(served, unpacked=True), needs=("curl", "gzip"))


def openssl(served: Served, url: str) -> Peer:
    """Return the same with the fastest program for each step."""
    check = f"openssl dgst -sha256 -r {_names(served)} | tr '*' ' ' | cmp - {shlex.quote(str(served.sums))}"
    command = f"{_curl(served, url)} && {check} && igzip -dk {_names(served)}"
    return Peer(OPENSSL, ("sh", "-c", command), right(served, unpacked=True), needs=("curl", "openssl", "igzip"))


def wget(served: Served, url: str) -> Peer:
    """Return wget, one file after the other on one connection, nothing checked."""
    return Peer(WGET, ("wget", "--no-config", "-q", *_urls(served, url)), right(served), needs=("wget",))


def aria(served: Served, urls: Sequence[str], name: str = ARIA, options: Sequence[str] = ()) -> Peer:
    """Return aria2c from one mirror or several, all its files at once, nothing checked."""
    lines = ["\t".join(url + file.name for url in urls) for file in served.manifest.files]
    return _aria(served, name, served.write("aria2.txt", lines), options)


def aria_checksum(served: Served, url: str) -> Peer:
    """Return aria2c that reads each complete file again and checks it."""
    lines = [f"{url}{file.name}\n  checksum=sha-256={file.sha256}" for file in served.manifest.files]
    return _aria(served, ARIA_CHECK, served.write("aria2-checksum.txt", lines))


def aria_metalink(served: Served, url: str) -> Peer:
    """Return aria2c with the knowledge of the manifest: a digest for the file and one for each piece."""
    argv = ("aria2c", "--no-conf", "--quiet", "-M", str(served.metalink(url)))
    return Peer(ARIA_METALINK, argv, right(served), needs=("aria2c",))


def pooch(served: Served, url: str) -> Peer:
    """Return pooch with the digests in its registry."""
    registry = [f"{file.name}={file.sha256}" for file in served.manifest.files]
    return script(POOCH, "pooch_fetch.py", url, *registry, check=right(served), needs=("import pooch",))


def hub(served: Served, url: str) -> Peer:
    """Return http_get of huggingface_hub."""
    needs = ("import huggingface_hub",)
    return script(HUB, "hub_get.py", *_urls(served, url), check=right(served), needs=needs)


def seed(served: Served, url: str) -> Peer:
    """Return requests in a loop."""
    return script(SEED, "seed_loop.py", *_urls(served, url), check=right(served))


def loop(served: Served, url: str) -> Peer:
    """Return requests on one connection, with each file checked before it is written."""
    return script(LOOP, "requests_loop.py", url, str(served.sums), check=right(served))


def torchvision(served: Served, url: str) -> Peer:
    """Return torchvision: download, MD5, unpack, read."""
    check = right(served, unpacked=True)
    return script(TORCHVISION, "torchvision_fetch.py", url, check=check, needs=("import torchvision", "import torch"))


def script(
    name: str,
    file: str,
    *words: str,
    check: Callable[[Path], None] = lambda _folder: None,
    needs: tuple[str, ...] = (),
    timed: bool = False,
) -> Peer:
    """Return one of the small programs in scripts/."""
    return Peer(name, (sys.executable, str(SCRIPTS / file), *words), check, needs, timed)


def right(served: Served, *, unpacked: bool = False, tensors: bool = False) -> Callable[[Path], None]:
    """Return a check that every file is somewhere in a folder, with its SHA-256."""
    wanted = {file.name: file.sha256 for file in served.manifest.files}
    if unpacked:
        wanted |= {file.payload.name: file.payload.sha256 or "" for file in served.manifest.files}
    if tensors:
        wanted[f"{served.manifest.name}.safetensors"] = ""

    def check(folder: Path) -> None:
        compare({path.name: path for path in folder.rglob("*") if path.is_file()}, wanted)

    return check


def compare(found: Mapping[str, Path], wanted: Mapping[str, str]) -> None:
    """Raise PeerError unless the files WANTED are FOUND with these digests ("": with any)."""
    for name, digest in wanted.items():
        if name not in found:
            raise PeerError(f"it left no {name}")
        if digest:
            with open(found[name], "rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
            if got != digest:
                raise PeerError(f"{name} has SHA-256 {got}, not {digest}")


def _aria(served: Served, name: str, listed: Path, options: Sequence[str] = ()) -> Peer:
    argv = ("aria2c", "--no-conf", "--quiet", *options, "-i", str(listed))
    return Peer(name, argv, right(served), needs=("aria2c",))


def _curl(served: Served, url: str) -> str:
    listed = served.write("curl.txt", [f'url = "{it}"' for it in _urls(served, url)])
    return f"curl -q -sSf --remote-name-all -K {shlex.quote(str(listed))}"


def _urls(served: Served, url: str) -> list[str]:
    return [url + file.name for file in served.manifest.files]


def _names(served: Served) -> str:
    return shlex.join(file.name for file in served.manifest.files)
