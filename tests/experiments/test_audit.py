"""The audit: twins differ in nothing but the rule, the arithmetic is that of a table of Student's t, and nothing is run twice."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

import layerlocal.cli
import layerlocal.experiments.audit.cost
import layerlocal.experiments.audit.driver
import layerlocal.report.page
import layerlocal.runs.run
from layerlocal.experiments.audit.driver import Audit, forecast_audit, run_audit
from layerlocal.experiments.audit.plan import (
    ROLES,
    SIZES,
    AuditPlan,
    accuracy_specs,
    audit_specs,
    class_specs,
)
from layerlocal.experiments.audit.summary import summarize
from layerlocal.experiments.driver import How, prepare
from layerlocal.experiments.stored import write_report
from layerlocal.experiments.studies.controls import CONTROLS
from layerlocal.rules import find_rule, rule_options
from layerlocal.runs.listing import is_baseline
from layerlocal.runs.run import build, pin_plugin, run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import PROTOCOL, Recipe, RuleSpec
from layerlocal.summary import Summary
from layerlocal.types import InputError
from planted_audit import planted_record, planted_records
from rules_by_hand import ANY_NETWORK

QUICK = SIZES["quick"]
TINY = QUICK.model_copy(
    update={
        "num_train": 200, "num_test": 100, "width": 1 / 16, "network": "mlp", "recipe": Recipe(epochs=1, batch_size=16),
        "synthetic_train": 128, "synthetic_recipe": Recipe(epochs=1, batch_size=32), "synthetic_classes": (3,),
    }
)  # fmt: skip

PLUGIN = '''
from layerlocal import BlockLoss, RuleInfo
from layerlocal.rules import LocalHeads


class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")


class OneLoss(LocalHeads):
    """Leaks: one loss trains every block, and says it trains one."""

    info = RuleInfo(name="one-loss", locality="block")

    def losses(self, x, y):
        h, total = self.network.prepare(x), 0
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            total = total + self.local_loss(index, h, y)[0]
        yield BlockLoss("block0", total, {})


class Raises(LocalHeads):
    info = RuleInfo(name="raises", locality="block")

    def local_loss(self, index, activity, y):
        raise ValueError("the moon is full")
'''


LATE = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Late(LocalHeads):
    info = RuleInfo(name="late", locality="block")
    calls = 0

    def local_loss(self, index, activity, y):
        self.calls += 1
        if self.calls > 20:
            raise RuntimeError("enough of it")
        return super().local_loss(index, activity, y)
"""

PLAIN = """
import torch
from layerlocal import BlockLoss, Rule, RuleInfo


class Plain(Rule):
    info = RuleInfo(name="plain", locality="block")

    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes)
        sizes = [torch.Size(shape).numel() for shape in network.activity_shapes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            heads = {f"block{i}": torch.nn.Linear(size, num_classes) for i, size in enumerate(sizes)}
        self.heads = torch.nn.ModuleDict(heads)

    def read(self, x):
        h = self.network.prepare(x)
        for i, block in enumerate(self.network.blocks):
            h = block(h.detach())
            yield f"block{i}", self.heads[f"block{i}"](h.flatten(1))

    def losses(self, x, y):
        for name, scores in self.read(x):
            yield BlockLoss(name, torch.nn.functional.cross_entropy(scores, y), {})

    def block_scores(self, x):
        return torch.stack([scores for _, scores in self.read(x)])
"""


class SmallPlan(AuditPlan):
    """One rule of ours instead of three."""

    rules: tuple[str, ...] = ("class-goodness",)


@pytest.fixture(scope="module")
def tiny():
    """The quick budget made very small, and the cost measured on very narrow and flat networks."""
    measure = layerlocal.experiments.audit.cost.measure_cost
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "quick", TINY)
        patch.setattr(layerlocal.experiments.audit.driver, "AuditPlan", SmallPlan)
        patch.setattr(layerlocal.experiments.audit.cost, "DEPTHS", (2, 4))
        patch.setattr(
            layerlocal.experiments.audit.cost, "measure_cost",
            lambda rules, **given: measure(rules, width=1 / 32, repeats=1, **given),
        )  # fmt: skip
        yield patch


@pytest.fixture(scope="module")
def audited(tiny, tmp_path_factory):
    """A whole audit with a plug-in, made by the command with two real workers: its folder, the plug-in's name, what was printed."""
    out = tmp_path_factory.mktemp("audit")
    (out / "plugin.py").write_text(PLUGIN)
    name = f"{out / 'plugin.py'}:Mine"
    words = ["audit", "--rule", name, "--seeds", "2", "--workers", "2", "--out", str(out / "runs"), "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["layerlocal", *words])
        printed = []
        patch.setattr("builtins.print", lambda *parts, **_: printed.append(" ".join(map(str, parts))))
        with pytest.raises(SystemExit) as stop:
            layerlocal.cli.main()
    assert not stop.value.code
    return out / "runs", name, printed


# --- the plan ---------------------------------------------------------------------------------------------------------

PLAN = AuditPlan()
TWINS = AuditPlan(
    rules=("local-heads", "./mine.py:Mine", "./plain.py:Plain"), sweep_rule="./mine.py:Mine", seeds=(0, 4),
    twins_of={"./plain.py:Plain": "local-heads"}, sources={"./mine.py:Mine": "a" * 64, "./plain.py:Plain": "b" * 64},
)  # fmt: skip


def groups(plan):
    """The three runs that are compared with each other, wherever the plan compares."""
    for specs in (accuracy_specs(plan), class_specs(plan)):
        keys = {
            (*key[: key.index(role)], *key[key.index(role) + 1 :]) for key in specs for role in ROLES if role in key
        }
        for key in keys:
            yield {role: next(spec for k, spec in specs.items() if role in k and {*key} <= {*k}) for role in ROLES}


@pytest.mark.parametrize("plan", [PLAN, TWINS])
def test_a_rule_and_its_twins_differ_in_nothing_but_the_rule(plan):
    found = list(groups(plan))
    assert len(found) == len(plan.seeds) * (
        len(plan.rules) + len(plan.detail.synthetic_classes) + len(plan.real_classes)
    )
    for runs in found:
        bare = {role: spec.model_copy(update={"rule": RuleSpec()}) for role, spec in runs.items()}
        assert bare["local"] == bare["bp"] == bare["bp-deepsup"]
        assert len({spec.hash for spec in runs.values()}) == 3


@pytest.mark.parametrize("plan", [PLAN, TWINS])
def test_twins_are_made_of_the_rule_itself_with_its_options_and_its_source(plan):
    for runs in groups(plan):
        local = runs["local"].rule
        for role in ("bp", "bp-deepsup"):
            twin = runs[role].rule
            assert twin.name == role
            if local.name in plan.twins_of:
                assert twin.options["of"] == "local-heads" and twin.source_sha256 is None
            else:
                assert twin.options == {"of": local.name, **local.options}
                assert twin.source_sha256 == local.source_sha256 == plan.sources.get(local.name)


def test_every_planned_rule_of_ours_can_be_built_with_its_twins():
    for runs in groups(PLAN):
        blocks = {role: build(spec)[1].readout_blocks for role, spec in runs.items() if spec.data.num_train == 2500}
        if blocks:
            assert blocks["local"] == blocks["bp-deepsup"] and blocks["bp"] == blocks["local"][-1:]


def test_an_audit_is_of_three_local_rules_beside_bp_and_bp_deepsup_with_three_seeds():
    assert PLAN.rules == ("local-heads", "class-goodness", "ff") and PLAN.seeds == (0, 1, 2)
    assert {spec.rule.name for spec in audit_specs(PLAN)} == {*PLAN.rules, "bp", "bp-deepsup"}


def test_the_sweep_over_all_classes_is_the_accuracy_comparison_and_not_run_twice():
    accuracy, sweep = accuracy_specs(PLAN), class_specs(PLAN)
    for role in ROLES:
        for seed in PLAN.seeds:
            assert sweep["real", 10, role, seed] == accuracy["class-goodness", role, seed]
    hashes = {spec.hash for spec in audit_specs(PLAN)}
    rules, synthetic, subsets = 3 * 3 * 3, 3 * 3 * 3, 2 * 3 * 3
    assert len(hashes) == rules + synthetic + subsets


def test_class_subsets_have_as_many_images_a_class_as_the_whole_set():
    for (kind, k, _, seed), spec in class_specs(PLAN).items():
        if kind == "real":
            assert spec.data.num_train == 250 * k and spec.data.num_test == 200 * k
            assert (spec.data.classes, spec.data.seed) == ((None, 0) if k == 10 else (k, seed))
        else:
            assert (spec.data.source, spec.data.classes) == ("teacher_student", k)
            assert (spec.data.num_train, spec.data.seed) == (PLAN.detail.synthetic_train, seed)


def test_other_seeds_are_other_class_subsets_and_other_teachers_and_other_runs():
    sweep = class_specs(PLAN)
    for kind, k in (("real", 2), ("synthetic", 2)):
        specs = [sweep[kind, k, "local", seed] for seed in PLAN.seeds]
        assert len({spec.data.seed for spec in specs}) == len({spec.seed for spec in specs}) == 3


def test_runs_are_ordered_seed_by_seed():
    seeds = [spec.seed for spec in audit_specs(PLAN)]
    assert all(left <= right for left, right in pairwise(seeds)) and set(seeds) == {0, 1, 2}


def test_a_plan_read_back_from_its_file_plans_the_same_runs():
    again = AuditPlan.model_validate(json.loads(TWINS.model_dump_json()))
    assert [spec.hash for spec in audit_specs(again)] == [spec.hash for spec in audit_specs(TWINS)]


def found_in(out):
    """The summary that an audit wrote."""
    return Summary.model_validate_json((out / "experiments/audit-quick/summary.json").read_text())


def part(summary, title):
    [found] = [of for of in summary.parts if of.title.startswith(title)]
    return found


def counts(summary, arm):
    """The numbers of classes of which a sweep has rows."""
    return list(dict.fromkeys(row["classes"] for row in summary.rows if row["arm"] == arm))


def audited_rules(summary):
    return [row["rule"] for row in summary.tables[0].rows]


# --- a real audit, very small -----------------------------------------------------------------------------------------


def test_an_audit_prints_the_summary_it_writes(audited):
    out, _, printed = audited
    [line] = printed
    assert Summary.model_validate_json(line) == found_in(out)


def test_an_audit_has_every_rule_with_its_twins_and_the_plugin_beside_them(audited):
    out, name, _ = audited
    summary = found_in(out)
    assert audited_rules(summary) == [name, "class-goodness"] == list(summary.rules)  # the user's own first
    assert summary.seeds == (0, 1)
    assert all(row["gap"]["n"] == 2 for row in summary.tables[0].rows)
    assert {row["rule"] for row in summary.rows if row["arm"] != "accuracy"} == {name}
    assert counts(summary, "synthetic") == [3] and counts(summary, "real") == [2, 5, 10]
    assert {row["rule"] for row in part(summary, "What it costs").tables[0].rows} == {
        "bp",
        "bp-deepsup",
        "class-goodness",
        name,
    }
    assert not summary.missing and summary.protocol == PROTOCOL
    assert name in summary.command and "--seeds 2" in summary.command


def test_every_number_of_an_audit_is_that_of_a_run_on_disk(audited):
    out, _, _ = audited
    store = RunStore(out)
    accuracy = {record.hash: record.result["test_accuracy"] for record in store.finished()}
    summary = found_in(out)
    for row in summary.rows:
        roles = (*ROLES, *CONTROLS) if row["arm"] == "accuracy" else ROLES
        assert {role: row[role] for role in roles} == {role: accuracy[run] for role, run in row["runs"].items()}
        assert row["gap"] == accuracy[row["runs"]["local"]] - accuracy[row["runs"]["bp"]]
        rules = {role: store.load(run).spec.rule for role, run in row["runs"].items()}
        assert rules["local"].name == row["rule"]
        assert all(
            (rules[twin].name, rules[twin].options["of"]) == (twin, row["rule"]) for twin in ("bp", "bp-deepsup")
        )
    assert {run for row in summary.rows for run in row["runs"].values()} == accuracy.keys()
    assert summary.planned == summary.finished == len(accuracy)


def test_a_run_of_an_audit_is_the_same_run_made_here_to_the_last_bit(audited, tmp_path):
    stores = RunStore(audited[0]), RunStore(tmp_path)
    for record in [record for record in stores[0].finished() if record.spec.seed == 1][:3]:
        again = run_spec(record.spec, stores[1])
        assert again.result["block_accuracies"] == record.result["block_accuracies"]
        paths = [next((store.root / record.hash / "checkpoint").glob("*.safetensors")) for store in stores]
        ours, theirs = map(load_file, paths)
        assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_audit_certifies_the_locality_of_every_rule_and_twin(audited):
    out, name, _ = audited
    found = {row["rule"]: row for row in part(found_in(out), "Locality").tables[0].rows}
    for rule in ("class-goodness", name):
        assert found[rule]["certified"] == "✓ certified" and found[rule]["measured"] == "block"
        for twin in ("bp", "bp-deepsup"):
            assert found[f"{twin} (twin of {rule})"]["measured"] == "global"


def test_the_plugin_of_an_audit_is_stored_with_the_hash_of_its_source(audited):
    out, name, _ = audited
    source = hashlib.sha256(PLUGIN.encode()).hexdigest()
    specs = [record.spec for record in RunStore(out).finished()]
    mine = [spec for spec in specs if name in (spec.rule.name, spec.rule.options.get("of"))]
    assert {spec.rule.source_sha256 for spec in mine} == {source} and len(mine) == 2 * 3 * (1 + 1 + 2)
    assert all(pin_plugin(spec) == spec for spec in specs)


def test_the_page_of_an_audit_is_one_file_that_names_every_rule(audited):
    out, name, _ = audited
    page = (out / "report.html").read_text()
    assert all(rule in page for rule in ("class-goodness", "bp-deepsup", Path(name).name))
    assert "<svg" in page and "<script src" not in page and "@import" not in page
    assert all(address.startswith(("data:", "#", "https://")) for address in re.findall(r'(?:src|href)="([^"]*)', page))


def untimed(summary):
    """Without when and by which command it was made."""
    text = json.dumps(summary.to_dict()).replace(json.dumps(summary.command), '""')
    return json.loads(text) | {"created": ""}


def test_a_report_is_made_without_torch(audited):
    out, _, _ = audited
    program = (
        "import sys; from pathlib import Path; from layerlocal.experiments.stored import write_report; "
        f"page = write_report(Path({str(out)!r})); assert page.stat().st_size > 10000; "
        "sys.exit(', '.join(name for name in ('torch', 'datasets') if name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.returncode, found.stderr) in ((0, ""), (1, "\n")), found.stderr


def test_a_plugin_that_leaks_or_raises_is_refused_before_anything_is_trained(tiny, tmp_path, monkeypatch):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    monkeypatch.setattr("layerlocal.runs.many.run_many", lambda *_, **__: pytest.fail("trained"))
    for rule, message in (
        ("OneLoss", "the loss of block0 reaches"),
        ("Raises", "raised ValueError at plugin.py:.*moon"),
    ):
        with pytest.raises(InputError, match=message) as error:
            run_audit(tmp_path / "runs", rules=[f"{tmp_path / 'plugin.py'}:{rule}"])
        assert "\n" not in str(error.value)


def test_runs_that_fail_are_told_with_their_reason_and_the_others_are_reported(tiny, tmp_path, monkeypatch, capsys):
    train = layerlocal.runs.run._train_run

    def fail(spec, *rest):
        if spec.rule.name == "class-goodness":
            raise InputError("a planted reason")
        return train(spec, *rest)

    def a_few(plan):
        return accuracy_specs(plan)

    monkeypatch.setattr(layerlocal.runs.run, "_train_run", fail)
    monkeypatch.setattr(layerlocal.experiments.audit.driver, "audit_runs", a_few)
    monkeypatch.setattr(layerlocal.experiments.audit.cost, "measure_cost", lambda *_, **__: {})
    monkeypatch.setattr(
        sys,
        "argv",
        ["layerlocal", "audit", "--rule", "segmented", "--seeds", "1", "--workers", "1", "--out", str(tmp_path)],
    )
    with pytest.raises(SystemExit) as stop:
        layerlocal.cli.main()
    assert stop.value.code == 1
    summary = found_in(tmp_path)
    assert audited_rules(summary) == ["segmented"]
    [failure] = summary.failed
    assert failure.reason == "a planted reason" and failure.label.startswith("class-goodness")
    assert "a planted reason" in (tmp_path / "report.html").read_text()
    out, err = capsys.readouterr()
    assert "segmented" in out and str(tmp_path / "report.html") in out
    assert "a planted reason" in err and "Traceback" not in err


# --- what is known before -----------------------------------------------------------------------------------------------

LOCAL = [name for name in ANY_NETWORK if not is_baseline(name)]


def store_planted(spec, folder, *_):
    """In place of training: a PLANTED result."""
    return folder.finish(
        env={"layerlocal": "planted", "threads": 1}, result=planted_record(spec, 0.5).result, metrics=[]
    )


@pytest.fixture
def stubbed(tiny, monkeypatch):
    """Nothing is trained; networks are those of the audit, so that what does not fit them does not fit here."""
    size = TINY.model_copy(update={"network": "cnn4", "width": 0.5, "synthetic_classes": (2, 10)})
    monkeypatch.setitem(SIZES, "quick", size)
    monkeypatch.setattr(layerlocal.runs.run, "_train_run", store_planted)


def test_an_audit_of_every_rule_ends_with_a_page_that_has_a_row_of_each(stubbed, tmp_path):
    summary = run_audit(tmp_path, rules=LOCAL, seeds=1, workers=1)
    assert not summary.missing and set(audited_rules(summary)) == set(LOCAL)
    assert counts(summary, "synthetic") == [2, 10] and counts(summary, "real") == [2, 5, 10]
    page = (tmp_path / "report.html").read_text()
    assert all(f">{rule}" in page for rule in LOCAL)
    cost = part(summary, "What it costs")
    measured = {row["rule"]: row for row in cost.tables[0].rows}
    dealt = {rule for rule in LOCAL if find_rule(rule).info.channel_groups}  # vgg8's channels and 10 classes
    assert measured.keys() == {"bp", "bp-deepsup", *LOCAL} - dealt
    assert all(row["saved_ratio"] > 0 for row in measured.values()) and len(cost.notes) == len(dealt)
    assert all("evenly to 10 classes" in note for note in cost.notes)
    assert all(f"{rule}: not measured: block0 has" in page for rule in dealt)


def planned(**asked):
    """The plan of an audit of which nothing is left out."""
    ready = prepare(Audit(**asked), Path("nowhere"), How(console=Console(quiet=True)))
    assert not ready.missing
    return ready.plan


@pytest.mark.parametrize("rule", ["cwcomp", "deeperforward"])
def test_a_rule_that_deals_channels_to_classes_and_its_twins_get_a_width_at_which_it_can(stubbed, rule):
    plan = planned(rules=[rule], seeds=1)
    keyed = {(rule, *key): spec for key, spec in class_specs(plan).items()} | accuracy_specs(plan)
    mine = [spec for key, spec in keyed.items() if key[0] == rule]
    for spec in mine:
        data, built = build(spec)
        channels = [shape[0] for shape in built.network.activity_shapes]
        assert all(count % data.num_classes == 0 for count in channels), (data.num_classes, channels)
    assert {accuracy_specs(plan)[rule, role, 0].network.width for role in ROLES} == {0.625}
    assert accuracy_specs(plan)["class-goodness", "local", 0].network.width == 0.5  # everybody else's


def test_every_rule_that_can_be_read_on_a_grid_is_read_on_the_plans_and_the_others_say_what_they_read(stubbed):
    plan = Audit(LOCAL, seeds=1).settled(planned(rules=LOCAL, seeds=1))
    for rule in LOCAL:
        local = accuracy_specs(plan)[rule, "local", 0].rule.options
        own = rule_options(find_rule(rule))
        assert local == ({"grid": 4} if "grid" in own or "of" in own else {})
    assert {plan.reads[rule] for rule in ("local-heads", "class-goodness", "predsim", "scff", "segmented")} == {
        "RMS, 4×4 cells"
    }
    assert plan.reads["ff"] == "goodness under every label"
    assert plan.reads["cwcomp"] == "mean square of each class's channels"
    assert plan.reads["mono-forward"] == "mean, 4×4 cells"
    told = summarize(plan, planted_records(plan)).sentences[-1]
    assert told.startswith("Blocks are read by RMS, 4×4 cells; ")
    assert "ff instead uses goodness under every label" in told and "predsim" not in told


def test_a_plain_audit_plans_the_runs_that_it_has_always_planned(monkeypatch):
    """Of `make audit`: the runs behind the published table, which are kept by hash."""
    monkeypatch.setitem(SIZES, "quick", QUICK)
    monkeypatch.setattr(layerlocal.experiments.audit.driver, "AuditPlan", AuditPlan)
    published = json.loads((Path(__file__).parent / "0.1.0/audit-quick.json").read_text())
    before = {run["run"] for run in published["runs"]}
    assert {spec.hash for spec in audit_specs(planned(controls=False))} == before
    more = {key[1]: spec for key, spec in accuracy_specs(planned()).items() if spec.hash not in before}
    assert more.keys() == {*CONTROLS} and len({spec.hash for spec in audit_specs(planned())} - before) == 5


@pytest.mark.parametrize(
    "data, message",
    [
        ("teacher_student", r"vectors of 64 .*--data"),
        ("no_such_data", "unknown data 'no_such_data'"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_is_trained_or_stored(
    tiny, tmp_path, monkeypatch, data, message
):
    monkeypatch.setitem(SIZES, "quick", TINY.model_copy(update={"network": "cnn4"}))
    monkeypatch.setattr("layerlocal.runs.many.run_many", lambda *_, **__: pytest.fail("trained"))
    for call in (run_audit, forecast_audit):
        with pytest.raises(InputError, match=message) as error:
            call(tmp_path / "runs", data=data)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def image_folder(root, classes, train=12, test=4):
    """A folder ``train/<class>/*.png``, grey noise of 16 pixels."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return str(root)


def test_a_small_set_of_two_classes_is_audited_whole(stubbed, tmp_path):
    data = image_folder(tmp_path / "data", ["cat", "dog"], train=30)
    summary = run_audit(tmp_path / "runs", data=data, seeds=1, workers=1)
    assert not summary.missing and counts(summary, "real") == [2]
    specs = [record.spec.data for record in RunStore(tmp_path / "runs").finished() if record.spec.data.source == data]
    assert specs and all((spec.num_train, spec.num_test, spec.classes) == (None, None, None) for spec in specs)


def test_classes_too_few_to_fill_a_batch_are_left_out_of_the_sweep_and_that_is_said(stubbed, tmp_path):
    data = image_folder(
        tmp_path / "data", ["a", "b", "c"], train=7
    )  # of 21 images 18 are trained on, of two classes 12
    summary = run_audit(tmp_path / "runs", data=data, seeds=1, workers=1)
    assert counts(summary, "real") == [3] and not summary.failed
    [left_out] = summary.missing
    assert "2 classes" in left_out.label and "batch_size 16" in left_out.reason


def test_one_class_is_refused_in_one_sentence(stubbed, tmp_path):
    data = image_folder(tmp_path / "data", ["only"])
    with pytest.raises(InputError, match="one class, 'only'"):
        run_audit(tmp_path / "runs", data=data, seeds=1, workers=1)
    assert not (tmp_path / "runs").exists()


def test_a_plugin_that_fails_where_cost_is_measured_fails_there_alone(stubbed, tmp_path, monkeypatch):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    monkeypatch.setattr(layerlocal.experiments.audit.driver, "_refuse_broken", lambda _: None)
    monkeypatch.setattr("layerlocal.runs.preview.look_ahead", lambda spec: None)
    name = f"{tmp_path / 'plugin.py'}:Raises"
    summary = run_audit(tmp_path / "runs", rules=[name], seeds=1, workers=1)
    cost = part(summary, "What it costs")
    [note] = cost.notes
    assert note.startswith(f"{name}: not measured: raised ValueError at plugin.py") and "the moon is full" in note
    assert name not in [row["rule"] for row in cost.tables[0].rows]
    assert name not in [line.name for figure in cost.figures for line in figure.series]
    assert "the moon is full" in (tmp_path / "runs" / "report.html").read_text()


def test_a_rule_that_raises_after_some_steps_of_training_is_told_and_the_page_is_written(tiny, tmp_path, monkeypatch):
    (tmp_path / "late.py").write_text(LATE)
    monkeypatch.setattr(
        layerlocal.experiments.audit.driver, "_refuse_broken", lambda _: None
    )  # which would find it, being patient
    name = f"{tmp_path / 'late.py'}:Late"
    monkeypatch.setattr(
        layerlocal.experiments.audit.driver, "audit_runs",
        lambda plan: {(rule, "local", 0): accuracy_specs(plan)[rule, "local", 0] for rule in ("class-goodness", name)},
    )  # fmt: skip
    summary = run_audit(tmp_path / "runs", rules=[name], seeds=1, workers=1)
    [failure] = summary.failed
    assert failure.label.startswith(name) and "raised RuntimeError at late.py" in failure.reason
    assert "enough of it" in (tmp_path / "runs" / "report.html").read_text()


def test_a_rule_without_a_readout_at_every_block_has_the_twins_of_another_as_the_page_says(stubbed, tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    name = f"{tmp_path / 'plain.py'}:Plain"
    summary = run_audit(tmp_path / "runs", rules=[name], seeds=1, workers=1)
    [row] = [row for row in summary.rows if (row["rule"], row["arm"]) == (name, "accuracy")]
    assert f"{name}: twins made with the readout of local-heads" in summary.notes
    assert any("plain.py:Plain instead uses a readout of its own" in text for text in summary.sentences)
    store = RunStore(tmp_path / "runs")
    twins = [store.load(row["runs"][twin]).spec.rule for twin in ("bp", "bp-deepsup")]
    assert [twin.options for twin in twins] == [{"of": "local-heads", "grid": 4}] * 2


def test_old_and_new_spellings_of_the_commands_options_are_one(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        layerlocal.experiments.audit.driver,
        "forecast_audit",
        lambda out, **given: asked.append(given) or {"planned": 0, "finished": 0},
    )
    for words in (
        ["--rule", "ff", "--rule", "scff", "--budget", "standard"],
        ["--rules", "ff,scff", "--size", "standard"],
    ):
        monkeypatch.setattr(sys, "argv", ["layerlocal", "audit", "--dry-run", *words])
        with pytest.raises(SystemExit):
            layerlocal.cli.main()
    old, new = asked
    assert old == new and new["rules"] == ["ff", "scff"] and (new["size"], new["device"]) == ("standard", "cpu")


@pytest.mark.parametrize("content", ["[1", '"text"'])
def test_a_damaged_cost_of_an_audit_is_one_sentence_that_names_it(audited, tmp_path, content):
    out = shutil.copytree(audited[0], tmp_path / "runs")
    path = next((out / "experiments/audit-quick").glob("cost-*.json"))
    path.write_text(content)
    with pytest.raises(InputError, match=f"{path.name} is damaged .*again"):
        write_report(out)


def test_a_page_that_cannot_be_written_is_one_sentence(audited, tmp_path, monkeypatch):
    out = shutil.copytree(audited[0], tmp_path / "runs")
    (out / "report.html").unlink()
    (out / "report.html").mkdir()
    monkeypatch.setattr(layerlocal.report.page, "render_page", lambda _: "a page")
    with pytest.raises(InputError, match=r"cannot write .*report\.html"):
        write_report(out)


def test_a_page_that_a_full_disk_does_not_take_is_one_sentence_and_the_old_one_stays(audited, tmp_path, monkeypatch):
    out = shutil.copytree(audited[0], tmp_path / "runs")
    (out / "report.html").write_text("the old page")
    monkeypatch.setattr(layerlocal.report.page, "render_page", lambda _: "a page")
    replace = os.replace

    def full(source, target):
        if Path(target).name == "report.html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_report(out)
    assert (out / "report.html").read_text() == "the old page"
