"""Which files of tests take longest: `conftest` begins with them."""

from __future__ import annotations

__all__ = ["HEAVY"]

HEAVY = [
    "rules/test_every_rule", "experiments/test_best", "cli/test_cli", "experiments/test_studying", "docs/test_docs",
    "distributed/test_distributed_layers", "runs/test_workers_ray", "experiments/test_audit",
    "runs/test_workers_deaths", "experiments/test_cost_audit", "battery/test_battery_commands", "docs/test_site",
    "runs/test_run", "networks/test_networks_compile", "training/test_train_options", "training/test_one_device",
    "experiments/test_equal_time", "runs/test_workers", "measure/test_measure_separability", "experiments/test_api",
    "claims/test_claims_planted", "claims/test_claims_reported", "data/test_data_identity",
    "rules/test_rules_frozen_blocks", "report/test_report_page", "training/test_train", "runs/test_looks",
    "report/test_report_browser", "cli/test_cli_complete", "experiments/test_engine", "rules/test_module",
    "experiments/test_cost", "cli/test_cli_export", "data/test_data_hub",
]  # fmt: skip
"""Files of tests that take longest, from the longest on."""
