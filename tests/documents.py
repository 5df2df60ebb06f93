"""What README, docs/ and CONTRIBUTING say to run and to look at: blocks, commands, links and anchors of a Markdown page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from typer.main import get_command

from layerlocal.cli import app

ROOT = Path(__file__).parents[1]
SHELLS = ("console", "bash", "sh", "shell")
FENCED = re.compile(r"^( *)```([\w-]*)([^\n]*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def pages():
    """Every page of this repository that a reader is led to."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    found += [*ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md"), *ROOT.glob(".github/**/*.md")]
    return sorted(path for path in found if path.exists())


def name(page):
    """A page's name in this repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(text, *languages):
    """The fenced blocks of these languages, in order."""
    return [body for _, language, _, body in FENCED.findall(text) if language in languages]


def commands(text):
    """Every shell command, without prompt, output, comment and ``NAME=value`` before it; ``&&``, ``;`` and ``|`` part commands."""
    for _, language, _, body in FENCED.findall(text):
        for line in body.replace("\\\n", " ").splitlines() if language in SHELLS else ():
            if language == "console" and not line.startswith("$ "):
                continue  # what the command prints
            part = []
            for word in [*shlex.split(line.removeprefix("$ "), comments=True), ";"]:
                if word in ("&&", ";", "|", "||"):
                    while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
                        part.pop(0)
                    if part:
                        yield part
                    part = []
                else:
                    part.append(word)


def refusals(text):
    """Every command of the page that the program does not take, with what it says, and how many commands there are."""
    program, found, refused = get_command(app), 0, []
    for words in commands(text):
        if Path(words[0]).name != "layerlocal":
            continue
        found += 1
        if words[1:2] in (["--help"], ["--version"]) or "--help" in words[2:]:
            continue
        if words[1:2] and words[1] in program.commands:
            try:
                given = words[2 : words.index(">")] if ">" in words else words[2:]
                program.commands[words[1]].make_context(words[1], list(given))
                continue
            except Exception as error:
                refused.append(f"{shlex.join(words)}: {error}")
        else:
            refused.append(f"{shlex.join(words)}: no such command")
    return refused, found


def missing_files(page):
    """The files that its commands and the comments of its code name and that are not there."""
    text = page.read_text()
    words = [word.rpartition("=")[2].partition(":")[0] for command in commands(text) for word in command]
    named = {word for word in words if word.endswith(".py")}
    written = {match for body in blocks(text, "python") for match in re.findall(r"# (\S+\.py)\b", body)}
    return sorted(file for file in named | written if not (ROOT / file).exists())


def wide_lines(text, width=80):
    """Lines that a reader types, Python or shell, and that are wider than a narrow page."""
    typed = blocks(text, "python", *(language for language in SHELLS if language != "console"))
    lines = [line for body in typed for line in body.splitlines()]
    lines += [line for body in blocks(text, "console") for line in body.splitlines() if line.startswith("$ ")]
    return [line for line in lines if len(line) > width]


def run_python(page, folder):
    """All its python blocks, in order, in one namespace, as a reader would paste them; the folder has ``examples``.

    What a block prints goes to standard output. Gives back (said, printed) for every ``print(...)  # said`` of the page.
    """
    (folder / "examples").symlink_to(ROOT / "examples")
    printed = {}

    def show(*values, **options):
        print(*values, **options)
        caller = sys._getframe(1)
        printed[caller.f_code.co_filename, caller.f_lineno] = " ".join(map(str, values))

    namespace, pairs = {"__name__": "page", "print": show}, []
    for number, block in enumerate(blocks(page.read_text(), "python"), 1):
        file = f"{name(page)}, python block {number}"
        exec(compile(block, file, "exec"), namespace)
        for line, text in enumerate(block.splitlines(), 1):
            said = re.match(r"print\(.*\)  # (.+)$", text)
            if said:
                pairs.append((said[1], printed[file, line]))
    return pairs


def says(said, printed):
    """Whether a page says what is printed, or its end; numbers with a decimal point may differ by a tenth, as accuracies do by machine."""
    decimal = re.compile(r"\d+\.\d+")
    if not decimal.sub("", printed).endswith(decimal.sub("", said)):
        return False
    ours, theirs = ([float(number) for number in reversed(decimal.findall(text))] for text in (said, printed))
    return len(ours) <= len(theirs) and all(
        abs(a - b) <= 0.1 * max(1, abs(b)) for a, b in zip(ours, theirs, strict=False)
    )


def prose(text):
    """The page without code: ``heads["block0"](activity)`` is no link."""
    return re.sub(r"(`+)(?:(?!\1).)+?\1", "", FENCED.sub("", text))


def links(text):
    """Every link and picture: (target without anchor, anchor), either may be empty."""
    found = re.findall(r"\]\(<?([^)\s>]+)", prose(text))
    found += re.findall(r'\b(?:src|srcset|href)="([^"\s]+)', prose(text))
    found += re.findall(r"^\[[^]\n]+\]:\s*(\S+)", prose(text), re.MULTILINE)
    return [(target, anchor) for target, _, anchor in (link.partition("#") for link in found)]


def anchors(text):
    """The anchors that GitHub gives a page: its headings, lower case, without punctuation, and its ids."""
    found = set(re.findall(r'\b(?:id|name)="([^"]+)"', prose(text)))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCED.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)|<[^>]+>", r"\1", heading).replace("*", "").lower()
        slug = base = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        again = 0
        while slug in found:
            again += 1
            slug = f"{base}-{again}"
        found.add(slug)
    return found


def broken_links(page, text=None):
    """Every relative link of a page (or of a text in its place) whose file is not there, or whose heading is not."""
    broken = []
    for target, anchor in links(page.read_text() if text is None else text):
        if re.match(r"[a-z]+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or not path.is_relative_to(ROOT):
            broken.append(f"{name(page)}: {target} is not there")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path.read_text()):
            broken.append(f"{name(page)}: {target} has no heading #{anchor}")
    return broken
