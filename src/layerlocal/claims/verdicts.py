"""The words for what becomes of a claim, once, each with the sign by which it is told apart without colour."""

from __future__ import annotations

__all__ = ["CONTRADICTED", "INCONCLUSIVE", "NOT_RUN", "SUPPORTED", "UNJUDGED", "VERDICTS"]

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
"""Measured, and the seeds there are show neither."""
UNJUDGED = "cannot be judged"
"""Run, but what came out leaves the claim without a meaning: no gap, so no share of it that comes back."""
NOT_RUN = "not run"
VERDICTS = {SUPPORTED: "✓", CONTRADICTED: "✗", INCONCLUSIVE: "?", UNJUDGED: "∅", NOT_RUN: "○"}
"""In the order in which they are counted."""
