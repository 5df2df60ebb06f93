"""`layerlocal tune`: as many trials for every rule and every twin, from one space, judged on validation data; the best settings of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from layerlocal.command import command_of
from layerlocal.data.text import is_text
from layerlocal.experiments.driver import How, Key, Missing, Refusal, Round, RunExperiment, forecast, run
from layerlocal.experiments.places import Place
from layerlocal.experiments.stored import TRIALS, tune_place
from layerlocal.experiments.tune import Method, Search, TunePlan, at_once, settings_words
from layerlocal.experiments.tune.present import summary_of_search
from layerlocal.experiments.workshop import RunShop
from layerlocal.plugins import file_sha256
from layerlocal.runs.environment import describe_environment, usual_workers
from layerlocal.runs.forecast import forecast_seconds
from layerlocal.runs.pin import contents_of, sources_of
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.summary import Summary
from layerlocal.types import InputError
from layerlocal.words import percent, several

__all__ = ["Searching", "forecast_tuning", "run_tuning"]


@dataclass
class Searching(RunExperiment[TunePlan]):
    """A search with the trials that it has made; rounds of it are made from what the trials before were worth.

    Args:
        asked: the search; its sources and its data are filled in here.
        command: noted beside the numbers.
    """

    asked: TunePlan
    command: str = "layerlocal tune"
    searches: list[Search] = field(default_factory=list)
    trials: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    store = TRIALS

    def place(self, out: Path, plan: TunePlan) -> Place:
        """Its folder."""
        return tune_place(out, plan.name)

    def plan(self, out: Path, how: How) -> TunePlan:
        """With the hashes of its files; equal spaces, settings that exist."""
        network = self.asked.network
        network = network.model_copy(update={"source_sha256": file_sha256(network.name, "network")})
        start = {key: value for key, value in self.asked.settings.items() if key == "network.start"}
        plan = self.asked.model_copy(update={"sources": sources_of(self.asked.rules, start), "network": network})
        plan.check()
        return plan

    def jobs(self, plan: TunePlan) -> dict[Key, RunSpec]:
        """One of each method, with the settings as they are."""
        return {(m.label,): plan.run(m, Search(plan, m).first, plan.seed_list[0]) for m in plan.methods}

    def looks(self, plan: TunePlan) -> tuple[Callable[[RunSpec], Any], ...]:
        """Each method is built, and each of a file begun."""
        return (_refuse_what_cannot_be_searched,)

    def parts(self, plan: TunePlan, key: Key) -> tuple[Hashable, ...]:
        """A fair search is of every method or of none."""
        return (key,)

    def blame(self, plan: TunePlan, key: Key, spec: RunSpec, error: InputError) -> tuple[Hashable, Refusal]:
        """Whatever cannot be searched ends the search."""
        raise error

    def with_data(self, plan: TunePlan, contents: dict[str, str]) -> TunePlan:
        """Recorded in the plan, so that the search is of these data."""
        return plan.model_copy(update={"contents": contents_of([plan.run(plan.methods[0], {}, plan.seed_list[0])])})

    def total(self, plan: TunePlan) -> int:
        """Of all trials."""
        return len(plan.methods) * plan.trials * len(plan.seed_list)

    def rounds(self, plan: TunePlan, kept: Round, shop: RunShop) -> Generator[Round, Mapping[str, str], None]:
        """Some trials of every method at once, until all are made."""
        self.searches = [Search(plan, method) for method in plan.methods]
        self.trials = {method.label: [] for method in plan.methods}
        while any(asked := [search.ask() for search in self.searches]):
            specs: Round = {
                (search.method.label, number, seed): plan.run(search.method, chosen, seed)
                for search, settings in zip(self.searches, asked, strict=True)
                for number, chosen in enumerate(settings)
                for seed in plan.seed_list
            }
            contents = contents_of(specs.values())  # of a search that changes what is read of the data
            specs = {key: spec.with_content(contents) for key, spec in specs.items()}
            failed = yield specs
            for search, settings in zip(self.searches, asked, strict=True):
                name = search.method.label
                judged = [
                    _trial(chosen, [specs[name, number, seed] for seed in plan.seed_list], shop.store, failed)
                    for number, chosen in enumerate(settings)
                ]
                search.tell([trial["value"] for trial in judged])
                self.trials[name] += judged

    def forecast(self, plan: TunePlan, kept: Round, shop: RunShop) -> dict[str, Any]:
        """What is left, by some timed steps of each method with the settings as they are.

        Trials are made in rounds, and a round takes no less than its longest run, however many workers there are.

        Returns:
            ``methods``, ``trials`` of each, ``planned`` runs of all, those that are ``finished``, ``workers``, and ``seconds``
            (`forecast_seconds`) of the others; ``size_words``.
        """
        count, device = shop.how.workers or usual_workers(shop.how.device), shop.how.device
        each = dict(zip(kept, forecast_seconds(list(kept.values()), device=device), strict=True))
        left = self._left(plan, kept, shop)
        times = [[runs * each[label,] for label, runs in of.items()] for of in left]
        longest = [max((each[label,] for label, runs in of.items() if runs), default=0.0) for of in left]
        return {
            "methods": [method.label for method in plan.methods],
            "trials": plan.trials,
            "planned": self.total(plan),
            "finished": self.total(plan) - sum(runs for of in left for runs in of.values()),
            "workers": count,
            "seconds": sum(max(sum(time) / count, least) for time, least in zip(times, longest, strict=True)),
            "size_words": plan.size_words,
        }

    def _left(self, plan: TunePlan, kept: Round, shop: RunShop) -> list[dict[str, int]]:
        """Of each round how many runs of each method are not kept yet: what is asked next hangs on what was found, so that the first round
        which is not whole is the last of which that can be known.
        """
        sizes = [min(at_once(plan), plan.trials - made) for made in range(0, plan.trials, at_once(plan))]
        left = [dict.fromkeys((m.label for m in plan.methods), size * len(plan.seed_list)) for size in sizes]
        if not shop.store.root.is_dir():
            return left
        rounds = self.rounds(plan, kept, shop)
        specs = next(rounds)
        for of in left:
            missing = Counter(label for (label, *_), spec in specs.items() if not shop.is_done(spec))
            of.update((label, missing[label]) for label in of)
            if any(of.values()):
                break
            try:
                specs = rounds.send({})
            except StopIteration:
                break
        return left

    def conclude(self, out: Path, plan: TunePlan, missing: Sequence[Missing], how: How) -> Summary:
        """Each method with its trials in order and its best."""
        methods = [_method(plan, search, self.trials[search.method.label]) for search in self.searches]
        found = {
            "name": plan.name,
            "command": self.command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "layerlocal": version("layerlocal"),
            "environment": describe_environment(how.device),
            "plan": plan.model_dump(mode="json"),
            "space": [dimension.text for dimension in plan.space],
            "budget": plan.size_words,
            **({"metric": _metric(plan)} if is_text(plan.data) else {}),
            "methods": methods,
            "sentences": [_sentence(row, plan) for row in methods],
        }
        return summary_of_search(found)


def run_tuning(plan: TunePlan, out: Path, *, command: str = "layerlocal tune", **how: Any) -> Summary:
    """Make the trials that are not made yet, and write the summary of the search.

    Args:
        plan: the search; its sources are filled in here.
        out: the run store; the runs of trials are kept in its folder ``tune``.
        command: noted beside the numbers.
        **how: of `layerlocal.experiments.driver.How`: ``workers``, ``ray``, ``device``, ``reread``, ``console``.

    Returns:
        The summary, with a row a trial.

    Raises:
        InputError: a mistake in the plan, found before anything is trained; a store that cannot be written.
    """
    return run(Searching(plan, command), out, How.of(**how))


def forecast_tuning(plan: TunePlan, out: Path, **how: Any) -> dict[str, Any]:
    """What `run_tuning` with the same arguments would train, and for about how long (`Searching.forecast`); writes nothing.

    Raises:
        InputError: as `run_tuning`.
    """
    return forecast(Searching(plan), out, How.of(**how))


def _refuse_what_cannot_be_searched(spec: RunSpec) -> None:
    if not spec.has_own_code:  # ours are known to train
        look_ahead(spec)
    else:
        _refuse_what_does_not_train(spec)


def _refuse_what_does_not_train(spec: RunSpec) -> None:
    """Of files of one's own: they are built and begun."""
    from layerlocal.runs.run import build, plugin_errors
    from layerlocal.training.train import Training

    with plugin_errors(spec):
        data, rule = build(spec)
        Training(rule, data, spec.recipe, seed=spec.seed)


def _metric(plan: TunePlan) -> str:
    """What trials are judged by, in words."""
    return "validation accuracy of the next byte" if is_text(plan.data) else "validation accuracy"


def _trial(
    chosen: Mapping[str, Any], specs: Sequence[RunSpec], store: RunStore, failed: Mapping[str, str]
) -> dict[str, Any]:
    """Settings and what they were worth: the mean validation accuracy over seeds, or the reason why there is none."""
    reason = next((failed[spec.hash] for spec in specs if spec.hash in failed), None)
    values = [] if reason else [store.load(spec.hash).result["validation_accuracy"] for spec in specs]
    value = mean(values) if values else None
    return {
        "settings": dict(chosen),
        "values": values,
        "value": value,
        "reason": reason,
        "runs": [s.hash for s in specs],
    }


def _method(plan: TunePlan, search: Search, trials: list[dict[str, Any]]) -> dict[str, Any]:
    method = search.method
    good = [trial for trial in trials if trial["value"] is not None]
    best = max(good, key=lambda trial: trial["value"], default=None)
    usual = next((trial for trial in good if trial["settings"] == search.usual), None)
    return {
        "label": method.label,
        "rule": method.rule,
        "twin": method.twin,
        "trials": trials,
        "best": best,
        "usual": usual["value"] if usual else None,
        "command": _command(plan, method, best["settings"]) if best else None,
    }


def _command(plan: TunePlan, method: Method, chosen: dict[str, Any]) -> str:
    """What trains with these settings and then opens the test split."""
    return command_of(plan.run(method, chosen, plan.seed_list[0]).model_copy(update={"judged_on": "test"}))


def _sentence(row: Mapping[str, Any], plan: TunePlan) -> str:
    if row["best"] is None:
        return (
            f"{row['label']}: none of {len(row['trials'])} trials ended; the first says: {row['trials'][0]['reason']}."
        )
    settings = settings_words(row["best"]["settings"])
    count = len(row["trials"])
    best = f"at best of {count} trials" if count > 1 else "in one trial"
    usual = f", as it is {percent(row['usual'])}" if row["usual"] is not None else ""
    return (
        f"{row['label']}: {_metric(plan)} {percent(row['best']['value'])} {best}{usual}; {settings} "
        f"(n = {several(len(plan.seed_list), 'seed')}; the best of many is too high by chance: train it with other seeds)."
    )
