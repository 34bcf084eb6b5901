"""Files of a folder as plain text in sections: what they say, under which headings, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import final

from tunesmith.core.errors import DataError
from tunesmith.core.records import Record

_BLOCKS = frozenset(
    (
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tbody",
        "thead",
        "tr",
        "ul",
    )
)
_UNSEEN = frozenset(("script", "style", "template", "noscript", "nav", "svg", "head"))
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?\s*([A-Za-z0-9_-]+)", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*")
_FENCE = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True)
class Section:
    """A run of text under one heading. ``place`` is where it begins: "line 12", "page 3"."""

    title: str
    text: str
    place: str


class LeftOut(Record):
    """A file that gives no text, and why."""

    path: str
    reason: str


def files_of(folder: Path) -> list[Path]:
    """The files that can be read, at any depth, in the order of their names; hidden ones are none of them.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(
            "the corpus is not there" if not folder.exists() else "the corpus is a file",
            where=str(folder),
            rule="a corpus is a folder of documents",
            fix=f"give a folder with {', '.join(SUFFIXES)} files",
        )
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    seen = [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return sorted(seen, key=lambda path: path.relative_to(folder).as_posix())


def sections_of(path: Path) -> list[Section]:
    """The text of a file, section by section.

    Raises:
        DataError: its bytes are not text in a known encoding.
        Unreadable: a PDF that is encrypted or broken.
    """
    return [section for section in SUFFIXES[path.suffix.lower()](path) if section.text.strip()]


class Unreadable(Exception):
    """A document that cannot be opened; the reason is its text."""


def _plain(path: Path) -> list[Section]:
    return [Section("", _decoded(path), "line 1")]


def _markdown(path: Path) -> list[Section]:
    return list(_under_headings(_decoded(path)))


def _html(path: Path) -> list[Section]:
    reader = _Html()
    reader.feed(_decoded(path))
    reader.close()
    return list(_under_headings(reader.text(), with_lines=False))


def _pdf(path: Path) -> list[Section]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        pages = [page.extract_text() for page in PdfReader(path).pages]
    except (PyPdfError, ValueError, KeyError, OSError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unreadable(f"cannot be opened as PDF: {text}") from error
    return [Section("", text, f"page {number}") for number, text in enumerate(pages, 1)]


SUFFIXES: Mapping[str, Callable[[Path], list[Section]]] = {
    ".txt": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
"""Kinds of files → how they are read."""


def _decoded(path: Path) -> str:
    """The text of a file: UTF-8, UTF-16 with its mark, or what an HTML page declares."""
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if path.suffix.lower() in (".html", ".htm") and (declared := _CHARSET.search(raw[:4096])):
        encoding = encoding if encoding == "utf-16" else declared[1].decode("ascii")
    try:
        return raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"the text cannot be read as {encoding.removesuffix('-sig').upper()}: {error}",
            where=str(path),
            rule="documents are UTF-8 (or UTF-16 with its mark, or HTML that declares its charset)",
            fix="save the file as UTF-8, or take it out of the corpus",
        ) from error


def _under_headings(text: str, with_lines: bool = True) -> Iterator[Section]:
    """Markdown cut at its headings; a title is the way down to the heading: ``Returns > Deadlines``."""
    way: list[tuple[int, str]] = []
    lines: list[str] = []
    start, fenced = 1, False
    for number, line in enumerate(text.split("\n"), 1):
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.fullmatch(line.strip())
        if heading is None:
            lines.append(line)
            continue
        yield Section(" > ".join(title for _, title in way), "\n".join(lines), f"line {start}" if with_lines else "")
        level = len(heading[1])
        way = [(depth, title) for depth, title in way if depth < level] + [(level, heading[2])]
        lines, start = [], number
    yield Section(" > ".join(title for _, title in way), "\n".join(lines), f"line {start}" if with_lines else "")


@final
class _Html(HTMLParser):
    """The visible text of a page, headings as in Markdown, blocks on lines of their own."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._unseen = 0

    def text(self) -> str:
        """What was read, without runs of blanks."""
        lines = (" ".join(line.split()) for line in "".join(self._pieces).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A block begins on a new line, a heading with its marks."""
        self._unseen += tag in _UNSEEN
        if re.fullmatch("h[1-6]", tag):
            self._pieces.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in _BLOCKS:
            self._pieces.append("\n\n" if tag in ("p", "div", "section", "article", "table") else "\n")
        elif tag in ("td", "th"):
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """A block ends its line."""
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        if tag in _BLOCKS or re.fullmatch("h[1-6]", tag):
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Text, unless it is part of what nobody sees."""
        if not self._unseen:
            self._pieces.append(re.sub(r"\s+", " ", data))
