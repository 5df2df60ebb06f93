"""Draw every published figure again from the published numbers, as SVG, PNG and PDF; trains nothing.

    python scripts/published_figures.py            # docs/audit.*, results/*.svg, .png and .pdf
    python scripts/published_figures.py /tmp/new   # into this folder instead
    python scripts/published_figures.py --tables   # print the tables of the CPU protocol, for docs/findings-appendix.md

Which scripts and commands made the numbers: `results/README.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from layerlocal.report import figure_of
from layerlocal.report.draw import draw_figure
from layerlocal.summary import Figure, Summary
from layerlocal.words import difference

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import trainer_figure  # noqa: E402 (a benchmark that is still measured)
from command import run_main, write_drawing  # noqa: E402

PROTOCOLS = ("cpu_protocol", "cpu_protocol_one_setting")
FIGURES = {
    "gap": ("gap to BP", "0 is as good as BP"),
    "price_of_locality": ("price of locality", "0 is as good as BP-DeepSup"),
}
"""Column of the CPU protocol → its name, and what its zero is."""
NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "caltech101_64": "Caltech-101 at 64 px",
    "fashion_mnist": "Fashion-MNIST",
}
WIDE = "cosine_wide-True_head_width-64"
STEPS = {
    "one setting": ("cpu_protocol_one_setting", "cpu_protocol_one_setting"),
    "tuned": ("tuned_long", "tuned_cifar100_long"),
    "+ fixed filters": ("tuned_cosine_long", "first_filters_committee_cifar100"),
    "+ wide readers": (f"tuned_{WIDE}_long", f"tuned_cifar100_{WIDE}_borrowed_long"),
}
"""What was added to `committee`, one to the other → results of CIFAR-10 and of CIFAR-100."""


def results(name: str) -> dict[str, Any]:
    """A results file."""
    found: dict[str, Any] = json.loads((ROOT / "results" / f"{name}.json").read_text())
    return found


def draw_protocol(rows: list[dict[str, Any]], key: str) -> Any:
    """One of `FIGURES`: tasks on x, a series a rule, intervals over seeds."""
    shown, zero = FIGURES[key]
    series = [
        {
            "name": rule,
            "points": [{"x": NAMES[row["task"]], "y": row[key]} for row in rows if row["rule"] == rule],
        }
        for rule in dict.fromkeys(row["rule"] for row in rows)
    ]
    figure: dict[str, Any] = {
        "name": "protocol", "kind": "points", "title": f"{shown} of local rules", "note": zero,
        "caption": "Local rules against their twins, in percentage points of test accuracy", "series": series,
        "x": {"label": "", "scale": "category"}, "y": {"label": f"{shown}, test accuracy", "unit": "pp"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "protocol")[0]


def table(rows: list[dict[str, Any]]) -> str:
    """Of the CPU protocol, as Markdown."""
    head = "| data | rule | local | BP | BP-DeepSup | gap to BP, pp | price of locality, pp |"
    lines = []
    for row in sorted(rows, key=lambda row: list(NAMES).index(row["task"])):
        accuracies = [f"{100 * row[key]['mean']:.1f} %" for key in ("local", "bp", "bp-deepsup")]
        lines.append(
            [NAMES[row["task"]], f"`{row['rule']}`", *accuracies, *(difference(row[key], bare=True) for key in FIGURES)]
        )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(f"| {' | '.join(line)} |" for line in lines)])


def draw_equal_time(rows: list[dict[str, Any]]) -> Any:
    """Validation accuracy against seconds, a line a method."""
    series = [
        {"name": row["method"], "points": [{"x": p["seconds"], "y": 100 * p["validation_accuracy"]} for p in row["points"]]}
        for row in rows
    ]  # fmt: skip
    figure: dict[str, Any] = {
        "name": "equal-time", "kind": "lines", "title": "Validation accuracy after the same time of training",
        "caption": "Validation accuracy against seconds of training", "series": series,
        "x": {"label": "seconds of training on 2 cores"}, "y": {"label": "validation accuracy, %"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "equal-time")[0]


def price(file: str, data: str) -> dict[str, Any]:
    """The price of locality of `committee` in a results file: an estimate."""
    found = results(file)
    if "differences" in found:
        return dict(found["differences"]["price of locality"])
    here = {"rule": "committee", "task": data, "chosen": "tuned"}
    [row] = [row for row in found["rows"] if all(row.get(key, value) == value for key, value in here.items())]
    return dict(row["price_of_locality"])


def prices() -> dict[str, dict[str, dict[str, Any]]]:
    """Data set → step → estimate."""
    return {
        data: {step: price(files[index], data) for step, files in STEPS.items()}
        for index, data in enumerate(("cifar10", "cifar100"))
    }


def draw_prices(found: dict[str, dict[str, dict[str, Any]]]) -> Any:
    """How the price of `committee` shrank, step by step."""
    series = [
        {"name": NAMES[data], "points": [{"x": step, "y": y} for step, y in of.items()]} for data, of in found.items()
    ]
    figure: dict[str, Any] = {
        "name": "price", "kind": "lines", "title": "Price of locality of committee, step by step", "note": "0 is as good as BP-DeepSup",
        "caption": "Price of locality of committee, in percentage points of test accuracy", "series": series,
        "x": {"label": "", "scale": "category"}, "y": {"label": "price of locality", "unit": "pp"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "price")[0]


def published() -> dict[str, Any]:
    """Where a figure is, without its ending → its drawing."""
    return {
        "docs/audit": figure_of(Summary.model_validate(results("audit-quick")), "audit-gap"),
        "results/trainer": trainer_figure.picture(results("trainer")),
        "results/equal_time": draw_equal_time(results("equal_time")["rows"]),
        "results/price_of_locality": draw_prices(prices()),
        **{f"results/{name}_{key}": draw_protocol(results(name)["rows"], key) for name in PROTOCOLS for key in FIGURES},
    }


def main() -> None:
    """Draw, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where they go; default: where they are published")
    parser.add_argument("--tables", action="store_true", help="print the tables of the CPU protocol instead")
    asked = parser.parse_args()
    if asked.tables:
        print("\n\n".join(table(results(name)["rows"]) for name in PROTOCOLS))
        return
    for name, drawing in published().items():
        path = asked.folder / Path(name).name if asked.folder else ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_drawing(path.with_name(f"{path.name}.svg"), drawing)
        print(path)


if __name__ == "__main__":
    run_main(main)
