"""Hooks of MkDocs: pages outside docs/ belong to the site, and links to source files lead to copies of them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PLACE = "project"  # the folder of the site for what is not under docs/
LINK = re.compile(r"(\]\(|src=\"|href=\")([^)\s\"#]+)((?:#[^)\s\"]*)?[)\"])")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's top, and every file that a page links to, to the FILES of the site."""
    pages, copied = _sources(files), set(PAGES)
    for page in PAGES:
        files.append(_file(page, config))
    while pages:  # A page that is copied has links of its own.
        linked = {target for page in pages for target in _targets(page) if not _is_under_docs(target)}
        for target in sorted(linked - copied):
            files.append(_file(target, config))
        pages = [PurePosixPath(target) for target in linked - copied if target.endswith(".md")]
        copied |= linked
    return files


def on_page_markdown(markdown: str, page: Any, **_others: Any) -> str:
    """Let links that leave docs/ lead to the copies in the site."""
    uri = PurePosixPath(page.file.src_uri)
    source = uri.relative_to(PLACE) if uri.parts[0] == PLACE else PurePosixPath("docs") / uri

    def moved(match: re.Match[str]) -> str:
        target = _inside(source, match[2])
        if target is None:
            return match[0]
        return f"{match[1]}{relpath(_place(target), uri.parent.as_posix() or '.')}{match[3]}"

    return _outside_code(markdown, moved)


def _file(path: str, config: Any) -> File:
    if path.endswith(".md"):
        return File.generated(config, f"{PLACE}/{path}", abs_src_path=str(ROOT / path))
    # A browser shows text, whatever its language; pictures stay what they are.
    suffix = "" if path.endswith((".png", ".svg")) else ".txt"
    data = (ROOT / path).read_bytes()
    return File.generated(config, f"{PLACE}/{path}{suffix}", content=data)


def _is_under_docs(target: str) -> bool:
    """Whether MkDocs itself adds TARGET to the site: mkdocs.yml excludes the scripts."""
    return target.startswith("docs/") and not target.startswith("docs/scripts/")


def _place(target: str) -> str:
    """Where TARGET, a file of the repository, is in the site."""
    if _is_under_docs(target):
        return target.removeprefix("docs/")
    return f"{PLACE}/{target}{'' if target.endswith(('.md', '.png', '.svg')) else '.txt'}"


def _sources(files: Files) -> list[PurePosixPath]:
    found = [PurePosixPath(page) for page in PAGES]
    return found + [PurePosixPath("docs") / file.src_uri for file in files if file.src_uri.endswith(".md") and
                    not file.src_uri.startswith(f"{PLACE}/")]  # fmt: skip


def _targets(page: PurePosixPath) -> set[str]:
    found: set[str] = set()

    def note(match: re.Match[str]) -> str:
        if (target := _inside(page, match[2])) is not None:
            found.add(target)
        return match[0]

    _outside_code((ROOT / page).read_text(encoding="utf-8"), note)
    return found


def _inside(page: PurePosixPath, link: str) -> str | None:
    """Return the file of the repository that LINK in PAGE leads to (of a package: `__init__.py`), or None."""
    if ":" in link or link.startswith(("/", "#")):
        return None
    target = normpath((page.parent / link).as_posix())
    path = ROOT / target
    if path.is_dir():
        return f"{target}/__init__.py" if (path / "__init__.py").is_file() else None
    return target if path.is_file() else None


def _outside_code(markdown: str, change: Any) -> str:
    """MARKDOWN with its links changed, but for fenced and inline code."""
    parts = re.split(r"(^```[\s\S]*?^```$|`[^`\n]+`)", markdown, flags=re.MULTILINE)
    return "".join(part if number % 2 else LINK.sub(change, part) for number, part in enumerate(parts))
