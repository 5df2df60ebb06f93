"""What a cost audit found, as a `Summary`: a part for each network and kind of measurement, with its figures and tables. Imports no torch.

What it is made of, a *finding*, is plain JSON and is written by `layerlocal.experiments.cost.summary`; summaries that earlier versions kept or
published are findings too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlocal.claims import COST_STUDY
from layerlocal.experiments.cost.findings import sample_of
from layerlocal.experiments.cost.methods import methods_part, short
from layerlocal.experiments.cost.spreading import spreading_part
from layerlocal.summary import Axis, Column, Figure, Missed, Part, Point, Row, Series, Summary, Table
from layerlocal.words import byte_count, count, percent, plain

__all__ = ["SIZES", "summary_of_finding"]

Finding = Mapping[str, Any]
SIZES = {
    "quick": "10 minutes on 2 cores at the most",
    "standard": "about an hour on 2 cores",
    "full": "ResNet-18 and VGG-16 at 224 px within 8 GB, for a GPU",
}
"""What each takes, in words."""
_SECONDS = ("seconds_per_step", "seconds a step", "s")
_SCALES = (("peak_saved_bytes", "peak saved bytes", "bytes"), _SECONDS)
_PREDICTION = (("flops_per_prediction", "FLOPs of a prediction", ""), _SECONDS)


def summary_of_finding(found: Finding) -> Summary:
    """The summary of a cost audit.

    Args:
        found: ``study``, ``size``, ``command``, ``created``, ``rules``, ``sentences``, ``quantities``, and the parts' lists.
    """
    environment = dict(found.get("environment") or {})
    hardware = environment.get("gpu") or environment.get("processor")
    facts = {"hardware": hardware, "threads": environment.get("threads"), "torch": environment.get("torch")}
    return Summary(
        experiment="cost",
        name=COST_STUDY,
        title="What training costs",
        question="What do time, memory and FLOPs of a training step come to, beside backprop in its lean forms?",
        size=found["size"],
        size_words=SIZES.get(found["size"], ""),
        facts={word: str(value) for word, value in facts.items() if value},
        sentences=tuple(found["sentences"]),
        parts=tuple(_parts(found)),
        notes=tuple(text for text in (found.get("idle"), found.get("energy_note"), *found.get("notes", ())) if text),
        command=found.get("command") or "layerlocal cost",
        rules=tuple(found["rules"]),
        rows=tuple(_rows(found)),
        quantities=found["quantities"],
        planned=found.get("planned", 0),
        finished=found.get("finished", 0),
        missing=tuple(Missed(**entry) for entry in found.get("missing", ())),
        layerlocal=found.get("layerlocal"),
        created=found.get("created") or "",
        environment=environment,
        claims_sha256=found.get("claims_sha256") or "",
    )


def _rows(found: Finding) -> Iterator[Row]:
    """A method and part each."""
    for key, part in (("groups", "methods"), ("budget", "budget"), ("distribution", "distribution")):
        for group in found.get(key) or ():
            yield from ({"part": part, "setting": group["setting"], **row} for row in group["rows"])
    for axis in found.get("scaling") or ():
        for row in axis["rows"]:
            yield {"part": "scaling", "setting": axis["setting"], "axis": axis["axis"], **row}
    for group in found.get("roofline") or ():
        for row in group["rows"]:
            yield {"part": "roofline", "setting": group["setting"], **row}


def _parts(found: Finding) -> Iterator[Part]:
    command = found.get("command") or "layerlocal cost"
    groups, spread = found.get("groups") or [], found.get("distribution") or []
    for number, group in enumerate(groups):
        yield methods_part(group, f"cost-methods-{number}", command)
    for number, budget in enumerate(found.get("budget") or []):
        yield _budget(budget, f"cost-budget-{number}", command)
    if axes := found.get("scaling") or []:
        figures = tuple(figure for axis in axes for figure in _scaling(axis))
        yield Part(title="How cost grows", figures=figures, command=command)
    for number, part in enumerate(found.get("roofline") or []):
        yield _roofline(part, f"cost-roofline-{number}", command)
    for number, part in enumerate(spread):
        yield spreading_part(part, f"cost-spreading-{number}", command)


# --- scaling ----------------------------------------------------------------------------------------------------------


def _scaling(axis: Finding) -> Iterator[Figure]:
    """A line a rule, of each measure."""
    rows = [row for row in axis["rows"] if row.get("seconds_per_step") is not None]
    rules = tuple(dict.fromkeys(row["rule"] for row in rows))
    for key, words, unit in _PREDICTION if axis["axis"] == "num_classes" else _SCALES:
        yield Figure(
            name=f"cost-{axis['axis']}-{key}",
            title=f"{words[0].upper()}{words[1:]} against {axis['label']}",
            caption=f"{words[0].upper()}{words[1:]} against {axis['label']}: {axis['setting']}, n = {plain(axis['n'])} rounds.",
            x=Axis(label=axis["label"], scale="log2"),
            y=Axis(label=words, unit=unit, scale="log2", better="less"),
            series=tuple(
                Series(name=rule, points=tuple(Point(x=r["x"], y=r[key], label=_passes(r)) for r in rows if r["rule"] == rule))
                for rule in rules
            ),
            rules=rules,
        )  # fmt: skip


def _passes(row: Finding) -> str:
    return f"{byte_count(row.get('peak_saved_bytes'))}, {plain(row.get('passes_per_prediction'))} passes a prediction"


# --- a budget of memory ------------------------------------------------------------------------------------------------


def _budget(part: Finding, name: str, command: str) -> Part:
    """What fits, how fast it is there, and where the paper's protocol was run its points beside ours."""
    own = tuple(_bars(part, name))
    return Part(
        title=f"Within {part['memory']}: {part['place']}",
        figures=(*own, *_beside_paper(part, name)),
        tables=(_budget_table(part),),
        command=command,
    )


def _bars(part: Finding, name: str) -> Iterator[Figure]:
    for key, label in (("largest_batch", "largest batch"), ("samples_per_s", "samples/s at that batch")):
        points = tuple(Point(x=row[key], y=row["label"]) for row in part["rows"] if row.get(key) is not None)
        if points:
            yield Figure(
                name=f"{name}-{key}",
                kind="bars",
                title=f"{label[0].upper()}{label[1:]} within {part['memory']}",
                caption=f"{label[0].upper()}{label[1:]} of each method within {part['memory']}: {part['setting']}.",
                x=Axis(label=label, better="more"),
                y=Axis(scale="category"),
                series=(Series(points=points),),
            )  # fmt: skip


def _beside_paper(part: Finding, name: str) -> Iterator[Figure]:
    paper = part.get("paper") or {}
    if not paper:
        return
    rows = [row for row in part["rows"] if row.get("samples_per_s") is not None]
    rules = tuple(dict.fromkeys(short(row) for row in rows))
    ours = [
        Series(
            name=rule,
            points=tuple(Point(x=part["bytes"], y=r["samples_per_s"], label=r["label"]) for r in rows if short(r) == rule),
        )
        for rule in rules
    ]  # fmt: skip
    theirs = tuple(Point(x=p["bytes"], y=p["samples_per_s"], label=p["label"]) for p in paper["points"])
    yield Figure(
        name=f"{name}-paper",
        kind="points",
        title=f"Within {part['memory']}, beside the paper",
        caption=(
            f"Every method at the largest batch that trains within {part['memory']}: {part['setting']}. Beside them what {paper['source']} "
            f"reports on {paper['setting']}, other hardware."
        ),
        x=Axis(label="memory", unit="bytes", better="less"),
        y=Axis(label="samples/s", better="more"),
        series=(*ours, Series(name=paper["source"], points=theirs)),
        rules=rules,
    )  # fmt: skip


_OTHER_SIZES = (("image", "largest images", "px"), ("context", "longest context", "tokens"))
"""Besides the batch; vectors have neither."""


def _budget_table(part: Finding) -> Table:
    def size(row: Finding, key: str) -> str | None:
        value, stopped = row.get(f"largest_{key}"), row.get(f"{key}_stopped")
        if value is None:
            return None if row.get("failed") else "nothing fits"
        return f"{'≥ ' if stopped else ''}{plain(value)}"

    others = [each for each in _OTHER_SIZES if any(f"largest_{each[0]}" in row for row in part["rows"])]
    caption = (
        f"Within {part['memory']}, each try a fresh process that is refused any byte more: {part['place']}, threads "
        f"{plain(part.get('threads'))}, n = {plain(part['n'])} rounds; sizes are known to {percent(part['tolerance'])}"
    )
    columns = (
        Column(key="method", label="method"),
        Column(key="batch", label=f"largest batch at {sample_of(part)}"),
        Column(key="speed", label="samples/s there", kind="count"),
        Column(key="ratio", label=f"÷ {part.get('baseline') or 'bp'}", kind="ratio"),
        *(
            Column(key=key, label=f"{words} at batch {plain(part['batch_size'])}, {unit}")
            for key, words, unit in others
        ),
    )
    rows = tuple(
        {"method": row["label"], "batch": size(row, "batch"), "speed": row.get("samples_per_s"), "ratio": row.get("speed_ratio"),
         **{key: size(row, key) for key, *_ in others}}
        for row in part["rows"]
    )  # fmt: skip
    return Table(caption=caption, columns=columns, rows=rows)


# --- ceilings ----------------------------------------------------------------------------------------------------------


def _roofline(part: Finding, name: str, command: str) -> Part:
    """The share of the ceiling that each rule reaches, and where the time of its step goes."""
    rows = part["rows"]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["operations"]))
    kinds = [kind for kind in kinds if any(row["operations"].get(kind, 0) >= 0.0005 for row in rows)]
    drawn = {row["rule"]: _large_shares(row["operations"], rows) for row in rows}
    about = f"{part['place']}, threads {plain(part.get('threads'))}, n = {plain(part['n'])} rounds"
    caption = (
        f"Share of this machine's ceiling, and where the time of a step goes: {about}. Ceilings: a matrix product "
        f"{count(part['matrix_flops_per_s'], 'FLOP/s')}, a copy {count(part['copy_bytes_per_s'], 'B/s')} (read and written)"
    )
    figure = Figure(
        name=name,
        kind="bars",
        title="Where the time of a step goes",
        caption=f"Share of a step's time by kind of operation: {about}.",
        x=Axis(label="share of the step's time", unit="%", better=""),
        y=Axis(scale="category"),
        series=tuple(
            Series(name=kind, points=tuple(Point(x=shares.get(kind, 0.0), y=rule) for rule, shares in drawn.items()))
            for kind in dict.fromkeys(kind for shares in drawn.values() for kind in shares)
        ),
        stacked=True,
    )
    columns = (
        Column(key="rule", label="rule"),
        Column(key="reached", label="FLOP/s reached", kind="count"),
        Column(key="share", label="of the matrix ceiling", kind="percent"),
        *(Column(key=f"of {kind}", label=kind, kind="percent") for kind in kinds),
    )
    table = Table(
        caption=caption,
        columns=columns,
        rows=tuple(
            {"rule": row["rule"], "reached": row["flops_per_s"], "share": row["share"],
             **{f"of {kind}": row["operations"].get(kind) for kind in kinds}}
            for row in rows
        ),
    )  # fmt: skip
    return Part(title=f"Ceilings: {part['place']}", figures=(figure,), tables=(table,), command=command)


def _large_shares(shares: Mapping[str, float], rows: Sequence[Finding]) -> dict[str, float]:
    """Kinds of operations that take a twentieth of some rule's step; the others together."""
    large = [kind for kind in shares if any(row["operations"].get(kind, 0) >= 0.05 for row in rows)]
    rest = sum(share for kind, share in shares.items() if kind not in large)
    return {kind: shares[kind] for kind in large} | ({"all else": rest} if rest else {})
