"""The Debian package as a source: a fake apt, a real splice, an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from threading import Thread

import pytest

from faults import refusing
from fmnist_fetch.errors import SourceError
from fmnist_fetch.manifest.model import DebianPackage
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.status import inspect
from fmnist_fetch.sources.base import FetchOptions
from fmnist_fetch.sources.debian import DebianConnection, DebianSource
from samples import PACKAGE, Sample, all_of, fill

# It records the requests, and delivers the package that the test has prepared.
APT = """#!/bin/sh
for word; do
  case "$word" in
    download|update) command=$word ;;
    -*|*=*) ;;
    *) name=$word ;;
  esac
done
echo "$*" >> "$FAKE/calls"
echo "$command" $name >> "$FAKE/asked"
case "$FAKE_APT $*" in
  "works "*|"stale "*"Dir::State::lists="*) ;;
  "stale "*) echo "E: Unable to locate package $name" >&2; exit 100 ;;
  "hangs "*) echo $$ > "$FAKE/pid"; exec sleep 600 ;;
  *) printf 'W: something is odd \\351\\n' >&2; echo "E: Could not resolve 'deb.example'" >&2; exit 100 ;;
esac
case "$command" in
  download)
    cp "$FAKE/package" "${name}_1.0_all.deb"
    [ ! -e "$FAKE/second" ] || cp "$FAKE/second" "${name}_2.0_all.deb" ;;
  *) touch lists/fresh ;;
esac
"""
DPKG = """#!/bin/sh
[ "$FAKE_APT" = works ] || [ "$FAKE_APT" = stale ] || exit 2
[ ! -e "$FAKE/data.tar" ] || exec cat "$FAKE/data.tar"
tar -C "$FAKE/tree" -cf - .
"""


class Tools:
    """An apt-get and a dpkg-deb of the test, first on the PATH."""

    def __init__(self, folder: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch
        fill(folder / "tree" / PACKAGE.folder.lstrip("/"), sample.donors)
        (folder / "package").write_bytes(b"!<arch>")
        (folder / "bin").mkdir()
        for name, text in (("apt-get", APT), ("dpkg-deb", DPKG)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        monkeypatch.setenv("FAKE", str(folder))
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def apt(self, how: str) -> None:
        """From now on apt works, has stale lists, fails, or hangs."""
        self._patch.setenv("FAKE_APT", how)

    @property
    def asked(self) -> list[str]:
        """The command and the package of each call of apt-get so far."""
        return self._lines("asked")

    @property
    def calls(self) -> list[str]:
        """All words of each call."""
        return self._lines("calls")

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def tools(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path / "fake", sample, monkeypatch)


@pytest.fixture
def source(sample: Sample, tmp_path: Path) -> DebianConnection:
    return DebianSource(PACKAGE, sample.manifest.files, tmp_path / "work").open()


def test_the_packages_files_become_upstreams_by_a_splice(
    tools: Tools, source: DebianConnection, sample: Sample
) -> None:
    tools.apt("works")
    for file in sample.manifest.files:
        assert all_of(source, file, Span(0, file.size)) == sample.files[file.name]
    source.close()
    # The package is downloaded once, without new lists if those of the system are good.
    assert tools.asked == [f"download {PACKAGE.package}"]


def test_nothing_is_done_before_the_first_read(tools: Tools, source: DebianConnection, tmp_path: Path) -> None:
    tools.apt("works")
    source.close()
    assert tools.asked == []
    assert not (tmp_path / "work").exists()


def test_where_the_systems_lists_are_empty_private_ones_are_fetched(
    tools: Tools, source: DebianConnection, sample: Sample, tmp_path: Path
) -> None:
    tools.apt("stale")
    file = sample.file()
    assert all_of(source, file, Span(0, 5000)) == sample.files[file.name][:5000]
    source.close()
    assert tools.asked == [f"download {PACKAGE.package}", "update", f"download {PACKAGE.package}"]
    private = f"Dir::State::lists={tmp_path / 'work' / 'lists'}"
    assert [private in call for call in tools.calls] == [False, True, True]


def test_everything_that_apt_downloads_stays_in_the_work_folder(
    tools: Tools, source: DebianConnection, sample: Sample, tmp_path: Path
) -> None:
    tools.apt("works")
    source.read(sample.file(), Span(0, 10))
    source.close()
    call = tools.calls[0]
    assert f"Dir::Cache={tmp_path / 'work'}" in call
    # No lock of the system, which only root may take.
    assert "Debug::NoLocking=true" in call


def test_the_message_of_a_failed_apt_is_reported(tools: Tools, source: DebianConnection, sample: Sample) -> None:
    tools.apt("fails")
    with pytest.raises(SourceError) as caught:
        source.read(sample.file(), Span(0, 10))
    assert caught.value.message.startswith(f"Debian package {PACKAGE.package}: apt-get ")
    assert "E: Could not resolve 'deb.example'" in caught.value.message
    assert "something is odd" not in caught.value.message
    assert not caught.value.permanent


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_where_there_is_no_apt_the_package_is_refused_for_good(
    tool: str, tools: Tools, source: DebianConnection, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.apt("works")
    (tools.folder / "bin" / tool).unlink()
    monkeypatch.setenv("PATH", str(tools.folder / "bin"))
    with pytest.raises(SourceError, match=f"there is no {tool} here") as caught:
        source.read(sample.file(), Span(0, 10))
    assert caught.value.permanent


def test_a_work_folder_that_cannot_be_made_is_refused_for_good(tools: Tools, sample: Sample, tmp_path: Path) -> None:
    tools.apt("works")
    (tmp_path / "work").write_bytes(b"mine")
    with pytest.raises(SourceError, match="work") as caught:
        DebianSource(PACKAGE, sample.manifest.files, tmp_path / "work").open().read(sample.file(), Span(0, 10))
    assert caught.value.permanent
    assert tools.asked == []
    assert (tmp_path / "work").read_bytes() == b"mine"


def test_a_package_without_the_file_is_refused_for_good(tools: Tools, source: DebianConnection, sample: Sample) -> None:
    tools.apt("works")
    (tools.folder / "tree" / PACKAGE.folder.lstrip("/") / sample.file().name).unlink()
    with pytest.raises(SourceError, match=f"has no {sample.file().name}") as caught:
        all_of(source, sample.file(), Span(0, 1000))
    assert caught.value.permanent
    source.close()


def test_a_planted_package_is_not_unpacked(
    tools: Tools, source: DebianConnection, sample: Sample, tmp_path: Path
) -> None:
    tools.apt("works")
    (tmp_path / "work").mkdir(mode=0o700)
    planted = fill(tmp_path / "work", {f"{PACKAGE.package}_9.9_all.deb": b"planted"})
    assert all_of(source, sample.file(), Span(0, 1000)) == sample.files[sample.file().name][:1000]
    assert (planted / f"{PACKAGE.package}_9.9_all.deb").read_bytes() == b"planted"
    source.close()


def test_of_a_package_only_regular_files_of_the_dataset_reach_the_disk(
    tools: Tools, source: DebianConnection, sample: Sample, tmp_path: Path
) -> None:
    tools.apt("works")
    inside = tools.folder / "tree" / PACKAGE.folder.lstrip("/")
    fill(tools.folder / "tree" / "usr" / "bin", {"tool": b"#!/bin/sh"})
    (tools.folder / "tree" / "usr" / "bin" / "tool").chmod(0o4755)
    (inside / "link").symlink_to("/etc/passwd")
    (inside / sample.file().name).chmod(0o4755)
    source.read(sample.file(), Span(0, 10))
    source.close()
    (unpacked,) = (tmp_path / "work").glob("package-*/files")
    assert {path.name for path in unpacked.iterdir()} == set(sample.donors)
    assert not any(path.stat().st_mode & 0o7000 for path in unpacked.iterdir())
    assert not list((tmp_path / "work").rglob("tool"))


def member(file: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{PACKAGE.folder.lstrip('/')}/{file}")
    for key, value in fields.items():
        setattr(info, key, value)
    return info


NAME = "train-images-idx.gz"
OUTSIDE = "/../../../../outside"
TRICKS = {
    "another file": member("README", size=9),
    "a path": member(f"../{OUTSIDE}", size=9),
    "an absolute path": member(OUTSIDE, name=OUTSIDE, size=9),
    "a symbolic link": member(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": member(NAME, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "a device": member(NAME, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a pipe": member(NAME, type=tarfile.FIFOTYPE),
    "a file of another size": member(NAME, size=9, mode=0o4755),
    "a file that is shorter than it says": member(NAME, size=2**40),
    "a size that is negative": member(NAME, size=-5),
    "a path of a pax header": member(NAME, size=9, pax_headers={"path": OUTSIDE, "size": "9" * 30}),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_whatever_else_is_in_a_package_never_reaches_the_disk(
    trick: str, tools: Tools, source: DebianConnection, sample: Sample, tmp_path: Path
) -> None:
    tools.apt("works")
    tools.folder.joinpath("data.tar").write_bytes(
        TRICKS[trick].tobuf(tarfile.PAX_FORMAT if TRICKS[trick].pax_headers else tarfile.GNU_FORMAT) + bytes(10240)
    )
    with pytest.raises(SourceError):
        all_of(source, sample.file(), Span(0, 1000))
    source.close()
    (unpacked,) = (tmp_path / "work").glob("package-*/files")
    assert list(unpacked.iterdir()) == []
    assert not list(tmp_path.rglob("outside"))


def test_of_two_packages_none_is_unpacked(
    tools: Tools, source: DebianConnection, sample: Sample, tmp_path: Path
) -> None:
    tools.apt("works")
    tools.folder.joinpath("second").write_bytes(b"!<arch>")
    with pytest.raises(SourceError, match="did not download this one package"):
        source.read(sample.file(), Span(0, 10))
    assert not list((tmp_path / "work").rglob("data.tar"))


def test_a_folder_that_others_could_replace_is_not_used(tools: Tools, sample: Sample, tmp_path: Path) -> None:
    tools.apt("works")
    source = DebianSource(PACKAGE, sample.manifest.files, tmp_path / "work").open()
    (tmp_path / "work").parent.chmod(0o777)
    assert all_of(source, sample.file(), Span(0, 1000)) == sample.files[sample.file().name][:1000]
    source.close()
    assert not (tmp_path / "work").exists()
    (cache,) = (word for word in tools.calls[0].split() if word.startswith("-oDir::Cache="))
    used = Path(cache.removeprefix("-oDir::Cache="))
    assert used.stat().st_mode & 0o777 == 0o700
    del source
    assert not used.exists()


def test_an_apt_that_cannot_be_started_is_one_failed_source(
    tools: Tools, source: DebianConnection, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.apt("works")
    (tools.folder / "bin" / "apt-get").write_bytes(b"\x7fELF")
    monkeypatch.setenv("PATH", str(tools.folder / "bin"))
    with pytest.raises(SourceError, match="apt-get can't be started") as caught:
        source.read(sample.file(), Span(0, 10))
    assert caught.value.permanent


def test_a_work_folder_that_others_can_write_to_is_refused(tools: Tools, sample: Sample, tmp_path: Path) -> None:
    tools.apt("works")
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o777)
    with pytest.raises(SourceError, match="only you can write to") as caught:
        DebianSource(PACKAGE, sample.manifest.files, tmp_path / "work").open().read(sample.file(), Span(0, 10))
    assert caught.value.permanent
    assert tools.asked == []


def test_apt_is_ended_when_the_source_is_stopped(tools: Tools, source: DebianConnection, sample: Sample) -> None:
    tools.apt("hangs")
    errors: list[SourceError] = []

    def read() -> None:
        with pytest.raises(SourceError) as caught:
            source.read(sample.file(), Span(0, 10))
        errors.append(caught.value)

    reader = Thread(target=read)
    reader.start()
    end = time.monotonic() + 20
    while not (tools.folder / "pid").exists() or not (tools.folder / "pid").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    source.stop()
    reader.join(20)
    assert not reader.is_alive()
    assert len(errors) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((tools.folder / "pid").read_text()), 0)
    # It does not start again.
    assert len(tools.asked) == 1


def test_the_bytes_that_apt_has_downloaded_are_progress(source: DebianConnection, tmp_path: Path) -> None:
    assert source.pending == 0
    fill(tmp_path / "work" / "archives" / "partial", {"x.deb": bytes(700)})
    assert source.pending == 700
    fill(tmp_path / "work" / "package-1", {"x_1.deb": bytes(50)})
    assert source.pending == 750


def test_without_a_reachable_mirror_the_package_supplies_the_dataset_and_leaves_nothing_behind(
    tools: Tools, sample: Sample, root: Path
) -> None:
    tools.apt("stale")
    with refusing() as nobody:
        packaged = sample.changed(debian=PACKAGE, mirrors=(nobody,))
        layout = packaged.layout(root)
        report = prepare(layout, FetchOptions(patience=30))
    assert inspect(layout).complete
    assert list(report.received) == [f"Debian package {PACKAGE.package}"]
    assert {file.name: layout.published(file).read_bytes() for file in packaged.manifest.files} == sample.files
    assert not layout.work.exists()


@pytest.mark.parametrize("choice", [FetchOptions(offline=True), FetchOptions(only_mirrors=True)])
def test_apt_is_not_called_offline_nor_where_only_mirrors_are_wanted(
    choice: FetchOptions, tools: Tools, sample: Sample, root: Path
) -> None:
    tools.apt("works")
    packaged = sample.changed(debian=PACKAGE)
    with pytest.raises(SourceError):
        prepare(packaged.layout(root), choice._replace(patience=5))
    assert tools.asked == []


def test_an_installed_package_is_a_local_copy_and_apt_is_not_called(
    tools: Tools, sample: Sample, root: Path, tmp_path: Path
) -> None:
    tools.apt("works")
    installed = fill(tmp_path / "usr", sample.donors)
    packaged = sample.changed(debian=DebianPackage(PACKAGE.package, str(installed)))
    prepare(packaged.layout(root), FetchOptions(offline=True))
    assert inspect(packaged.layout(root)).complete
    # The very files that upstream published: a splice, not only the same payloads.
    assert packaged.layout(root).published(sample.file()).read_bytes() == sample.files[sample.file().name]
    assert tools.asked == []


def test_a_real_package_is_unpacked_by_the_real_dpkg_deb(
    tools: Tools, source: DebianConnection, sample: Sample
) -> None:
    (tools.folder / "bin" / "dpkg-deb").unlink()
    if shutil.which("dpkg-deb") is None:
        pytest.skip("there is no dpkg-deb here")
    tools.apt("works")
    fill(
        tools.folder / "tree" / "DEBIAN",
        {"control": b"Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"},
    )
    for path in (tools.folder / "tree", tools.folder / "tree" / "DEBIAN"):
        path.chmod(0o755)
    build = ["dpkg-deb", "-b", str(tools.folder / "tree"), str(tools.folder / "package.deb")]
    subprocess.run(build, check=True, capture_output=True)
    (tools.folder / "package.deb").replace(tools.folder / "package")
    for file in sample.manifest.files:
        assert all_of(source, file, Span(0, file.size)) == sample.files[file.name]
    source.close()
