"""What tests read back from a page: its tags, its words, its figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"col", "meta", "link", "br", "img", "input", "hr"}
HOSTILE = ["<script>alert(1)</script>", '$x_1$ & "q" \\frac]]>-->\x00\x1b[31m\ud800 日本語 ✗ {{ 7*7 }}', ""]


class Reader(HTMLParser):
    """Text, attributes and an open-tag stack: raises nothing, records what does not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.bad: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.bad.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("style", "title", "script"):
            self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.bad and not reader.stack
    return reader


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(read(html).words))


def svgs_of(html: str) -> list[str]:
    return re.findall(r"<svg xmlns.*?</svg>", html, flags=re.S)
