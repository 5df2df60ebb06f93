"""Draw docs/audit.svg, .png and .pdf from a finished audit, and print its table: python scripts/readme_figure.py runs"""

import argparse
from pathlib import Path

from layerlocal.experiments.studies.parts import OF_TWINS
from layerlocal.report import figure_of
from layerlocal.report.canvas import FORMATS
from layerlocal.summary import Summary
from layerlocal.words import difference


def lines(summary):
    """A row of Markdown a rule: accuracies of rule, BP and BP-DeepSup, and how the gap to BP comes about."""
    for row in summary.tables[0].rows:
        found = [f"{100 * row[role]['mean']:.1f} %" for role in ("local", "bp", "bp-deepsup")]
        found += [difference(row[key], bare=True) for key in OF_TWINS]
        yield f"| `{row['rule']}` | {' | '.join(found)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="of a finished audit of size quick")
    path = parser.parse_args().store / "experiments/audit-quick/summary.json"
    summary = Summary.model_validate_json(path.read_text())
    for form in FORMATS:
        Path(f"docs/audit.{form}").write_bytes(figure_of(summary, "audit-gap").to_file(form))
    print("\n".join(lines(summary)))
