"""The pages are true: every command in them is run in a copy of the project, and prints what the page shows.

The outside world is a folder, a USB stick and a server on the loopback; all other requests are refused. A new block of
a page is run automatically; what cannot be run here must be in NOT_RUN, with the reason.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import fcntl
import html
import importlib.util
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import pages
from faults import Line, Mirror
from fmnist_fetch.environment.lock import GROUPS
from fmnist_fetch.manifest.catalog import find
from pages import Block, Step
from processes import environment
from samples import PROJECT_FOLDER

# Commands that are not run here, by their beginning; their syntax is checked all the same.
NOT_RUN = {
    "sudo apt install python3-venv": "it changes the machine",
    "sudo apt install dataset-fashion-mnist": "it changes the machine; tests/unit/sources takes the data through apt",
    "from d2l import torch as d2l": "the book's own line, which the page replaces",
    "pip install": "it needs a package index",
    "uv pip install": "it needs a package index",
    "make lock": "it needs a package index and writes to the clone",
    "py -m": "it is for Windows",
    ".venv\\Scripts": "it is for Windows",
    "make test": "it would run itself",
    "make lint": "CI runs it",
    "make coverage": "it would run itself",
    "make hooks": "it changes the clone's own git",
    "make docs": "it needs a package index; CI runs it",
    "make api": "it would change the pages; tests/docs compare them",
    "make picture": "it needs a package index",
    "make dist": "it needs a package index; tests/system/test_packaging.py builds",
    "pipx run": "it needs a package index; tests/system/test_packaging.py installs",
    "pip config set": "it changes the settings of the user",
    "export HTTPS_PROXY": "there is no proxy here",
    "export FMNIST_MIRRORS": "the pages' own mirrors stand in for it",
    "make kit-check": "it makes a machine of its own; CI runs it",
}
# Blocks that other tests run, by their beginning.
ELSEWHERE = {
    "mkdir my-digits\n": "tests/docs/test_own_data.py",
    "fmnist-fetch manifest gzip ": "tests/docs/test_own_data.py",
}
# Replacements for what every reader has elsewhere.
STAND_INS = {
    "http://lab-server:8000/": "{mirror}",
    "https://dataset.bj.bcebos.com/fashion_mnist/": "{mirror}",
    "https://oneflow-public.oss-cn-beijing.aliyuncs.com/datasets/mnist/Fashion-MNIST/": "{mirror}",
    # The script has no proxy, and only the mirrors of the manifest.
    "python3 get_fashion_mnist.py data/": "python3 get_fashion_mnist.py {checkout}/data/",
    "/media/": "{lab}/media/",
    "../fashion-mnist/data/fashion": "{lab}/media/usb",
    "/srv/datasets": "{lab}/srv",
    "/var/log/": "{lab}/",
    "/opt": "{lab}/opt",
    # The wheels would have to come from a package index.
    "make kit KIT='": "make kit KIT='--no-wheels ",
    "make kit && ": "make kit KIT=--no-wheels && ",
    "make kit\n": "make kit KIT=--no-wheels\n",
}
# A block with one of these words needs this program or package.
NEEDS = {
    "make train": "torch",
    "trainer": "torch",
    "make kit": "git",
    "git pull": "git",
    "rsync": "rsync",
    "tar ": "git",
}
HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
ALL = [block for page in pages.PAGES for block in pages.blocks(page)]
KINDS = ("shell", "transcript", "doctest", "python", "listing", "nginx", "yaml", "text", "dockerfile", "cron")


def of(kind: str) -> list[Block]:
    """Return the blocks of this KIND; the same one in two pages is run once."""
    mine = [block for block in ALL if block.kind == kind and not block.text.startswith(tuple(ELSEWHERE))]
    different = {re.sub(r"\s*#.*", "", block.text): block for block in reversed(mine)}
    return list(different.values())[::-1]


def each(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in of(kind)])


@dataclass(frozen=True)
class Lab:
    """A checkout of the project with its environment, in a world that ends at this machine."""

    folder: Path
    mirror: Mirror
    data: Path  # the files as published

    @property
    def checkout(self) -> Path:
        return self.folder / "fmnist-fetch"

    @property
    def size(self) -> int:
        """Return the bytes of the published data."""
        return sum(map(len, self.mirror.files.values()))

    def environment(self, **more: str) -> dict[str, str]:
        kept = environment()
        del kept["PYTHONPATH"]
        nowhere = {"ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "PIP_NO_INDEX": "1"}
        return {
            **kept,
            **nowhere,
            "HOME": str(self.folder / "home"),
            "PATH": os.pathsep.join((str(self.folder / "bin"), str(self.checkout / ".venv" / "bin"), kept["PATH"])),
            "VENV": str(self.checkout / ".venv"),
            "FMNIST_MIRRORS": str(self.data),
            "MPLCONFIGDIR": str(PROJECT_FOLDER / ".pytest_cache" / "matplotlib"),
            **more,
        }

    def translated(self, text: str) -> str:
        for said, meant in STAND_INS.items():
            text = text.replace(said, meant.format(lab=self.folder, mirror=self.mirror.url, checkout=self.checkout))
        return text

    def run(self, script: str, **more: str) -> str:
        """Run SCRIPT in the checkout; assert that it succeeds; return what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def lab(real_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if not shutil.which("make") or not shutil.which("bash"):
        pytest.skip("make and bash are not installed")
    folder = tmp_path_factory.mktemp("lab")
    data = real_root / "FashionMNIST" / "raw"
    files = {file.name: (data / file.name).read_bytes() for file in find("fashion-mnist").files}
    for name in ("home", "bin", "media/usb", "media/other", "srv", "opt"):
        (folder / name).mkdir(parents=True)
    for name in files:
        shutil.copy(data / name, folder / "media" / "usb")
    with Mirror(files) as mirror:
        found = Lab(folder, mirror, data)
        check_out(found)
        found.run("make data")
        yield found
    shutil.rmtree(folder, ignore_errors=True)


def check_out(lab: Lab) -> None:
    """Return a clone of this project as it is now, with an environment in which everything is installed."""
    published = lab.folder / "upstream"
    skipped = shutil.ignore_patterns(".*", "data", "dist", "runs", "__pycache__", "*.egg-info")
    shutil.copytree(PROJECT_FOLDER, published, ignore=skipped)
    (published / ".gitignore").write_text("/.venv/\n/data/\n/dist/\n/runs/\n*.tar\nown.png\n/fmnist-lab-kit/\n")
    if shutil.which("git"):
        us = "-c user.name=Nobody -c user.email=nobody@example.invalid -c init.defaultBranch=main"
        for words in ("init -q", "add .", "commit -qm First"):
            subprocess.run(["git", *us.split(), *words.split()], cwd=published, check=True)
        subprocess.run(["git", "clone", "-q", str(published), str(lab.checkout)], check=True)
    else:
        shutil.copytree(published, lab.checkout)
    venv = lab.checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    others = [path for path in sys.path if "-packages" in path]
    (packages / "all.pth").write_text("\n".join([str(lab.checkout), *others]))
    scripts = tomllib.loads(pages.read("pyproject.toml"))["project"]["scripts"]
    for name, place in {**scripts, "torchrun": "torch.distributed.run:main"}.items():
        module, _, function = place.partition(":")
        script = venv / "bin" / name
        script.write_text(f"#!{venv}/bin/python\nfrom {module} import {function}\n{function}()\n")
        script.chmod(0o755)
    for stamp in ("fetch", *filter(None, GROUPS)):
        (venv / stamp).touch()
    # The machines of the fleet are this one, and apt has nothing.
    for name, script in {"ssh": 'shift\nexec sh -c "$*"', "apt-get": "exit 1"}.items():
        (lab.folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (lab.folder / "bin" / name).chmod(0o755)
    (lab.checkout / "machines").write_text("here\n")


def need(text: str) -> None:
    """Skip a block that needs a program or a package that is absent."""
    for word, thing in NEEDS.items():
        if word in text and not shutil.which(thing) and not importlib.util.find_spec(thing):
            pytest.skip(f"{thing} is not installed")
    if "unshare" in text and subprocess.run(["unshare", "--map-root-user", "--net", "true"], check=False).returncode:
        pytest.skip("no namespaces can be made here")


def runnable(text: str) -> str:
    """Return TEXT without the lines that are not run; a line that names its source starts with no data."""
    lines = []
    for line in text.splitlines():
        if line.startswith(tuple(NOT_RUN)):
            lines += [f"{line.partition('#')[0]} --dry-run >/dev/null"] if line.startswith("make ") else []
            continue
        if re.search(r"MIRROR=|--mirror", line):
            lines.append("rm -rf data; export FMNIST_MIRRORS=")
        lines.append(line)
    return "\n".join(lines) + "\n"


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    assert {block.place: block.kind for block in ALL if block.kind not in KINDS} == {}
    assert {block.kind for block in ALL} >= {"shell", "transcript", "doctest", "listing"}


def test_blocks_that_are_run_elsewhere_are_in_a_page_that_is_read_there() -> None:
    for start, test in ELSEWHERE.items():
        (page,) = {block.page for block in ALL if block.text.startswith(start)}
        assert f'"{Path(page).name}"' in pages.read(test)


def test_no_block_is_exempt_that_no_page_has() -> None:
    said = [line for block in ALL for line in block.text.splitlines()]
    said += [span for page in pages.PAGES for span in pages.spans(page)]
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in said)] == []


@each("shell")
def test_every_block_of_commands_can_be_run(block: Block, lab: Lab) -> None:
    subprocess.run(["bash", "-n", "-c", block.text], check=True)
    need(block.text)
    if block.text.startswith("tar "):
        lab.run("make kit KIT=--no-wheels && mv dist/fmnist-lab-kit.tar .")
    if "rsync" in block.text:
        lab.run("make kit KIT=--no-wheels")
    served = lab.mirror.served
    script = lab.translated(runnable(block.text))
    lab.run(script, EPOCHS="1")
    if lab.mirror.url in script:
        assert lab.mirror.served > served
    lab.run("make verify")


@each("transcript")
def test_a_transcript_shows_what_is_printed(block: Block, lab: Lab) -> None:
    need(block.text)
    steps = pages.steps(block.text)
    assert steps
    if any(step.seen for step in steps):
        shutil.rmtree(lab.checkout / "data")
    try:
        for step in steps:
            printed = interrupted(lab, step) if step.seen else lab.run(step.command, FMNIST_MIRRORS=lab.mirror.url)
            # The data of the reader came from the first mirror of the manifest.
            printed = printed.replace(lab.mirror.url, find("fashion-mnist").mirrors[0])
            shown = f"the page says\n{block.text}\nand this was printed:\n{printed}"
            assert pages.prints((*step.seen, *step.printed), printed), shown
    finally:
        # The other blocks find the data complete, even if this one failed.
        lab.mirror.faults = []
        lab.run("make data")


def test_the_picture_of_a_download_shows_what_the_transcript_shows() -> None:
    svg = pages.read("docs/pictures/fetch.svg")
    lines = [html.unescape(line) for line in re.findall(r">([^<]*)</text>", svg.rpartition("<g ")[2])]
    # A terminal of 80 columns breaks a longer line anywhere.
    screen = "".join(line if len(line) == 80 else f"{line}\n" for line in lines)
    transcript = next(block for block in of("transcript") if block.page == "README.md")
    for step in pages.steps(transcript.text):
        assert pages.prints([f"$ {step.command}", "...", *step.printed], screen), screen


def interrupted(lab: Lab, step: Step) -> str:
    """Return what STEP prints on a terminal with a slow connection, when Ctrl-C is typed after half of it."""
    half = lab.mirror.served + lab.size // 2
    lab.mirror.faults = [Line(lab.size / 4)]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        # A shell that was started in the background ignores Ctrl-C, and so would everything that it starts.
        [sys.executable, "-c", HEED, "bash", "-c", step.command],
        cwd=lab.checkout,
        env=lab.environment(FMNIST_MIRRORS=lab.mirror.url, TERM="xterm"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    printed, typed = b"", False
    # A terminal cannot be read after its last process has ended.
    with contextlib.suppress(OSError):
        while select.select([master], [], [], 60)[0] and (data := os.read(master, 65536)):
            printed += data
            if typed or lab.mirror.served < half:
                continue
            if pages.prints(step.seen, printed.decode(errors="ignore")):
                os.killpg(process.pid, signal.SIGINT)
                typed = True
    os.close(master)
    assert typed, printed.decode(errors="replace")
    assert process.wait(60) != 0
    lab.mirror.faults = []
    return printed.decode()


@each("doctest")
def test_an_example_in_python_gives_what_the_page_says(
    block: Block, lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(lab.checkout)
    example = doctest.DocTestParser().get_doctest(block.text, {}, block.place, block.page, block.line)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(example).failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("page", [page for page in pages.PAGES if any(b.page == page for b in of("python"))])
def test_the_programs_of_a_page_run_one_after_the_other(page: str, lab: Lab) -> None:
    code = [block.text for block in of("python") if block.page == page]
    for text in code:
        ast.parse(text)
    need("".join(code))
    program = "".join(text for text in code if not text.startswith(tuple(NOT_RUN)))
    lab.run(f"cd {lab.folder}/home && python -c {shlex.quote(program)}", FMNIST_ROOT=str(lab.checkout / "data"))


@each("listing")
def test_a_listing_names_what_is_there(block: Block, lab: Lab) -> None:
    for line in block.text.splitlines():
        assert (lab.checkout / line.split()[0]).is_file()


@each("nginx")
def test_a_server_of_nginx_is_tried_by_the_tests_of_the_fleet(block: Block) -> None:
    assert f'"{Path(block.page).name}"' in pages.read("tests/integration/test_fleet.py")


@each("yaml")
def test_a_playbook_is_one(block: Block, tmp_path: Path) -> None:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(block.text)
    targets = re.findall(r"command: make (.*)$", block.text, re.MULTILINE)
    assert targets
    for words in targets:
        subprocess.run(["make", "--dry-run", *words.split()], cwd=PROJECT_FOLDER, check=True, stdout=subprocess.DEVNULL)
    program = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("ansible is not installed: pip install ansible-core")
    subprocess.run([program, "--syntax-check", str(playbook)], check=True)


@each("dockerfile")
def test_a_dockerfile_installs_extras_that_there_are_and_runs_commands_that_there_are(block: Block) -> None:
    extras = tomllib.loads(pages.read("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(re.findall(r"\[(\w+)\]", block.text)) <= extras.keys()
    commands = re.findall(r"^RUN (fmnist-fetch .*)$", block.text, re.MULTILINE)
    assert commands
    for command in commands:
        parse(command.split())


@each("cron")
def test_a_line_of_a_crontab_runs_a_command_of_the_program(block: Block) -> None:
    for line in block.text.splitlines():
        *fields, command = line.split(maxsplit=5)
        assert len(fields) == 5
        parse(shlex.split(command))


# The commands within sentences and tables: only their words are checked.


def commands(page: str) -> Iterator[list[str]]:
    for span in pages.spans(page):
        for command in re.split(r"&&|\|\|", span):
            # BASE is a URL, which the parser checks.
            yield shlex.split(re.sub(r"\[[A-Z]+\]| > \S+", "", command).replace(" BASE", " http://base.invalid/"))


def parse(words: Sequence[str]) -> None:
    """Let the parser of the program read WORDS."""
    program, rest = words[0].rpartition("/")[2], list(words[1:])
    if program == "make":
        dry = ["make", "--dry-run", *rest]
        subprocess.run(dry, cwd=PROJECT_FOLDER, check=True, capture_output=True, text=True)
    elif program == "fmnist-fetch":
        from fmnist_fetch.cli import parser

        if len(rest) == 1:
            # A command by itself is a name: its arguments are elsewhere.
            with pytest.raises(SystemExit) as caught:
                parser().parse_args([*rest, "--help"])
            assert caught.value.code == 0, words
        else:
            parser().parse_args(rest)
    elif program in ("fmnist-train", "torchrun") or rest[:2] == ["-m", "trainer"]:
        from trainer.__main__ import COMMANDS
        from trainer.__main__ import parser as trainers

        mine = rest[rest.index("trainer") + 1 :] if "trainer" in rest else rest
        trainers().parse_args(mine if mine[:1] and mine[0] in COMMANDS else ["train", *mine])
    elif rest[:2] == ["-m", "fmnist_fetch.environment"]:
        from fmnist_fetch.environment.setup import parser as environments

        environments().parse_args(rest[2:])
    elif program == "python":
        assert (PROJECT_FOLDER / rest[0]).is_file()
    else:
        raise AssertionError(f"no test knows {program}: {' '.join(words)}")


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_command_in_a_sentence_is_one(page: str) -> None:
    for words in filter(lambda words: len(words) > 1, commands(page)):
        if words[0] == "make" or not " ".join(words).startswith(tuple(NOT_RUN)):
            parse(words)


def test_every_option_in_a_page_exists_and_the_readme_has_all_of_fetch() -> None:
    known_commands = [("fmnist_fetch", name) for name in ("fetch", "manifest", "kit", "serve", "script")]
    known_commands += [("trainer", name) for name in ("train", "predict")]
    texts = [
        subprocess.run(
            [sys.executable, "-m", *words, "--help"], cwd=PROJECT_FOLDER, capture_output=True, text=True, check=True
        )
        for words in known_commands
    ]
    known = [set(re.findall(r"--[a-z][a-z-]+", text.stdout)) for text in texts]
    others = {"--pdb", "--spec", "--partial", "--nproc-per-node", "--map-root-user", "--net", "--bind", "--directory"}
    others |= {"--no-cache-dir", "--version"}
    for page in pages.PAGES:
        assert pages.options(page) - set().union(*known) - others == set()
    assert known[0] - {"--help"} <= pages.options("README.md")


def test_the_models_of_the_readme_can_be_asked(lab: Lab) -> None:
    need("make train")
    asked = [span for span in pages.spans("README.md") if re.match(r"python -m trainer (evaluate|predict)", span)]
    assert len(asked) == 2
    import numpy as np
    from matplotlib import pyplot

    pyplot.imsave(lab.checkout / "own.png", np.zeros((28, 28)), cmap="gray")
    lab.run(" && ".join(["[ -e runs/fashion-mnist/summary.json ] || make train EPOCHS=1", *asked]))


# Other facts.


def test_the_readme_can_be_read_in_a_terminal_of_80_columns() -> None:
    assert [line for line in pages.read("README.md").splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in pages.links(page):
        file, _, anchor = link.partition("#")
        target = (PROJECT_FOLDER / page).parent / file if file else PROJECT_FOLDER / page
        assert target.exists(), link
        assert not anchor or anchor in pages.anchors(os.path.relpath(target, PROJECT_FOLDER)), link


def test_the_hosts_of_the_firewall_and_the_sources_in_chinese_are_those_of_the_manifest() -> None:
    urls = find("fashion-mnist").mirrors
    hosts = {re.sub(r"^https?://([^/]+)/.*", r"\1", url) for url in urls}
    assert {host for host in hosts if f"`{host}`" not in pages.read("docs/lab-admins.md")} == set()
    table = re.findall(r"^\| `(https://[^`]+)`", pages.read("README.zh.md"), re.MULTILINE)
    assert table
    assert [url for url in table if not any(mirror.startswith(url) for mirror in urls)] == []


def test_the_layers_of_the_architecture_are_those_that_import_linter_enforces() -> None:
    contracts = tomllib.loads(pages.read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["id"] == "layers")
    (block,) = of("text")
    assert block.text.splitlines() == contract["layers"]


def test_every_package_has_its_row_in_the_readme() -> None:
    (table,) = re.findall(r"^\| package of .*?\n\n", pages.read("README.md"), re.MULTILINE | re.DOTALL)
    package = PROJECT_FOLDER / "fmnist_fetch"
    there = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(re.findall(r"\(fmnist_fetch/([\w.]+)\)", table)) == there - {"__init__.py"}


def test_the_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    from fmnist_fetch import errors
    from fmnist_fetch.cli import INTERRUPTED

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FetchError)]
    (told,) = re.findall(r"^Exit codes: (.*?)\.(?: |$)", pages.read("README.md"), re.MULTILINE | re.DOTALL)
    assert {int(code) for code in re.findall(r"(?:^|· )(\d+)", told.replace("\n", " "))} == {
        0,
        2,
        INTERRUPTED,
        *(kind.exit_code for kind in kinds),
    }
