"""Run docs/notebook.ipynb from top to bottom and keep what it shows, without times and machine: python scripts/run_notebook.py"""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs/notebook.ipynb"


def joined(outputs):
    """What a cell prints in one piece, however it came."""
    kept = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    nbclient.NotebookClient(notebook, timeout=600, record_timing=False).execute()
    notebook.metadata = metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    nbformat.write(notebook, NOTEBOOK)
