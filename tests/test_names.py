"""A rule's name that changed hands: old files mean the old rule, runs keep their hashes, and new files say of which edition they are."""

from __future__ import annotations

import json

import pytest

from layerlocal.experiments.places import read_kept, write_kept
from layerlocal.names import names_of_today
from layerlocal.runs.specs import SpecReader, spec_texts
from layerlocal.runs.table import load_runs, write_rows
from layerlocal.spec import RuleSpec, RunSpec

FIRST_HASH = "8f9d67e6013f456f"
"""Of ``RunSpec()`` in 0.1.0."""


def old_content(name="dtg-ff", **options):
    """A spec as 0.1.0 wrote it."""
    content = RunSpec(rule=RuleSpec(name="ff", options=options)).model_dump(mode="json")
    content["rule"]["name"] = name
    del content["names"]
    return content


@pytest.mark.parametrize(
    ("name", "options", "today", "of"),
    [("dtg-ff", {}, "class-goodness", None), ("bp", {"of": "dtg-ff"}, "bp", "class-goodness"), ("ff", {}, "ff", None)],
)
def test_old_specs_mean_the_old_rule_and_keep_their_hash(name, options, today, of):
    content = old_content(name, **options)
    for spec in (RunSpec.parse(content), SpecReader().read(spec_texts(content))[0]):
        assert (spec.rule.name, spec.rule.options.get("of")) == (today, of)
    assert SpecReader().read(spec_texts(content))[1] == RunSpec.parse(content).hash


def test_the_default_has_the_hash_it_had():
    assert RunSpec().rule.name == "class-goodness" and RunSpec().hash == FIRST_HASH


def test_the_name_of_today_is_another_rule_with_other_hashes():
    new = RunSpec(rule=RuleSpec(name="dtg-ff"))
    again = RunSpec.parse(json.loads(new.model_dump_json()))
    assert again == new and again.rule.name == "dtg-ff"
    assert new.hash != RunSpec.parse(old_content()).hash
    twins = [RunSpec(rule=RuleSpec(name="bp", options={"of": name})).hash for name in ("dtg-ff", "class-goodness")]
    assert len(set(twins)) == 2
    assert SpecReader().read(spec_texts(json.loads(new.model_dump_json()))) == (new, new.hash)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dtg-ff", "class-goodness"), ("bp of dtg-ff, seed 1", "bp of class-goodness, seed 1"), ("dtg-ff micro-4", "class-goodness micro-4"),
        ("dtg-ff/rule.grid=1,2", "class-goodness/rule.grid=1,2"), ("DTG-FF", "DTG-FF"), ("/data/dtg-ff/images", "/data/dtg-ff/images"),
        ("my/dtg-ff.py:Rule", "my/dtg-ff.py:Rule"), ("my-dtg-ff", "my-dtg-ff"),
    ],
)  # fmt: skip
def test_texts_of_earlier_versions_are_renamed_where_they_name_the_rule(old, new):
    assert names_of_today({"a": [old], old: 1}) == {"a": [new], new: 1}
    assert names_of_today({"names": 2, "a": [old]}) == {"a": [old]}


@pytest.mark.parametrize("content", [{"rules": ["dtg-ff"]}, [{"label": "dtg-ff"}]])
def test_what_experiments_keep_says_of_which_edition_it_is(tmp_path, content):
    path = tmp_path / "kept.json"
    write_kept(path, content)
    assert read_kept(path, kind=(dict, list)) == content
    path.write_text(json.dumps(content))
    assert "class-goodness" in str(read_kept(path, kind=(dict, list)))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_tables_of_earlier_versions_are_read_in_the_names_of_today(tmp_path, ending):
    path = tmp_path / f"runs.{ending}"
    row = {"run": "0" * 16, "rule": "dtg-ff", "twin_of": None, "data": "x", "command": "layerlocal train --rule dtg-ff"}
    write_rows([row | {"names": 2}], path)
    assert load_runs(path)["rule"].to_pylist() == ["dtg-ff"]
    if ending == "csv":
        lines = [line.split(",") for line in path.read_text().splitlines()]
        at = lines[0].index("names")
        path.write_text("\n".join(",".join(cells[:at] + cells[at + 1 :]) for cells in lines) + "\n")
    else:
        import pyarrow.parquet as pq

        pq.write_table(pq.read_table(path).drop_columns(["names"]), path)
    table = load_runs(path)
    assert table["rule"].to_pylist() == ["class-goodness"]
    assert table["command"].to_pylist() == ["layerlocal train --rule class-goodness"]
