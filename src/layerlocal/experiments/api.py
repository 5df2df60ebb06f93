"""The experiments from Python, with the arguments and defaults of their commands: `study`, `audit`, `cost`, `tune`, `judge`.

They are quiet: with ``verbose=True`` they show progress as the commands do, and what a command would say in yellow is a warning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerlocal.experiments.arguments import (
    call_text,
    dotted_settings,
    folder_of,
    names_of,
    path_of,
    place_of_runs,
    seeds_of,
    sequence_of,
    some_names,
    text_of,
    text_or_none,
    whole_or_none,
)
from layerlocal.options import MOST_SEEDS, check_kind, real_number, seed_number, whole_number
from layerlocal.summary import Summary
from layerlocal.types import InputError, unknown_name

__all__ = ["audit", "cost", "judge", "refuse_unknown_rule", "study", "tune"]

Place = str | os.PathLike[str]
Names = str | Sequence[str]


def study(
    name: str,
    *,
    size: str = "quick",
    rules: Names | None = None,
    seeds: int | Sequence[int] = 3,
    data: Names = (),
    network: str | None = None,
    width: float | None = None,
    settings: Mapping[str, Any] | None = None,
    space: Names = (),
    trials: int | None = None,
    trial_seeds: int | None = None,
    controls: bool = True,
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
        rules: local rules: a name or several, or ``FILE.py:CLASS``; ``None``: those of the study, ``class-goodness`` in most.
        seeds: how many, 1 to 10,000, or which; intervals need 2 or more.
        data: data sets instead of the study's own: a name or folder, or several.
        network: a name of `list_networks()`, or ``FILE.py:FUNCTION``, instead of the size's own.
        width: factor on the network's widths, > 0.
        settings: more settings of every run, dotted: ``{"recipe.epochs": 2}``.
        space: of the study ``"best"``: dimensions that are searched, as of `tune`; learning rate and weight decay where none is given.
        trials: of the study ``"best"``: of each method, 1 to 100,000, all at the same points; the size's own where left out.
        trial_seeds: of the study ``"best"``: runs of each trial, 1 to 10,000; 2 where left out.
        controls: train ordinary backprop too, and for twice the steps on two seeds: the price of the objective, and headroom.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each, ≥ 1; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here, or ``"local"`` (extra ``ray``).
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        out: the run store.
        verbose: show progress on standard error.

    Raises:
        InputError: unknown study, size, rule or data; data that do not fit the study; a store that cannot be written.
    """
    from layerlocal.experiments.studies.running import run_study

    check_kind("controls", controls, bool)
    asked: dict[str, Any] = {
        "size": text_of("size", size),
        "rules": () if rules is None else some_names("rules", rules),
        "seeds": seeds_of(seeds),
        "data": names_of("data", data),
        "space": names_of("space", space),
        "trials": whole_or_none("trials", trials, 1, most=100_000),
        "trial_seeds": whole_or_none("trial_seeds", trial_seeds, 1, most=MOST_SEEDS),
        "controls": controls,
    }
    asked["settings"] = dotted_settings(
        settings, {"network.name": ("network", network), "network.width": ("width", width)}
    )
    here = place_of_runs(reread=reread, workers=workers, ray=ray, device=device, out=out, verbose=verbose)
    name = text_of("name", name)
    found = run_study(here.pop("out"), name, **asked, **here, command=call_text(study, locals()))
    return _handed_on(found, out)


def audit(
    rules: Names = (),
    *,
    data: str = "fashion_mnist_subset",
    size: str = "quick",
    seeds: int | Sequence[int] = 3,
    network: str | None = None,
    width: float | None = None,
    settings: Mapping[str, Any] | None = None,
    controls: bool = True,
    reread: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    out: Place = "runs",
    verbose: bool = False,
) -> Summary:
    """Audit rules beside ours: accuracy beside twins, a class sweep, cost, certificates (``layerlocal audit``); writes ``report.html``.

    Args:
        rules: beside ours: a name or several, or ``FILE.py:CLASS``.
        data: name or folder of the real data set, images.
        size: ``"quick"`` (minutes on 2 cores) or ``"standard"`` (hours).
        seeds: how many, 1 to 10,000, or which.
        network: a name of `list_networks()`, or ``FILE.py:FUNCTION``, instead of the size's own.
        width: factor on the network's widths, > 0.
        settings: more settings of every run, dotted: ``{"recipe.epochs": 2}``.
        controls: train ordinary backprop too, and for twice the steps on two seeds: the price of the objective, and headroom.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each, ≥ 1; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here, or ``"local"`` (extra ``ray``).
        device: of every run and of the cost.
        out: the run store.
        verbose: show progress on standard error.

    Raises:
        InputError: unknown rule, data or size; data that do not fit; a rule that breaks its contract; a store that cannot be written.
    """
    from layerlocal.experiments.audit.driver import run_audit

    check_kind("controls", controls, bool)
    asked: dict[str, Any] = {
        "rules": names_of("rules", rules),
        "data": text_of("data", data),
        "size": text_of("size", size),
        "seeds": seeds_of(seeds),
        "controls": controls,
    }
    asked["settings"] = dotted_settings(
        settings, {"network.name": ("network", network), "network.width": ("width", width)}
    )
    here = place_of_runs(reread=reread, workers=workers, ray=ray, device=device, out=out, verbose=verbose)
    found = run_audit(here.pop("out"), **asked, **here, command=call_text(audit, locals()))
    return _handed_on(found, out)


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
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    threads: int | None = None,
    out: Place = "runs",
    verbose: bool = False,
) -> Summary:
    """Measure what training costs: backprop in its forms and local rules, side by side (``layerlocal cost``).

    Args:
        size: ``"quick"`` (10 minutes on 2 cores), ``"standard"`` (an hour) or ``"full"`` (a GPU).
        rules: beside ``bp`` and ``bp-deepsup``; ``class-goodness`` and ``ff`` where none is named (text: ``local-heads`` for ``ff``).
        modes: of ``plain``, ``micro-N``, ``checkpointing``, ``step-per-block``; all where none is named.
        parts: of ``methods``, ``scaling``, ``roofline``, ``budget``, ``distribution``; all where none is named.
        memory: of the part ``budget``, e.g. ``"200 MB"``; the size's own where left out.
        repeats: fresh processes of each method's memory, ≥ 1; 3 where left out.
        rounds: in which methods take turns, ≥ 1; the size's where left out.
        network: a name of `list_networks()`, or ``FILE.py:FUNCTION``, instead of the size's own.
        width: factor on its widths, > 0.
        depth: its blocks, ≥ 1.
        image_size: side of the images in pixels, ≥ 1.
        batch_size: samples a step, ≥ 2.
        num_classes: K ≥ 2; of text the vocabulary, 256 where it is left out.
        precision: ``"float32"`` or ``"bf16"``.
        compile: ``torch.compile`` every block.
        fused: our fused operations, for every method alike.
        settings: more settings of every case, dotted: ``{"recipe.optimizer": "adamw", "rule.grid": 2}``; of text ``context``.
        device: of every measurement.
        threads: of torch in every measurement, ≥ 1; as many as torch uses here where left out.
        out: the run store; measurements are kept in its folder ``cost``.
        verbose: show progress on standard error.

    Raises:
        InputError: an unknown name, or a number out of its range; a folder that cannot be written.
    """
    from layerlocal.experiments.cost.driver import run_cost

    here = place_of_runs(device=device, out=out, verbose=verbose)
    for flag, value in (("compile", compile), ("fused", fused)):
        check_kind(flag, value, bool)
    chosen = dotted_settings(
        settings,
        {
            "network.name": ("network", text_or_none("network", network)),
            "network.width": ("width", None if width is None else real_number("width", width)),
            "network.depth": ("depth", whole_or_none("depth", depth, 1)),
            "image_size": ("image_size", whole_or_none("image_size", image_size, 1)),
            "recipe.batch_size": ("batch_size", whole_or_none("batch_size", batch_size, 2)),
            "num_classes": ("num_classes", whole_or_none("num_classes", num_classes, 2)),
            "recipe.precision": ("precision", text_or_none("precision", precision)),
            "network.compile": ("compile", compile or None),
            "network.fused": ("fused", None if fused else False),
        },
    )
    found = run_cost(
        here["out"], size=text_of("size", size), rules=names_of("rules", rules), modes=names_of("modes", modes),
        parts=names_of("parts", parts), memory=text_or_none("memory", memory), repeats=whole_or_none("repeats", repeats, 1),
        rounds=whole_or_none("rounds", rounds, 1), settings=chosen, threads=whole_or_none("threads", threads, 1),
        device=here["device"], command=call_text(cost, locals()), console=here["console"],
    )  # fmt: skip
    return _handed_on(found, out)


def tune(
    rules: Names = "class-goodness",
    *,
    space: Names = (),
    trials: int = 16,
    seeds: int | Sequence[int] = 1,
    sampler: str = "tpe",
    data: str = "fashion_mnist_subset",
    network: str | None = None,
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
        space: dimensions such as ``"recipe.learning_rate=log:0.0005:0.1"`` or ``"rule.grid=1,2,4"``; learning rate and weight decay where
            none is given.
        trials: for each rule and each twin, 1 to 100,000; the first is the settings as they are, where they lie in the space.
        seeds: runs of each trial: how many, 1 to 10,000, or which; their mean counts.
        sampler: ``"tpe"`` or ``"random"`` (extra ``tune``), or ``"sobol"``: the same settings for every method.
        data: a name of `list_data()`, a folder, or a file ``NAME.npz``.
        network: a name of `list_networks()`, or ``FILE.py:FUNCTION``; where left out ``vgg8`` for images, ``gpt`` for text, ``mlp`` for
            vectors.
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
    from layerlocal.experiments.tune import DEFAULT_SPACE, TunePlan, network_of_trials, parse_dimension
    from layerlocal.experiments.tune.driver import run_tuning
    from layerlocal.spec import DataSpec

    here = place_of_runs(reread=reread, workers=workers, ray=ray, device=device, out=out, verbose=verbose)
    own = {"network.name": ("network", network), "network.width": ("width", width), "recipe.epochs": ("epochs", epochs)}
    chosen = dotted_settings(settings, own)
    text_or_none("network", chosen.get("network.name"))
    place = text_of("data", data)
    plan = TunePlan.parse(
        {
            "rules": tuple(some_names("rules", rules)), "data": DataSpec(source=place).model_dump(),
            "network": network_of_trials(place, chosen).model_dump(), "settings": chosen,
            "space": [parse_dimension(text).model_dump() for text in names_of("space", space) or DEFAULT_SPACE],
            "trials": whole_number("trials", trials, least=1, most=100_000), "seeds": seeds_of(seeds),
            "sampler": text_of("sampler", sampler), "seed": seed_number(seed),
        }
    )  # fmt: skip
    found = run_tuning(plan, here.pop("out"), **here, command=call_text(tune, locals()))
    return _handed_on(found, out)


def judge(
    out: Place = "runs",
    *,
    rule: str | None = None,
    claims: Names = (),
    files: Place | Sequence[Place] = (),
    alpha: float | None = None,
) -> Summary:
    """Hold claims against the finished studies of a store (``layerlocal claims``); trains nothing. Whole families are judged.

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

    place, names = folder_of("out", out), names_of("claims", claims)
    paths = [files] if isinstance(files, str | os.PathLike) else list(sequence_of("files", files))
    if rule is not None:
        refuse_unknown_rule(text_of("rule", rule))
    if alpha is not None and not 0 < (alpha := real_number("alpha", alpha)) <= 0.5:
        raise InputError(f"alpha must be above 0 and at most 0.5, got {alpha}")
    chosen = [path_of("files", path) for path in paths] or None
    rows, judged, told = judge_claims(place, files=chosen, rule=rule, names=names, alpha=alpha)
    for text in told:
        warnings.warn(text, stacklevel=2)
    sentences = tuple(f"{row['id']}: {row['verdict']}. {row['sentence']}" for row in rows)
    found = Summary(
        experiment="claims", name="claims", rows=tuple(rows), sentences=sentences, claims_sha256=judged.sha256
    )
    return _handed_on(found, place)


def refuse_unknown_rule(name: str) -> None:
    """Of a rule to judge. Of a file only the name is looked at: its runs are what is judged.

    Raises:
        InputError: no rule is named so.
    """
    from layerlocal.runs.listing import describe

    known = [row["name"] for row in describe("rules")["rules"]]
    if name not in known and ".py:" not in name:
        raise unknown_name("rule", name, [*known, "FILE.py:CLASS"])


def _handed_on(found: Summary, out: Place) -> Summary:
    """The summary, and a warning of runs that failed: a command would end with 1."""
    from layerlocal.experiments.stored import write_report

    if found.failed:
        told = "; ".join(f"{entry.label}: {entry.reason}" for entry in found.failed)
        warnings.warn(f"not every run is finished: {told}", stacklevel=3)
    place = folder_of("out", out)
    return found.paged_by(lambda: Path(write_report(place)))
