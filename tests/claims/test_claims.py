"""Claims and published accuracies as data, and the verdicts on summaries small enough to compute by hand."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scipy import stats

import layerlocal.claims
from layerlocal.claims import Claim, ClaimSet, claims_hash, compare_accuracies, judge, load_accuracies, load_claims
from layerlocal.claims.measured import SIZE_ORDER
from layerlocal.cli.app import MOST_SEEDS
from layerlocal.experiments.cost.plan import MOST_REPLICAS
from layerlocal.experiments.studies import STUDIES
from layerlocal.report.claims import brings_command, claim_rows
from layerlocal.stats import estimate, samples_needed
from layerlocal.summary import Quantity, Summary
from layerlocal.types import InputError

CLAIM = {
    "id": "P2",
    "source": "arXiv:2606.06539",
    "sentence": "The gap widens.",
    "reported": {"value": None, "unit": "pp", "text": "2.40 → 5.93 pp"},
    "study": "classes",
    "quantity": "gap",
    "direction": "greater",
    "smallest_effect": 0.5,
}
VALUES = [0.021, 0.034, 0.012, 0.040, 0.018]


def claim(**changes):
    return Claim(**{**CLAIM, **changes})


def claim_set(*changes, alpha=0.05):
    return ClaimSet(claims=tuple(claim(**one) for one in changes or ({},)), alpha=alpha)


def summary(values, *, study="classes", size="quick", rule="class-goodness", quantity="gap", unit="pp", **more):
    return Summary(name=study, size=size, quantities={rule: {quantity: measured(values, unit=unit)}}, **more)


def measured(values, **more):
    return Quantity(what="the gap", values={str(seed): value for seed, value in enumerate(values)}, **more)


def verdict(values, *, unit="pp", alpha=None, **changes):
    return judge(claim_set(changes), [summary(values, unit=unit)], alpha=alpha)[0]


def write(folder, content, name="mine.yaml"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True))
    return path


# --- our own files -----------------------------------------------------------------------------------------------------------------------


def test_our_claims_load_and_cover_what_the_paper_says():
    loaded = load_claims()
    parts = {one.id.partition("-")[0] for one in loaded.claims}
    assert {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P9", "P10", "P11", "P12"} <= parts
    assert {"P1-cifar10", "P1-cifar100"} <= {one.id for one in loaded.claims}
    assert loaded.alpha == 0.05 and len(loaded.sha256) == 64


def test_claims_about_cost_do_not_change_the_hash_of_those_about_studies():
    files = [
        Path(layerlocal.claims.__file__).parent / name
        for name in (
            "paper.yaml",
            "ours.yaml",
            "cost.yaml",
            "trained.yaml",
            "length.yaml",
            "language.yaml",
            "small.yaml",
        )
    ]
    loaded = load_claims()
    assert loaded.sha256_about(STUDIES) == load_claims([*files[:2], *files[3:]]).sha256 != loaded.sha256
    assert loaded.sha256_about(["cost"]) == load_claims(files[2]).sha256


@pytest.mark.parametrize("one", load_claims().claims, ids=lambda one: one.id)
def test_every_claim_of_ours_says_why_its_smallest_effect_is_what_it_is(one):
    assert one.smallest_effect > 0 and len(one.note) > 40 and one.sentence.endswith(".")
    assert one.protocol_differences or one.source == "layerlocal"


def test_the_reported_growth_with_classes_follows_from_the_two_reported_gaps():
    """5.93 − 2.40 pp over log2(100 / 10) = 3.32 doublings."""
    found = next(one for one in load_claims().claims if one.id == "P2")
    assert found.reported.value == pytest.approx(-(5.93 - 2.40) / 3.3219, abs=0.005)


def test_sizes_are_those_of_studies():
    assert tuple(pytest.importorskip("layerlocal.experiments.studies.base").SIZES) == SIZE_ORDER


def test_claims_need_no_torch():
    code = "import layerlocal.claims as c, sys; c.judge(c.load_claims(), []); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- reading claims ----------------------------------------------------------------------------------------------------------------------


def test_a_users_file_is_read_instead_of_ours(tmp_path):
    path = write(tmp_path, {"alpha": 0.1, "claims": [CLAIM]})
    loaded = load_claims([path], known_studies=["classes"])
    assert loaded.claims == (claim(family="mine"),) and loaded.alpha == 0.1
    assert load_claims(str(path)) == loaded


def test_defaults_are_those_documented():
    one = claim()
    assert (one.rule, one.test, one.reference, one.note, one.protocol_differences) == (
        "class-goodness",
        "t",
        0.0,
        "",
        "",
    )


@pytest.mark.parametrize(("text", "match"), [
    ("claims: [", r"mine.yaml .*YAML.* line 1, column \d+"),
    ("claims:\n  - id: a: b", r"line 2.*quotes"),
    ("claims: 2024-13-45", "not YAML we can read"),
    ("!!python/object/apply:os.getcwd []", "not YAML"),
    ("- 1\n- 2", "no list 'claims'"),
    ("", "no list 'claims'"),
    ("alpha: 0.05", "no list 'claims'"),
    ("claims: []", r"claims: .*list"),
    ("claims: P2", "claims: must be a list"),
    ("claims: [P2]", r"item 1 of claims: .*got 'P2'"),
    ("claims: [{id: P2}]\nalhpa: 0.05", r"'alhpa'; .*Did you mean 'alpha'"),
    ("claims: " + "[" * 1200, "not YAML"),
    ("claims: []\nclaims: [{id: P2}]", r"line 2, column 1: 'claims' .*line 1"),
    ("alpha: 0.05\nclaims: [{id: P2}]\n'alpha': 0.1", r"line 3, column 1: 'alpha' .*line 1"),
    ("claims:\n  - id: P2\n    smallest_effect: 0.5\n    id: P2", r"line 4, column 5: 'id' .*line 2"),
    ("claims: [{id: P2, reported: {unit: pp, text: a, unit: pp}}]", r"column 49: 'unit' .*line 1"),
    ("claims: &c\n  - *c", "line 1, column 9: a reference"),
    ("a: &a [1, 1]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)),
     r"references .*100,000 values"),
    ("claims: [{<<: {id: P2}, id: P3}]", "'<<'"),
    ("claims: [{id: *none}]", "undefined alias 'none'"),
    ("claims:\n\t- id: P2", r"line 2, column 1: .*tabs"),
    ("claims: [{id: P2}]\n---\nclaims: []", "another document"),
    ("claims: !mine {id: P2}", "tag '!mine'"),
    ("claims: \x00", r"YAML .*unacceptable character"),
    ("claims: " + "[{a: " * 500 + "1" + "}]" * 500, r"YAML .*maximum recursion depth"),
])  # fmt: skip
def test_a_file_that_is_no_list_of_claims_is_refused_in_one_sentence(tmp_path, text, match):
    with pytest.raises(InputError, match=match) as error:
        load_claims([write(tmp_path, text)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("changes", "match"), [
    ({"study": None}, r"mine.yaml: claim 'P2': study: .*got None"),
    ({"id": "P2,P3"}, r"mine.yaml: id: .*--claim .*'P2,P3'"),
    ({"id": " P2"}, r"mine.yaml: id: .*blank"),
    ({"id": 2}, r"mine.yaml: .*without id: .*got 2"),
    ({"smallest_effect": "0.5"}, r"claim 'P2': smallest_effect: .*got '0.5'"),
    ({"smallest_effect": True}, r"smallest_effect: .*number"),
    ({"smallest_effect": -0.5}, r"smallest_effect: .*got -0.5"),
    ({"smallest_effect": float("nan")}, r"smallest_effect: .*finite"),
    ({"direction": "more"}, r"direction: .*got 'more'"),
    ({"direction": False}, "direction: input should be"),
    ({"test": "wilcoxon"}, r"test: .*'t' or 'bootstrap'"),
    ({"sentence": ""}, r"sentence: .*1 character"),
    ({"reported": "2.4"}, r"reported: .*dictionary"),
    ({"reported": {"value": 1.0, "unit": "pp"}}, r"claim 'P2': .*'reported.text' is missing"),
    ({"reported": {**CLAIM["reported"], "txt": "a"}}, r"'reported.txt'.*Did you mean 'reported.text'"),
    ({"smallest_efect": 1}, r"'P2': .*'smallest_efect'.*Did you mean 'smallest_effect'"),
    ({"quantity": list(range(100))}, r"quantity: .*\[0, 1, .*\.\.\."),
])  # fmt: skip
def test_a_wrong_field_is_refused_by_file_claim_and_field(tmp_path, changes, match):
    with pytest.raises(InputError, match=match):
        load_claims([write(tmp_path, {"claims": [{**CLAIM, **changes}]})])


@pytest.mark.parametrize("field", [name for name in CLAIM if name != "id"])
def test_a_missing_field_is_named_with_the_line_to_add(tmp_path, field):
    content = {name: value for name, value in CLAIM.items() if name != field}
    with pytest.raises(InputError, match=rf"claim 'P2': .*'{field}' is missing"):
        load_claims([write(tmp_path, {"claims": [content]})])


def test_a_claim_without_id_is_named_as_such(tmp_path):
    content = {name: value for name, value in CLAIM.items() if name != "id"}
    with pytest.raises(InputError, match=r"without id: .*'id' is missing"):
        load_claims([write(tmp_path, {"claims": [content]})])


def test_two_claims_of_one_id_are_refused_also_over_two_files(tmp_path):
    one, two = write(tmp_path, {"claims": [CLAIM]}, "one.yaml"), write(tmp_path, {"claims": [CLAIM]}, "two.yaml")
    with pytest.raises(InputError, match=r"two.yaml: .*id 'P2'"):
        load_claims([one, two])


def test_an_unknown_study_is_refused_with_the_nearest(tmp_path):
    path = write(tmp_path, {"claims": [{**CLAIM, "study": "clases"}]})
    with pytest.raises(InputError, match=r"'P2': .*'clases'; .*Did you mean 'classes'"):
        load_claims([path], known_studies=["accuracy", "classes"])
    assert load_claims([path]).claims[0].study == "clases"


def test_a_quantity_that_no_study_has_is_refused_with_those_of_its_study(tmp_path):
    known = {"classes": ["gap/*", "slope"], "depth": ["depth_slope"]}
    with pytest.raises(InputError, match=r"'P2': unknown quantity 'slop'; known: gap/\*, slope\. Did you mean 'slope'"):
        load_claims(write(tmp_path, {"claims": [{**CLAIM, "quantity": "slop"}]}), known_quantities=known)
    for quantity in ("gap/cifar10", "slope", "depth_slope"):
        path = write(tmp_path, {"claims": [{**CLAIM, "quantity": quantity}]})
        assert load_claims(path, known_quantities=known) == load_claims(path)


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*nothing.yaml.*No such file"):
        load_claims([tmp_path / "nothing.yaml"])
    with pytest.raises(InputError, match=r"cannot read .*directory"):
        load_claims([tmp_path])
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes.yaml is not UTF-8"):
        load_claims([tmp_path / "bytes.yaml"])


@pytest.mark.parametrize("alpha", [0, 1, -0.05, 5, "0.05", True, None, [0.05]])
def test_a_level_that_is_none_is_refused(tmp_path, alpha):
    with pytest.raises(InputError, match=r"mine.yaml: alpha: .*above 0"):
        load_claims([write(tmp_path, {"alpha": alpha, "claims": [CLAIM]})])
    if isinstance(alpha, int) and not isinstance(alpha, bool):
        with pytest.raises(InputError, match="alpha must be above 0"):
            judge(claim_set(), [], alpha=alpha)


def test_files_of_different_levels_are_refused(tmp_path):
    one = write(tmp_path, {"alpha": 0.05, "claims": [CLAIM]}, "one.yaml")
    two = write(tmp_path, {"alpha": 0.01, "claims": [{**CLAIM, "id": "P3"}]}, "two.yaml")
    with pytest.raises(InputError, match=r"alpha, 0.05 \(one.yaml\) and 0.01 \(two.yaml\)"):
        load_claims([one, two])


def test_a_file_too_large_to_be_claims_is_not_parsed(tmp_path):
    path = write(tmp_path, "# " + "x" * 4_000_000 + "\nclaims: []")
    with pytest.raises(InputError, match=r"mine.yaml has 4,000,013 bytes"):
        load_claims([path])


def test_a_text_may_be_named_once_and_used_again(tmp_path):
    """An alias of a text is as plain as the text; the mark at the beginning of a file that some editors write is no content."""
    text = "\ufeffclaims:\n" + yaml.safe_dump([CLAIM, {**CLAIM, "id": "P3"}], sort_keys=False)
    text = text.replace("source: arXiv:2606.06539", "source: &paper arXiv:2606.06539", 1)
    text = text.replace("source: arXiv:2606.06539", "source: *paper")
    assert load_claims(write(tmp_path, text)).claims == (claim(family="mine"), claim(id="P3", family="mine"))


# --- families and rules ------------------------------------------------------------------------------------------------------------------


def test_ours_are_seven_families_and_the_papers_are_about_its_method_too():
    loaded = load_claims().claims
    sizes = {family: sum(one.family == family for one in loaded) for family in {one.family for one in loaded}}
    assert sizes == {
        "paper": 15,
        "paper@dtg-ff": 15,
        "ours": 10,
        "cost": 4,
        "cost@dtg-ff": 4,
        "trained": 5,
        "length": 3,
        "language": 6,
        "small": 2,
    }
    published = {one.id for one in loaded if one.id.startswith("P")}
    statements = {one.statement for one in loaded if one.id.startswith("P")}
    assert published == statements | {f"{name}@dtg-ff" for name in statements}
    for one in (one for one in loaded if one.family not in ("trained", "length", "language", "small")):
        assert one.rule == ("dtg-ff" if "@" in one.id else "class-goodness")
        assert "@" not in one.id or "ours follow the abstract" not in one.protocol_differences


def test_a_claim_of_two_rules_is_a_claim_about_each(tmp_path):
    differences = {"ff": "as released", "scff": "ours"}
    path = write(tmp_path, {"family": "x", "rules": ["ff", "scff"], "claims": [
        {**CLAIM, "protocol_differences": differences}, {**CLAIM, "id": "own", "rule": "asge"},
    ]})  # fmt: skip
    assert load_claims(path).claims == (
        claim(rule="ff", family="x", protocol_differences="as released"),
        claim(id="P2@scff", rule="scff", family="x@scff", protocol_differences="ours"),
        claim(id="own", rule="asge", family="x"),
    )


def test_a_rule_has_the_same_verdict_by_itself_as_among_others(tmp_path):
    """Its claims are a family of their own, whoever asks."""
    path = write(
        tmp_path,
        {
            "family": "x",
            "rules": ["class-goodness", "ff"],
            "claims": [CLAIM, {**CLAIM, "id": "P3", "smallest_effect": 0.9}],
        },
    )
    found = summary(VALUES)
    found.quantities["ff"] = {"gap": measured([2 * value for value in VALUES])}
    loaded = load_claims(path)
    rows = {row["id"]: row for row in judge(loaded, [found])}
    alone = judge(loaded.of_rule("ff"), [found])
    assert [row["id"] for row in alone] == ["P2@ff", "P3@ff"]
    for row in alone:
        assert row | {"claims_sha256": ""} == rows[row["id"]] | {"claims_sha256": ""}
    assert [one.id for one in loaded.of_rule("scff").claims] == ["P2@scff", "P3@scff"]
    assert loaded.of_rule("class-goodness").claims == loaded.claims[::2]


@pytest.mark.parametrize(("content", "match"), [
    ({"family": "a@b"}, r"mine.yaml: family: .*without '@'.*'a@b'"),
    ({"family": " "}, "mine.yaml: family: "),
    ({"family": 3}, "mine.yaml: family: .*got 3"),
    ({"rules": []}, "mine.yaml: rules: "),
    ({"rules": "ff"}, r"mine.yaml: rules: .*list of names.*'ff'"),
    ({"rules": ["ff", "ff"]}, "mine.yaml: rules: .*each once"),
    ({"claims": [{**CLAIM, "family": "x"}]}, "mine.yaml: family: .*above the list"),
    ({"claims": [{**CLAIM, "id": "P2@ff"}]}, "mine.yaml: id: .*@"),
    ({"rules": ["ff", "scff"], "claims": [{**CLAIM, "protocol_differences": {"ff": "a"}}]}, r"'P2': protocol_differences: .*ff, scff"),
])  # fmt: skip
def test_a_family_or_rules_that_are_none_are_refused(tmp_path, content, match):
    with pytest.raises(InputError, match=match):
        load_claims(write(tmp_path, {"claims": [CLAIM]} | content))


def test_a_family_named_twice_is_refused(tmp_path):
    one = write(tmp_path, {"family": "x", "claims": [CLAIM]}, "one.yaml")
    two = write(tmp_path, {"claims": [{**CLAIM, "id": "P3"}]}, "x.yaml")
    with pytest.raises(InputError, match=r"x.yaml: a family named twice: 'x' is that of one.yaml"):
        load_claims([one, two])


def test_holm_is_over_a_family_and_no_other_claim():
    """Two claims at p(0.9 pp): together the correction doubles it, in families of their own it is the plain p."""
    same = [{"id": "a", "smallest_effect": 0.9}, {"id": "b", "smallest_effect": 0.9}]
    raw = 2 * scipy_p(0.009, "greater")
    together = judge(claim_set(*same), [summary(VALUES)])
    assert [row["p_adjusted"] for row in together] == pytest.approx([2 * raw] * 2) and 2 * raw > 0.05 > raw
    apart = judge(claim_set(same[0] | {"family": "x"}, same[1] | {"family": "y"}), [summary(VALUES)])
    assert [row["p_adjusted"] for row in apart] == pytest.approx([raw] * 2)
    assert [row["verdict"] for row in together + apart] == ["inconclusive"] * 2 + ["supported"] * 2
    assert "after Holm's correction for 1 claim of the family x)" in apart[0]["reason"]


def test_claims_are_chosen_by_id_or_by_what_they_are_part_of():
    loaded = load_claims()
    assert loaded.ids_of(["P1", "P2@dtg-ff"]) == {
        "P1-cifar10", "P1-cifar100", "P1-cifar10@dtg-ff", "P1-cifar100@dtg-ff", "P2@dtg-ff",
    }  # fmt: skip
    assert (
        loaded.ids_of(["P1@class-goodness"])
        == {"P1-cifar10", "P1-cifar100"}
        == loaded.ids_of(["P1-cifar10@class-goodness", "P1-cifar100@class-goodness"])
    )
    with pytest.raises(InputError, match=r"'P2@ff'"):
        loaded.ids_of(["P2@ff"])
    with pytest.raises(InputError, match=r"'P2-x'; known: .*Did you mean 'P2'"):
        load_claims().ids_of(["P2-x"])


def test_a_claim_cannot_be_changed_after_it_is_read():
    with pytest.raises(ValueError, match="frozen"):
        claim().smallest_effect = 0.0
    with pytest.raises(ValueError, match="frozen"):
        claim_set().alpha = 0.5


# --- the hash ----------------------------------------------------------------------------------------------------------------------------


def test_the_hash_changes_with_every_field_and_with_the_level():
    base = claims_hash([claim()])
    others = [{name: f"{CLAIM[name]}!"} for name in ("id", "source", "sentence", "study", "quantity")]
    others += [
        {"rule": "ff"},
        {"direction": "less"},
        {"smallest_effect": 0.4},
        {"reference": 1.0},
        {"test": "bootstrap"},
        {"trained": True},
    ]
    others += [{"protocol_differences": "x"}, {"note": "x"}, {"reported": {**CLAIM["reported"], "value": 1.0}}]
    assert {next(iter(change)) for change in others} == set(Claim.model_fields) - {"family"}
    hashes = [claims_hash([claim(**change)]) for change in others]
    assert len({base, *hashes}) == len(others) + 1
    assert claims_hash([claim()], 0.01) != base


def test_families_are_part_of_the_hash_where_there_are_several():
    """Of one family its name says nothing: that of a file is the file's."""
    two = claim(id="P3")
    together = claims_hash([claim(), two])
    assert claims_hash([claim(family="a"), two.model_copy(update={"family": "a"})]) == together
    apart = [claims_hash([claim(family=a), claim(id="P3", family=b)]) for a, b in ("ab", "ac", "ba")]
    assert len({together, *apart}) == 4


def test_a_hash_of_one_family_and_one_rule_still_stands_for_the_same_statements(tmp_path):
    """Studies were begun under such hashes before files named families; a statement that changes since is seen all the same."""
    old = claims_hash([claim(), claim(id="P3")])
    path = write(tmp_path, {"family": "x", "rules": ["class-goodness", "ff"], "claims": [CLAIM, {**CLAIM, "id": "P3"}]})
    loaded = load_claims(path)
    assert loaded.sha256_about(["classes"]) != old
    assert all(loaded.stood(sha256, ["classes"]) for sha256 in (old, loaded.sha256_about(["classes"]), ""))
    changed = ClaimSet(claims=tuple(one.model_copy(update={"smallest_effect": 0.4}) for one in loaded.claims))
    assert not changed.stood(old, ["classes"]) and not changed.stood(loaded.sha256_about(["classes"]), ["classes"])
    moved = ClaimSet(claims=(*loaded.claims[:-1], loaded.claims[-1].model_copy(update={"family": "y"})))
    assert not moved.stood(loaded.sha256_about(["classes"]), ["classes"])


def test_the_hash_does_not_depend_on_order_or_layout(tmp_path):
    two = claim(id="P3")
    assert claims_hash([claim(), two]) == claims_hash([two, claim()])
    block, flow = (
        write(tmp_path, {"claims": [CLAIM]}, "a.yaml"),
        write(tmp_path, json.dumps({"claims": [CLAIM]}), "b.yaml"),
    )
    assert load_claims([block]).sha256 == load_claims([flow]).sha256 == claims_hash([claim()])


def test_every_verdict_carries_the_hash_of_what_was_judged():
    claims = claim_set({}, {"id": "P3"})
    rows = judge(claims, [summary(VALUES)])
    assert {row["claims_sha256"] for row in rows} == {claims.sha256}
    assert judge(claims, [], alpha=0.01)[0]["claims_sha256"] == claims_hash(claims.claims, 0.01) != claims.sha256
    assert judge(claims, [], show=["P2"])[0]["claims_sha256"] == claims.sha256
    assert judge(claims.of_rule("ff"), [])[0]["claims_sha256"] == claims_hash(
        [claim(id="P2@ff", rule="ff"), claim(id="P3@ff", rule="ff")]
    )


# --- verdicts by hand --------------------------------------------------------------------------------------------------------------------


def scipy_p(threshold, side, values=VALUES):
    return stats.ttest_1samp(values, threshold, alternative=side).pvalue


@pytest.mark.parametrize(("direction", "effect", "sign", "expected", "sides"), [
    ("greater", 0.1, 1, "supported", [(0.001, "greater")]),
    ("greater", 6.0, 1, "contradicted", [(0.06, "less")]),
    ("greater", 2.0, 1, "inconclusive", [(0.02, "greater")]),
    ("greater", 0.1, -1, "contradicted", [(0.001, "less")]),
    ("less", 0.1, -1, "supported", [(-0.001, "less")]),
    ("less", 6.0, -1, "contradicted", [(-0.06, "greater")]),
    ("less", 2.0, -1, "inconclusive", [(-0.02, "less")]),
    ("less", 0.1, 1, "contradicted", [(-0.001, "greater")]),
    ("none", 6.0, 1, "supported", [(-0.06, "greater"), (0.06, "less")]),
    ("none", 6.0, -1, "supported", [(-0.06, "greater"), (0.06, "less")]),
    ("none", 0.1, 1, "contradicted", [(0.001, "greater")]),
    ("none", 0.1, -1, "contradicted", [(-0.001, "less")]),
    ("none", 2.0, 1, "inconclusive", [(0.02, "greater")]),
])  # fmt: skip
def test_a_verdict_and_its_p_are_those_of_scipy(direction, effect, sign, expected, sides):
    """VALUES have mean 2.5 pp and sd 1.15 pp; p is twice the one-sided p of the shown side (TOST: of the worse of its two)."""
    values = [sign * value for value in VALUES]
    row = verdict(values, direction=direction, smallest_effect=effect)
    p = min(1, 2 * max(scipy_p(threshold, side, values) for threshold, side in sides))
    assert row["verdict"] == expected and row["p"] == pytest.approx(p) and row["p_adjusted"] == row["p"]
    assert (row["p"] <= 0.05) == (expected != "inconclusive") == (row["n_needed"] is None)
    assert row["estimate"] == estimate(values) and row["n"] == 5


def test_the_smallest_effect_is_in_the_unit_shown():
    """0.5 of "pp" and of "%" is 0.005 of the values; of a share it is 0.5."""
    for unit in ("pp", "pp per doubling of K", "%"):
        assert verdict(VALUES, unit=unit)["p"] == pytest.approx(2 * scipy_p(0.005, "greater"))
    for unit in ("share", "", "img/s"):
        assert verdict(VALUES, unit=unit)["p"] == pytest.approx(2 * scipy_p(0.5, "less"))


def test_a_reference_moves_what_the_mean_is_held_against():
    row = verdict([0.70, 0.75, 0.72], unit="share", direction="less", reference=1.0, smallest_effect=0.1)
    assert row["verdict"] == "supported" and row["p"] == pytest.approx(2 * scipy_p(0.9, "less", [0.70, 0.75, 0.72]))
    row = verdict([0.50, 0.51, 0.49], unit="%", direction="none", reference=50, smallest_effect=5)
    assert row["verdict"] == "supported"


def test_holm_is_over_all_claims_that_were_tested_and_no_other():
    changes = [
        {"id": "a", "smallest_effect": 0.1},
        {"id": "b", "smallest_effect": 0.9},
        {"id": "c", "smallest_effect": 2.0},
        {"id": "d", "study": "depth", "quantity": "other"},
        {"id": "e", "test": "bootstrap"},
    ]
    rows = {row["id"]: row for row in judge(claim_set(*changes), [summary(VALUES)])}
    raw = {key: 2 * scipy_p(threshold, "greater") for key, threshold in (("a", 0.001), ("b", 0.009), ("c", 0.02))}
    assert {key: rows[key]["p"] for key in raw} == pytest.approx(raw)
    assert rows["a"]["p_adjusted"] == pytest.approx(3 * raw["a"])
    assert rows["b"]["p_adjusted"] == pytest.approx(2 * raw["b"])
    assert rows["c"]["p_adjusted"] == pytest.approx(raw["c"])
    assert rows["d"]["p_adjusted"] is rows["e"]["p_adjusted"] is None
    assert rows["b"]["p"] <= 0.05 < rows["b"]["p_adjusted"] and rows["b"]["verdict"] == "inconclusive"


@pytest.mark.parametrize("options", [{}, {"alpha": 0.2}])
def test_a_claim_shown_alone_has_the_verdict_it_has_among_all(options):
    """b alone would be supported (p ≤ 0.05 < 2 p); Holm's correction is over the whole file whatever is shown of it."""
    changes = [
        {"id": "a", "smallest_effect": 0.1},
        {"id": "b", "smallest_effect": 0.9},
        {"id": "c", "smallest_effect": 2.0},
    ]
    whole = {row["id"]: row for row in judge(claim_set(*changes), [summary(VALUES)], **options)}
    for name in whole:
        assert judge(claim_set(*changes), [summary(VALUES)], show=[name], **options) == [whole[name]]
    alone = judge(claim_set(changes[1]), [summary(VALUES)])[0]
    assert (
        alone["verdict"] == "supported"
        and judge(claim_set(*changes), [summary(VALUES)], show=["b"])[0]["verdict"] == "inconclusive"
    )


def test_seeds_needed_are_those_at_the_level_holm_holds_an_open_claim_to():
    """One of two claims is settled, so the other is held to alpha / 1, one-sided 0.025: d = 0.5 sd needs 34 values (power tables)."""
    values = [0.0, 0.01, 0.02, 0.03]
    sd = estimate(values)["mean"] and stats.tstd(values)
    effect = 100 * (0.015 - sd / 2)
    changes = [{"id": "open", "smallest_effect": effect}, {"id": "sure", "smallest_effect": 50.0}]
    rows = judge(claim_set(*changes), [summary(values)])
    assert [row["verdict"] for row in rows] == ["inconclusive", "contradicted"]
    assert rows[0]["n_needed"] == 34 and "would settle it, 34 if the spread stays too." in rows[0]["reason"]
    both_open = judge(claim_set(changes[0], {"id": "too", "smallest_effect": effect}), [summary(values)])
    assert both_open[0]["n_needed"] > 34


def test_seeds_needed_are_a_range_as_wide_as_the_spread_is_uncertain():
    """The 95 % interval of sd at n = 3 is [0.521, 6.285] s (chi-square with two degrees of freedom); scipy's noncentral t has the power."""
    values = [0.010, 0.014, 0.018]  # mean 1.4 pp, s 0.4 pp; 0.5 pp has to be passed
    row = verdict(values, smallest_effect=1.0)

    def needed(sd):
        n = 2
        while True:
            critical = stats.t.isf(0.025, n - 1)
            if 1 - stats.nct.cdf(critical, n - 1, 0.004 / sd * n**0.5) >= 0.8:
                return max(n, 4)
            n += 1

    ends = [0.004 * (2 / stats.chi2.ppf(q, 2)) ** 0.5 for q in (0.975, 0.025)]
    assert ends == pytest.approx([0.521 * 0.004, 6.285 * 0.004], rel=1e-3)
    assert row["verdict"] == "inconclusive"
    assert (row["n_needed_range"], row["n_needed"]) == ([needed(ends[0]), needed(ends[1])], needed(0.004))
    least, most = row["n_needed_range"]
    assert (
        f"If the mean stays, {least} to {most} seeds would settle it, {row['n_needed']} if the spread stays too."
        in row["reason"]
    )


def test_an_open_claim_says_what_is_measured_and_counts_and_the_command_that_would_settle_it():
    row = judge(
        claim_set({"smallest_effect": 1.0}),
        [summary([0.010, 0.014, 0.018], command="layerlocal study classes --seeds 3 --out 'my runs'")],
    )[0]
    assert row["reason"].startswith(
        "The mean over 3 seeds, +1.4 pp [+0.406, +2.39], is shown to lie neither above +1 pp, which would support the claim, nor below +1 pp, "
        "which would contradict it (p = 0.23 after Holm's correction for 1 claim). If the mean stays, "
    )
    assert (
        row["command"] == f"layerlocal study classes --seeds {row['n_needed']} --out 'my runs' --rules class-goodness"
    )
    bare = judge(claim_set({"smallest_effect": 1.0}), [summary([0.010, 0.014, 0.018])])[0]
    assert bare["command"] == f"layerlocal study classes --rules class-goodness --seeds {row['n_needed']}"


@pytest.mark.parametrize("typed", ["--rules ff,scff --seeds 3", "--seeds 3 --rule=ff --rules scff", "--seeds=3"])
def test_the_command_of_an_open_claim_runs_its_rule_whatever_rules_joined_the_study_last(typed):
    found = summary([0.010, 0.014, 0.018], command=f"layerlocal study classes {typed} --data cifar10")
    row = judge(claim_set({"smallest_effect": 1.0}), [found])[0]
    words = row["command"].split()
    assert words[:3] == ["layerlocal", "study", "classes"] and len(words) == 9
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given == {"--rules": "class-goodness", "--seeds": str(row["n_needed"]), "--data": "cifar10"}


@pytest.mark.parametrize(("of", "option"), [("processes", "--repeats"), ("rounds", "--rounds")])
@pytest.mark.parametrize("ratios", [[1.1, 1.2, 1.0], [1.1]])
def test_the_command_of_an_open_claim_about_cost_asks_for_what_its_values_are_taken_over(of, option, ratios):
    """Processes or rounds, not seeds; of a single one for three, as of a single seed."""
    found = summary(ratios, study="cost", unit="×", command=f"layerlocal cost --size quick {option} 2 --out here")
    found.quantities["class-goodness"]["gap"] = measured(ratios, unit="×", of=of)
    row = judge(claim_set({"study": "cost", "reference": 1.0, "smallest_effect": 0.05}), [found])[0]
    assert row["verdict"] == "inconclusive" and (row["n_needed"] is None) == (len(ratios) == 1)
    assert (
        row["command"]
        == f"layerlocal cost --size quick {option} {row['n_needed'] or 3} --out here --rules class-goodness"
    )
    assert brings_command(row) and claim_rows([row])[0]["command"] == row["command"]


def test_the_number_that_an_open_claim_asks_for_is_one_that_the_commands_take():
    """A plan of seeds ends at 10,000; so do --seeds, --repeats and --rounds."""
    most = inspect.signature(samples_needed).parameters["cap"].default
    assert most == MOST_SEEDS == MOST_REPLICAS


def test_what_cannot_be_judged_is_called_so_and_takes_no_part_in_the_correction():
    """A study may say why a quantity has no value; a smaller size with values does not stand in: that would hang on what came out."""
    reason = "BP is below the local rule, nothing to recover"
    found = summary([], size="medium", command="layerlocal study classes --size medium")
    found.quantities["class-goodness"] |= {"gap": measured([], reason=reason), "other": measured(VALUES)}
    claims = claim_set({}, {"id": "P3", "quantity": "other", "smallest_effect": 0.1})
    row, other = judge(claims, [summary(VALUES), found])
    assert row["verdict"] == "cannot be judged" and row["reason"] == f"{reason}."
    assert (row["estimate"], row["p"], row["n"], row["size"]) == (None, None, 0, "medium")
    assert row["command"] == "layerlocal study classes --size medium"
    assert other["p_adjusted"] == other["p"]


def test_one_seed_gives_no_verdict():
    row = verdict([0.3])
    assert (
        row["command"] == "layerlocal study classes --rules class-goodness --seeds 3" and row["n_needed_range"] is None
    )
    assert row["verdict"] == "inconclusive" and row["reason"].startswith("One seed, no interval")
    assert (row["p"], row["p_adjusted"], row["n_needed"], row["n"]) == (None, None, None, 1)
    assert row["estimate"]["low"] is None


@pytest.mark.parametrize(("value", "direction", "expected"), [
    (0.02, "greater", "supported"), (0.0, "greater", "contradicted"), (-0.02, "greater", "contradicted"), (0.005, "greater", "inconclusive"),
    (-0.02, "less", "supported"), (0.0, "less", "contradicted"), (-0.005, "less", "inconclusive"),
    (0.0, "none", "supported"), (0.02, "none", "contradicted"), (-0.02, "none", "contradicted"), (-0.005, "none", "inconclusive"),
])  # fmt: skip
@pytest.mark.parametrize("test", ["t", "bootstrap"])
def test_values_without_spread_are_judged_exactly(test, value, direction, expected):
    row = verdict([value] * 7, direction=direction, test=test)
    assert row["verdict"] == expected and row["p"] == (1.0 if expected == "inconclusive" else 0.0)
    assert row["n_needed"] is None and ("exactly on the boundary" in row["reason"]) == (expected == "inconclusive")
    json.dumps(row, allow_nan=False)


def test_rounding_does_not_decide_on_the_boundary():
    """0.71 − 0.69 is 0.02 and something in the 17th digit, three times alike."""
    row = verdict([0.71 - 0.69, 0.72 - 0.70, 0.02], smallest_effect=2.0)
    assert row["verdict"] == "inconclusive" and row["n_needed"] is None


def test_a_mean_on_the_boundary_names_no_number_of_seeds():
    row = verdict([0.0, 0.01], smallest_effect=0.5)
    assert row["verdict"] == "inconclusive" and row["p"] == 1.0 and row["n_needed"] is None
    assert "exactly on the boundary" in row["reason"]


def test_more_seeds_than_anyone_runs_are_not_named():
    row = verdict([0.0049, 0.0052, -0.1, 0.1100], smallest_effect=0.5)
    assert row["verdict"] == "inconclusive" and row["n_needed"] is None and "ore than 10,000 seeds" in row["reason"]


def test_a_bootstrap_of_few_seeds_is_refused_and_says_so():
    row = verdict([0.02, 0.03, 0.025, 0.021, 0.028], test="bootstrap")
    assert row["verdict"] == "inconclusive" and row["p"] is None and row["n_needed"] == 6
    assert row["reason"] == "A bootstrap needs 6 seeds or more, and 5 have been run."
    assert verdict([0.02, 0.03, 0.025, 0.021, 0.028, 0.024], test="bootstrap")["verdict"] == "supported"


def test_a_claim_without_effect_size_and_difference_asks_for_any_difference():
    """d = 0, "none": never supported, contradicted by the usual two-sided test."""
    row = verdict(VALUES, direction="none", smallest_effect=0.0)
    assert row["verdict"] == "contradicted" and row["p"] == pytest.approx(stats.ttest_1samp(VALUES, 0).pvalue)


# --- how long was trained ----------------------------------------------------------------------------------------------------------------


def trained(values, headroom, **more):
    found = summary(values, **more)
    found.quantities["class-goodness"]["gap"] = measured(values, headroom=headroom)
    return found


@pytest.mark.parametrize(("headroom", "expected"), [
    (0.0051, "undertrained"), (-0.0051, "undertrained"), (0.005, "supported"), (-0.004, "supported"), (0.0, "supported"), (None, "supported"),
])  # fmt: skip
def test_where_backprop_still_gains_more_than_what_counts_a_claim_is_undertrained_whatever_p_says(headroom, expected):
    """0.5 pp count, so 0.005 of the values."""
    row = judge(claim_set(), [trained(VALUES, headroom)])[0]
    assert (row["verdict"], row["headroom"]) == (expected, headroom)
    assert row["p"] == pytest.approx(2 * scipy_p(0.005, "greater")) and row["n_needed"] is None
    json.dumps(row, allow_nan=False)


def test_an_undertrained_claim_says_by_how_much_and_stays_in_the_correction():
    claims = claim_set({"id": "a"}, {"id": "b", "quantity": "other", "smallest_effect": 0.1})
    found = trained(VALUES, 0.012)
    found.quantities["class-goodness"]["other"] = measured(VALUES)
    row, other = judge(claims, [found])
    assert "twice the steps move backprop by +1.2 pp, more than the 0.5 pp that count" in row["reason"]
    assert other["p_adjusted"] == pytest.approx(2 * other["p"])
    one = judge(claim_set(), [trained([0.02], 0.012)])[0]
    assert one["verdict"] == "undertrained" and not brings_command(one)


def test_headroom_and_length_of_training_stand_beside_the_verdict():
    found = trained(VALUES, 0.004)
    found.quantities["class-goodness"] |= {
        "gap/x": measured(VALUES, headroom=0.004),
        "accuracy/x": measured(VALUES, protocol="cnn4, 3 epochs"),
    }
    rows = judge(claim_set({"quantity": "gap/x"}), [found]) + judge(claim_set(), [summary(VALUES)])
    assert [row["trained"] for row in rows] == ["cnn4, 3 epochs", ""]
    views = claim_rows([*rows, *judge(claim_set({"study": "cost"}), [summary([1.1, 1.2], study="cost", unit="×")])])
    assert [view["headroom"] for view in views] == ["headroom +0.4 pp", "headroom not measured", ""]
    assert "Trained: cnn4, 3 epochs" in views[0]["how"]


# --- finding what was measured -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("summaries", "match"), [
    ([], "The study 'classes' has not been run."),
    ([summary(VALUES, study="depth", quantity="other")], "The study 'classes' has not been run."),
    ([summary(VALUES, rule="ff")], "finished nothing of the rule 'class-goodness' yet; it has ff."),
    ([Summary(name="classes", size="quick")], "finished nothing of the rule"),
    ([summary(VALUES, quantity="gapp")], "not what 'gap' needs; nearest is 'gapp'."),
    ([summary([])], "no finished seed of 'gap'"),
])  # fmt: skip
def test_what_was_not_run_says_why_and_how_to_run_it(summaries, match):
    row = judge(claim_set(), summaries)[0]
    assert row["verdict"] == "not run" and match in row["reason"]
    assert row["command"] == "layerlocal study classes --rules class-goodness"
    empty = {"estimate": None, "p": None, "p_adjusted": None, "n": 0, "n_needed": None, "size": None, "unit": ""}
    assert {key: row[key] for key in empty} == empty


def test_another_rule_is_in_the_command():
    assert judge(claim_set({"rule": "ff"}), [])[0]["command"] == "layerlocal study classes --rules ff"


def test_the_largest_size_counts_in_whatever_order():
    sizes = [summary([value] * 3, size=size) for value, size in zip((0.0, 0.1, 0.2, 0.3), SIZE_ORDER, strict=True)]
    for order in (sizes, sizes[::-1]):
        row = judge(claim_set(), order)[0]
        assert row["size"] == "full" and row["estimate"]["mean"] == 0.3
    assert judge(claim_set(), sizes[:3])[0]["size"] == "standard"


def test_a_larger_size_that_lacks_the_quantity_does_not_hide_a_smaller_one():
    row = judge(claim_set(), [summary(VALUES), summary(VALUES, size="full", quantity="other")])[0]
    assert row["size"] == "quick" and row["verdict"] == "supported"


def test_every_study_that_measured_a_quantity_counts_and_the_best_trained_is_taken():
    """Least headroom, in size and whatever its sign, before a larger study, and measured before not; what came out says nothing in it."""
    far, near = trained([0.1] * 3, -0.02, study="best", size="full"), trained([0.2] * 3, 0.001, study="equal-time")
    unknown = summary([0.3] * 3, size="full")

    def taken(*summaries):
        row = judge(claim_set(), summaries)[0]
        return row["study"], row["size"], round(row["estimate"]["mean"], 9)

    assert taken(unknown, far, near) == taken(near, far, unknown) == ("equal-time", "quick", 0.2)
    assert taken(unknown, far) == ("best", "full", 0.1)
    larger = summary([0.4] * 3, study="best", size="standard")
    assert taken(summary([0.5] * 3), larger) == ("best", "standard", 0.4)
    assert taken(larger.model_copy(update={"size": "quick"}), summary([0.5] * 3)) == ("classes", "quick", 0.5)


def test_a_claim_about_trained_networks_reads_no_study_without_headroom():
    short, long = summary(VALUES, size="full"), trained(VALUES, 0.001, study="best", size="standard")
    row = judge(claim_set({"trained": True}), [short])[0]
    assert row["verdict"] == "not run" and "twice the steps" in row["reason"]
    assert judge(claim_set({"trained": True}), [])[0]["command"].endswith("--size standard --rules class-goodness")
    row = judge(claim_set({"trained": True}), [short, long])[0]
    assert (row["verdict"], row["study"], row["size"]) == ("supported", "best", "standard")


def test_summaries_that_cannot_be_told_apart_are_refused():
    with pytest.raises(InputError, match=r"two summaries .*'classes' .*'quick'"):
        judge(claim_set(), [summary(VALUES), summary(VALUES)])
    with pytest.raises(InputError, match=r"size .*'classes' 'huge'; known: .*full"):
        judge(claim_set(), [summary(VALUES, size="huge")])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_finite_number_is_refused(value):
    with pytest.raises(InputError, match=r"classes \(quick\), class-goodness, gap, seed 1:"):
        verdict([0.1, value])


def test_seeds_are_listed_in_numeric_order():
    found = summary([0.0] * 12)
    values = {str(seed): seed / 100 for seed in reversed(range(12))}
    found.quantities["class-goodness"]["gap"] = Quantity(values=values)
    assert judge(claim_set(), [found])[0]["estimate"]["values"] == [seed / 100 for seed in range(12)]


def test_a_verdict_row_is_complete_and_plain_json():
    row = judge(claim_set({"note": "why"}), [summary(VALUES, command="layerlocal study classes --seeds 5")])[0]
    assert set(row) == {
        "id", "source", "sentence", "reported", "study", "quantity", "what", "rule", "family", "size", "unit", "direction",
        "reference", "smallest_effect", "test", "estimate", "verdict", "p", "p_adjusted", "alpha", "n", "n_needed", "n_needed_range",
        "headroom", "trained", "reason", "protocol_differences", "note", "command", "claims_sha256",
    }  # fmt: skip
    assert row["command"] == "layerlocal study classes --seeds 5" and row["what"] == "the gap" and row["unit"] == "pp"
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["reason"] == (
        "The mean over 5 seeds, +2.5 pp, is shown to lie above +0.5 pp, as claimed (p = 0.018 after Holm's correction for 1 claim)."
    )


def test_reasons_use_the_words_of_each_direction():
    contradicted = verdict(VALUES, direction="less")["reason"]
    assert "is shown to lie above −0.5 pp, so an effect that counts is ruled out (p = " in contradicted
    assert (
        "is shown to lie between −8 pp and +8 pp, as claimed"
        in verdict(VALUES, direction="none", smallest_effect=8.0)["reason"]
    )
    assert (
        "is shown to lie outside −0.1 pp to +0.1 pp (p"
        in verdict(VALUES, direction="none", smallest_effect=0.1)["reason"]
    )
    assert (
        "neither above +2 pp, which would support the claim, nor below +2 pp"
        in verdict(VALUES, smallest_effect=2.0)["reason"]
    )
    assert "The mean over 5 seeds, 0.025 share," in verdict(VALUES, unit="share")["reason"]


# --- published accuracies ----------------------------------------------------------------------------------------------------------------

# (method, data set) → per cent, read off the field survey's table once more, by hand
PUBLISHED = {
    ("Forward-Forward (Hinton)", "cifar10"): 59.0, ("SymBa", "mnist"): 98.58, ("CwComp", "cifar100"): 51.23,
    ("Trifecta", "cifar10"): 83.51, ("Distance-Forward", "svhn"): 95.9, ("DeeperForward", "tiny_imagenet"): 35.95,
    ("SCFF", "stl10"): 77.3, ("ASGE", "imagenet"): 51.58, ("HCL-FF", "cifar100"): 70.09, ("BiCovG", "imagenet100"): 73.01,
    ("DTG-FF", "cifar10"): 91.8, ("DTG-FF", "imagenet100"): 49.4, ("predsim, VGG8b", "fashion_mnist"): 95.35,
    ("InfoPro, 2 modules", "imagenet"): 78.15, ("AugLocal", "cifar10"): 93.96, ("SigProp", "cifar10"): 91.6,
}  # fmt: skip


def test_published_accuracies_are_those_of_the_survey():
    found = {(one.method, one.data): one for one in load_accuracies()}
    assert {key: found[key].accuracy_percent for key in PUBLISHED} == PUBLISHED
    assert len({method for method, _ in found}) == 15 and all(one.protocol_differences for one in found.values())
    rules = {
        "ff",
        "class-goodness",
        "dtg-ff",
        "predsim",
        "symba",
        "cwcomp",
        "deeperforward",
        "hcl-ff",
        "asge",
        "scff",
        "sigprop",
    }
    assert {one.rule for one in load_accuracies()} == {None, *rules}
    bp = {key: one.bp_percent for key, one in found.items() if one.bp_percent is not None}
    assert bp["predsim, VGG8b", "cifar10"] == 94.01 and bp["HCL-FF", "tiny_imagenet"] == 64.4 and len(bp) == 11


def test_a_published_accuracy_stands_beside_the_measured_one():
    found = summary(
        [0.80, 0.82, 0.84], study="accuracy", quantity="accuracy/cifar10", unit="%", command="layerlocal study accuracy"
    )
    found.quantities["class-goodness"] = {
        "gap/cifar10": measured([-0.02, -0.03, -0.04]),
        "accuracy/cifar10": measured([0.80, 0.82, 0.84], unit="%", protocol="cnn4, 3 epochs"),
    }
    rows = compare_accuracies(load_accuracies(), [found])
    assert {row["our_protocol"] for row in rows} == {"", "cnn4, 3 epochs"}
    json.dumps(rows, allow_nan=False)
    assert len(rows) == len(load_accuracies())
    (row,) = [one for one in rows if one["status"] == "measured"]
    assert (row["method"], row["data"], row["size"], row["n"], row["rule"]) == (
        "DTG-FF",
        "cifar10",
        "quick",
        3,
        "class-goodness",
    )
    assert row["reported"] == pytest.approx(0.918) and row["measured"] == estimate([0.80, 0.82, 0.84])
    assert row["difference"] == pytest.approx(0.82 - 0.918) and row["reason"] == "" and row["text"] == "91.8 %"
    assert row["measured_bp"]["values"] == pytest.approx([0.82, 0.85, 0.88])


def test_backprop_is_not_made_up_from_other_seeds_or_sizes():
    base = summary([0.80, 0.82], study="accuracy", quantity="accuracy/cifar10", unit="%")
    other_seeds = base.model_copy(deep=True)
    other_seeds.quantities["class-goodness"]["gap/cifar10"] = Quantity(values={"0": -0.02, "5": -0.03})
    other_size = summary([-0.02, -0.03], study="accuracy", size="full", quantity="gap/cifar10")
    for summaries in ([other_seeds], [base, other_size]):
        (row,) = [one for one in compare_accuracies(load_accuracies(), summaries) if one["status"] == "measured"]
        assert row["measured_bp"] is None and row["measured"]["mean"] == pytest.approx(0.81)


def test_accuracies_we_have_not_measured_say_why():
    rows = {(row["method"], row["data"]): row for row in compare_accuracies(load_accuracies(), [])}
    assert {row["status"] for row in rows.values()} == {"not run"}
    assert (
        rows["Trifecta", "mnist"]["reason"] == "We have no such rule." and rows["Trifecta", "mnist"]["command"] is None
    )
    assert rows["DTG-FF", "cifar10"]["reason"] == "The study 'accuracy' has not been run."
    assert rows["Forward-Forward (Hinton)", "mnist"]["command"] == "layerlocal study accuracy --rules ff"
    assert rows["SigProp", "cifar10"]["text"] == "91.6–92.4 %"


ACCURACY = {
    "method": "X",
    "source": "s",
    "data": "mnist",
    "accuracy_percent": 99,
    "bp_percent": None,
    "rule": None,
    "protocol_differences": "p",
}


@pytest.mark.parametrize(("entries", "match"), [
    ([{**ACCURACY, "data": "minst"}], r"accuracy 'X': data: .*'mnist', .*'minst'"),
    ([{**ACCURACY, "accuracy_percent": 101}], r"accuracy_percent: .*100"),
    ([{key: value for key, value in ACCURACY.items() if key != "rule"}], r"accuracy 'X': .*'rule' is missing"),
    ([{**ACCURACY, "bp": 1}], "unknown field 'bp'"),
    ([ACCURACY, ACCURACY], "'X' has two accuracies on 'mnist'"),
    ([], "accuracies: must be a list"),
])  # fmt: skip
def test_a_wrong_entry_of_accuracies_is_refused(tmp_path, entries, match):
    with pytest.raises(InputError, match=match):
        load_accuracies(write(tmp_path, {"accuracies": entries}))


def test_data_files_are_found_wherever_the_package_lies(tmp_path):
    """As from a wheel: a copy of the package elsewhere reads its own files."""
    source = Path(sys.modules["layerlocal.claims"].__file__).parents[1]
    shutil.copytree(source / "claims", tmp_path / "layerlocal/claims", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "__init__.pyi", "names.py", "types.py", "stats.py", "summary.py", "words.py"):
        shutil.copy(source / name, tmp_path / "layerlocal")
    code = "import layerlocal.claims as c; print(c.__file__, len(c.load_claims().claims), len(c.load_accuracies()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.split() == [
        str(tmp_path / "layerlocal/claims/__init__.py"), str(len(load_claims().claims)), str(len(load_accuracies())),
    ]  # fmt: skip
