"""Errors: classes by what the caller can do, messages of facts, hints to act on."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmnist_fetch import errors
from fmnist_fetch.errors import (
    DiskError,
    FetchError,
    FormatError,
    IntegrityError,
    ManifestError,
    SourceError,
    UsageError,
    disk,
    from_exception,
    in_clone,
    interrupt_behind,
)
from samples import PROJECT_FOLDER

ROOM = "Free some space and run the same command again; every verified piece is kept."
ELSEWHERE = "Choose another folder with --root FOLDER or FMNIST_ROOT=FOLDER, or repair this one."


def kinds(kind: type[FetchError] = FetchError) -> Iterator[type[FetchError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from kinds(child)


def test_the_exit_codes_are_those_of_the_contract() -> None:
    codes: dict[type[FetchError], int] = {
        UsageError: 2,
        IntegrityError: 3,
        SourceError: 4,
        DiskError: 5,
        FormatError: 6,
        ManifestError: 6,
    }
    assert {kind: kind.exit_code for kind in codes} == codes
    assert FetchError.exit_code == 1
    assert all(1 <= kind.exit_code <= 6 for kind in kinds())


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    lines = [line.split() for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    drawn = {words[0]: int(words[1]) for words in lines}
    assert drawn == {kind.__name__: kind.exit_code for kind in kinds()}


def test_every_error_has_a_hint() -> None:
    with pytest.raises(TypeError):
        FetchError("facts without a remedy")  # type: ignore[call-arg]
    assert SourceError("a mirror hung up").hint == "Run the same command again."


def test_a_manifest_error_lists_every_fault_and_keeps_them_as_data() -> None:
    error = ManifestError("my.toml", ["size is missing", "file 2, name is odd"])
    assert error.message == "my.toml has 2 faults:\n  size is missing\n  file 2, name is odd"
    assert error.faults == ("size is missing", "file 2, name is odd")
    assert ManifestError("my.toml", ["size is missing"]).message.startswith("my.toml has 1 fault:")


def test_of_many_faults_the_message_has_the_first_hundred() -> None:
    error = ManifestError("my.toml", [f"key {number} is odd" for number in range(3000)])
    assert len(error.message.splitlines()) == 102
    assert error.message.startswith("my.toml has 3000 faults:\n  key 0 is odd\n")
    assert error.message.endswith("\n  key 99 is odd\n  and 2,900 more")
    assert len(error.faults) == 3000


def failing(number: int, needed: int | None = None) -> DiskError:
    with pytest.raises(DiskError) as caught, disk("/media/stick/x", needed):
        raise OSError(number, os.strerror(number))
    return caught.value


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "permission denied"),
        (errno.EEXIST, "a file is in the way where a folder should be"),
        (errno.ENOTDIR, "a part of this path is a file, not a folder"),
        (errno.EISDIR, "this is a folder, not a file"),
        (errno.ENOENT, "it does not exist (any more)"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_disk_error_names_the_path_the_reason_and_another_root(number: int, reason: str) -> None:
    error = failing(number, needed=1)
    assert (error.message, error.hint) == (f"/media/stick/x: {reason}", ELSEWHERE)


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "your disk quota is used up")]
)
def test_where_space_is_short_the_bytes_needed_are_reported(number: int, reason: str) -> None:
    error = failing(number, needed=26_421_880)
    assert error.message == f"/media/stick/x: {reason} (26.4 MB needed)"
    assert error.hint == ROOM
    assert failing(number).message == f"/media/stick/x: {reason}"


def test_a_limit_of_the_system_is_no_reason_to_choose_another_root() -> None:
    error = failing(errno.EMFILE)
    assert error.message == "/media/stick/x: this process may open no more files or connections"
    assert "ulimit -n" in error.hint
    assert "--root" not in error.hint


def test_the_text_of_an_error_has_facts_and_hint() -> None:
    assert str(FetchError("the disk is gone", hint="Plug it in.")) == "the disk is gone\nhint: Plug it in."


def test_the_text_of_an_error_can_not_forge_a_hint_nor_control_a_terminal() -> None:
    error = FetchError("2 faults:\n  one\nhint: \x1b[2J", hint="a\x9bb")
    assert str(error) == "2 faults:\n  one\\nhint: \\x1b[2J\nhint: a\\x9bb"
    assert error._render_traceback_() == ["error: 2 faults:\n  one\\nhint: \\x1b[2J", "hint: a\\x9bb"]
    assert error.message == "2 faults:\n  one\nhint: \x1b[2J"


def test_an_error_of_ours_is_what_the_last_handler_prints() -> None:
    error = UsageError("x", hint="y")
    assert from_exception(error) is error


@pytest.mark.parametrize(
    ("raised", "code", "message", "hint"),
    [
        (ModuleNotFoundError("No module named 'requests'", name="requests.adapters"), 1, "the package requests", "pip"),
        (ImportError("no version GLIBC_9", name="numpy"), 1, "the package numpy can't be loaded (no version", "pip"),
        (
            ModuleNotFoundError("none", name="_ssl"),
            1,
            "the module _ssl of Python is not installed",
            "a complete Python",
        ),
        (RuntimeError("can't create new thread at interpreter shutdown"), 1, "Python is ending", "before the program"),
        (RuntimeError("can't start new thread"), 1, "this system allows no more threads", "ulimit -u"),
        (MemoryError(), 1, "the memory is used up", "Close other programs"),
        (PermissionError(errno.EACCES, "no", "/x/y"), 5, "/x/y: permission denied", "--root"),
        (PermissionError(errno.EACCES, "no", b"/x/\xff"), 5, "/x/\udcff: permission denied", "--root"),
        (ZeroDivisionError("one\ntwo"), 1, "unexpected ZeroDivisionError: one", "--log FILE"),
        (OSError("no number"), 1, "unexpected OSError: no number", "--log FILE"),
        (ModuleNotFoundError("gone", name="fmnist_fetch.x"), 1, "unexpected ModuleNotFoundError", "--log FILE"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_that_nothing_handles_becomes_two_lines(
    raised: Exception, code: int, message: str, hint: str
) -> None:
    error = from_exception(raised)
    assert error.exit_code == code
    assert error.message.startswith(message)
    assert hint in error.hint
    assert "\n" not in error.message
    assert error.__cause__ is raised


def test_a_lock_that_a_second_interrupt_left_open_is_that_interrupt() -> None:
    def wait(lock: threading.Lock) -> None:
        with lock:
            lock.release()  # As in Condition.wait, if the second interrupt prevents its end from locking again.
            raise KeyboardInterrupt

    with pytest.raises(RuntimeError) as caught:
        wait(threading.Lock())
    assert isinstance(interrupt_behind(caught.value), KeyboardInterrupt)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), FetchError("a full disk", hint="")], ids=repr)
def test_an_error_that_is_not_due_to_an_interrupt_stays_an_error(error: Exception) -> None:
    if isinstance(error, FetchError):
        error.__context__ = KeyboardInterrupt()
    assert interrupt_behind(error) is None


def test_an_unexpected_exception_is_reported_with_its_place() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    message = from_exception(caught.value).message
    assert re.match(r"unexpected ZeroDivisionError \(test_errors.py, line \d+\): ", message)


@pytest.mark.parametrize("name", ["random.py", "json/__init__.py"])
def test_a_file_of_the_user_in_place_of_a_module_of_python_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = types.ModuleType(name.partition(".")[0].partition("/")[0])
    shadow.__file__ = str(tmp_path / name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, shadow.__name__, shadow)
    wanted = f"{tmp_path / name} takes the place of a module of Python itself"
    assert from_exception(AttributeError("module 'random' has no attribute 'Random'")).message == wanted
    assert from_exception(ImportError("no name 'loads'", name="json")).message == wanted
    assert from_exception(MemoryError()).message == "the memory is used up"


def test_a_clone_is_one_only_where_make_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not in_clone()
    monkeypatch.chdir(PROJECT_FOLDER)
    assert in_clone()
    assert from_exception(ModuleNotFoundError("x", name="requests")).hint == "Run: make data"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert not in_clone()


def test_other_failures_pass_through_untouched() -> None:
    with pytest.raises(ZeroDivisionError), disk("x"):
        _ = 1 / 0


def test_the_system_error_stays_the_cause() -> None:
    assert isinstance(failing(errno.EACCES).__cause__, OSError)


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("mine")
    with pytest.raises(DiskError, match="a file is in the way"), disk(tmp_path / "root"):
        (tmp_path / "root").mkdir(exist_ok=True)
    with pytest.raises(DiskError, match="a part of this path is a file"), disk(tmp_path / "root"):
        (tmp_path / "root" / "raw").mkdir(parents=True)
    assert (tmp_path / "root").read_text() == "mine"


@pytest.mark.parametrize("target", ["nowhere", "root"], ids=["to nothing", "in a loop"])
def test_a_link_in_the_path_that_leads_to_nothing_is_named(target: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.symlink_to(tmp_path / target)
    wanted = re.escape(f"{root} is a symbolic link that leads to nothing")
    with pytest.raises(DiskError, match=wanted), disk(root / "a" / "raw"):
        (root / "a" / "raw").mkdir(parents=True, exist_ok=True)
    with pytest.raises(DiskError, match=wanted), disk(root):
        root.mkdir(exist_ok=True)
    assert root.is_symlink()
