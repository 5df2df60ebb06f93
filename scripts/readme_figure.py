"""Draw docs/audit.svg, the README's figure, from a finished audit: python scripts/readme_figure.py runs"""

import json
import sys
from pathlib import Path

from layerlocal.report import readme_figure

summary = json.loads((Path(sys.argv[1]) / "summary.json").read_text())
Path("docs/audit.svg").write_text(readme_figure(summary))
