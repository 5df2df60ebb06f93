"""How the price of locality of `committee` shrinks, step by step.

    python benchmarks/price_figure.py    # results/price_of_locality.svg, .png and .pdf from the results of other benchmarks, and prints them

It trains nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from command import write_drawing

from layerlocal.report.draw import draw_figure
from layerlocal.summary import Figure
from layerlocal.words import difference

WIDE = "cosine_wide-True_head_width-64"
STEPS = {
    "one setting": ("cpu_protocol_one_setting", "cpu_protocol_one_setting"),
    "tuned": ("tuned_long", "tuned_cifar100_long"),
    "+ fixed filters": ("tuned_cosine_long", "first_filters_committee_cifar100"),
    "+ wide readers": (f"tuned_{WIDE}_long", f"tuned_cifar100_{WIDE}_borrowed_long"),
}
"""What is added, one to the other → results of CIFAR-10 and of CIFAR-100."""


def price(file, data):
    """The price of locality in a results file: an estimate."""
    found = json.loads((Path(__file__).resolve().parents[1] / "results" / f"{file}.json").read_text())
    if "differences" in found:
        return found["differences"]["price of locality"]
    here = {"rule": "committee", "task": data, "chosen": "tuned"}
    [row] = [row for row in found["rows"] if all(row.get(key, value) == value for key, value in here.items())]
    return row["price_of_locality"]


def prices():
    """Data set → step → estimate."""
    return {
        data: {step: price(files[index], data) for step, files in STEPS.items()}
        for index, data in enumerate(("cifar10", "cifar100"))
    }


def picture(found):
    series = [
        {"name": {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}[data], "points": [{"x": step, "y": y} for step, y in of.items()]}
        for data, of in found.items()
    ]  # fmt: skip
    figure = {
        "name": "price", "kind": "lines", "title": "Price of locality of committee, step by step", "note": "0 is as good as BP-DeepSup",
        "caption": "Price of locality of committee, in percentage points of test accuracy", "series": series,
        "x": {"label": "", "scale": "category"}, "y": {"label": "price of locality", "unit": "pp"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "price")[0]


def main():
    found = prices()
    for data, of in found.items():
        print("\n".join(f"{data}, {step}: {difference(value)}" for step, value in of.items()))
    write_drawing("results/price_of_locality.svg", picture(found))


if __name__ == "__main__":
    main()
