"""Settings of a plan (``--set``, ``--network``, ``--width``): the same for every run of an experiment, and never of what it varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from layerlocal.plugins import file_of
from layerlocal.spec import NetworkSpec, RunSpec
from layerlocal.types import InputError

__all__ = ["FIXED", "refuse_fixed", "refuse_settings", "refuse_unnamed_files", "set_on", "start_of"]

Key = TypeVar("Key")
DRAWN = "teacher_student"
FIXED = {
    "judged_on": "what an experiment is judged on is its own",
    "seed": "give the seeds with --seeds",
    "rule.name": "name the rules with --rules",
    "rule.of": "each twin is that of its rule",
    "data.source": "name the data with --data",
}
"""Settings that no experiment takes, and what to do instead."""
MEANT_FOR_ALL = {"data.num_train", "data.num_test", "data.validation", "network.name", "network.width"}
"""How much is trained on what: they differ between runs for their cost, and may be the same for all."""


def set_on(
    runs: Mapping[Key, RunSpec], settings: Mapping[str, Any], contents: Mapping[str, str], sources: Mapping[str, str]
) -> dict[Key, RunSpec]:
    """Runs with these settings, twins and rules alike.

    Where an experiment has runs on real data and on drawn ones, ``data.`` and ``network.`` are of the runs on real data: nobody means the
    network for images where vectors are drawn. A network of the user's own is taken as its function makes it: of the experiment's own width
    and options it gets those that the experiment varies.

    Args:
        runs: by key.
        settings: dotted.
        contents: what the data are, by ``DataSpec.place``, for settings that change where they are found or how they are drawn.
        sources: SHA-256 of the file, by the name of a network that is one, and of weights to start from.

    Raises:
        InputError: a setting that does not exist, or a value that it cannot have.
    """
    if not settings:
        return dict(runs)
    both = {spec.data.source == DRAWN for spec in runs.values()} == {True, False}
    of_all = {key: value for key, value in settings.items() if key.partition(".")[0] not in ("data", "network")}
    apart = {key for key, spec in runs.items() if both and spec.data.source == DRAWN}
    name, given, found = settings.get("network.name"), dict(settings), dict(runs)
    if isinstance(name, str) and file_of(name) is not None:
        given = {"network.width": 1.0, **settings, "network.source_sha256": sources.get(name)}
        found |= _with_axes_alone({key: spec for key, spec in runs.items() if key not in apart})
    given |= start_of(settings, sources)
    return {
        key: spec.with_settings(of_all if key in apart else given).with_content(contents) for key, spec in found.items()
    }


def start_of(settings: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, str]:
    """The hash of the weights that settings let networks start from, as a setting too."""
    found = sources.get(str(settings.get("network.start")))
    return {} if found is None else {"network.start_sha256": found}


def _with_axes_alone(runs: Mapping[Key, RunSpec]) -> dict[Key, RunSpec]:
    """Runs whose networks have those options alone that are not the same for all of them."""
    options = [spec.network.options for spec in runs.values()]
    axes = {name for each in options for name in each if len({repr(other.get(name)) for other in options}) > 1}

    def cut(network: NetworkSpec) -> NetworkSpec:
        kept = {name: value for name, value in network.options.items() if name in axes}
        return network.model_copy(update={"options": kept})

    return {key: spec.model_copy(update={"network": cut(spec.network)}) for key, spec in runs.items()}


def refuse_fixed(settings: Mapping[str, Any]) -> None:
    """See that there is no setting among these that has an option of its own.

    Raises:
        InputError: which option.
    """
    for key, instead in FIXED.items():
        if key in settings:
            raise InputError(f"{key} is no setting of an experiment: {instead}")


def refuse_unnamed_files(what: str, before: Sequence[str], named: Sequence[str]) -> None:
    """A plan that came with a store names files; going on with it would run them, so they are named again by whoever trusts them.

    Args:
        what: whose plan, e.g. ``"the study in runs"``.
        before: its rules.
        named: those that were named now.

    Raises:
        InputError: which.
    """
    unnamed = [rule for rule in before if ":" in rule and rule not in named]
    if unnamed:
        raise InputError(
            f"{what} has the rule file {unnamed[0]}, which going on with it runs; look at it and name it with --rules too, "
            "or give another folder with --out"
        )


def refuse_settings(settings: Mapping[str, Any], runs: Callable[[dict[str, Any]], Mapping[Any, RunSpec]]) -> None:
    """See that settings leave apart what an experiment compares.

    Args:
        settings: as typed.
        runs: some settings → the runs with them.

    Raises:
        InputError: a setting that does not exist, or one that the experiment varies.
    """
    if not settings:
        return
    plain, asked = runs({}), runs(dict(settings))
    varied = [key for key in settings if key not in MEANT_FOR_ALL and len(_values(plain, asked, key)) > 1]
    if not varied and _count(asked) < _count(plain):
        varied = [key for key, value in settings.items() if _count(runs({key: value})) < _count(plain)] or [*settings]
    if varied:
        raise InputError(f"{', '.join(varied)} is what this experiment varies; leave out --set {varied[0]}")


def _values(plain: Mapping[Any, RunSpec], asked: Mapping[Any, RunSpec], key: str) -> set[str]:
    """What a setting of data or network is in the runs that it changes, before it does."""
    section, _, name = key.partition(".")
    if section not in ("data", "network"):
        return set()
    parts = [getattr(plain[at], section) for at in plain if at in asked and plain[at].hash != asked[at].hash]
    return {repr(getattr(part, name, getattr(part, "options", {}).get(name))) for part in parts}


def _count(runs: Mapping[Any, RunSpec]) -> int:
    return len({spec.hash for spec in runs.values()})
