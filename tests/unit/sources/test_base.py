"""Whatever a source raises is that source's failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_fetch.errors import DiskError, SourceError
from fmnist_fetch.sources.base import Tier, failures_of
from fmnist_fetch.sources.folder import Folder

FAILURES = [KeyError("x"), RecursionError("deep"), OSError(5, "Input/output error"), UnicodeError(), AssertionError()]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_any_exception_is_a_failure_in_the_words_of_the_library(failure: Exception, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught, failures_of(Folder(tmp_path, Tier.USER)):
        raise failure
    assert caught.value.message == f"{tmp_path}: {type(failure).__name__}: {failure}".rstrip(": ")
    assert not caught.value.permanent


@pytest.mark.parametrize("failure", [DiskError("full", hint="x"), MemoryError(), KeyboardInterrupt()])
def test_what_is_not_the_fault_of_a_source_stays_what_it_is(failure: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(failure)) as caught, failures_of(Folder(tmp_path, Tier.USER)):
        raise failure
    assert caught.value is failure
