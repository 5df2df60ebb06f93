"""Specs of the runs in results files that name their runs by method, seed and hash alone: made of the searches whose settings they had.

The scripts that made these files are in the repository up to commit 72cd91e (`results/README.md`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerlocal.experiments.tune import TunePlan
from layerlocal.spec import DataSpec, RuleSpec, RunSpec

__all__ = ["specs_of"]

Specs = dict[tuple[str, int], RunSpec]
SEARCHES = {
    "borrowed_panel": "tuned_long",
    "borrowed_panel_cifar100": "tuned_cifar100_long",
    "first_filters_committee_cifar100": "tuned_cifar100_long",
    "first_filters_dtg-ff": "tuned_dtg-ff_long",
    "free_segments": "tuned_long",
}
"""Results file → the search whose settings its runs had."""
FREE = {"of": "committee", "segments": "free", "readouts": "all"}


def specs_of(name: str, results: Path) -> Specs:
    """(method as the file calls it, seed) → run.

    Args:
        name: of `SEARCHES`.
        results: the folder of results files.
    """
    best = _at_best(json.loads((results / f"{SEARCHES[name]}.json").read_text()))
    if name.startswith("borrowed"):
        return _borrowed(best, "panel")
    return _first_filters(best) if name.startswith("first_filters") else _free_segments(best)


def _at_best(content: dict[str, Any]) -> Specs:
    """("local", "bp" or "bp-deepsup", seed) → the run at the best settings of a search, as long as the runs that opened the test split."""
    plan = TunePlan.model_validate(content["plan"])
    settings = {method["label"]: method["best"]["settings"] for method in content["methods"]}
    found = {}
    for method in plan.methods:
        for seed in content["seeds"]:
            run = plan.run(method, settings[method.label] | {"recipe.epochs": content["epochs"]}, seed)
            opened = {"judged_on": "test", "data": DataSpec(**content["data"])}
            found[method.twin or "local", seed] = run.model_copy(update=opened)
    return found


def _with_rule(spec: RunSpec, name: str, **options: Any) -> RunSpec:
    return spec.model_copy(update={"rule": RuleSpec(name=name, options=options)})


def _borrowed(best: Specs, rule: str) -> Specs:
    """The rule at the settings of `committee`, and its twin at these and at those of the twin of `committee`."""
    found = {}
    for method, seed in best:
        local, twin = best["local", seed], best["bp-deepsup", seed].rule.options["label_smoothing"]
        own = local.rule.options
        if method == "local":
            found |= {("committee", seed): local, (rule, seed): _with_rule(local, rule, **own)}
            found["DeepSup, settings of the rule", seed] = _with_rule(local, "bp-deepsup", of=rule, **own)
        elif method == "bp-deepsup":
            spec = best[method, seed]
            found["DeepSup, settings of a twin", seed] = _with_rule(spec, method, of=rule, label_smoothing=twin)
    return found


def _first_filters(best: Specs) -> Specs:
    """Every method with its first convolution learned and held fixed."""
    names, found = {"local": "local", "bp": "BP", "bp-deepsup": "BP-DeepSup"}, {}
    for (method, seed), spec in best.items():
        network = spec.network.model_copy(update={"options": {"first": "cosine"}})
        found[f"{names[method]}, learned", seed] = spec
        found[f"{names[method]}, fixed", seed] = spec.model_copy(update={"network": network})
    return found


def _free_segments(best: Specs) -> Specs:
    """`committee`, its twins, and `segmented` at its settings."""
    found = {("committee" if method == "local" else method, seed): spec for (method, seed), spec in best.items()}
    segmented = {
        ("segmented", seed): _with_rule(spec, "segmented", **{**spec.rule.options, **FREE})
        for (method, seed), spec in best.items()
        if method == "local"
    }
    return found | segmented
