"""What MkDocs does to the pages of docs/ before it reads them, so that the same files are right on GitHub and on the site.

- README.md, CONTRIBUTING.md, CHANGELOG.md and SECURITY.md of the root are pages too, and so are pages of results/.
- A link to a file outside docs/ leads to the repository; a picture or a report from outside is copied into the site.
- A list or a table may follow a line of text without an empty line between, and a list in a list may be indented by two, as GitHub reads them.
- A notebook of docs/ is a page, with the outputs that are kept in it.
- The bold link of the first page is a button, and the menu stands beside the text from 1,120 pixels on.
- A comment ``<!-- ::: layerlocal.fit -->`` becomes the reference of that name, and the table of api.md leads to it instead of to the source.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAME = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "results/README.md",
    "results/claims.md",
    "results/trainer.md",
)
ROOT_PAGES = {"README.md": "overview.md"} | {name: name for name in SAME}
"""Pages outside docs/ by their names in the site, whose README.md is that of docs/."""
COPIED = (".svg", ".png", ".jpg", ".gif", ".webp", ".html")
WIDTHS = {"76.25em": "70em", "76.234375em": "69.984375em"}
"""From which width on the menu stands beside the text: the theme's → ours."""
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})")
CODE = re.compile(r"(`+)(?:.(?!\1))*.?\1")
LINK = re.compile(r"(\]\(|\b(?:src|srcset|href)=\")([^)\"#\s]+)(#[^)\"\s]*)?([)\"])")


def on_files(files, config):
    """Add the pages of the root, the notebooks, and every picture and report outside docs/ that a page shows."""
    from mkdocs.structure.files import File

    for path in (ROOT / "docs").rglob("*.ipynb"):
        page, pictures = _notebook(path)
        files.append(File.generated(config, f"{_uri(path)}.md", content=page))
        for name, content in pictures.items():
            files.append(File.generated(config, f"{_uri(path)}-{name}", content=content))
    for file, name in ROOT_PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / file)))
    for page in [page for page in files.documentation_pages() if page.abs_src_path]:
        for target in _targets(Path(page.abs_src_path)):
            name = _copied(target)
            if name and target.is_file() and files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown, page, config, files):
    """The page as MkDocs shall read it."""
    source = Path(page.file.abs_src_path or ROOT / "docs" / page.file.src_uri)
    known = {Path(file.abs_src_path).resolve(): file.src_uri for file in files if file.abs_src_path}
    known |= {path: f"{_uri(path)}.md" for path in (ROOT / "docs").rglob("*.ipynb")}

    def lead(match):
        before, target, anchor, after = match.groups()
        path = _local(source, target)
        if path is None or not path.exists():
            return match[0]
        if path in known and not files.get_file_from_path(known[path]).inclusion.is_excluded():
            uri = posixpath.relpath(known[path], posixpath.dirname(page.file.src_uri) or ".")
        else:
            uri = f"{config.extra['repository']}/{path.relative_to(ROOT).as_posix()}"
        return f"{before}{uri}{anchor or ''}{after}"

    if page.file.src_uri == "README.md":
        button = "{ .md-button .md-button--primary }"
        markdown = re.sub(r"^\*\*(\[.+?\]\(.+?\))\*\*$", rf"\1{button}", markdown, flags=re.MULTILINE)
    if page.file.src_uri == "api.md":
        markdown = re.sub(r"\[`(\w+)`\]\(\.\./src/[^)]+\)", r"[`\1`][layerlocal.\1]", markdown)
    return "\n".join(
        line if code else _outside_code(line, lambda part: LINK.sub(lead, part)) for line, code in _lines(markdown)
    )


def on_post_build(config):
    """Show the menu from 1,120 pixels on: the theme hides it below 1,220, in its styles."""
    assets = Path(config.site_dir) / "assets"
    for file in assets.glob("stylesheets/*.css"):
        text = file.read_text(encoding="utf-8")
        for wide, narrower in WIDTHS.items():
            text = text.replace(wide, narrower)
        file.write_text(text, encoding="utf-8")


def _uri(notebook: Path) -> str:
    return notebook.relative_to(ROOT / "docs").with_suffix("").as_posix()


def _notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page, and its pictures by name."""
    parts, pictures = [], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "image/png" in shown:
                name = f"{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(shown["image/png"])
                parts.append(f"![What the code above draws]({path.stem}-{name})")
            else:
                said = "".join(output.get("text", shown.get("text/plain", ""))).rstrip()
                parts.append(f"```text\n{said}\n```")
    return "\n\n".join(parts), pictures


def _local(source: Path, target: str) -> Path | None:
    """The file in this repository that a link of a page leads to."""
    if re.match(r"[a-z]+:|/", target):
        return None
    path = Path(os.path.normpath(source.parent / target))
    return path if path.is_relative_to(ROOT) else None


def _targets(source: Path):
    for line, code in _lines(source.read_text(encoding="utf-8")):
        for match in () if code else LINK.finditer(line):
            path = _local(source, match[2])
            if path is not None:
                yield path


def _copied(path: Path) -> str | None:
    """The name in the site of a picture or a report outside docs/."""
    outside = path.suffix in COPIED and not path.is_relative_to(ROOT / "docs")
    return f"assets/{path.relative_to(ROOT).as_posix()}" if outside else None


def _outside_code(line: str, change) -> str:
    """The line with everything changed but what stands in backticks."""
    done, at = [], 0
    for match in CODE.finditer(line):
        done += [change(line[at : match.start()]), match[0]]
        at = match.end()
    return "".join([*done, change(line[at:])])


def _lines(markdown: str):
    """Every line, laid out as Python-Markdown wants it, and whether it is code."""
    fence, shift, before, step = "", 0, "", 0  # step: by how much this list is indented, 0 outside of lists
    for line in markdown.splitlines():
        mark = FENCE.match(line)
        if fence or mark:
            if not fence:
                fence, shift = mark[2], _indent(line, step) - len(mark[1])
            elif mark and mark[2].startswith(fence):
                fence = ""
            before = "```"
            yield " " * shift * bool(line) + line, True
            continue
        line = re.sub(r"^<!-- (::: \S+) -->$", r"\1", line)
        kind = _kind(line)
        if kind == "list" and not step:
            step = 3 if line[0].isdigit() else 2
        elif line and not line.startswith(" ") and kind != "list" and (kind or not before):
            step = 0
        if kind in ("list", "table") and before and _kind(before) != kind and not step * before.startswith(" "):
            yield "", False
        yield " " * _indent(line, step) + line.lstrip(" ") if step else line, False
        before = line


def _kind(line: str) -> str:
    if re.match(r" *([-*+]|\d+[.)]) ", line):
        return "list"
    return "table" if line.startswith("|") else "heading" if line.startswith("#") else ""


def _indent(line: str, step: int) -> int:
    """The blanks before a line of a list that is indented by ``step`` a level; Python-Markdown wants four."""
    blanks = len(line) - len(line.lstrip(" "))
    return blanks // step * 4 + blanks % step if step else blanks
