"""Which places are asked, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_fetch.errors import SourceError, UsageError
from fmnist_fetch.manifest.model import DebianPackage
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.sources.base import FetchOptions, Tier
from fmnist_fetch.sources.discovery import explain, find_sources
from samples import Sample, fill

ONE, OTHER, USERS = "http://one.example/", "https://other.example/", "https://users.example/x"


@pytest.fixture
def rich(sample: Sample, tmp_path: Path) -> Sample:
    """A dataset with every kind of place: two mirrors, two local copies, an installed package."""
    cache, package = fill(tmp_path / "cache", sample.files), fill(tmp_path / "package", sample.donors)
    return sample.changed(
        mirrors=(ONE, OTHER), local=("~/nothing", str(cache)), debian=DebianPackage("dataset-x", str(package))
    )


def listed(sample: Sample, root: Path, choice: FetchOptions) -> list[tuple[Tier, str]]:
    return [(origin.tier, origin.name) for origin in find_sources(sample.layout(root), choice)]


def test_the_users_come_first_then_local_copies_then_mirrors_then_the_package(
    rich: Sample, root: Path, tmp_path: Path
) -> None:
    stick = fill(tmp_path / "stick", rich.files)
    assert listed(rich, root, FetchOptions((USERS, str(stick)))) == [
        (Tier.USER, USERS),
        (Tier.USER, str(stick)),
        (Tier.LOCAL, str(tmp_path / "cache")),
        (Tier.LOCAL, str(tmp_path / "package")),
        (Tier.MIRROR, ONE),
        (Tier.MIRROR, OTHER),
        (Tier.PACKAGE, "Debian package dataset-x"),
    ]


def test_tiers_are_in_the_order_of_their_names() -> None:
    assert (
        list(Tier) == sorted(Tier) == [Tier.OWN, Tier.USER, Tier.LOCAL, Tier.LAN, Tier.INDEX, Tier.MIRROR, Tier.PACKAGE]
    )


def test_the_roots_own_folder_is_not_a_copy_left_by_others(sample: Sample, root: Path) -> None:
    own = fill(sample.layout(root).raw, sample.files)
    rich = sample.changed(local=(str(own), str(own / ".." / "raw")))
    assert listed(rich, root, FetchOptions()) == []


def test_only_mirrors_leaves_the_users_alone(rich: Sample, root: Path) -> None:
    assert listed(rich, root, FetchOptions((USERS,), only_mirrors=True)) == [(Tier.USER, USERS)]


def test_offline_leaves_folders_alone(rich: Sample, root: Path, tmp_path: Path) -> None:
    stick = fill(tmp_path / "stick", rich.files)
    assert listed(rich, root, FetchOptions((USERS, str(stick)), offline=True)) == [
        (Tier.USER, str(stick)),
        (Tier.LOCAL, str(tmp_path / "cache")),
        (Tier.LOCAL, str(tmp_path / "package")),
    ]


def test_mirrors_of_the_environment_come_after_those_of_the_command(
    sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_MIRRORS", f"  {ONE}   {OTHER} ")
    assert [name for _, name in listed(sample, root, FetchOptions((USERS,)))] == [USERS, ONE, OTHER]


@pytest.mark.parametrize("separator", [",", ";", ", ", "\n"])
def test_mirrors_of_the_environment_may_be_separated_as_lists_are(
    separator: str, sample: Sample, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_MIRRORS", f"{ONE}?a,b{separator}{OTHER}")
    assert [name for _, name in listed(sample, root, FetchOptions())] == [f"{ONE}?***", OTHER]


def test_a_url_with_blanks_around_it_is_one(sample: Sample, root: Path) -> None:
    assert listed(sample, root, FetchOptions((f" {ONE}\n",))) == [(Tier.USER, ONE)]


def test_a_folder_may_be_named_as_a_file_url(sample: Sample, root: Path, tmp_path: Path) -> None:
    stick = fill(tmp_path / "NO NAME", sample.files)
    assert listed(sample, root, FetchOptions((stick.as_uri(),))) == [(Tier.USER, str(stick))]


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("lab:8000/", "http://lab:8000/"),
        ("192.0.2.7:8000", "http://192.0.2.7:8000"),
        ("http:/lab/x", "http://lab/x"),
        ("http:lab", "http://lab"),
        ("http:\\\\lab\\x", "http://lab/x"),
        ("htps://lab/", "https://lab/"),
        ("htp://me:secret@lab/", "'http://***@lab/'"),
    ],
)
def test_the_url_that_a_mistyped_one_can_mean_is_in_the_hint(mirror: str, url: str, sample: Sample, root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        listed(sample, root, FetchOptions((mirror,)))
    assert caught.value.hint == f"If it is a URL, write: {url}"


def test_a_folder_of_home_may_be_named(sample: Sample, root: Path) -> None:
    fill(Path.home() / "stick", sample.files)
    assert listed(sample, root, FetchOptions(("~/stick",))) == [(Tier.USER, str(Path.home() / "stick"))]


@pytest.mark.parametrize(
    "mirror",
    ["ftp://a.example/", "http://", "gone", "", " ", "gone/lab:1", "file:///gone", "/dev/null", "https://a:x/"],
)
def test_a_mirror_that_is_neither_a_url_nor_a_folder_is_a_usage_error(
    mirror: str, rich: Sample, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        listed(rich, root, FetchOptions((mirror,)))
    assert caught.value.message == f"the mirror {mirror!r} is neither a URL nor a folder that is there"
    assert "begins with http:// or https://" in caught.value.hint
    assert not (tmp_path / "root").exists()


def test_a_secret_in_a_url_is_not_in_its_name(sample: Sample, root: Path) -> None:
    ((_, name),) = listed(sample, root, FetchOptions(("https://me:secret@a.example/x?token=secret",)))
    assert name == "https://***@a.example/x?***"


def test_a_login_in_a_mistyped_mirror_is_not_shown(sample: Sample, root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        listed(sample, root, FetchOptions(("htps://me:secret@a.example/",)))
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("mirrors", [(), (ONE,)])
def test_only_mirrors_without_any_is_named(mirrors: tuple[str, ...], sample: Sample, root: Path) -> None:
    choice = FetchOptions(mirrors, only_mirrors=True, offline=True)
    found = find_sources(sample.layout(root), choice)
    error = explain(SourceError("could not download"), found, choice)
    assert error.message.startswith("only mirrors are to be asked")
    assert "--mirror" in error.hint


def test_a_folder_of_the_user_without_the_files_is_asked_and_says_what_it_has(
    sample: Sample, root: Path, tmp_path: Path
) -> None:
    other = fill(tmp_path / "other", {"photo.jpg": b"x"})
    (source,) = find_sources(sample.layout(root), FetchOptions((str(other),), only_mirrors=True))
    with pytest.raises(SourceError, match=r"has no .* \(it has photo.jpg\)") as caught:
        source.open().read(sample.file(), Span(0, 10))
    assert caught.value.permanent


def test_a_pointer_of_git_lfs_is_named(sample: Sample, root: Path, tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    folder = fill(tmp_path / "clone", dict.fromkeys(sample.files, pointer))
    (source,) = find_sources(sample.layout(root), FetchOptions((str(folder),), only_mirrors=True))
    with pytest.raises(SourceError, match="is a pointer of git-lfs, not the file") as caught:
        source.open().read(sample.file(), Span(0, 10))
    assert caught.value.hint == f"Run: git -C {folder} lfs pull"
