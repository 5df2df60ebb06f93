"""Where a store keeps its experiments: ``experiments/<name>-<size>/`` with ``plan.json``, ``missing.json`` and ``summary.json``.

Stores of earlier versions keep loose files instead, and so do folders of published results; they are read where the folder has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerlocal.files import read_json

__all__ = ["Kept", "Place"]


@dataclass(frozen=True)
class Place:
    """The files of one experiment in a store.

    Args:
        out: the run store.
        name: of the folder, e.g. ``"audit-quick"`` or ``"depth-medium"``.
        old_plan, old_missing, old_summary: the loose files of earlier versions; ``""``: there was none.
    """

    out: Path
    name: str
    old_plan: str = ""
    old_missing: str = ""
    old_summary: str = ""

    @property
    def folder(self) -> Path:
        """Where new files are written."""
        return self.out / "experiments" / self.name

    @property
    def plan(self) -> Kept:
        """What is run."""
        return self._kept("plan.json", self.old_plan)

    @property
    def missing(self) -> Kept:
        """Runs without a result, and why."""
        return self._kept("missing.json", self.old_missing)

    @property
    def summary(self) -> Kept:
        """What was found."""
        return self._kept("summary.json", self.old_summary)

    def _kept(self, name: str, old: str) -> Kept:
        begun = (self.folder / "plan.json").exists()  # since then loose files are of what was before
        return Kept(self.folder / name, self.out / old if old and not begun else None)


@dataclass(frozen=True)
class Kept:
    """A file at the place of this version, or of an earlier one.

    Args:
        path: where it is written.
        old: where an earlier version wrote it.
    """

    path: Path
    old: Path | None = None

    @property
    def found(self) -> Path:
        """The file that is read: the new one, or the old one where only that is there."""
        return self.old if self.old is not None and self.old.exists() and not self.path.exists() else self.path

    def read(self, **options: Any) -> Any:
        """As `layerlocal.files.read_json`: ``None`` where there is no file.

        Raises:
            InputError: a damaged one.
        """
        return read_json(self.found, **options)
