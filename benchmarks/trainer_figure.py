"""The figure and the table of results/trainer.json: speed and memory of local training against backprop on plain layers.

    python benchmarks/trainer_figure.py    # writes results/trainer.svg, prints the table of results/trainer.md

`trainer.py` draws it too when it has measured everything.
"""

from __future__ import annotations

import json
from pathlib import Path

from layerlocal.report import plots, svg

SHOWN = ("bp, fused", "local-heads, fused", "dtg-ff, fused", "committee, fused")
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


def quartiles(ratio):
    """A median and its quartiles as the plots read an estimate."""
    return {"mean": ratio["median"], "low": ratio["low"], "high": ratio["high"], "n": ratio["n"]}


def picture(found):
    """Speed against memory, a series a method, a point a network, as SVG."""
    kept = {(title(row), row["method"]): row["saved_bytes_ratio"]["bp"] for row in found["memory"]}
    series = [
        {
            "name": method,
            "panel": "",
            "points": [
                {
                    "x": kept[title(row), method],
                    "y": quartiles(row["ratio to bp"]),
                    "label": title(row).rpartition(",")[0],
                }
                for row in found["speed"]
                if row["method"] == method
            ],
        }
        for method in SHOWN
    ]
    figure = {
        "kind": "points", "caption": "Training against backprop on plain layers, which is (1, 1)", "series": series,
        "x": {"label": "peak saved bytes ÷ backprop's"}, "y": {"label": "samples/s ÷ backprop's"},
    }  # fmt: skip
    return svg.standalone(plots.draw_figure(figure, "trainer")[0])


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
    Path("results/trainer.svg").write_text(picture(found))
    print(table(found))


if __name__ == "__main__":
    main()
