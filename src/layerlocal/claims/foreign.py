"""Training code of others, certified: what it says of itself, and what `layerlocal certify` found of one of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from layerlocal.claims.files import list_entries, own_file, parse_entry, read_yaml
from layerlocal.words import cell

__all__ = ["Foreign", "load_foreign"]


class Foreign(BaseModel):
    """One training step of a public repository.

    Args:
        name: of the repository.
        url: where it is.
        commit: that was run.
        file: in the repository.
        line: where the step begins in it.
        says: what it claims of its locality, in its own words or ours.
        locality: as measured.
        coupling: row j: whose update changed when group j was perturbed.
        saved_bytes, flops: of the step, as ratios to its own end-to-end twin; null where there is none.
        verdict: the certificate's sentence.
        words: what a reader should know; courteous.
        command: that makes the certificate again, in a checkout of ``commit``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
    name: str = Field(min_length=1)
    url: str = Field(pattern=r"^https://\S+$")
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    file: str = Field(min_length=1)
    line: int = Field(ge=1)
    says: str = Field(min_length=1)
    locality: Literal["block", "segment", "global"]
    saved_bytes: float | None = Field(gt=0)
    flops: float | None = Field(gt=0)
    verdict: str = Field(min_length=1)
    words: str = ""
    command: str = Field(min_length=1)

    def view(self) -> dict[str, Any]:
        """As a page shows it."""
        told = {key: cell(getattr(self, key), "ratio") for key in ("saved_bytes", "flops")}
        return self.model_dump() | told


def load_foreign(path: str | Path | None = None) -> tuple[Foreign, ...]:
    """Every entry of a YAML file with a list ``foreign``; of our own where left out.

    Raises:
        InputError: one sentence: which file, which entry, which field and how to mend it.
    """
    file = own_file("foreign.yaml") if path is None else Path(path)
    entries = list_entries(read_yaml(file, "foreign"), "foreign", file.name)
    return tuple(parse_entry(Foreign, entry, file.name, "name") for entry in entries)
