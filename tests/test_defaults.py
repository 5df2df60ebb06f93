"""A run's name holds the options that were given, not the defaults of the others: so a changed default would take old runs for new ones.

`defaults.json` has the defaults that protocol 1 began with. Where this test fails: give the new behaviour an option whose default changes no
number (and add it to the file), or raise `PROTOCOL` (and write the file anew: ``python tests/test_defaults.py``).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerlocal.networks import list_networks, network_options
from layerlocal.rules import find_rule, list_rules, rule_options
from layerlocal.spec import PROTOCOL

PINNED = Path(__file__).with_name("defaults.json")


def defaults_now():
    ours = [name for name in list_rules() if find_rule(name).__module__.startswith("layerlocal.")]
    rules = {name: rule_options(find_rule(name)) for name in ours}
    networks = {name: network_options(name) for name in list_networks()}
    return json.loads(json.dumps({"protocol": PROTOCOL, "rules": rules, "networks": networks}))


@pytest.mark.parametrize("kind", ["rules", "networks"])
def test_defaults_are_those_that_stored_runs_had(kind):
    pinned, now = json.loads(PINNED.read_text()), defaults_now()
    assert now["protocol"] == pinned["protocol"]
    assert now[kind] == pinned[kind]


if __name__ == "__main__":
    PINNED.write_text(json.dumps(defaults_now(), indent=1, sort_keys=True) + "\n")
