"""What is known of usual cases of a cost audit is what building them gives, and a dry run of a usual audit needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from layerlocal.experiments.cost.building import build_rule, check_case, has_no_effect
from layerlocal.experiments.cost.case import MODES, CostCase
from layerlocal.experiments.cost.forecast import trace_flops
from layerlocal.experiments.cost.known import MOST_CLASSES, SIDE, look_at_case, look_at_network, usual_cases
from layerlocal.experiments.cost.plan import make_plan
from layerlocal.experiments.cost.present import SIZES
from layerlocal.runs.listing import rule_facts
from layerlocal.spec import NetworkSpec, RuleSpec
from layerlocal.types import InputError
from rules_by_hand import ANY_NETWORK, OF_TOKENS

LIGHT = (
    "import sys; sys.argv = ['layerlocal', *sys.argv[1:]]; from layerlocal.cli import main\n"
    "try: main()\n"
    "except SystemExit as stop: assert not stop.code\n"
    "assert 'torch' not in sys.modules"
)


@pytest.fixture
def nothing_is_built(monkeypatch):
    monkeypatch.setattr("layerlocal.experiments.cost.building.build_network", lambda _: pytest.fail("built"))


def usual(rule="bp", name="cnn4", **changes):
    return CostCase(network=NetworkSpec(name=name, width=0.25, fused=True), rule=RuleSpec(name=rule)).but(**changes)


@pytest.mark.parametrize("rule", [name for name in ANY_NETWORK if not rule_facts(name).channel_groups])
@pytest.mark.parametrize(("name", "changes"), [("cnn4", {}), ("plain", {"depth": 8})], ids=["cnn4", "plain"])
def test_what_is_known_of_a_rule_is_what_the_built_one_says(rule, name, changes):
    """Where this fails, `python -m layerlocal.runs.listing` writes the facts anew."""
    case = usual(rule, name, **changes)
    seen, built = look_at_case(case), check_case(case)
    assert (seen.locality, seen.whole_batches) == (built.locality, built.needs_whole_batches)
    assert {mode: seen.refusal(mode) for mode in MODES} == {mode: has_no_effect(mode, built) for mode in MODES}


@pytest.mark.parametrize("case", [case for case in usual_cases() if case.network.width == 0.25], ids=lambda c: c.place)
def test_what_is_known_of_a_network_is_what_tracing_it_gives(case):
    """Where this fails, `python scripts/make_looks.py` writes it anew."""
    look = look_at_network(case)
    assert trace_flops(case) == pytest.approx(look.flops, rel=1e-3) and look.pace > 0
    sides = {case.image_size, 2 * case.image_size if case.image_size == SIDE else case.image_size}
    rules = [build_rule(case.but(num_classes=MOST_CLASSES, image_size=side)) for side in sides]
    weights = [sum(p.numel() * p.element_size() for p in rule.parameters()) for rule in rules]
    assert max(weights) == pytest.approx(look.weights, rel=1e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("nothing_is_built")
def test_every_case_of_every_size_is_known(size):
    assert make_plan(size).groups


def test_a_rule_with_options_or_that_deals_channels_is_built():
    """predsim compares samples by its default alone."""
    case, chosen = usual("predsim"), RuleSpec(name="predsim", options={"beta": 0.0})
    assert look_at_case(case).refusal("micro-2") and look_at_case(case.but(rule=chosen)).refusal("micro-2") is None
    with pytest.raises(InputError, match="10 classes"):
        look_at_case(usual("cwcomp"))


@pytest.mark.parametrize("rule", OF_TOKENS)
def test_a_rule_that_not_every_network_will_do_for_is_refused_with_the_one_to_take(rule):
    with pytest.raises(InputError, match=f"'{rule}' .*take the network 'vit'"):
        look_at_case(usual(rule))
    with pytest.raises(InputError, match=f"'{rule}' .*take the network 'vit'"):
        make_plan("quick", rules=(rule,))
    assert make_plan("quick", rules=(rule,), parts=("methods",), settings={"network.name": "vit"}).groups


def test_a_budget_that_is_too_small_is_refused_by_the_weights_themselves():
    with pytest.raises(InputError, match="below the weights"):
        make_plan("quick", parts=("budget",), memory="10KB")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--size", "full"],
        ["--rules", "predsim,symba", "--part", "methods,budget", "--memory", "200MB", "--modes", "micro-8"],
        ["--size", "standard", "--set", "recipe.batch_size=64", "--set", "num_classes=100", "--width", "0.5"],
    ],
    ids=" ".join,
)
def test_a_dry_run_of_a_usual_audit_loads_no_torch(words, tmp_path):
    command = [sys.executable, "-c", LIGHT, "cost", *words, "--dry-run", "--json", "--out", str(tmp_path / "runs")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0 and '"seconds"' in found.stdout, found.stderr
    assert not (tmp_path / "runs").exists()
