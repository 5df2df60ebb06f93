"""Searches: spaces, trials that can be played again, equal budgets, and a test split that stays closed."""

from __future__ import annotations

import json
import math

import pytest
from rich.console import Console

import layerlocal.training.train
from layerlocal.data import Data
from layerlocal.experiments.stored import tune_path, tune_place, tune_summaries, write_report
from layerlocal.experiments.tune import Search, TunePlan, parse_dimension
from layerlocal.experiments.tune.driver import Searching, forecast_tuning, run_tuning
from layerlocal.experiments.tune.search import AT_ONCE
from layerlocal.report import render_markdown
from layerlocal.runs.run import build, run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec
from layerlocal.types import InputError

TINY = {
    "data": DataSpec(num_train=200, num_test=50),
    "network": NetworkSpec(name="mlp", width=0.25, options={"depth": 2}),
    "recipe": Recipe(epochs=1, batch_size=32),
}
SMALL = ["--rule", "local-heads", "--network", "mlp", "--width", "0.25", "--epochs", "1"]
RATE = parse_dimension("recipe.learning_rate=log:0.0001:0.1")


def make(*space, **changes):
    return TunePlan(**{"rules": ("local-heads",), "space": space or (RATE,), "trials": 6, **TINY, **changes})


def run(plan, out, **options):
    return run_tuning(plan, out, workers=1, console=Console(quiet=True), **options)


# --- dimensions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "low", "high", "choices", "rule"),
    [
        ("recipe.learning_rate=log:1e-4:1e-2", "log", 1e-4, 1e-2, (), None),
        ("rule.label_smoothing=0:0.2", "linear", 0, 0.2, (), None),
        ("rule.grid=1,2,4", "choices", 0, 0, (1, 2, 4), None),
        ("class-goodness/rule.fusion=uniform,last", "choices", 0, 0, ("uniform", "last"), "class-goodness"),
        ("my.py:Mine/rule.x=true,false", "choices", 0, 0, (True, False), "my.py:Mine"),
        ("rule.clip=null,1.5", "choices", 0, 0, (None, 1.5), None),
    ],
)
def test_a_dimension_is_read_as_it_is_written(text, kind, low, high, choices, rule):
    found = parse_dimension(text)
    assert (found.kind, found.low, found.high, found.choices, found.rule) == (kind, low, high, choices, rule)
    assert parse_dimension(found.text) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rule.grid", "takes KEY=LOW:HIGH"),
        ("=1:2", "takes KEY=LOW:HIGH"),
        ("rule.grid=4", r"one choice; .*--set rule.grid=4"),
        ("rule.x=a:b", "bounds are two numbers"),
        ("rule.x=1:2:3", "bounds are two numbers"),
        ("rule.x=2:1", "LOW must be below HIGH"),
        ("rule.x=0:inf", "both finite"),
        ("rule.x=log:0:1", "above 0"),
        ("rule.x=0,nan", "a finite number"),
        ("rule.x=-Infinity,0.1", "a finite number"),
    ],
)
def test_a_dimension_that_is_none_is_refused(text, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_dimension(text)


def test_drawn_numbers_are_short_and_stay_inside():
    assert RATE.tidy(0.0123456) == 0.0123 and parse_dimension("rule.x=0.12345:0.2").tidy(0.12345001) == 0.12345
    assert parse_dimension("rule.steps=1:9").whole and not parse_dimension("rule.share=0:0.9").whole
    assert RATE.holds(0.002) and not RATE.holds(1.0) and not RATE.holds(None)


# --- what is tried ----------------------------------------------------------------------------------------------------


def play(plan, worth):
    search, tried = Search(plan, plan.methods[0]), []
    while asked := search.ask():
        tried += asked
        search.tell([worth(settings) for settings in asked])
    return tried


def near_a_hundredth(settings):
    """PLANTED: best at 0.01."""
    return -abs(math.log10(settings["recipe.learning_rate"]) + 2)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_trials_are_a_function_of_the_plan_and_the_first_is_the_settings_as_they_are(sampler):
    plan = make(sampler=sampler, trials=11)
    tried = play(plan, near_a_hundredth)
    assert len(tried) == 11 and tried == play(plan, near_a_hundredth)
    assert tried[0] == {"recipe.learning_rate": Recipe().learning_rate}
    assert all(1e-4 <= settings["recipe.learning_rate"] <= 0.1 for settings in tried)
    assert play(make(sampler=sampler, trials=7), near_a_hundredth) == tried[:7], "more trials go on from fewer"
    assert play(make(sampler=sampler, trials=11, seed=1), near_a_hundredth)[1:] != tried[1:]
    other = Search(plan, plan.methods[1])
    assert other.ask()[1:] != tried[1:AT_ONCE], "methods draw apart"


def test_tpe_learns_where_it_is_good_and_random_does_not():
    """The share of the last 24 of 48 trials within a factor of 2 of the best: log-uniform draws have 0.2 of them there."""

    def near(sampler):
        late = play(make(sampler=sampler, trials=48), near_a_hundredth)[24:]
        return sum(near_a_hundredth(settings) > -math.log10(2) for settings in late) / len(late)

    assert near("tpe") > 0.5 > near("random")


def test_a_failed_trial_is_worth_nothing_and_costs_one_trial():
    plan = make(trials=9)
    assert len(play(plan, lambda settings: None)) == 9


def test_a_value_that_cannot_be_drawn_is_no_first_trial():
    plan = make(parse_dimension("recipe.learning_rate=log:0.01:0.1"))
    assert play(plan, near_a_hundredth)[0]["recipe.learning_rate"] != Recipe().learning_rate


# --- one list for all --------------------------------------------------------------------------------------------------


def test_a_dimension_gives_equal_shares_to_choices_and_to_whole_numbers_and_numbers_on_their_scale():
    shares = [(i + 0.5) / 12 for i in range(12)]
    assert [parse_dimension("rule.x=a,b,c").at(share) for share in shares] == [*"aaaabbbbcccc"]
    assert [parse_dimension("rule.x=3:5").at(share) for share in shares] == [3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]
    assert parse_dimension("rule.x=0:0.2").at(0.25) == 0.05
    assert RATE.at(1 / 3) == pytest.approx(1e-3) and RATE.at(0) == 1e-4
    wide = parse_dimension("rule.x=log:1:8")
    assert (wide.at(0), wide.at(math.log(4) / math.log(17)), wide.at(0.9999)) == (1, 2, 8)


@pytest.mark.parametrize(
    ("text", "inside", "lower", "upper"),
    [
        ("rule.x=0:1.5", [0.16, 0.75, 1.34], [0, 0.15], [1.35, 1.5]),
        ("rule.x=log:0.0001:1.5", [0.0003, 0.5], [0.0001, 0.00026], [0.6, 1.5]),
        ("rule.x=1:4", [2, 3], [1], [4]),
        ("rule.x=1,2,4", [1, 2, 4], [], []),
    ],
)
def test_a_value_is_at_the_edge_in_the_outermost_tenth_of_its_range(text, inside, lower, upper):
    dimension = parse_dimension(text)
    assert [dimension.edge(value) for value in inside] == [None] * len(inside)
    assert [dimension.edge(value) for value in lower + upper] == ["lower"] * len(lower) + ["upper"] * len(upper)


def test_with_sobol_every_method_is_tried_at_the_same_settings_and_they_fill_the_space_without_optuna(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    plan = make(RATE, parse_dimension("rule.grid=1,2"), sampler="sobol", trials=17)
    lists = [Search(plan, method).ask() for method in plan.methods]
    assert lists[0] == lists[1] == lists[2]
    assert lists[0][0] == {"recipe.learning_rate": Recipe().learning_rate, "rule.grid": 2}, "the settings as they are"
    rates = [math.log10(settings["recipe.learning_rate"]) for settings in lists[0][1:]]
    assert sorted(math.floor((rate + 4) / 3 * 16) for rate in rates) == list(range(16)), "one in each sixteenth"
    assert sum(settings["rule.grid"] == 1 for settings in lists[0][1:]) == 8
    fewer, other = (
        Search(make(*plan.space, **{"sampler": "sobol", **c}), plan.methods[0]) for c in ({"trials": 7}, {"seed": 1})
    )
    assert fewer.ask() == lists[0][:7] and other.ask()[1:] != lists[0][1:6]


def test_settings_that_differ_between_a_rule_and_its_twins_begin_no_list(monkeypatch):
    """The twins of `sigprop`, which has no readout a block, are those of `local-heads`, with options of their own."""
    plan = make(sampler="sobol", settings={"recipe.learning_rate": 0.5})
    assert all(settings["recipe.learning_rate"] != 0.5 for settings in Search(plan, plan.methods[0]).ask())
    monkeypatch.setattr(TunePlan, "usual", lambda _, method: {"recipe.learning_rate": 0.001 if method.twin else 0.01})
    plan = make(sampler="sobol")
    first = [Search(plan, method).ask()[0] for method in plan.methods]
    assert first[0] == first[1] == first[2] and first[0]["recipe.learning_rate"] not in (0.001, 0.01)


# --- fair -------------------------------------------------------------------------------------------------------------


def test_a_rule_and_its_twins_get_the_same_space_and_as_many_trials():
    plan = make(RATE, parse_dimension("rule.grid=1,2"), rules=("local-heads", "ff"))
    assert [m.label for m in plan.methods] == [
        "local-heads", "bp of local-heads", "bp-deepsup of local-heads", "ff", "bp of ff", "bp-deepsup of ff",
    ]  # fmt: skip
    specs = [plan.run(method, {"rule.grid": 1}, 3) for method in plan.methods[:3]]
    assert [(s.rule.name, s.rule.options) for s in specs] == [
        ("local-heads", {"grid": 1}), ("bp", {"of": "local-heads", "grid": 1}), ("bp-deepsup", {"of": "local-heads", "grid": 1}),
    ]  # fmt: skip
    assert all(s.judged_on == "validation" and s.seed == 3 and s.data == TINY["data"] for s in specs)


@pytest.mark.parametrize(
    ("space", "changes", "sentence"),
    [
        (["class-goodness/rule.grid=1,2"], {"rules": ("class-goodness", "ff")}, "class-goodness 1, ff 0"),
        (["ff/rule.theta=1:2"], {}, "not tuned; tuned: local-heads"),
        (["rule.grid=1,2", "rule.grid=1,4"], {}, "rule.grid twice"),
        (["rule.grid=1,2"], {"settings": {"rule.grid": 2}}, "searched and set"),
        (["rule.grid=1,2"], {"data": DataSpec(validation=0)}, "data.validation is 0"),
    ],
)
def test_an_unfair_search_is_refused(space, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        make(*map(parse_dimension, space), **changes).check()


def test_a_forecast_is_of_every_trial_of_every_method(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "layerlocal.experiments.tune.driver.forecast_seconds",
        lambda specs, device: [2.0 + len(s.rule.options) for s in specs],
    )
    found = forecast_tuning(make(trials=4, seeds=5), tmp_path, workers=2)
    assert (found["planned"], found["seconds"]) == (60, 20 * (2 + 3 + 3) / 2)
    found = forecast_tuning(make(trials=9, sampler="sobol"), tmp_path, workers=8)  # one round
    assert (found["planned"], found["seconds"]) == (27, 9 * (2 + 3 + 3) / 8)
    found = forecast_tuning(
        make(trials=9), tmp_path, workers=8
    )  # rounds of 4, 4 and 1 trials; the last takes its longest run
    assert (found["planned"], found["seconds"]) == (27, 4 + 4 + 3)


@pytest.mark.parametrize(
    ("given", "kept", "listed"), [(3, 3, (0, 1, 2)), ((0, 1), 2, (0, 1)), ((4, 7), (4, 7), (4, 7))]
)
def test_seeds_of_trials_are_a_number_or_those_that_are_named(given, kept, listed):
    plan = make(seeds=given)
    assert (plan.seeds, plan.seed_list) == (kept, listed)
    assert plan.name == make(seeds=kept).name and Searching(plan).total(plan) == 6 * 3 * len(listed)


def test_the_name_of_a_search_stays_what_it_was():
    """Under which stores of 0.1.0 keep it."""
    assert TunePlan(rules=("class-goodness",), space=(RATE,)).name == "e2df17e9"


def test_a_forecast_takes_settings_that_lie_in_the_space():
    """An option that has no default of its own is searched all the same."""
    plan = make(parse_dimension("rule.grid=2,4"), parse_dimension("recipe.learning_rate=log:0.01:0.1"))
    assert Search(plan, plan.methods[0]).first == {"rule.grid": 2, "recipe.learning_rate": 0.01}


# --- a search that trains ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search with one trial that fails: a rate at which numbers overflow."""
    out = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Data, "take_test", lambda _: pytest.fail("the test split was opened"))
        return out, run(make(parse_dimension("recipe.learning_rate=0.002,1e30"), trials=5, sampler="random"), out)


def trials_of(summary, method):
    return [row for row in summary.rows if row["method"] == method]


METHODS = ["local-heads", "bp of local-heads", "bp-deepsup of local-heads"]


def test_every_method_has_its_trials_and_the_best_is_the_best(searched):
    out, summary = searched
    assert list(dict.fromkeys(row["method"] for row in summary.rows)) == METHODS
    for told, method in zip(summary.tables[0].rows, METHODS, strict=True):
        trials = trials_of(summary, method)
        assert len(trials) == told["trials"] == 5
        good = [trial for trial in trials if trial["value"] is not None]
        [best] = [trial for trial in trials if trial["best"]]
        assert told["best"] == best["value"] == max(t["value"] for t in good) and told["usual"] == good[0]["value"]
        for trial in trials:
            assert (trial["value"] is None) == (trial["recipe.learning_rate"] == 1e30)
            assert trial["reason"] is None or "finite" in trial["reason"]
    lost = sum(row["value"] is None for row in summary.rows)
    assert lost and (summary.planned, summary.finished) == (15, 15 - lost) and not summary.missing
    [first] = [row for row in trials_of(summary, METHODS[0]) if row["best"]]
    record = RunStore(out / "tune").load(first["runs"][0])
    assert record.result["validation_accuracy"] == first["value"]
    assert "test_accuracy" not in record.result and record.result["num_validation"] == 20


def test_the_same_search_trains_nothing_again_but_what_failed_and_more_trials_go_on(searched, monkeypatch):
    out, summary = searched

    def only_what_failed(spec, *_):
        assert spec.recipe.learning_rate == 1e30, "trained twice"
        raise InputError("the loss is not finite")

    monkeypatch.setattr("layerlocal.runs.run._train_run", only_what_failed)
    again = run(make(parse_dimension("recipe.learning_rate=0.002,1e30"), trials=4, sampler="random"), out)
    for method in METHODS:
        values = [[trial["value"] for trial in trials_of(found, method)] for found in (again, summary)]
        assert values[0] == values[1][:4]
    assert again.name == summary.name


def test_a_method_of_which_no_trial_ends_is_missing(tmp_path):
    plan = make(parse_dimension("recipe.learning_rate=1e29,1e30"), trials=1, sampler="random")
    found = run(plan, tmp_path)
    assert [(entry.label, entry.runs) for entry in found.failed] == [(method, 1) for method in METHODS]
    assert all("finite" in entry.reason for entry in found.missing) and found.finished == 0


def test_the_command_of_the_best_is_a_run_that_opens_the_test_split(searched):
    command = searched[1].tables[0].rows[1]["command"]
    assert command.startswith("layerlocal train --rule bp ") and "--set rule.of=local-heads" in command
    assert "recipe.learning_rate" not in command or "1e+30" not in command


def test_the_figure_is_the_best_so_far_and_never_falls(searched):
    [figure] = searched[1].figures
    assert [series.name for series in figure.series] == METHODS
    for series in figure.series:
        heights = [point.y for point in series.points]
        tried = [row["value"] for row in trials_of(searched[1], series.name)]
        assert heights == [max(filter(None, tried[: point.x])) for point in series.points] and series.points[-1].x == 5


def test_the_page_shows_trials_size_and_command(searched):
    out, summary = searched
    tune_place(out, summary.name).summary.path.write_text(
        summary.model_dump_json()
    )  # whatever other tests went on to search
    page = write_report(out).read_text()
    assert [found.name for found in tune_summaries(out)] == [summary.name]
    for words in (
        "Search for settings",
        "bp of local-heads",
        "the test split stayed closed",
        "5 trials a method, random, 1 dimension,",
    ):
        assert words in page, words
    assert "Search for settings" in render_markdown(summary)


def test_a_search_of_an_earlier_version_is_read(tmp_path):
    """In the form of 0.1.0: the same finding, loose beside the runs."""
    trials = [
        {"settings": {"rule.grid": 1}, "values": [0.5], "value": 0.5, "reason": None, "runs": ["a"]},
        {"settings": {"rule.grid": 2}, "values": [], "value": None, "reason": "it fell over", "runs": ["b"]},
    ]
    method = {
        "label": "ff",
        "rule": "ff",
        "twin": None,
        "trials": trials,
        "best": trials[0],
        "usual": None,
        "command": "layerlocal train",
    }
    old = {
        "name": "0123abcd", "command": "layerlocal tune", "created": "2026-01-01", "layerlocal": "0.1.0", "environment": {}, "plan": {},
        "space": ["rule.grid=1,2"], "budget": "2 trials a method", "methods": [method], "sentences": ["ff: 50 %"],
    }  # fmt: skip
    tune_path(tmp_path, "0123abcd").write_text(json.dumps(old))
    [found] = tune_summaries(tmp_path)
    assert (found.experiment, found.name, found.size_words, found.sentences) == (
        "tune",
        "0123abcd",
        "2 trials a method",
        ("ff: 50 %",),
    )
    assert [(row["rule.grid"], row["value"], row["best"]) for row in found.rows] == [(1, 0.5, True), (2, None, False)]
    assert "2 trials a method" in write_report(tmp_path).read_text()


def test_a_trial_is_what_its_last_epoch_found_and_is_not_evaluated_again(tmp_path, monkeypatch):
    spec, seen = RunSpec(**TINY, judged_on="validation"), []
    spec = spec.with_settings({"recipe.epochs": 2, "rule.fusion": "fitted"})
    evaluate = layerlocal.training.train.evaluate_split
    monkeypatch.setattr(
        layerlocal.training.train, "evaluate_split", lambda *a, **k: seen.append(evaluate(*a, **k)) or seen[-1]
    )
    result = run_spec(spec, RunStore(tmp_path)).result
    assert len(seen) == 2 and result["validation_accuracy"] == seen[1].accuracy
    assert (result["block_accuracies"], result["num_validation"]) == (seen[1].block_accuracies, seen[1].num_samples)


def test_a_run_judged_on_validation_is_another_run_and_needs_a_validation_split():
    spec = RunSpec(**TINY)
    trial = spec.model_copy(update={"judged_on": "validation"})
    assert trial.hash != spec.hash and "judged_on" not in json.loads(spec.canonical())
    assert RunSpec.parse(trial.model_dump(mode="json")) == trial and build(trial)[1] is not None
    blind = trial.model_copy(update={"data": TINY["data"].model_copy(update={"validation": 0.0})})
    with pytest.raises(InputError, match="judged_on 'validation' needs a validation split"):
        build(blind)
    assert all(make().run(method, {}, 0).judged_on == "validation" for method in make().methods)


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_search_from_the_command_line(cli, tmp_path):
    words = [
        "tune",
        *SMALL,
        "--trials",
        "2",
        "--workers",
        "1",
    ]
    words += [
        "--set",
        "data.num_train=200",
        "--set",
        "data.num_test=50",
        "--set",
        "network.depth=2",
        "--out",
        tmp_path / "runs",
    ]
    code, out, _ = cli(*words, "--seeds", "3", "--dry-run")
    assert (
        code == 0
        and out.startswith("18 runs (2 trials of 3 seeds a method, ")
        and "validation split): 0 finished, 18 to train" in out
        and "on 1 worker," in out
    )
    assert not (tmp_path / "runs").exists()
    found = json.loads(cli(*words, "--dry-run", "--json")[1])
    assert (found["planned"], found["finished"]) == (6, 0) and found["seconds"] > 0
    code, out, _ = cli(*words)
    assert code == 0 and "bp-deepsup of local-heads: validation accuracy" in out and "2 trials a method" in out
    assert cli(*words, "--dry-run")[1].endswith("validation split): 6 finished, 0 to train\n")
    more = json.loads(cli(*words, "--dry-run", "--json", "--trials", "5")[1])
    assert (more["planned"], more["finished"]) == (15, 6)
    code, out, _ = cli(*words, "--json")
    assert code == 0 and len(json.loads(out)["tables"][0]["rows"]) == 3
    name = json.loads(out)["rows"][0]["runs"][0]
    code, out, _ = cli("show", name, "--out", tmp_path / "runs" / "tune")
    assert code == 0 and "(validation)" in out
    assert "(validation)" in cli("show", "--out", tmp_path / "runs" / "tune")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--space", "rule.grid"], "--space takes KEY=LOW:HIGH"),
        (["--space", "rule.gird=1,2"], "unknown option"),
        (["--sampler", "grid"], "sampler"),
        (["--rule", "dtg-fff"], "unknown rule 'dtg-fff'"),
        (["--set", "data.validation=0"], "data.validation is 0"),
        (["--set", "judged_on=test"], "judged_on is no setting of a search: trials are judged on the validation split"),
        (["--space", "judged_on=validation,test"], "judged_on is no setting of a search"),
        (["--space", "seed=1:3"], "seed is no setting of a search: give the seeds with --seeds"),
        (["--rule", "bp"], "bp is a baseline, not a local rule"),
        (
            ["--space", "class-goodness/rule.decoupled_norm=no,off"],
            "decoupled_norm of rule 'class-goodness' must be true or false, got 'no'",
        ),
    ],
)
def test_a_mistake_is_one_sentence(refused, words, sentence):
    assert sentence in refused("tune", *words, "--network", "mlp")


def test_a_rule_of_a_file_that_cannot_begin_is_refused_before_any_trial(refused, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\nfrom layerlocal.rules import LocalHeads, RuleInfo\n\n\nclass Exits(LocalHeads):\n"
        "    info = RuleInfo(name='exits', locality='block')\n\n    def local_loss(self, *_):\n        sys.exit(0)\n"
    )
    words = (
        "--rule mine.py:Exits --network cnn4 --width 0.125 --set data.num_train=100 --set data.num_test=50 --out runs"
    )
    assert "mine.py:Exits raised SystemExit at mine.py:9" in refused("tune", *words.split())
    assert not (tmp_path / "runs").exists()


def test_train_can_be_judged_on_validation_data_too(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Data, "take_test", lambda _: pytest.fail("the test split was opened"))
    words = [
        "train",
        *SMALL,
        "--set",
        "data.num_train=200",
    ]
    code, out, _ = cli(*words, "--set", "data.num_test=50", "--set", "judged_on=validation", "--out", tmp_path / "runs")
    assert code == 0 and "(validation)" in out and "test accuracy" not in out
    assert write_report(tmp_path / "runs").exists()


def test_without_optuna_one_sentence_says_how_to_get_it(refused, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert 'pip install "layerlocal[tune]"' in refused("tune", "--network", "mlp")
