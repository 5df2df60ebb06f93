"""What each rule of an audit costs against backprop, as the cost audit measures it: rules in turns, and saved bytes against depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from layerlocal.experiments.cost.building import Trainer
from layerlocal.experiments.cost.case import BASELINE, CostCase
from layerlocal.experiments.cost.findings import RATIOS
from layerlocal.experiments.cost.measure import measure_turns, saved_bytes
from layerlocal.measure import speed_ratios
from layerlocal.spec import NetworkSpec, RuleSpec
from layerlocal.types import PARTNER
from layerlocal.words import several

__all__ = ["measure_cost"]

DEPTHS = (2, 4, 8, 16)
COUNTS = ("peak_saved_bytes", "flops_per_step")
Options = Mapping[str, Mapping[str, Any]]


def measure_cost(
    rules: Sequence[str],
    *,
    options: Options | None = None,
    device: str = "cpu",
    width: float = 0.5,
    repeats: int = 5,
    command: str = "",
) -> dict[str, Any]:
    """The cost of an audit's rules, in this process, as it is kept in the store.

    Args:
        rules: local rules; `BASELINE` and ``bp-deepsup`` are added. The row of one that cannot be measured has ``failed``, the reason.
        options: rule → its options, as in the audit; the two added ones are made of `PARTNER` with its options.
        device: where it is measured.
        width: of vgg8.
        repeats: timed rounds.
        command: what makes these numbers again.
    """
    twins = (BASELINE, "bp-deepsup")
    names = list(dict.fromkeys([*twins, *rules]))
    given = {**(options or {}), **dict.fromkeys(twins, (options or {}).get(PARTNER, {}))}
    known = {name: RuleSpec(name=name, options=dict(given.get(name, {}))) for name in names}
    base = CostCase(
        network=NetworkSpec(name="vgg8", width=width), batch_size=16, threads=torch.get_num_threads(), device=device
    )
    plain = base.but(network=NetworkSpec(name="plain", width=0.25), batch_size=8)
    return {
        "command": command,
        "network": f"vgg8, width {width:g}, 32 px, float32, channels-last",
        "batch_size": base.batch_size,
        "threads": base.threads,
        "device": device,
        "repeats": repeats,
        "interval_note": f"median of {several(repeats, 'round')} in which the rules take turns, with quartiles of the ratio",
        "rules": _rows({name: base.but(rule=rule) for name, rule in known.items()}, repeats),
        "depth": {
            "network": plain.place,
            "depths": list(DEPTHS),
            "series": _saved_against_depth({name: plain.but(rule=rule) for name, rule in known.items()}),
            "command": command,
        },
    }


def _rows(cases: Mapping[str, CostCase], repeats: int) -> list[dict[str, Any]]:
    """One a rule: speed and counts, and their ratios to `BASELINE`."""
    found = measure_turns(cases, rounds=repeats, apart=True)
    speeds = {name: row.pop("samples_per_s") for name, row in found.items() if "failed" not in row}
    ratios = speed_ratios(speeds, BASELINE) if BASELINE in speeds else {}
    rows = []
    for name, row in found.items():
        if name not in ratios:
            rows.append({"rule": name, "readout": "", "failed": row.get("failed", f"{BASELINE} was not measured")})
            continue
        counts = {key: row[key] for key in (*COUNTS, "passes_per_step", "passes_per_prediction")}
        to_base = {RATIOS[key]: row[key] / found[BASELINE][key] for key in COUNTS}
        rows.append({"rule": name, "readout": row["reads"], **ratios[name], **counts, **to_base})
    return rows


def _saved_against_depth(cases: Mapping[str, CostCase]) -> list[dict[str, Any]]:
    """A rule that cannot be measured at every depth has no line."""
    series = []
    for name, case in cases.items():
        found: list[int] = []
        for depth in DEPTHS:
            try:
                found.append(saved_bytes(Trainer(case.but(depth=depth))))
            except (Exception, SystemExit):  # whatever the rule's own code raises; its reason stands in its row
                break
        if len(found) == len(DEPTHS):
            series.append({"rule": name, "peak_saved_bytes": found})
    return series
