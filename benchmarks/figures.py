"""Draw every published figure again from the published numbers, as SVG, PNG and PDF; trains nothing.

python benchmarks/figures.py            # docs/audit.*, results/*.svg, .png and .pdf
python benchmarks/figures.py /tmp/new   # into this folder instead
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import equal_time
import price_figure
import protocol
import trainer_figure
from command import run_main, write_drawing

from layerlocal.report import readme_figure

ROOT = Path(__file__).resolve().parents[1]


def published():
    """Where a figure is, without its ending → its drawing."""

    def found(name):
        return json.loads((ROOT / "results" / f"{name}.json").read_text())

    return {
        "docs/audit": readme_figure(found("audit-quick")),
        "results/trainer": trainer_figure.picture(found("trainer")),
        "results/equal_time": equal_time.picture(found("equal_time")["rows"]),
        "results/price_of_locality": price_figure.picture(price_figure.prices()),
        **{
            f"results/{name}_{key}": protocol.draw(found(name)["rows"], key)
            for name in ("cpu_protocol", "cpu_protocol_one_setting")
            for key in protocol.FIGURES
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where they go; default: where they are published")
    folder = parser.parse_args().folder
    for name, drawing in published().items():
        path = folder / Path(name).name if folder else ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_drawing(path.with_name(f"{path.name}.svg"), drawing)
        print(path)


if __name__ == "__main__":
    run_main(main)
