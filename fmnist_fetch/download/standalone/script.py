"""A manifest as one file of plain Python that downloads the dataset on any machine, without an installation.

The file is the source of the module `client` without its docstring, with the mirrors and digests of the manifest. It is
at most 100 columns wide and pure ASCII, so that it survives a forum, an e-mail or a chat. With Chinese comments beside
the English ones it is UTF-8.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fmnist_fetch.download.standalone import client
from fmnist_fetch.errors import UsageError
from fmnist_fetch.manifest.model import DataFile, Manifest

MAX_COLUMNS = 100
_DIGITS = 8  # of the digest of a piece: the digest of the whole file is there in full, and decides
_INDENT = "     "  # of the lines of a row after its first one


def script_name(manifest: Manifest) -> str:
    """Return the usual name of the script of MANIFEST: get_fashion_mnist.py."""
    return f"get_{re.sub(r'[^a-z0-9]+', '_', manifest.name.lower())}.py"


def script(manifest: Manifest, mirrors: Sequence[str] = (), comments: str = "en") -> str:
    """Return the script that downloads the dataset of MANIFEST.

    Args:
        manifest: the dataset.
        mirrors: URLs that the script asks before those of the manifest.
        comments: their language; "zh" adds Chinese to English.

    Raises:
        UsageError: a file of the manifest is packed under a name that does not say so.
    """
    for file in manifest.files:
        if file.packed and file.name != f"{file.payload.name}.gz":
            hint = f"Publish it as {file.payload.name}.gz."
            raise UsageError(f"a script cannot unpack {file.name} to {file.payload.name}", hint=hint)
    urls = tuple(dict.fromkeys((*mirrors, *manifest.mirrors)))
    program = Path(client.__file__).read_text(encoding="ascii").split('"""\n\n', 1)[1].splitlines()
    lines = (*_head(manifest), *program, *_data(manifest, urls))
    return "\n".join(_with_chinese(lines) if comments == "zh" else lines) + "\n"


def _head(manifest: Manifest) -> Iterator[str]:
    title, licence, homepage = map(_plain, (manifest.title or manifest.name, manifest.licence, manifest.homepage))
    yield "#!/usr/bin/env python3"
    yield f"# Download {title[:40]} over bad networks: python3 {script_name(manifest)[:40]} [FOLDER]"
    yield "# Needs only Python 3.8. Interrupt it and run it again: it continues; every byte is verified."
    origin = f"# By fmnist-fetch (MIT licence). The data: {licence[:40] or 'no licence named'}"
    yield next(line for line in (f"{origin}, {homepage}".rstrip(", "), origin) if len(line) <= MAX_COLUMNS)


def _plain(text: str) -> str:
    """TEXT in one line of printable ASCII: a manifest may come from anybody, and this becomes a comment."""
    return " ".join(re.sub(r"[^ -~]", " ", text).split())


# The data of the manifest.


def _data(manifest: Manifest, mirrors: Sequence[str]) -> Iterator[str]:
    yield ""
    yield "MIRRORS = ["
    for url in mirrors:
        yield from _wrapped(_chunks(url), "    ")
    yield "]"
    yield "# Name, bytes, SHA-256; bytes and shortened SHA-256 of the pieces; the same, unpacked."
    yield "FILES = ["
    for file in manifest.files:
        yield from _row(file)
    yield "]"
    folder = ascii(f"data/{manifest.folder}/raw")
    yield 'if __name__ == "__main__":'
    yield f"    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else {folder}, MIRRORS, FILES))"


def _row(file: DataFile) -> Iterator[str]:
    start = f"{_INDENT}{file.sha256!a}, {file.pieces[0].span.length},"
    beginnings = [piece.sha256[:_DIGITS] for piece in file.pieces]
    yield f"    ({file.name!a}, {file.size},"
    if len(beginnings) == 1:
        yield f"{start} {beginnings[0]!a},"
    else:
        yield start
        each = (MAX_COLUMNS - len(_INDENT) - 3) // (_DIGITS + 1)
        chunks = [" ".join(beginnings[at : at + each]) for at in range(0, len(beginnings), each)]
        yield from _wrapped([f"{chunk} " for chunk in chunks[:-1]] + chunks[-1:], _INDENT)
    yield f"{_INDENT}{file.payload.size}, {file.payload.sha256!a}),"


def _chunks(text: str) -> list[str]:
    most = MAX_COLUMNS - 12
    return [text[start : start + most] for start in range(0, len(text), most)]


def _wrapped(parts: Sequence[str], indent: str) -> Iterator[str]:
    """Yield string literals, one a line, which Python joins, with a comma after the last one."""
    for number, part in enumerate(parts, start=1):
        yield f"{indent}{part!a}{',' if number == len(parts) else ''}"


# The comments in Chinese, by the English ones.

CHINESE = {
    "Needs only Python 3.8. Interrupt it and run it again: it continues; every byte is verified.": (
        "只需要 Python 3.8 以上。可以随时中断，再运行一次会继续下载；每个字节都经过校验。"
    ),
    "An error in two lines, and the exit code of the process.": "错误和退出码",
    "A URL of a file, and how it has behaved so far.": "一个下载源",
    "Yield these bytes.": "下载这些字节",
    "Ask for a part.": "只请求一部分",
    "Many servers say gzip of a .gz file, but send it as it is.": "看长度",
    "A login page may go away.": "可能是登录页",
    "Ask for the whole file.": "改为请求整个文件",
    "Another source is asked next.": "下一次换一个源",
    "A server may have written it.": "去掉控制字符",
    "Note when to try again.": "记录重试时间",
    "Yield the unpacked body.": "读取回答",
    "Wait for the best of SOURCES that is ready, until DEADLINE; raise Failure.": "选择最好的源",
    "Return the SHA-256 of COUNT bytes of FILE, or of all that there are.": "计算 SHA-256 摘要",
    "Return whether it is right.": "检查摘要",
    "Show the progress on a terminal.": "显示下载进度",
    "Write the MISSING pieces (offset: SHA-256) of STEP bytes to OUT, in their order.": "补齐缺少的块",
    "Who sent the incomplete piece.": "这一块的来源",
    "Ask a source for what is missing, and check it.": "缺什么就下载什么，然后校验",
    "Nothing of this piece is there.": "这一块还没有开始",
    "They may be from another place of the file.": "也许是文件的其他位置",
    "This piece is verified.": "这一块正确",
    "Make PATH the file of SIZE bytes with this digest; nothing locks it.": "下载并校验一个文件",
    "The good pieces of a damaged file are kept.": "保留正确的块",
    "The shortened digests of its pieces were not enough.": "重新下载",
    "Only a verified file gets its name.": "校验之后才改成正式的文件名",
    "Unpack NAME.gz to NAME.": "解压一个文件",
    "Download all.": "下载全部",
    "Name, bytes, SHA-256; bytes and shortened SHA-256 of the pieces; the same, unpacked.": "文件的摘要",
}


def _with_chinese(lines: Iterable[str]) -> Iterator[str]:
    """Add the Chinese to the comments of LINES, beside them or, where there is no room, below."""
    for line in lines:
        code, _, comment = line.rpartition("# ")
        chinese = CHINESE.get(comment, "")
        both = f"{line} {chinese}".rstrip()
        if code.strip() or columns(both) <= MAX_COLUMNS:
            yield both
        else:
            yield from (line, f"{code}# {chinese}")


def columns(line: str) -> int:
    """Return how many columns LINE takes: two for a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)
