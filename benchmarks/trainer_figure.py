"""The figure and the table of results/trainer.json: speed and memory of local training against backprop on plain layers.

    python benchmarks/trainer_figure.py    # writes results/trainer.svg, .png and .pdf, prints the table of results/trainer.md

`trainer.py` draws it too when it has measured everything.
"""

from __future__ import annotations

import json
from pathlib import Path

from command import write_drawing

from layerlocal.report.draw import draw_figure
from layerlocal.summary import Figure

SHOWN = ("bp, fused", "local-heads, fused", "class-goodness, fused", "committee, fused")
"""Methods of the figure, where `bp` is 1 on both axes; the table has all."""
COLUMNS = (
    "network",
    "method",
    "samples/s ÷ plain BP, median of {n} [quartiles]",
    "÷ fused BP",
    "saved bytes ÷ plain BP",
    "÷ fused BP",
    "FLOPs ÷ BP",
)


def title(row):
    """What was measured, in words: network, width, image side, batch."""
    return f"{row['network']} {row['width']:g}, {row['image_size']} px, batch {row['batch_size']}"


def short(row):
    """The name beside a point: the network, and the side of its images where that is not 32."""
    return row["network"] if row["image_size"] == 32 else f"{row['network']}, {row['image_size']} px"


def quartiles(ratio):
    """A median and its quartiles as the plots read an estimate."""
    return {"mean": ratio["median"], "low": ratio["low"], "high": ratio["high"], "n": ratio["n"]}


def picture(found):
    """Speed against memory, a series a method, a point a network with its name."""
    kept = {(title(row), row["method"]): row["saved_bytes_ratio"]["bp"] for row in found["memory"]}
    series = [
        {
            "name": method,
            "points": [
                {
                    "x": kept[title(row), method],
                    "y": quartiles(row["ratio to bp"]),
                    "label": short(row),
                }
                for row in found["speed"]
                if row["method"] == method
            ],
        }
        for method in SHOWN
    ]
    figure = {
        "name": "trainer", "kind": "points", "title": "Speed and memory of training beside backprop",
        "caption": "Training against backprop on plain layers, which is (1, 1)", "series": series,
        "x": {"label": "peak saved bytes ÷ backprop's", "scale": "log2"}, "y": {"label": "samples/s ÷ backprop's"},
        "reference": {"x": 1, "y": 1, "label": "BP, plain layers (1, 1)"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "trainer")[0]


def table(found):
    """Every network and method as Markdown."""
    memory = {(title(row), row["method"]): row for row in found["memory"]}
    n = found["speed"][0]["ratio to bp"]["n"]
    lines = [f"| {' | '.join(COLUMNS).format(n=n)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in found["speed"]:
        kept = memory[title(row), row["method"]]
        ratios = [row[f"ratio to {name}"] for name in ("bp", "bp, fused")]
        cells = [title(row), f"`{row['method']}`", *(f"{r['median']:.2f}× [{r['low']:.2f}, {r['high']:.2f}]" for r in ratios),
                 *(f"{kept['saved_bytes_ratio'][name]:.2f}×" for name in ("bp", "bp, fused")), f"{kept['flops_ratio']:.2f}×"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    found = json.loads(Path("results/trainer.json").read_text())
    write_drawing("results/trainer.svg", picture(found))
    print(table(found))


if __name__ == "__main__":
    main()
