"""docs/errors.md has every message in the source; the headings of Troubleshooting are among them."""

from __future__ import annotations

import re

import pages
from samples import PROJECT_FOLDER

DOCS = PROJECT_FOLDER / "docs"
messages = pages.script("error_messages")


def test_the_page_lists_every_error_of_the_source_as_it_is_now() -> None:
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == messages.page(), f"run: {messages.COMMAND}"


def test_every_message_of_the_source_is_found() -> None:
    found = {entry.message for entry in messages.entries()}
    assert len(found) > 60
    assert "there is no dataset called …" in found
    assert "… is damaged in … of its files" in found
    assert {entry.exit_code for entry in messages.entries()} >= {"1", "2", "3", "4", "5", "6"}


def test_troubleshooting_explains_messages_that_there_are() -> None:
    headings = re.findall(r"^### (.+)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) > 12
    source = "".join(
        path.read_text(encoding="utf-8")
        for package in ("fmnist_fetch", "trainer")
        for path in sorted((PROJECT_FOLDER / package).rglob("*.py"))
    )
    for heading in headings:
        longest = max(re.split(r"\.\.\.", heading), key=len).strip(" ,")
        assert longest in source, f"no message says: {longest}"
