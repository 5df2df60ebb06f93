"""The experiments from Python, with the arguments and defaults of their commands: `study`, `audit`, `cost`, `tune`, `judge`.

They are quiet: with ``verbose=True`` they show progress as the commands do, and what a command would say in yellow is a warning.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.experiments.summary import Summary
from layerlocal.options import MOST_SEEDS, check_kind, real_number, seed_number, whole_number
from layerlocal.types import InputError, shown, unknown_name

__all__ = ["audit", "cost", "judge", "refuse_unknown_rule", "study", "tune"]

Place = str | os.PathLike[str]
Names = str | Sequence[str]


def study(
    name: str,
    *,
    size: str = "quick",
    rules: Names = "dtg-ff",
    seeds: int = 3,
    data: Names = (),
    reread: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    out: Place = "runs",
    verbose: bool = False,
) -> Summary:
    """Run one study: rules beside their twins under controls that answer one question (``layerlocal study``).

    Finished runs are never run again; what was interrupted goes on.

    Args:
        name: ``"accuracy"``, ``"classes"``, ``"composition"``, ... as `layerlocal study` lists them.
        size: ``"quick"`` (10 minutes on 2 cores), ``"medium"`` (an hour), ``"standard"`` (a night) or ``"full"`` (a day on a GPU).
        rules: local rules: a name or several, or ``FILE.py:CLASS``.
        seeds: how many, 1 to 10,000; intervals need 2 or more.
        data: data sets instead of the study's own: a name or folder, or several.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each, ≥ 1; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here, or ``"local"`` (extra ``ray``).
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        out: the run store.
        verbose: show progress on standard error.

    Raises:
        InputError: unknown study, size, rule or data; data that do not fit the study; a store that cannot be written.
    """
    from layerlocal.experiments.studies.driver import run_study

    asked: dict[str, Any] = {
        "size": _text("size", size),
        "rules": _some("rules", rules),
        "seeds": _seeds(seeds),
        "data": _names("data", data),
    }
    here = _here(reread=reread, workers=workers, ray=ray, device=device, out=out, verbose=verbose)
    name = _text("name", name)
    found = run_study(here.pop("out"), name, **asked, **here, command=_call(study, locals()))
    return _handed_on("study", found, out)


def audit(
    rules: Names = (),
    *,
    data: str = "fashion_mnist_subset",
    size: str = "quick",
    seeds: int = 3,
    reread: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    out: Place = "runs",
    verbose: bool = False,
) -> Summary:
    """Audit rules beside ours: accuracy beside twins, a class sweep, cost, certificates (``layerlocal audit``); writes ``report.html``.

    Args:
        rules: beside ours: a name or several, or ``FILE.py:CLASS``.
        data: name or folder of the real data set, images.
        size: ``"quick"`` (minutes on 2 cores) or ``"standard"`` (hours).
        seeds: how many, 1 to 10,000.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each, ≥ 1; ``None``: one a core.
        device: of every run and of the cost.
        out: the run store.
        verbose: show progress on standard error.

    Raises:
        InputError: unknown rule, data or size; data that do not fit; a rule that breaks its contract; a store that cannot be written.
    """
    from layerlocal.experiments.audit.driver import run_audit

    asked: dict[str, Any] = {
        "rules": _names("rules", rules),
        "data": _text("data", data),
        "size": _text("size", size),
        "seeds": _seeds(seeds),
    }
    here = _here(reread=reread, workers=workers, device=device, out=out, verbose=verbose)
    found = run_audit(here.pop("out"), **asked, **here, command=_call(audit, locals()))
    return _handed_on("audit", found, out)


def cost(
    size: str = "quick",
    *,
    rules: Names = (),
    modes: Names = (),
    parts: Names = (),
    memory: str | None = None,
    repeats: int | None = None,
    rounds: int | None = None,
    network: str | None = None,
    width: float | None = None,
    depth: int | None = None,
    image_size: int | None = None,
    batch_size: int | None = None,
    num_classes: int | None = None,
    precision: str | None = None,
    compile: bool = False,
    fused: bool = True,
    device: str = "cpu",
    threads: int | None = None,
    out: Place = "runs",
    verbose: bool = False,
) -> Summary:
    """Measure what training costs: backprop in its forms and local rules, side by side (``layerlocal cost``).

    Args:
        size: ``"quick"`` (10 minutes on 2 cores), ``"standard"`` (an hour) or ``"full"`` (a GPU).
        rules: beside ``bp`` and ``bp-deepsup``; ``dtg-ff`` and ``ff`` where none is named.
        modes: of ``plain``, ``micro-N``, ``checkpointing``, ``step-per-block``; all where none is named.
        parts: of ``methods``, ``scaling``, ``roofline``, ``budget``, ``distribution``; all where none is named.
        memory: of the part ``budget``, e.g. ``"200 MB"``; the size's own where left out.
        repeats: fresh processes of each method's memory, ≥ 1; 3 where left out.
        rounds: in which methods take turns, ≥ 1; the size's where left out.
        network: one network by name instead of the size's own.
        width: factor on its widths, > 0.
        depth: its blocks, ≥ 1.
        image_size: side of the images in pixels, ≥ 1.
        batch_size: samples a step, ≥ 2.
        num_classes: K ≥ 2.
        precision: ``"float32"`` or ``"bf16"``.
        compile: ``torch.compile`` every block.
        fused: our fused operations, for every method alike.
        device: of every measurement.
        threads: of torch in every measurement, ≥ 1; as many as torch uses here where left out.
        out: the run store; measurements are kept in its folder ``cost``.
        verbose: show progress on standard error.

    Raises:
        InputError: an unknown name, or a number out of its range; a folder that cannot be written.
    """
    import torch

    from layerlocal.experiments.cost.driver import run_cost
    from layerlocal.experiments.cost.plan import make_plan

    here = _here(device=device, out=out, verbose=verbose)
    for flag, value in (("compile", compile), ("fused", fused)):
        check_kind(flag, value, bool)
    chosen = {
        "network": _text_or_none("network", network), "width": None if width is None else real_number("width", width),
        "depth": _whole("depth", depth, 1), "image_size": _whole("image_size", image_size, 1),
        "batch_size": _whole("batch_size", batch_size, 2), "num_classes": _whole("num_classes", num_classes, 2),
        "precision": _text_or_none("precision", precision), "compile": compile or None, "fused": None if fused else False,
    }  # fmt: skip
    plan = make_plan(
        _text("size", size), rules=_names("rules", rules), modes=_names("modes", modes), parts=_names("parts", parts),
        memory=_text_or_none("memory", memory), repeats=_whole("repeats", repeats, 1), rounds=_whole("rounds", rounds, 1), chosen=chosen,
        threads=_whole("threads", threads, 1) or torch.get_num_threads(), device=here["device"],
    )  # fmt: skip
    found = run_cost(plan, here["out"], command=_call(cost, locals()), console=here["console"])
    return _handed_on("cost", found, out)


def tune(
    rules: Names = "dtg-ff",
    *,
    space: Names = (),
    trials: int = 16,
    seeds: int = 1,
    sampler: str = "tpe",
    data: str = "fashion_mnist_subset",
    network: str = "vgg8",
    width: float | None = None,
    epochs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    reread: bool = False,
    seed: int = 0,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    out: Place = "runs",
    verbose: bool = False,
) -> Summary:
    """Search settings for rules and their twins: as many trials each, judged on the validation split (``layerlocal tune``).

    Args:
        rules: local rules: a name or several, or ``FILE.py:CLASS``.
        space: dimensions such as ``"recipe.learning_rate=log:0.0005:0.03"`` or ``"rule.grid=1,2,4"``; learning rate and weight decay where
            none is given.
        trials: for each rule and each twin, 1 to 100,000; the first is the settings as they are, where they lie in the space.
        seeds: runs of each trial, 1 to 10,000; their mean counts.
        sampler: ``"tpe"`` (extra ``tune``) or ``"random"``.
        data: a name of `list_data()` or a folder.
        network: a name of `list_networks()`.
        width: factor on the network's widths, > 0.
        epochs: passes over the training split.
        settings: more settings of every trial, dotted: ``{"data.num_train": 2000}``.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        seed: of the sampler, from 0.
        workers: processes of one thread each, ≥ 1; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here, or ``"local"`` (extra ``ray``).
        device: of every run.
        out: the run store.
        verbose: show progress on standard error.

    Raises:
        InputError: a mistake in what was asked for, found before anything is trained; a store that cannot be written.
    """
    from layerlocal.experiments.tune import DEFAULT_SPACE, TunePlan, parse_dimension
    from layerlocal.experiments.tune.driver import run_tuning
    from layerlocal.spec import TYPED_NETWORK, DataSpec

    here = _here(reread=reread, workers=workers, ray=ray, device=device, out=out, verbose=verbose)
    chosen = _settings(settings, {"network.width": ("width", width), "recipe.epochs": ("epochs", epochs)})
    plan = TunePlan.parse(
        {
            "rules": tuple(_some("rules", rules)), "data": DataSpec(source=_text("data", data)).model_dump(),
            "network": TYPED_NETWORK.model_dump() | {"name": _text("network", network)}, "settings": chosen,
            "space": [parse_dimension(text).model_dump() for text in _names("space", space) or DEFAULT_SPACE],
            "trials": whole_number("trials", trials, least=1, most=100_000), "seeds": _seeds(seeds),
            "sampler": _text("sampler", sampler), "seed": seed_number(seed),
        }
    )  # fmt: skip
    found = run_tuning(plan, here.pop("out"), **here, command=_call(tune, locals()))
    return _handed_on("tune", found, out)


def judge(
    out: Place = "runs",
    *,
    rule: str | None = None,
    claims: Names = (),
    files: Place | Sequence[Place] = (),
    alpha: float | None = None,
) -> Summary:
    """Hold claims against the finished studies of a store (``layerlocal claims``); trains nothing. All are judged together.

    Args:
        out: the store, or a folder of published results; where there is none, every claim is "not run".
        rule: judge every claim of this rule instead of the one it names.
        claims: give only these, by id; all where none is named.
        files: claim files (YAML) instead of ours.
        alpha: family-wise error rate, in (0, 0.5]; that of the files where left out.

    Raises:
        InputError: an unknown rule or claim, a file that cannot be used, a damaged store.
    """
    from layerlocal.experiments.stored import judge_claims

    place, names = _place("out", out), _names("claims", claims)
    paths = [files] if isinstance(files, str | os.PathLike) else list(_sequence("files", files))
    if rule is not None:
        refuse_unknown_rule(_text("rule", rule))
    if alpha is not None and not 0 < (alpha := real_number("alpha", alpha)) <= 0.5:
        raise InputError(f"alpha must be above 0 and at most 0.5, got {alpha}")
    chosen = [_path("files", path) for path in paths] or None
    rows, judged, told = judge_claims(place, files=chosen, rule=rule, names=names, alpha=alpha)
    for text in told:
        warnings.warn(text, stacklevel=2)
    return Summary("claims", {"claims_sha256": judged.sha256, "claims": rows}, place)


def refuse_unknown_rule(name: str) -> None:
    """Of a rule to judge. Of a file only the name is looked at: its runs are what is judged.

    Raises:
        InputError: no rule is named so.
    """
    from layerlocal.runs.listing import describe

    known = [row["name"] for row in describe("rules")["rules"]]
    if name not in known and ".py:" not in name:
        raise unknown_name("rule", name, [*known, "FILE.py:CLASS"])


def _handed_on(kind: str, found: Mapping[str, Any], out: Place) -> Summary:
    """The summary, and a warning of runs that failed: a command would end with 1."""
    failed = found.get("failed")
    if failed:
        told = [
            f"{entry['label']}: {entry['reason']}"
            for entry in (failed if isinstance(failed, list) else found["missing"])
        ]
        warnings.warn(f"not every run is finished: {'; '.join(told)}", stacklevel=3)
    return Summary(kind, found, _place("out", out))


class _Quiet(Console):
    """Prints nothing. What a command says in yellow, of what was left out, is a warning."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def print(self, *objects: Any, style: Any = None, **others: Any) -> None:
        if style == "yellow":
            warnings.warn(" ".join(map(str, objects)).removeprefix("warning: "), stacklevel=2)


def _here(*, device: Any, out: Any, verbose: Any, workers: Any = None, **others: Any) -> dict[str, Any]:
    """What says where runs are made, each looked at."""
    from layerlocal.devices import device_name, find_device

    for flag, value in (("verbose", verbose), ("reread", others.get("reread", False))):
        check_kind(flag, value, bool)
    found: dict[str, Any] = {
        "device": (find_device if others.get("ray") is None else device_name)(device),
        "out": _place("out", out),
    }
    if "ray" in others:
        found["ray"] = _text_or_none("ray", others["ray"])
    if "reread" in others:
        found |= {
            "reread": others["reread"],
            "workers": _whole("workers", workers, 1, most=max(256, 4 * (os.cpu_count() or 1))),
        }
    return found | {"console": Console(stderr=True) if verbose else _Quiet()}


def _call(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """The call as it would be written, for a record beside the numbers; what is as by default is left out."""
    parts = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "verbose" and given[name] != parameter.default:
            value = os.fspath(given[name]) if isinstance(given[name], os.PathLike) else given[name]
            parts.append(repr(value) if parameter.kind is parameter.POSITIONAL_OR_KEYWORD else f"{name}={value!r}")
    return f"layerlocal.{function.__name__}({', '.join(parts)})"


def _settings(settings: Any, own: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Dotted settings, and those with an argument of their own.

    Raises:
        InputError: no dictionary by name, or a setting given in both ways.
    """
    if not isinstance(settings, Mapping | None) or not all(isinstance(key, str) for key in settings or ()):
        raise InputError(
            f'settings must be a dictionary such as {{"data.num_train": 2000}}, or None, got {shown(settings)}'
        )
    given = {key: value for key, (_, value) in own.items() if value is not None}
    for key in given.keys() & (settings or {}).keys():
        raise InputError(f"{key} is given twice, by {own[key][0]} and by settings; leave one out")
    return {**given, **(settings or {})}


def _text(what: str, value: Any) -> str:
    """A name, or a path as one; bytes of a name that are no UTF-8 cannot be kept in a record."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InputError(f"{what} must be a name, got {shown(value)}")
    return text


def _text_or_none(what: str, value: Any) -> str | None:
    return None if value is None else _text(what, value)


def _sequence(what: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise InputError(f"{what} must be a name or a list of names, got {shown(value)}")
    return value


def _names(what: str, value: Any) -> list[str]:
    """One name or several, each once."""
    names = [value] if isinstance(value, str | os.PathLike) else _sequence(what, value)
    return list(dict.fromkeys(_text(what, name) for name in names))


def _some(what: str, value: Any) -> list[str]:
    found = _names(what, value)
    if not found:
        raise InputError(f"{what} must be a name or a list of names, got none; leave it out for the default")
    return found


def _seeds(value: Any) -> int:
    return whole_number("seeds", value, least=1, most=MOST_SEEDS)


def _whole(what: str, value: Any, least: int, *, most: int | None = None) -> int | None:
    return None if value is None else whole_number(what, value, least=least, most=most)


def _path(what: str, value: Any) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{what} must be a path, got {shown(value)}")
    return Path(os.path.expanduser(_text(what, value)))


def _place(what: str, value: Any) -> Path:
    """A folder, which need not be there yet.

    Raises:
        InputError: no path, or a file on its way.
    """
    path = _path(what, value)
    try:
        file = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), None)
    except OSError as error:
        raise InputError(f"{what} {shown(str(path))} cannot be a folder: {error.strerror}") from error
    if file is not None:
        raise InputError(f"{file} is a file, not a run store; give the folder that the runs are in")
    return path
