"""Where a store keeps its experiments: ``experiments/<name>-<size>/`` with ``plan.json``, ``missing.json`` and ``summary.json``.

Stores of earlier versions keep loose files instead, and so do folders of published results; they are read where the folder has none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from layerlocal.files import read_json, write_atomic
from layerlocal.names import EDITION, names_of_today

__all__ = ["Kept", "Place", "read_kept", "write_kept"]


def read_kept(path: Path, **options: Any) -> Any:
    """As `layerlocal.files.read_json`, in the names of today: what an experiment of any version kept. A list is in ``entries`` since 0.2."""
    kinds = options.pop("kind", dict)
    content = names_of_today(read_json(path, kind=(dict, list), **options))
    found = content["entries"] if isinstance(content, dict) and set(content) == {"entries"} else content
    if found is not None and not isinstance(found, kinds):
        read_json(path, kind=kinds, **options)  # says so
    return found


def write_kept(path: Path, content: BaseModel | dict[str, Any] | list[Any]) -> None:
    """What `read_kept` reads: whole or not at all, with the edition of its names.

    Raises:
        InputError: it cannot be written.
    """
    found = content.model_dump(mode="json") if isinstance(content, BaseModel) else content
    whole = {"names": EDITION, **(found if isinstance(found, dict) else {"entries": found})}
    write_atomic(path, f"{json.dumps(whole, indent=1, ensure_ascii=False)}\n".encode())


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
        """As `read_kept`: ``None`` where there is no file.

        Raises:
            InputError: a damaged one.
        """
        return read_kept(self.found, **options)

    def write(self, content: BaseModel | dict[str, Any] | list[Any]) -> None:
        """As `write_kept`.

        Raises:
            InputError: it cannot be written.
        """
        write_kept(self.path, content)
