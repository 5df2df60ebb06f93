"""``--config FILE``: a spec of a run, or a plan of an experiment, whole or in part. What is typed wins over the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from layerlocal.cli.app import SET_BY_OPTIONS, typed_options
from layerlocal.files import load_json, read_model
from layerlocal.names import EDITION, names_of_today
from layerlocal.options import MOST_SEEDS
from layerlocal.plugins import file_of
from layerlocal.spec import PROTOCOL, SECTIONS, TYPED_NETWORK, DataSpec, Recipe, RunSpec
from layerlocal.types import InputError, shown, unknown_name

__all__ = [
    "SpecFile", "config_spec", "names_network", "plan_option", "plan_settings", "read_config", "refuse_changed", "refuse_unnamed", "with_typed",
]  # fmt: skip

LARGEST = 4_000_000
"""Bytes of a file; a spec has a thousand, a plan some thousands."""
_SETTINGS = "layerlocal.config"
"""Where a command's context keeps the settings that its file has."""

SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A run's spec.json, or YAML of some of its fields (recipe: {epochs: 3}); what is typed beside it wins.",
    ),
]


def read_config(path: Path) -> dict[str, Any]:
    """The mapping that a file of JSON (``.json``) or YAML holds.

    Raises:
        InputError: no such file, not to be read, neither JSON nor YAML, no mapping, a key twice (in YAML), or written by a later version.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read --config {shown(str(path))}: {error.strerror or error}; give a file") from None
    if len(raw) > LARGEST:
        raise InputError(
            f"{path} has {len(raw):,} bytes, too many for --config; give a spec.json or YAML of its fields"
        )
    content = _parsed(path, raw)
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path} must hold fields such as 'recipe: {{epochs: 3}}', got {shown(content)}")
    edition = content.get("names", EDITION)
    if isinstance(edition, int) and edition > EDITION:
        raise InputError(f"{path} is of a later version of layerlocal (names: {edition}); update layerlocal to read it")
    return content


def _parsed(path: Path, raw: bytes) -> Any:
    if path.suffix == ".json":
        try:
            return load_json(raw)
        except ValueError as error:
            raise InputError(
                f"{path} is not JSON ({error}); give a run's spec.json, or name a YAML file .yaml"
            ) from None
    from layerlocal.claims.files import load_yaml

    return load_yaml(path.name, raw, "plain fields")


# --- of a run ---------------------------------------------------------------------------------------------------------


def config_spec(path: Path | None) -> RunSpec:
    """The spec that a file has: one that says its ``protocol`` is whole and means what it meant when it was written; any other is laid over
    what `layerlocal train` takes by itself, as is no file at all.

    Raises:
        InputError: the file, a field or a value is not as it must be.
    """
    usual = RunSpec(network=TYPED_NETWORK)
    if path is None:
        return usual
    content = read_config(path)
    if "protocol" not in content:
        content = _laid_over(usual.model_dump(), content)
    elif content["protocol"] != PROTOCOL:
        raise InputError(
            f"{path} is of protocol {shown(content['protocol'])} and does not compare with runs of this version, which are of protocol "
            f"{PROTOCOL}; use the version of layerlocal that wrote it"
        )
    try:
        return RunSpec.parse(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _laid_over(usual: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of sections one by one, all others as they are."""
    parts = {key: {**usual[key], **part} for key, part in content.items() if key in SECTIONS and isinstance(part, dict)}
    return {**usual, **content, **parts}


def with_typed(spec: RunSpec, context: typer.Context, settings: Mapping[str, Any]) -> RunSpec:
    """The spec with what was typed, where that is something else: what is named again stays the file that it was.

    Args:
        spec: of `config_spec`.
        context: of the command.
        settings: that were typed, dotted.

    Raises:
        InputError: a setting that is not known or not allowed.
    """
    given = {key: context.params[SET_BY_OPTIONS[key]] for key in typed_options(context)} | dict(settings)
    known = {f"{part}.{name}": value for part in SECTIONS for name, value in getattr(spec, part)}
    for part in (spec.rule, spec.network):
        section = "rule" if part is spec.rule else "network"
        known |= {f"{section}.{name}": value for name, value in part.options.items()}
    return spec.with_settings({key: value for key, value in given.items() if key not in known or known[key] != value})


def names_network(path: Path | None, context: typer.Context, settings: Mapping[str, Any]) -> bool:
    """Whether a network is named by what was typed or by the file; otherwise the data say which is taken."""
    if "network.name" in typed_options(context) or "network.name" in settings:
        return True
    content = {} if path is None else read_config(path)
    network = content.get("network")
    return "protocol" in content or (isinstance(network, dict) and "name" in network)


def refuse_unnamed(path: Path, spec: RunSpec, context: typer.Context, settings: Mapping[str, Any]) -> None:
    """Files of code that a spec names are run only where they are typed too: a spec may have come with somebody's store.

    Raises:
        InputError: which file, and how to name it.
    """
    typed = {context.params["rule"], context.params["network"], settings.get("rule.of")}
    partner = str(spec.rule.options.get("of", ""))
    for kind, name, option in (
        ("rule", spec.rule.name, "--rule"),
        ("rule", partner, f"--set rule.of={partner}"),
        ("network", spec.network.name, "--network"),
    ):
        if file_of(name) is not None and name not in typed:
            raise _unnamed(path, kind, name, option)


def _unnamed(path: Path, kind: str, name: str, option: str) -> InputError:
    return InputError(
        f"{path} names the {kind} file {name}, which this would run; look at it and name it with {option} too"
    )


def refuse_changed(path: Path, spec: RunSpec, found: RunSpec) -> None:
    """A file of code that is not what a spec was written of.

    Args:
        path: of the spec.
        spec: as it was written.
        found: pinned now.

    Raises:
        InputError: which file.
    """
    from layerlocal.runs.pin import changed_file

    if (file := changed_file(spec, found)) is not None:
        raise InputError(
            f"{file} has changed since {path} was written; leave source_sha256 out of it to run what is there now"
        )


# --- of an experiment -------------------------------------------------------------------------------------------------


def plan_option(kind: str) -> Any:
    """The option of an experiment, ``"study"``, ``"audit"`` or ``"tune"``: read before all others, which take from the file what is not
    typed.
    """

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            options, settings = _asked_by(kind, path)
            context.default_map = {**(context.default_map or {}), **options}
            context.meta[_SETTINGS] = path, settings
        return path

    return typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=read,
        help="A plan.json of a store, or YAML of some of its fields (rules, seeds, settings); what is typed beside it wins.",
    )


def plan_settings(context: typer.Context, typed: Collection[str]) -> dict[str, Any]:
    """The settings that an experiment's file has, dotted; nothing where there is no file.

    Args:
        context: of the command.
        typed: settings that are typed, which take the place of the file's.

    Raises:
        InputError: the file names files of code, which nobody typed.
    """
    path, settings = context.meta.get(_SETTINGS, (None, {}))
    typed_rules = getattr(context.get_parameter_source("rules"), "name", "") == "COMMANDLINE"
    rules = () if path is None or typed_rules else context.params["rules"] or ()
    network = "" if "network.name" in typed else str(settings.get("network.name", ""))
    for kind, name in (*(("rule", rule) for rule in rules), ("network", network)):
        if file_of(name) is not None:
            raise _unnamed(path, kind, name, "--rules" if kind == "rule" else "--network")
    return dict(settings)


def _asked_by(kind: str, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a plan asks for: values of a command's options, and settings, dotted. What a command finds by itself (``sources``, ``contents``,
    ``widths``, ...) it finds again.
    """
    from layerlocal.experiments.driver import seeds_of

    model, needed = _model_of(kind)
    content = _of_today(read_config(path))
    for field in content:
        if field not in model.model_fields:
            raise InputError(f"{path}: {unknown_name('field of a plan:', field, model.model_fields)}")
    if isinstance(content.get("seeds"), int) and 1 <= content["seeds"] <= MOST_SEEDS:
        content["seeds"] = tuple(range(content["seeds"]))
    if isinstance(content.get("network"), dict):
        content["network"] = TYPED_NETWORK.model_dump() | content["network"]

    def refusal(path: Path, reason: object) -> InputError:
        return InputError(f"{path}: {str(reason).replace('Value error, ', '')}")

    plan: Any = read_model(path, model, content={**needed, **content}, damaged=refusal)
    found = {name: value for name, value in _OPTIONS[kind](plan).items() if name in content}
    if "seeds" in content:
        found["seeds"] = "".join(f"{seed}," for seed in seeds_of(plan.seeds))
    if getattr(plan, "search", None) is not None:
        search = plan.search
        found |= {"trials": search.trials, "trial_seeds": search.seeds, "space": [each.text for each in search.space]}
    if "study" in found:
        found["name"] = found.pop("study")
    return found, _settings_of(plan, path)


def _of_today(content: dict[str, Any]) -> dict[str, Any]:
    """A whole plan of an earlier version says no edition of rules' names; a file of some fields is in those of today."""
    content = names_of_today(content) if content.keys() & {"names", "sources"} else dict(content)
    if "budget" in content:
        content["size"] = content.pop("budget")
    return content


def _model_of(kind: str) -> tuple[type[BaseModel], dict[str, Any]]:
    """What a plan is, and fields that it must have where a file says others alone."""
    if kind == "study":
        from layerlocal.experiments.studies.base import StudyPlan

        return StudyPlan, {"study": ""}
    if kind == "audit":
        from layerlocal.experiments.audit.plan import AuditPlan

        return AuditPlan, {}
    from layerlocal.experiments.tune import TunePlan

    return TunePlan, {"rules": (), "space": ()}


_OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "study": lambda plan: {
        "study": plan.study, "size": plan.size, "rules": list(plan.rules), "data": list(plan.data), "controls": plan.controls,
    },
    "audit": lambda plan: {
        "size": plan.size, "rules": _rules_of_audit(plan), "data": plan.data.source, "controls": plan.controls,
    },
    "tune": lambda plan: {
        "rules": list(plan.rules), "space": [each.text for each in plan.space], "trials": plan.trials, "sampler": plan.sampler,
        "data": plan.data.source, "seed": plan.seed,
    },
}  # fmt: skip
"""Kind of experiment → plan → option → value."""


def _rules_of_audit(plan: Any) -> list[str]:
    """The rule of its class sweep is the one that is named first; a file that names none leaves that to the order of its rules."""
    first = [plan.sweep_rule] if "sweep_rule" in plan.model_fields_set else []
    return list(dict.fromkeys([*first, *plan.rules]))


def _settings_of(plan: Any, path: Path) -> dict[str, Any]:
    """Those of a plan, and what its sections say that is not usual, each held against what a run may be told."""
    usual = {"data": DataSpec(), "network": TYPED_NETWORK, "recipe": Recipe()}
    found = {
        f"{section}.{name}": value
        for section, of in usual.items()
        if isinstance(part := getattr(plan, section, None), type(of))
        for name, value in part
        if value != getattr(of, name) and name not in ("source", "content_sha256", "source_sha256", "start_sha256")
    } | plan.settings
    try:
        RunSpec(network=TYPED_NETWORK).with_settings(found)
    except InputError as error:
        raise InputError(f"{path}: settings: {error}") from None
    return found
