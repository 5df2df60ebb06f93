"""Write the README's table of rules from the published results: python scripts/readme_table.py [--check]

Accuracy and price come from results/study-accuracy-quick.json, memory from results/rule_memory.json, speed from results/trainer.json, and what
a rule needs from the package's listing. A cell without a published measurement says –. ``--check`` changes nothing and ends with 1 if the README
has another table.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from layerlocal.words import difference

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- rules: python scripts/readme_table.py -->\n", "<!-- end of rules -->"
OURS = ("committee", "panel")
SHORT = {
    "labels at every block": "labels",
    "negatives (it makes them)": "negatives",
    "whole batches (it compares samples)": "whole batches",
    "a multiple of the classes in channels": "channels dealt to classes",
    "a network such as vit": "tokens",
}
HEAD = ("rule", "locality", "needs", "CIFAR-10", "CIFAR-100", "price, pp", "memory", "speed")
NONE = "–"
NO_BREAK = "&nbsp;"


def results(name):
    return json.loads((ROOT / "results" / name).read_text())


def local_rules():
    """What the listing says of every rule whose losses reach one block."""
    listed = json.loads((ROOT / "src" / "layerlocal" / "runs" / "listing.json").read_text())["rules"]
    return {row["name"]: row for row in listed if row["locality"] == "locality block"}


def needs(row):
    """In few words; every pass beyond the first one counts."""
    words = [SHORT.get(word, word) for word in row["needs"].removeprefix("needs ").split(", ")]
    passes = int(row["step"].split()[0])
    words += [f"{passes} passes"] * (passes > 1) + ["K to predict"] * row["prediction"].startswith("K")
    return ", ".join(words)


def accuracies():
    """``{(rule, data): row}`` of the study."""
    [table] = [
        table
        for table in results("study-accuracy-quick.json")["tables"]
        if "price_of_locality" in str(table["columns"])
    ]
    return {(row["rule"], row["data"]): row for row in table["rows"]}


def percent(row):
    return f"{100 * row['local']['mean']:.1f} %" if row else NONE


def memories():
    return {row["rule"]: f"{row['peak_saved_bytes_ratio']:.2f}×" for row in results("rule_memory.json")["rows"]}


def speeds():
    """Median of samples a second over fused backprop's, `vgg8` at width 1."""
    rows = [row for row in results("trainer.json")["speed"] if row["network"] == "vgg8" and ", fused" in row["method"]]
    return {row["method"].removesuffix(", fused"): f"{row['ratio to bp, fused']['median']:.2f}×" for row in rows}


def rows():
    """The cells of every local rule, the most accurate on CIFAR-10 first."""
    measured, memory, speed, rules = accuracies(), memories(), speeds(), local_rules()
    order = sorted(rules, key=lambda name: -measured.get((name, "cifar10"), {"local": {"mean": -1}})["local"]["mean"])
    for name in order:
        ten = measured.get((name, "cifar10"))
        yield [
            f"[`{name}`](docs/rules/{name}.md)" + " (ours)" * (name in OURS),
            "block",
            needs(rules[name]),
            percent(ten),
            percent(measured.get((name, "cifar100"))),
            difference(ten["price_of_locality"], bare=True) if ten else NONE,
            memory.get(name, NONE),
            speed.get(name, NONE),
        ]
    yield ["[`bp`](docs/rules/bp.md)", "global", "labels, weight transport", NONE, NONE, NONE, "1×", "1×"]


def in_two(cell):
    """An interval under its value, neither broken."""
    return re.sub(r"^(\S+) (\[.+\])$", lambda found: f"{found[1]}<br>{found[2].replace(' ', NO_BREAK)}", cell)


def table():
    """Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *(map(in_two, cells) for cells in rows())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def with_table(text):
    """The README's text with the table as it is now."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    if not re.search(pattern, text, re.DOTALL):
        sys.exit(f"README.md has no lines {BEGIN.strip()} and {END} to write the table between")
    return re.sub(pattern, lambda _: BEGIN + "\n" + table() + "\n" + END, text, flags=re.DOTALL)


if __name__ == "__main__":
    before = README.read_text()
    after = with_table(before)
    if "--check" in sys.argv:
        sys.exit(int(before != after))
    README.write_text(after)
