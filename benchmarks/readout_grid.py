"""How much of the audit's gap depends on its readout: dtg-ff and its twins with 1, 2 and 4 cells a side, all else as in the quick audit.

python benchmarks/readout_grid.py runs    # about 2 minutes on 2 cores; runs of a finished audit in that store are found again
"""

import argparse
import json
from pathlib import Path

from layerlocal import RunStore, run_many
from layerlocal.experiments.audit.plan import ROLES, AuditPlan, accuracy_specs
from layerlocal.runs.environment import describe_environment
from layerlocal.spec import RuleSpec
from layerlocal.stats import estimate, paired_difference


def main(out):
    store, plan = RunStore(out), AuditPlan(rules=("dtg-ff",))
    rows = []
    for grid in (1, 2, 4):
        specs = {
            (role, seed): spec.model_copy(
                update={"rule": RuleSpec(name=spec.rule.name, options=spec.rule.options | {"grid": grid})}
            )
            for (_, role, seed), spec in accuracy_specs(plan).items()
        }
        run_many(list(specs.values()), store, workers=2, threads=1)
        accuracy = {
            role: [store.load(specs[role, s].hash).result["test_accuracy"] for s in plan.seeds] for role in ROLES
        }
        local, bp, deepsup = (accuracy[role] for role in ROLES)
        row = {role: estimate(values) for role, values in accuracy.items()}
        row |= {"grid": grid, "gap": paired_difference(local, bp), "extra_supervision": paired_difference(deepsup, bp)}
        rows.append(row | {"price_of_locality": paired_difference(local, deepsup)})
        means = ", ".join(f"{role} {100 * row[role]['mean']:.1f} %" for role in ROLES)
        parts = [
            f"{name} {100 * e['mean']:+.1f} [{100 * e['low']:+.1f}, {100 * e['high']:+.1f}]"
            for name, e in rows[-1].items() if name in ("gap", "extra_supervision", "price_of_locality")
        ]  # fmt: skip
        print(f"{grid}×{grid} cells, n = {len(plan.seeds)}: {means}; {', '.join(parts)}", flush=True)
    found = {"command": "python benchmarks/readout_grid.py runs", "environment": describe_environment(), "rows": rows}
    Path("results/readout_grid.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="of the runs")
    main(parser.parse_args().store)
