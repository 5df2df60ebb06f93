"""What a spec names, made certain before its hash is taken: the source of its rule and network files, and what its data are.

A path says where data lie, not what they are: folders are edited, renamed and copied. A run is of its data, so their content is part of
its spec (``DataSpec.content_sha256``), and the same data under another path are the same run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from layerlocal.data import content_of
from layerlocal.files import load_json, weights_sha256
from layerlocal.plugins import Kind, file_sha256
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, RunSpec

__all__ = [
    "changed_file",
    "contents_of",
    "of_other_data",
    "pin",
    "pin_all",
    "pin_data",
    "pin_plugin",
    "pin_unpinned",
    "sources_of",
]


def pin_plugin(spec: RunSpec) -> RunSpec:
    """The spec with the hashes of the files that its rule (or the rule it is the twin of) and its network are, where they are files, and of
    the weights that its network starts from, where it has none yet.

    Raises:
        InputError: a file that cannot be read.
    """
    return _with_start(_with_sources(spec, _rule_source(spec), file_sha256(spec.network.name, "network")))


def pin_unpinned(spec: RunSpec) -> RunSpec:
    """`pin_plugin`, of those files whose hash is not in the spec yet."""
    rule, network = spec.rule.source_sha256, spec.network.source_sha256
    return _with_start(
        _with_sources(spec, rule or _rule_source(spec), network or file_sha256(spec.network.name, "network"))
    )


def changed_file(spec: RunSpec, found: RunSpec) -> str | None:
    """Which file is not what a spec records, in words; ``None`` where all are.

    Args:
        spec: of a plan, or of a run.
        found: the same spec, pinned now.
    """
    if spec.rule.source_sha256 not in (None, found.rule.source_sha256):
        return f"the rule file of {spec.rule.options.get('of', spec.rule.name)}"
    if spec.network.source_sha256 not in (None, found.network.source_sha256):
        return f"the network file of {spec.network.name}"
    return None


def sources_of(rules: Iterable[str], settings: Mapping[str, Any]) -> dict[str, str]:
    """What a plan keeps of files of the user's own: each name of a rule, or of the network or its first weights that ``settings`` name, →
    SHA-256 of its file.

    Raises:
        InputError: a file that cannot be read.
    """
    names: dict[str, Kind] = {**dict.fromkeys(rules, "rule"), str(settings.get("network.name", "")): "network"}
    start = settings.get("network.start")
    weights = {start: weights_sha256(Path(start))} if isinstance(start, str) and start else {}
    return {name: found for name, kind in names.items() if (found := file_sha256(name, kind))} | weights


def _rule_source(spec: RunSpec) -> str | None:
    return file_sha256(spec.rule.name) or file_sha256(str(spec.rule.options.get("of", "")))


def _with_sources(spec: RunSpec, rule: str | None, network: str | None) -> RunSpec:
    changes = {
        name: part.model_copy(update={"source_sha256": source})
        for name, part, source in (("rule", spec.rule, rule), ("network", spec.network, network))
        if part.source_sha256 != source
    }
    return spec.model_copy(update=changes) if changes else spec


def _with_start(spec: RunSpec) -> RunSpec:
    network = spec.network
    if network.start is None or network.start_sha256 is not None:
        return spec
    found = network.model_copy(update={"start_sha256": weights_sha256(Path(network.start))})
    return spec.model_copy(update={"network": found})


def contents_of(specs: Iterable[RunSpec], *, reread: bool = False) -> dict[str, str]:
    """What the data of some runs are: ``DataSpec.place`` → content, each place looked at once; those that a spec determines are left out.

    Args:
        specs: any; what a spec records already is not looked up.
        reread: read every file again, even where sizes and times of change are those of the decoded copy.

    Raises:
        InputError: data that cannot be read.
    """
    found: dict[str, str] = {}
    for data in {spec.data.place: spec.data for spec in specs if reread or not spec.data.is_recorded}.values():
        content = content_of(data, reread=reread)
        if content is not None:
            found[data.place] = content
    return found


def pin_all(specs: Iterable[RunSpec], *, reread: bool = False) -> list[RunSpec]:
    """The same runs, of the data and the files of rules and networks as they are now.

    Raises:
        InputError: data or a file that cannot be read.
    """
    specs = list(specs)
    contents = contents_of(specs, reread=reread)
    return [pin_plugin(spec).with_content(contents) for spec in specs]


def pin(spec: RunSpec, *, reread: bool = False) -> RunSpec:
    """`pin_all` of one run."""
    return pin_all([spec], reread=reread)[0]


def pin_data(data: DataSpec) -> DataSpec:
    """The data with their content, where the spec does not say it already."""
    return pin(RunSpec(data=data)).data


def of_other_data(store: RunStore, specs: Iterable[RunSpec]) -> list[str]:
    """What is to be said before runs are begun anew: that the store has runs of the same words which are no answer, since their data are
    others or were not recorded.

    Args:
        store: any; a run in it that cannot be read is passed over.
        specs: pinned runs that are neither finished nor begun.

    Returns:
        At most one sentence for finished runs, one for interrupted ones and one for runs of versions that did not record data.
    """
    wanted = {spec.words: spec.hash for spec in specs if not spec.data.is_fixed}
    found: dict[str, list[tuple[str, str]]] = {}
    for name, words, state in _words_below(store) if wanted else ():
        if words in wanted and name != wanted[words]:
            found.setdefault(state, []).append((name, wanted[words]))
    return [_say_other(store, state, pairs) for state, pairs in found.items()]


def _words_below(store: RunStore) -> Iterator[tuple[str, str, str]]:
    """(name, words, state) of every run on data that its spec does not determine."""
    for path in store.root.glob("*/spec.json"):
        try:
            spec = RunSpec.parse(load_json(path.read_bytes()))
        except (OSError, ValueError):
            continue
        if not spec.data.is_fixed and spec.hash == path.parent.name:  # a copy under another name is no run
            state = "finished" if (path.parent / "DONE").exists() else "begun"
            yield path.parent.name, spec.words, state if spec.data.is_recorded else "unrecorded"


def _say_other(store: RunStore, state: str, pairs: list[tuple[str, str]]) -> str:
    old, new = pairs[0]
    runs = f"run {old}" if len(pairs) == 1 else f"{len(pairs)} runs (the first {old})"
    one, alone = len(pairs) == 1, len({wanted for _, wanted in pairs}) == 1
    new = new if alone else f"new ones (the first {new})"
    what = {
        "finished": f"{'is' if one else 'are'} of the same settings on other data, and no answer here; {'it is' if one else 'they are'} kept",
        "begun": f"{'was' if one else 'were'} begun with the same settings on other data and {'is' if one else 'are'} not continued",
        "unrecorded": f"{'was' if one else 'were'} made with the same settings by a version that did not record its data, so "
        f"{'it is' if one else 'they are'} no answer here; {'it is' if one else 'they are'} kept",
    }
    return f"{runs} in {store.root} {what[state]}; {new} {'is' if alone else 'are'} trained on the data as they are now"
