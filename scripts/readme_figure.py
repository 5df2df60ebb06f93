"""Draw docs/audit.svg, .png and .pdf from a finished audit, and print its table: python scripts/readme_figure.py runs"""

import argparse
import json
from pathlib import Path

from layerlocal.experiments.studies.base import DIFFERENCES
from layerlocal.report import readme_figure
from layerlocal.report.canvas import FORMATS
from layerlocal.words import difference


def lines(summary):
    """A row of Markdown a rule: accuracies of rule, BP and BP-DeepSup, and how the gap to BP comes about."""
    for rule in summary["accuracy"]["rules"]:
        accuracies = [rule["fused"], *(rule["twins"][twin]["fused"] for twin in ("bp", "bp-deepsup"))]
        found = [f"{100 * value['mean']:.1f} %" for value in accuracies]
        found += [difference(rule[key], bare=True) for key in DIFFERENCES]
        yield f"| `{rule['rule']}` | {' | '.join(found)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="of a finished audit of size quick")
    summary = json.loads((parser.parse_args().store / "experiments/audit-quick/summary.json").read_text())
    for form in FORMATS:
        Path(f"docs/audit.{form}").write_bytes(readme_figure(summary).to_file(form))
    print("\n".join(lines(summary)))
