"""What `list` says is what there is, and it says so without building anything."""

from __future__ import annotations

import json
import subprocess
import sys

from layerlocal.data import list_data
from layerlocal.networks import create_network, list_networks
from layerlocal.rules import list_rules
from layerlocal.runs.listing import FACTS, describe, is_baseline, look, partner_of, rule_facts


def test_the_facts_are_those_of_the_rules_networks_and_data_themselves():
    """Where this fails, `python -m layerlocal.runs.listing` writes them anew."""
    found = look()
    assert json.loads(FACTS.read_text()) == json.loads(json.dumps(found))
    assert describe("all") == {name: found[name] for name in ("rules", "networks", "data")}


def test_every_name_is_listed_and_the_sizes_are_counted():
    found = {section: [row["name"] for row in rows] for section, rows in describe("all").items()}
    assert found == {"rules": list_rules(), "networks": list_networks(), "data": list_data()}
    sizes = {row["name"]: row["size"] for row in describe("networks")["networks"]}
    count = sum(p.numel() for p in create_network("cnn4", in_channels=3, image_size=32).parameters())
    assert sizes["cnn4"] == f"{count / 1e6:.2f} M parameters at width 1 on 3×32×32"


def test_baselines_are_backprop_and_hybrids_of_every_rule_and_not_a_global_rule_that_has_twins():
    assert {name for name in list_rules() if is_baseline(name)} == {"bp", "bp-deepsup", "bp-every", "feedback"}
    assert (
        rule_facts("dtg-ff-shared").locality == "global"
        and partner_of("dtg-ff-shared") == partner_of("dtg-ff") == "dtg-ff"
    )


def test_neither_a_list_nor_a_page_of_help_loads_torch():
    code = (
        "import sys; sys.argv = ['layerlocal', *sys.argv[1:]]; from layerlocal.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'pandas', 'scipy', 'huggingface_hub', 'matplotlib', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for words in (["list", "rules", "--json"], ["train", "--help"]):
        found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert found.returncode == 0 and found.stdout, found.stderr
