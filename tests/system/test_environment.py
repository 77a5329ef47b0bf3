"""A fresh clone sets itself up: from a package index that breaks, and in a hostile environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from faults import KIB, MIB, CutAfter, Line, Lockstep, Mirror, payload
from index import index_files
from samples import PROJECT_FOLDER, Sample, fill
from two_machines import two_machines
from wheels import MadeWheel, lock_text, make_wheel, pack

FIRST = ("packaging", "installer", "requests", "urllib3", "certifi", "idna", "charset-normalizer", "tqdm", "filelock")
MORE = [make_wheel("large-thing", "2.5", ballast=payload(3 * MIB, seed=2), command="say-version"), make_wheel("small")]
# A set-up uses nothing of the machine of the tests: neither packages nor settings.
CLEAN = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "LANG": "C.UTF-8"}


def repacked(package: str) -> MadeWheel:
    """Return the installed PACKAGE as a wheel."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed: run make test first")
    skipped = {"..", "__pycache__", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    paths = {file.as_posix(): Path(str(file.locate())) for file in installed.files or () if not skipped & {*file.parts}}
    return pack(package, installed.version, {name: path.read_bytes() for name, path in paths.items() if path.is_file()})


@pytest.fixture(scope="module")
def first() -> list[MadeWheel]:
    """Return the wheels that the engine needs."""
    return [repacked(package) for package in FIRST]


@pytest.fixture
def clone(first: list[MadeWheel], tmp_path: Path) -> Path:
    """Return the project as a fresh clone, with a lock of few packages."""
    folder = tmp_path / "apart" / "clone"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("fmnist_fetch", "trainer"):
        shutil.copytree(PROJECT_FOLDER / name, folder / name, ignore=ignored)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT_FOLDER / name, folder / name)
    (folder / "pylock.toml").write_text(lock_text({"": first, "data": MORE[:1], "train": MORE}))
    return folder


@pytest.fixture
def index(first: list[MadeWheel]) -> dict[str, bytes]:
    return index_files({made.wheel.name: made.content for made in (*first, *MORE)})


def set_up(clone: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fmnist_fetch.environment", *words]
    environment = {**CLEAN, "HOME": str(clone.parent), **variables}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=120)


def run(clone: Path, *words: str) -> str:
    python = clone / ".venv" / "bin" / "python"
    done = subprocess.run([python, *words], cwd="/", env=CLEAN, capture_output=True, text=True, check=True)
    return done.stdout


def test_it_sets_itself_up_from_an_index_that_cuts_every_connection(clone: Path, index: dict[str, bytes]) -> None:
    with Mirror(index, [CutAfter(64 * KIB)]) as mirror:
        done = set_up(clone, "data", PIP_INDEX_URL=mirror.url + "simple/")
        assert done.returncode == 0, done.stderr
        wanted = sum(len(content) for name, content in index.items() if "small" not in name)
        assert mirror.served <= 1.1 * wanted
        again = set_up(clone, "data")
        assert (again.returncode, again.stderr) == (0, "")
    assert "1 file, 3.1 MB to fetch" in done.stderr
    assert run(clone, "-c", "import large_thing, requests; large_thing.main()") == "2.5\n"
    assert run(clone, "-m", "fmnist_fetch", "--version").strip()
    say_version = subprocess.run([clone / ".venv/bin/say-version"], capture_output=True, text=True, check=True)
    assert say_version.stdout == "2.5\n"


def test_it_gets_there_by_repetition_alone_when_it_is_killed_again_and_again(
    clone: Path, index: dict[str, bytes]
) -> None:
    with Mirror(index, [Line(3e6), Lockstep()]) as mirror:
        environment = {**CLEAN, "HOME": str(clone.parent), "PIP_INDEX_URL": mirror.url + "simple/"}
        command = [sys.executable, "-m", "fmnist_fetch.environment", "data"]
        code, runs = None, 0
        while code is None:
            before, runs = mirror.served, runs + 1
            with subprocess.Popen(command, cwd=clone, env=environment, stderr=subprocess.DEVNULL) as process:
                while (code := process.poll()) is None and mirror.served < before + 600 * KIB:
                    time.sleep(0.01)
                process.kill()
        assert (code, runs > 4) == (0, True)
        wanted = sum(len(content) for name, content in index.items() if "small" not in name)
        assert mirror.served <= 1.1 * wanted
    assert run(clone, "-c", "import large_thing; large_thing.main()") == "2.5\n"


def test_it_waits_for_an_index_that_comes_and_goes(clone: Path, index: dict[str, bytes]) -> None:
    with Mirror(index, [Line(4e6)]) as mirror, ThreadPoolExecutor() as pool:
        done = pool.submit(set_up, clone, "data", PIP_INDEX_URL=mirror.url + "simple/")
        while not done.done():
            time.sleep(0.6)
            with mirror.down():
                time.sleep(0.2)
        assert done.result().returncode == 0, done.result().stderr
        wanted = sum(len(content) for name, content in index.items() if "small" not in name)
        assert mirror.served <= 1.1 * wanted


def test_the_project_is_installed_as_a_path_with_its_commands_and_metadata(
    clone: Path, index: dict[str, bytes]
) -> None:
    with Mirror(index) as mirror:
        assert set_up(clone, "fetch", PIP_INDEX_URL=mirror.url + "simple/").returncode == 0
    names = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["scripts"]
    code = "from importlib.metadata import distribution as d; print(*(e.name for e in d('fmnist-fetch').entry_points))"
    assert sorted(run(clone, "-c", code).split()) == sorted(names)
    assert all((clone / ".venv" / "bin" / name).exists() for name in names)
    assert run(clone, "-c", "import fmnist_fetch; print(fmnist_fetch.__file__)").startswith(str(clone))


@pytest.mark.parametrize(
    "variables",
    [
        {"PIP_USER": "1"},
        {"PIP_TARGET": "/nowhere"},
        {"PYTHONPATH": "{stray}"},
        {"PYTHONHOME": ""},
        {"CONDA_PREFIX": "/opt/conda", "CONDA_DEFAULT_ENV": "base"},
        {"VIRTUAL_ENV": "/another"},
    ],
    ids=str,
)
def test_settings_for_other_environments_do_not_break_it(
    clone: Path, index: dict[str, bytes], tmp_path: Path, variables: dict[str, str]
) -> None:
    stray = fill(tmp_path / "stray", {"requests.py": b"raise SystemExit('stray')", "packaging.py": b"import nothing"})
    variables = {name: value.format(stray=stray) for name, value in variables.items()}
    with Mirror(index) as mirror:
        done = set_up(clone, "data", PIP_INDEX_URL=mirror.url + "simple/", **variables)
    assert done.returncode == 0, done.stderr
    assert run(clone, "-c", "import large_thing; large_thing.main()") == "2.5\n"


@pytest.mark.parametrize("down", ["index", "mirror", "wheels of the mirror"])
def test_of_index_and_mirror_one_is_enough(clone: Path, index: dict[str, bytes], down: str) -> None:
    closed = "http://127.0.0.1:9/"
    flat = {f"wheels/{name.removeprefix('files/')}": data for name, data in index.items() if name.startswith("files/")}
    data_alone = {"train-images-idx3-ubyte.gz": b"data"}
    with Mirror(index) as there, Mirror(data_alone if down == "wheels of the mirror" else flat) as mirror:
        base = closed if down == "mirror" else mirror.url
        url = (closed if down == "index" else there.url) + "simple/"
        done = set_up(clone, "data", "--mirror", base, PIP_INDEX_URL=url)
        assert done.returncode == 0, done.stderr
        assert (there.served == 0) == (down == "index")
    assert run(clone, "-c", "import large_thing, requests; large_thing.main()") == "2.5\n"


def test_another_lock_is_followed_and_what_is_right_is_left_alone(
    clone: Path, index: dict[str, bytes], first: list[MadeWheel]
) -> None:
    newer = make_wheel("large-thing", "3.0")
    with Mirror(index) as mirror:
        assert set_up(clone, "train", PIP_INDEX_URL=mirror.url + "simple/").returncode == 0
        (clone / "pylock.toml").write_text(lock_text({"": first, "data": [newer], "train": [newer, MORE[1]]}))
        mirror.files |= index_files({newer.wheel.name: newer.content})
        asked = len(mirror.journal)
        assert set_up(clone, "train", PIP_INDEX_URL=mirror.url + "simple/").returncode == 0
        assert {line.name for line in mirror.journal[asked:]} == {"simple/large-thing/", "files/" + newer.wheel.name}
    assert run(clone, "-c", "import large_thing, small; large_thing.main()") == "3.0\n"
    site = next((clone / ".venv").glob("lib/python*/site-packages"))
    assert {path.name for path in site.glob("large_thing*")} == {"large_thing", "large_thing-3.0.dist-info"}
    assert not (site / "large_thing" / "ballast").exists()


def test_an_interrupted_installation_is_made_up_for(clone: Path, index: dict[str, bytes]) -> None:
    with Mirror(index) as mirror:
        url = mirror.url + "simple/"
        assert set_up(clone, "data", PIP_INDEX_URL=url).returncode == 0
        # As after a kill in the middle: files, but no record, and no stamp.
        site = next((clone / ".venv").glob("lib/python*/site-packages"))
        (site / "large_thing-2.5.dist-info" / "RECORD").unlink()
        (site / "large_thing" / "__init__.py").write_text("half")
        (clone / ".venv" / "data").unlink()
        assert set_up(clone, "data", PIP_INDEX_URL=url).returncode == 0
    assert run(clone, "-c", "import large_thing; large_thing.main()") == "2.5\n"


def test_of_the_wheels_in_the_store_only_those_of_the_lock_are_installed(clone: Path, first: list[MadeWheel]) -> None:
    planted = [make_wheel("planted"), make_wheel("large-thing", "9.9"), make_wheel("small")]
    store = fill(clone / "wheels", {made.wheel.name: made.content for made in (*first, MORE[0], *planted)})
    done = set_up(clone, "data", "--offline")
    assert done.returncode == 0, done.stderr
    assert run(clone, "-c", "import large_thing; large_thing.main()") == "2.5\n"
    site = next((clone / ".venv").glob("lib/python*/site-packages"))
    # The last one is in the lock, for another set-up.
    assert not [path for path in site.iterdir() if path.name.startswith(("planted", "small"))]
    assert (store / planted[1].wheel.name).read_bytes() == planted[1].content


def test_a_lack_of_space_is_reported_before_anything_large_is_fetched(clone: Path, index: dict[str, bytes]) -> None:
    patch = "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6)\n"
    (clone / "fmnist_fetch" / "environment" / "__init__.py").write_text(patch)
    with Mirror(index) as mirror:
        done = set_up(clone, "data", PIP_INDEX_URL=mirror.url + "simple/")
        assert "files/" + MORE[0].wheel.name not in {line.name for line in mirror.journal}
    assert done.returncode == 5
    error, hint = done.stderr.splitlines()[-2:]
    assert "has 1.0 MB free, and 15.7 MB are needed" in error
    assert hint.startswith("hint: Free 14.7 MB")


def test_a_python_without_venv_is_named_in_two_lines(clone: Path) -> None:
    (clone / "venv.py").write_text("raise ImportError('no venv')")
    done = set_up(clone, "data")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.endswith("has no module venv")
    assert "apt install python3-venv" in hint


def test_offline_without_wheels_it_says_what_is_missing(clone: Path) -> None:
    done = set_up(clone, "data", "--offline")
    assert done.returncode == 4
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[-2:]] == ["error", "hint"]


make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def made(clone: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", f"PYTHON={sys.executable}", *words]
    environment = {**CLEAN, "HOME": str(clone.parent), **variables}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=120)


@make
def test_make_data_fetches_the_data_before_the_rest(clone: Path, index: dict[str, bytes], sample: Sample) -> None:
    manifest = sample.write(clone)
    stick = fill(clone / "stick", sample.files)
    with Mirror(index) as mirror:
        words = ("data", f"DATASET={manifest}", f"MIRROR={stick}")
        done = made(clone, *words, PIP_INDEX_URL=mirror.url + "simple/")
        assert done.returncode == 0, done.stderr
        assert done.stderr.index("verified") < done.stderr.index("installing 1 package")
        again = made(clone, *words)
    assert again.returncode == 0
    assert "package" not in again.stderr


ODD = """NO NAME, it's $HOME & "q" 100% ~ é数"""


@make
def test_make_takes_every_path_as_it_is(clone: Path, index: dict[str, bytes], sample: Sample) -> None:
    stick, data = fill(clone / f"stick {ODD}", sample.files), clone / f"data {ODD}"
    (clone / ODD).mkdir()
    manifest = Path(sample.write(clone)).rename(clone / ODD / f"{ODD}.toml")
    (clone / "trainer" / "__main__.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    words = (f"ROOT={data}", f"MIRROR={stick}", f"DATASET={manifest}", f"VENV=env {ODD}")
    with Mirror(index) as mirror:
        done = made(clone, "data", *words, PIP_INDEX_URL=mirror.url + "simple/")
        assert done.returncode == 0, done.stderr
        assert list(data.rglob("*.safetensors"))
        done = made(clone, "train", *words, PIP_INDEX_URL=mirror.url + "simple/")
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        *("--root", str(data), "--out", f"runs/{ODD}", "--dataset", str(manifest)),
    ]
    done = made(clone, "train", *words, f"RUN=runs {ODD}")
    assert json.loads(done.stdout.splitlines()[-1])[3] == f"runs {ODD}"
    assert {path.name for path in clone.iterdir()} >= {f"env {ODD}", f"data {ODD}"}
    assert not list(clone.glob(".venv*"))


@make
@pytest.mark.parametrize(
    ("mirror", "passed"),
    [
        ("/media/NO NAME", ["/media/NO NAME"]),
        ("~/stick of 'mine'", ["{home}/stick of 'mine'"]),
        ("http://a.invalid/ https://b.invalid/x", ["http://a.invalid/", "https://b.invalid/x"]),
        ("http://a.invalid/ /media/usb", ["http://a.invalid/", "/media/usb"]),
    ],
)
def test_make_passes_one_folder_or_several_mirrors(stand_in: Path, mirror: str, passed: list[str]) -> None:
    done = made(stand_in, "data", f"MIRROR={mirror}")
    words = done.stdout.splitlines()
    given = [words[number + 1] for number, word in enumerate(words) if word == "--mirror"]
    assert given == [one.format(home=stand_in.parent) for one in passed]


@make
def test_make_data_lan_gets_wheels_and_data_from_the_server_of_the_room(
    clone: Path, first: list[MadeWheel], sample: Sample, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: run make serve first")
    pytest.importorskip("zeroconf", reason="zeroconf is not installed: run make serve first")
    teacher = tmp_path / "teacher"
    shutil.copytree(clone, teacher)
    fill(teacher / "wheels", {made.wheel.name: made.content for made in (*first, *MORE)})
    sample.fetch(teacher / "data", str(fill(tmp_path / "stick", sample.files)))
    manifest = sample.write(clone)
    with two_machines() as (server, student):
        serve = server.start(sys.executable, "-m", "fmnist_fetch", "serve", manifest, "--announce", cwd=teacher)
        try:
            assert serve.stdout is not None
            assert any("announced: make" in line for line in serve.stdout)
            words = ("make", "data", "LAN=1", f"DATASET={manifest}", f"PYTHON={sys.executable}")
            done = student.run(*words, cwd=clone, env={**CLEAN, "HOME": str(clone.parent)})
        finally:
            serve.terminate()
            serve.communicate(timeout=20)
    assert done.returncode == 0, done.stderr
    assert "found in the local network: http://10.77.0.1:8000/" in done.stderr
    assert sample.layout(clone / "data").tensors.exists()
    assert run(clone, "-c", "import large_thing; large_thing.main()") == "2.5\n"


def test_a_set_up_that_finds_no_server_and_no_index_says_so(clone: Path) -> None:
    with two_machines() as (_, student):
        words = (sys.executable, "-m", "fmnist_fetch.environment", "fetch", "--lan")
        done = student.run(*words, cwd=clone, env={**CLEAN, "HOME": str(clone.parent), "PIP_NO_INDEX": "1"})
    assert done.returncode == 4
    assert "no server of the local network answered; multicast may be blocked" in done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert "No server of the local network answered. If there is one, multicast is blocked" in hint


@pytest.fixture
def stand_in(clone: Path) -> Path:
    """Return the clone with a Python that prints its arguments, and waits if it is to serve or to train."""
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/bin/sh\ntrap 'echo \"error: interrupted\" >&2; exit 130' INT\n"
        'for word; do echo "$word"; done\n'
        'case "$*" in *serve*|*verify*|*trainer*) while :; do sleep 0.05; done; esac\n'
    )
    python.chmod(0o755)
    for group in ("fetch", "data", "train", "serve", "kit"):
        (clone / ".venv" / group).touch()
    return clone


@make
@pytest.mark.parametrize("name", ["ROOT", "DATASET", "MIRROR", "RUN"])
def test_make_runs_nothing_that_a_name_contains(stand_in: Path, name: str) -> None:
    done = made(stand_in, "data", f"{name}=x $(shell touch ran) ${{{name}}} `touch ran`")
    assert done.returncode == 0, done.stderr
    assert not (stand_in / "ran").exists()


@make
def test_make_runs_one_target_after_the_other_with_many_jobs_too(stand_in: Path) -> None:
    (stand_in / ".venv" / "bin" / "python").write_text("#!/bin/sh\necho $3; sleep 0.3; echo end\n")
    done = made(stand_in, "-j8", "data", "verify")
    assert done.stdout.splitlines() == ["fetch", "end", "verify", "end"]


@make
@pytest.mark.parametrize("target", ["serve", "verify", "train"])
def test_make_adds_nothing_to_the_message_of_a_program_after_ctrl_c(stand_in: Path, target: str) -> None:
    environment = {**CLEAN, "HOME": str(stand_in.parent)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["make", target], cwd=stand_in, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "-m\n"
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert said == "error: interrupted\n"
    assert process.returncode != 0


@make
def test_the_help_of_make_fits_80_columns(clone: Path) -> None:
    done = made(clone, "help")
    assert "make train" in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) >= 80] == []


@make
def test_make_says_in_two_lines_that_there_is_no_such_python(clone: Path) -> None:
    done = made(clone, "data", "PYTHON=python3.99")
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        "error: there is no python3.99",
        "hint: install Python 3.11 or newer, or name it: make PYTHON=python3.12",
    ]


@make
def test_make_train_without_data_says_so_first(clone: Path) -> None:
    done = made(clone, "train", "ROOT=nowhere")
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        "error: nowhere/FashionMNIST/processed/fashion-mnist.safetensors is not there",
        "hint: Run: make data ROOT=nowhere",
    ]
    assert not (clone / ".venv").exists()


@make
def test_make_clean_keeps_data_wheels_kits_and_what_is_no_environment(clone: Path) -> None:
    kept = {"data/x": b"1", "wheels/y.whl": b"2", "dist/fmnist-lab-kit.tar": b"3", "mine/notes": b"mine"}
    for name, data in {**kept, ".venv/pyvenv.cfg": b"", "dist/z.whl": b"4"}.items():
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_bytes(data)
    assert made(clone, "clean", "VENV=mine").returncode == made(clone, "clean").returncode == 0
    assert {name: (clone / name).read_bytes() for name in kept} == kept
    assert not (clone / ".venv").exists()
    assert not (clone / "dist" / "z.whl").exists()
