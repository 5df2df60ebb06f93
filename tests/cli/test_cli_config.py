"""``--config``: the spec of a run makes this run, a plan makes this experiment, what is typed wins, and a file that will not do is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import layerlocal.experiments.audit.driver
import layerlocal.experiments.studies.running
import layerlocal.experiments.tune.driver
import layerlocal.runs.run
from layerlocal.claims.files import load_yaml
from layerlocal.experiments.audit.plan import AuditPlan
from layerlocal.experiments.places import write_kept
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.choice import search_of
from layerlocal.experiments.tune import TunePlan, parse_dimension
from layerlocal.runs.store import RunStore
from layerlocal.spec import TYPED_NETWORK, DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.training.train import Training
from layerlocal.types import InputError

SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=96, num_test=32),
    network=NetworkSpec(name="mlp", fused=True, options={"depth": 2, "hidden": 16}),
    recipe=Recipe(epochs=1, batch_size=32, learning_rate=1e-5), seed=3,
)  # fmt: skip
YAML = """
data: {source: teacher_student, classes: 3, num_train: 96, num_test: 32}
network: {name: mlp, options: {depth: 2, hidden: 16}}
recipe:
  epochs: 1
  batch_size: 32
  learning_rate: 1e-5
seed: 3
"""
RULE = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")
"""


def put(name, content):
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))
    return name


@pytest.fixture
def asked(cli, monkeypatch):
    """The spec that a command would run."""

    def call(*words):
        found = []

        def capture(spec, *_, **__):
            found.append(spec)
            raise InputError("captured")

        monkeypatch.setattr(layerlocal.runs.run, "run_spec", capture)
        _, _, err = cli("train", *words)
        assert found, err
        return found[0]

    return call


def test_the_spec_of_a_finished_run_finds_it_and_trains_nothing(cli, monkeypatch):
    code, out, err = cli("train", "--config", put("run.yaml", YAML), "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["run"] == SPEC.hash and Path("runs", SPEC.hash, "spec.json").exists()
    monkeypatch.setattr(Training, "run_epoch", lambda *_: pytest.fail("trained again"))
    code, out, _ = cli("train", "--config", f"runs/{SPEC.hash}/spec.json", "--json")
    assert code == 0 and json.loads(out) == found


def test_some_fields_are_laid_over_what_the_command_takes_and_a_whole_spec_means_what_it_says(asked):
    assert asked("--config", put("some.yaml", YAML)) == SPEC
    assert asked("--config", put("some.json", '{"recipe": {"epochs": 4}}')) == asked("--epochs", "4")
    assert asked("--config", put("fused.yaml", "network: {width: 0.5}")).network.fused
    first = json.loads(RunSpec().model_dump_json())  # as 0.1.0 wrote one: it knew no fused operations
    del first["network"]["fused"], first["names"]
    first["rule"]["name"] = "dtg-ff"
    assert asked("--config", put("first.json", first)) == RunSpec(rule=RuleSpec(name="class-goodness"))


def test_what_is_typed_wins_over_the_file_and_all_else_stays(asked):
    file = ("--config", put("run.yaml", YAML))
    assert asked(*file, "--epochs", "2", "--seed", "0", "--set", "network.hidden=8") == SPEC.with_settings(
        {"recipe.epochs": 2, "seed": 0, "network.hidden": 8}
    )
    assert asked(*file, "--rule", "local-heads", "--width", "2") == SPEC.with_settings(
        {"rule.name": "local-heads", "network.width": 2}
    )
    recorded = SPEC.model_dump(mode="json")
    recorded["data"]["content_sha256"] = "0" * 64  # of the data that the typed ones replace
    assert asked("--config", put("run.json", recorded), "--data", "fashion_mnist_subset").data.content_sha256 is None


REFUSED = [
    ("recipe: {epoch: 2}", "recipe.epoch", "epochs"),
    ("study: depth", "study", "known"),
    ("recipe: 3", "recipe", "3"),
    ("recipe: {epochs: many}", "recipe.epochs", "many"),
    ("recipe: {epochs: 0}", "recipe.epochs", "0"),
    ("rule: {options: {grid: [2]}}", "rule.options", "[2]"),
    ("rule: {name: [ff]}", "rule.name", "ff"),
    ("seed: -1", "seed", "-1"),
    ("protocol: 2", "protocol 2", "compare"),
    ("names: 3", "later version", "names: 3"),
    ("- recipe", "fields", "recipe"),
    ("", "fields", "None"),
    ("1: 2", "fields", "1"),
    ("recipe: {", "line 1", "YAML"),
    ("seed: 1\nseed: 2", "seed", "line 1"),
]


@pytest.mark.parametrize(("content", "first", "second"), REFUSED)
def test_a_file_that_is_no_spec_is_refused_with_its_name_and_the_field(refused, content, first, second):
    sentence = refused("train", "--config", put("mine.yaml", content))
    assert "mine.yaml" in sentence and first in sentence and second in sentence
    assert not Path("runs").exists()


def test_a_file_that_is_not_there_or_no_json_is_refused(refused):
    assert "nowhere.yaml" in refused("train", "--config", "nowhere.yaml")
    assert "cannot read" in refused("study", "depth", "--config", ".")
    assert "mine.json is not JSON" in refused("train", "--config", put("mine.json", "recipe: {epochs: 1}"))
    Path("mine.yaml").write_bytes(b"rule: \xff")
    assert "mine.yaml is not UTF-8" in refused("train", "--config", "mine.yaml")


def test_code_that_only_the_file_names_is_not_run_and_code_that_changed_is_not_taken_for_it(refused, asked, cli):
    put("mine.py", f"raise SystemExit(3)\n{RULE}")
    for content, option in (
        ({"rule": {"name": "mine.py:Mine"}}, "--rule"),
        ({"rule": {"name": "bp", "options": {"of": "mine.py:Mine"}}}, "--set rule.of=mine.py:Mine"),
        ({"network": {"name": "mine.py:net"}}, "--network"),
    ):
        sentence = refused("train", "--config", put("run.json", content))
        assert "run.json" in sentence and "mine.py" in sentence and option in sentence
    assert "--rules" in refused("study", "depth", "--config", put("plan.json", {"rules": ["mine.py:Mine"]}))
    settings = {"settings": {"network.name": "mine.py:net"}}
    assert "--network" in refused("tune", "--config", put("plan.json", settings))
    put("mine.py", RULE)
    named = ("--config", put("run.yaml", f"{YAML}rule: {{name: 'mine.py:Mine'}}"), "--rule", "mine.py:Mine")
    spec = asked(*named)
    kept = put("run.json", spec.model_dump(mode="json"))
    assert asked("--config", kept, "--rule", "mine.py:Mine") == spec
    put("mine.py", f"{RULE}\n# changed")
    assert "has changed since run.json" in refused("train", "--config", kept, "--rule", "mine.py:Mine")
    assert asked("--config", kept, "--rule", "bp").rule == RuleSpec(name="bp")


def test_a_finished_run_of_own_code_is_found_by_its_spec_though_the_code_is_gone(cli, monkeypatch):
    put("mine.py", RULE)
    put("run.yaml", f"{YAML}rule: {{name: 'mine.py:Mine'}}")
    code, out, err = cli("train", "--config", "run.yaml", "--rule", "mine.py:Mine", "--json")
    assert code == 0, err
    Path("mine.py").unlink()
    run = json.loads(out)["run"]
    code, again, err = cli("train", "--config", f"runs/{run}/spec.json", "--json")
    assert code == 0 and json.loads(again) == json.loads(out), err


# --- experiments ------------------------------------------------------------------------------------------------------


@pytest.fixture
def experiment(cli, monkeypatch):
    """What a command asks of its experiment: arguments by name, or the plan of a search."""

    def call(*words):
        found = []

        def capture(*args, **asked):
            found.append((args, asked))
            raise InputError("captured")

        for module, name in (
            (layerlocal.experiments.studies.running, "run_study"),
            (layerlocal.experiments.audit.driver, "run_audit"),
            (layerlocal.experiments.tune.driver, "run_tuning"),
        ):
            monkeypatch.setattr(module, name, capture)
        _, _, err = cli(*words)
        assert found, err
        args, asked = found[0]
        names = ("size", "rules", "seeds", "data", "settings", "controls", "space", "trials", "trial_seeds")
        return args[0] if words[0] == "tune" else (args[1:], {key: asked[key] for key in names if key in asked})

    return call


def test_the_plan_of_a_study_asks_for_it_again_and_what_is_typed_wins(experiment):
    plan = StudyPlan(
        study="depth", rules=("ff", "scff"), seeds=(0, 3, 4), data=("cifar10",), settings={"recipe.epochs": 1},
        command="layerlocal study depth", claims_sha256="0", sources={}, widths={}, controls=False,
    )  # fmt: skip
    write_kept(Path("plan.json"), plan)
    expected = {
        "size": "quick", "rules": ["ff", "scff"], "seeds": (0, 3, 4), "data": ["cifar10"], "settings": {"recipe.epochs": 1},
        "controls": False, "space": [], "trials": None, "trial_seeds": None,
    }  # fmt: skip
    assert experiment("study", "--config", "plan.json") == (("depth",), expected)
    typed = ("--seeds", "2", "--rules", "ff", "--set", "recipe.epochs=2", "--width", "0.5", "--controls")
    _, found = experiment("study", "depth", "--config", "plan.json", *typed)
    settings = {"recipe.epochs": 2, "network.width": 0.5}
    assert found == expected | {"seeds": 2, "rules": ["ff"], "controls": True, "settings": settings}
    assert experiment("study", "classes", "--config", put("some.yaml", "seeds: 4"))[1]["seeds"] == (0, 1, 2, 3)


def test_the_search_of_a_plan_of_the_study_best_is_asked_for_again(experiment):
    search = search_of("quick", space=["recipe.learning_rate=log:0.001:0.1"], trials=5, trial_seeds=3)
    write_kept(Path("plan.json"), StudyPlan(study="best", search=search))
    _, found = experiment("study", "--config", "plan.json")
    assert (found["trials"], found["trial_seeds"]) == (5, 3)
    assert [parse_dimension(text) for text in found["space"]] == list(search.space)


def test_the_plan_of_an_audit_asks_for_it_again_with_the_same_rule_in_its_class_sweep(experiment):
    plan = AuditPlan(
        rules=("local-heads", "class-goodness", "ff", "symba", "scff"), sweep_rule="symba", size="standard", seeds=(1, 2),
        data=DataSpec(source="cifar100", labels="coarse", content_sha256="0" * 64), settings={"recipe.epochs": 2}, controls=True,
    )  # fmt: skip
    write_kept(Path("plan.json"), plan)
    _, found = experiment("audit", "--config", "plan.json")
    assert found["rules"] == ["symba", "local-heads", "class-goodness", "ff", "scff"]
    assert (found["size"], found["seeds"], found["data"], found["controls"]) == ("standard", (1, 2), "cifar100", True)
    assert found["settings"] == {"recipe.epochs": 2, "data.labels": "coarse"}
    assert experiment("audit", "--config", put("some.yaml", "rules: [symba]"))[1]["rules"] == ["symba"]


def test_the_plan_of_a_search_is_the_same_search(experiment):
    network = TYPED_NETWORK.model_copy(update={"name": "mlp"})
    plan = TunePlan(
        rules=("ff",), network=network, data=DataSpec(source="teacher_student"), trials=3, seeds=2, sampler="sobol",
        seed=7, settings={"recipe.epochs": 1}, space=(parse_dimension("rule.grid=1,2"), parse_dimension("recipe.learning_rate=log:1e-3:0.1")),
    )  # fmt: skip
    write_kept(Path("plan.json"), plan)
    assert experiment("tune", "--config", "plan.json").name == plan.name
    assert experiment("tune", "--config", "plan.json", "--trials", "4") == plan.model_copy(update={"trials": 4})
    assert experiment("tune", "--config", put("some.yaml", "network: {name: mlp}")).network == network


@pytest.mark.parametrize(
    ("command", "content", "named"),
    [
        ("study", {"rulez": ["ff"]}, ("rulez", "rules")),
        ("study", {"seeds": "three"}, ("seeds", "valid")),
        ("study", {"settings": {"recipe.epoch": 3}}, ("recipe.epoch", "recipe.epochs")),
        ("audit", {"size": "huge"}, ("size", "quick")),
        ("audit", {"protocol": 1}, ("protocol", "known")),
        ("tune", {"trials": 0}, ("trials", "0")),
        ("tune", {"names": 3}, ("names: 3", "update")),
        ("tune", {"network": {"widht": 2}}, ("network.widht", "width")),
    ],
)
def test_a_file_that_is_no_plan_is_refused_with_its_name_and_the_field(refused, command, content, named):
    sentence = refused(command, "--config", put("mine.json", content))
    assert "mine.json" in sentence and all(word in sentence for word in named)
    assert not RunStore("runs").root.exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e-3", 1e-3),
        ("-2E5", -2e5),
        ("1.5e3", 1.5e3),
        (".5e1", 5.0),
        ("3", 3),
        ("1e-3x", "1e-3x"),
        ("12e4567", "12e4567"),
    ]
    + [(name, name) for name in ("6890438e878675b6f726c891db70d10b5cf975ab", "e5", "1e", "123e")],
)
def test_a_number_with_an_exponent_is_a_number_and_a_hash_is_none(written, read):
    assert load_yaml("a.yaml", f"a: {written}".encode(), "fields") == {"a": read}
