"""Which files of tests take longest: `conftest` begins with them."""

from __future__ import annotations

__all__ = ["HEAVY"]

HEAVY = [
    "docs/test_docs", "claims/test_claims_planted", "claims/test_claims_reported", "rules/test_every_rule",
    "battery/test_battery_commands", "cli/test_cli", "docs/test_site", "experiments/test_audit",
    "experiments/test_studying", "runs/test_workers_deaths", "measure/test_check", "report/test_report_browser",
    "distributed/test_distributed_layers", "runs/test_workers", "experiments/test_tune",
    "battery/test_battery_stores", "rules/test_rules_hybrid", "rules/test_module", "docs/test_results_shown",
    "runs/test_run", "kernels/test_kernels", "distributed/test_distributed_data", "rules/test_rules_twins",
    "runs/test_workers_ray", "runs/test_looks", "battery/test_battery_data",
]  # fmt: skip
"""Files of tests that take longest, from the longest on."""
