"""The pages that users read: their blocks of commands, code and listings, the commands in their sentences, links."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from samples import PROJECT_FOLDER

# Generated from docstrings, whose examples tests/docs/test_docstrings.py runs, and from the source.
GENERATED = ("api.md", "errors.md")
PAGES = (
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *(
        path.relative_to(PROJECT_FOLDER).as_posix()
        for path in sorted(PROJECT_FOLDER.glob("docs/**/*.md"))
        if path.name not in GENERATED
    ),
)
# An inline command begins with one of these; others are names, options or file names.
PROGRAMS = ("make", "fmnist-fetch", "fmnist-train", "python", "torchrun", "pip", "pipx", "uv", "sudo", "pre-commit")
SHELL = ("", "sh", "bash", "console")
# These facts do not vary: the files, their pieces, their megabytes.
FACTS = ("4", "120", "30.9")
# An interruption may leave this or not.
HALF_PIECES = re.compile(r" and [\d.]+ [kM]B more")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Colours and moves of the cursor, bars, rates and remaining times; how much of a name is shown.
MOVING = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\|[^|\n]*\||[\d.]+ [kM]B/s|\S+ (s|min) left|(?<=\w{5})\S+\.{3}")


@dataclass(frozen=True)
class Block:
    """A block of PAGE that begins in this LINE, in this LANGUAGE ("" for one that is only indented)."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def kind(self) -> str:
        """What the block is: a doctest, a listing, a transcript, a script, or its language."""
        if re.match(r">>> ", self.text):
            return "doctest"
        if self.language in SHELL:
            listing = all(re.match(r"data/\S+ {2,}\S", line) for line in self.text.splitlines())
            return "listing" if listing else "transcript" if self.text.startswith("$ ") else "shell"
        return self.language


@dataclass(frozen=True)
class Step:
    """A command of a transcript, the lines SEEN when it is interrupted (if it is), and those PRINTED after that."""

    command: str
    seen: tuple[str, ...]
    printed: tuple[str, ...]


def read(page: str) -> str:
    return (PROJECT_FOLDER / page).read_text(encoding="utf-8")


def script(name: str) -> ModuleType:
    """Return a script of docs/scripts as a module."""
    spec = importlib.util.spec_from_file_location(name, PROJECT_FOLDER / "docs" / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of PAGE."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    indented = re.compile(r"(?<=\n\n)(?: {4}.*\n)(?:(?: {4}.*)?\n)*(?: {4}.*\n)?")
    text = read(page)
    for match in fenced.finditer(text):
        yield Block(page, text.count("\n", 0, match.start()) + 2, match[1], match[2])
    rest = fenced.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in indented.finditer(rest):
        plain = re.sub(r"^ {4}", "", match[0], flags=re.MULTILINE).strip("\n") + "\n"
        yield Block(page, rest.count("\n", 0, match.start()) + 1, "", plain)


def spans(page: str) -> list[str]:
    """Return the commands within the sentences and tables of PAGE."""
    prose = re.sub(r"^```[\s\S]*?^```$|^ {4}.*$", "", read(page), flags=re.MULTILINE)
    found = (" ".join(match[1].split()) for match in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose))
    return [span for span in found if span.split()[0].rpartition("/")[2] in PROGRAMS]


def options(page: str) -> set[str]:
    """Return the long options that PAGE mentions anywhere."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", read(page)))


def links(page: str) -> list[str]:
    """Return the links of PAGE to files of the project and to headings."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", read(page)) if "://" not in link]


def anchors(page: str) -> set[str]:
    """Return the anchors of its headings."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def steps(text: str) -> list[Step]:
    """Return the steps of a transcript: `$ command`, and below it what it prints; ^C is typed."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *printed = part.strip().splitlines()
        before = printed.index("^C") if "^C" in printed else 0
        # What the screen shows then was drawn at several times.
        seen = [line for pair in zip(printed[:before], ["..."] * before, strict=True) for line in pair]
        found.append(Step(command, tuple(seen), tuple(printed[before:][before > 0 :])))
    return found


def prints(printed: Sequence[str], output: str) -> bool:
    """Return whether OUTPUT has these words in order; `...` stands for any, and numbers are compared loosely.

    Line breaks depend on the terminal, and the progress of a bar depends on the time.
    """
    found, at = words(output), 0
    for part in re.split(r"^\.\.\.$", "\n".join(printed), flags=re.MULTILINE):
        wanted = words(part)
        ends = (end for end in range(at + len(wanted), len(found) + 1) if same(wanted, found[end - len(wanted) : end]))
        if (at := next(ends, -1)) < 0:
            return False
    return True


def words(text: str) -> list[str]:
    """Return the words of TEXT without moving parts and bars, and with one unit for kB and MB."""
    return MOVING.sub(" ", HALF_PIECES.sub("", text)).replace("kB", "MB").split()


def same(said: Sequence[str], found: Sequence[str]) -> bool:
    """Return whether the words agree: facts exactly, measured shares to 0.02, other numbers not at all."""
    if [NUMBER.sub("0", word) for word in said] != [NUMBER.sub("0", word) for word in found]:
        return False
    pairs = list(zip(NUMBER.findall(" ".join(said)), NUMBER.findall(" ".join(found)), strict=True))
    facts = all(a == b for a, b in pairs if {a, b} & {*FACTS})
    return facts and all(abs(float(a) - float(b)) <= 0.02 for a, b in pairs if re.fullmatch(r"0\.\d{4}", a))
