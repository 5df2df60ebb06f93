"""Draw every published figure again from the published numbers, as SVG, PNG and PDF; trains nothing.

python benchmarks/figures.py            # docs/audit.*, results/*.svg, .png and .pdf
python benchmarks/figures.py /tmp/new   # into this folder instead
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import equal_time
import price_figure
import protocol
import trainer_figure
from command import run_main, write_drawing

from layerlocal.report import readme_figure


def published():
    """Where a figure is, without its ending → its drawing."""

    def found(name):
        return json.loads(Path(f"results/{name}.json").read_text())

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
    for name, drawing in published().items():
        path = Path(sys.argv[1]) / Path(name).name if sys.argv[1:] else Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_drawing(path.with_name(f"{path.name}.svg"), drawing)
        print(path)


if __name__ == "__main__":
    run_main(main)
