"""What is searched: methods, space and budget. The plan decides every trial, so a search that was cut off goes on where it was."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import Field, field_validator

from layerlocal.data.task import usual_network
from layerlocal.experiments.driver import seeds_of
from layerlocal.experiments.settings import FIXED, start_of
from layerlocal.experiments.tune.space import Dimension, of_rule, refuse_unfair
from layerlocal.names import first_name
from layerlocal.runs.listing import partner_of, refuse_baseline, rule_facts
from layerlocal.spec import TYPED_NETWORK, DataSpec, Frozen, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.types import InputError

__all__ = ["Method", "TunePlan", "network_of_trials", "setting_of"]

TWINS = ("bp", "bp-deepsup")


NOT_SEARCHED = FIXED | {"judged_on": "trials are judged on the validation split, always"}
"""Settings that no trial takes, and what to do instead."""


class Method(Frozen):
    """A rule or one of its twins.

    Args:
        rule: the local rule; twins are tuned beside it.
        twin: ``None`` for the rule itself.
    """

    rule: str
    twin: str | None = None

    @property
    def label(self) -> str:
        """``"class-goodness"``, ``"bp of class-goodness"``."""
        name = self.rule.rpartition("/")[2]
        return name if self.twin is None else f"{self.twin} of {name}"

    @property
    def spec(self) -> RuleSpec:
        """Without options."""
        if self.twin is None:
            return RuleSpec(name=self.rule)
        return RuleSpec(name=self.twin, options={"of": partner_of(self.rule)})


class TunePlan(Frozen):
    """One search.

    Args:
        rules: local rules, by name or ``FILE.py:CLASS``; `TWINS` of each are tuned too.
        sources: SHA-256 of rules that are files.
        contents: what the data are, by ``DataSpec.place``; empty for data that a spec determines.
        data: what is trained on; its validation split judges.
        network: of every trial.
        recipe: of every trial, but for what is searched.
        settings: more settings of every trial, dotted.
        space: dimensions.
        trials: a method, ≥ 1; the first is the settings as they are, where they lie in the space.
        seeds: of a trial's runs, whose mean accuracy counts: how many, from 0 on, or which.
        sampler: ``"tpe"`` (arXiv:1907.10902's default), ``"random"``, or ``"sobol"``: the same points for every method.
        seed: of the sampler.
    """

    rules: tuple[str, ...]
    sources: dict[str, str] = Field(default={})
    contents: dict[str, str] = Field(default={})
    data: DataSpec = DataSpec()
    network: NetworkSpec = NetworkSpec()
    recipe: Recipe = Recipe()
    settings: dict[str, Any] = Field(default={})
    space: tuple[Dimension, ...]
    trials: int = Field(default=16, ge=1)
    seeds: int | tuple[int, ...] = 1
    sampler: Literal["tpe", "random", "sobol"] = "tpe"
    seed: int = Field(default=0, ge=0)

    @property
    def methods(self) -> tuple[Method, ...]:
        """Every rule, then its twins."""
        return tuple(Method(rule=rule, twin=twin) for rule in self.rules for twin in (None, *TWINS))

    @property
    def name(self) -> str:
        """Of its file: the same for a search with more trials, which goes on with the trials there are."""
        rules = tuple(first_name(rule) for rule in self.rules)
        named = self.model_copy(update={"rules": rules})
        content = named.model_dump_json(exclude={"trials", *(() if self.contents else ("contents",))})
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    @field_validator("seeds")
    @classmethod
    def _as_few_words(cls, seeds: int | tuple[int, ...]) -> int | tuple[int, ...]:
        """Seeds from 0 on are their number, however they were given, so that the search is the same."""
        listed = seeds_of(seeds)
        return len(listed) if listed == tuple(range(len(listed))) else listed

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds themselves."""
        return seeds_of(self.seeds)

    @property
    def size_words(self) -> str:
        """What it takes, in words, to stand beside every number."""
        count = len(self.seed_list)
        seeds = "" if count == 1 else f" of {count} seeds"
        size = len(self.dimensions(self.rules[0]))
        return f"{self.trials} trials{seeds} a method, {self.sampler}, {size} dimension{'s' * (size != 1)}, validation split"

    def dimensions(self, rule: str) -> tuple[Dimension, ...]:
        """Those of a rule and its twins."""
        return of_rule(self.space, rule)

    def run(self, method: Method, chosen: dict[str, Any], seed: int) -> RunSpec:
        """One run of a trial: it never opens the test split.

        Raises:
            InputError: a setting that does not exist.
        """
        rule = method.spec
        if rule.options.get("of", rule.name) == method.rule:  # twins of a rule without readouts are of another one
            rule = rule.model_copy(update={"source_sha256": self.sources.get(method.rule)})
        base = RunSpec(data=self.data, network=self.network, recipe=self.recipe, rule=rule, seed=seed)
        chosen = {**self.settings, **start_of(self.settings, self.sources), **chosen, "judged_on": "validation"}
        return base.with_settings(chosen).with_content(self.contents)

    def usual(self, method: Method) -> dict[str, Any]:
        """What is searched → its value where it is not; ``None`` where that is not known."""
        spec = self.run(method, {}, self.seed_list[0])
        return {d.key: setting_of(spec, d.key) for d in self.dimensions(method.rule)}

    def check(self) -> None:
        """See that the search is one: equal spaces, settings that exist.

        Raises:
            InputError: what is wrong and how to mend it.
        """
        for key, instead in NOT_SEARCHED.items():
            if key in (*self.settings, *(dimension.key for dimension in self.space)):
                raise InputError(f"{key} is no setting of a search: {instead}")
        for rule in self.rules:
            refuse_baseline(rule)
        if self.run(self.methods[0], {}, self.seed_list[0]).data.validation == 0:
            raise InputError(
                "a search is judged on the validation split, and data.validation is 0; give it a share such as 0.1"
            )
        refuse_unfair(self.space, self.rules, self.settings)


def network_of_trials(data: str, settings: dict[str, Any]) -> NetworkSpec:
    """The network of a search: that of the settings, which lose its name, or else the usual one of the data (`usual_network`).

    Raises:
        InputError: settings of the data that are not known or not allowed.
    """
    name = settings.pop("network.name", None)
    if name is None:
        of_data = {key: value for key, value in settings.items() if key.startswith("data.")}
        name = usual_network(RunSpec(data=DataSpec(source=data)).with_settings(of_data).data)
    return TYPED_NETWORK.model_copy(update={"name": name})


def setting_of(spec: RunSpec, key: str) -> Any:
    """The value of a dotted setting in a run, an option's own default where it is not given; ``None`` where that is not known."""
    section, _, name = key.partition(".")
    part = getattr(spec, section, None)
    found = getattr(part, name, None) if name != "options" else None
    options = getattr(part, "options", {})
    if found is not None or section != "rule":
        return options.get(name) if found is None else found
    return options.get(name, rule_facts(str(options.get("of", spec.rule.name))).options.get(name))
