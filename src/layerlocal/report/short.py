"""Rules of a user's own by their own name: ``LogisticMargin``, not ``examples/my_rule.py:LogisticMargin``, wherever a summary is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from layerlocal.plugins import split_name
from layerlocal.summary import Column, Summary

__all__ = ["in_short", "short_names"]

SHOWN = ("title", "question", "sentences", "figures", "tables", "notes", "parts", "facts", "rules", "missing")
"""What of a summary is words to be read; rows, quantities, commands and plans keep the whole name."""


def short_names(rules: tuple[str, ...]) -> dict[str, str]:
    """Own rule → its class; with its file where two classes have one name."""
    own = {rule: found for rule in rules if (found := split_name(rule)) is not None and found[1]}
    count = Counter([*(name for _, name in own.values()), *(rule for rule in rules if rule not in own)])
    return {rule: name if count[name] == 1 else f"{path.name}:{name}" for rule, (path, name) in own.items()}


def in_short(summary: Summary) -> Summary:
    """The summary with its own rules called by their own names in everything that is read; the same one where it has none."""
    names = short_names(summary.rules)
    if not names:
        return summary
    names = {
        rule.rpartition("/")[2]: name for rule, name in names.items()
    } | names  # some experiments leave the folder out
    longest_first = dict(sorted(names.items(), key=lambda pair: -len(pair[0])))
    return summary.model_copy(update={key: _renamed(getattr(summary, key), longest_first) for key in SHOWN})


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for long, short in names.items():
            value = value.replace(long, short)
        return value
    if isinstance(value, tuple | list):
        return type(value)(_renamed(inner, names) for inner in value)
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    fields = getattr(type(value), "model_fields", None)
    if fields is None or isinstance(value, Column):
        return value
    kept = ("command", "runs")
    update = {key: _renamed(getattr(value, key), names) for key in fields if key not in kept}
    if "columns" in fields:
        commands = [column.key for column in value.columns if column.kind == "command"]
        pairs = zip(update["rows"], value.rows, strict=True)
        update["rows"] = tuple({**new, **{key: old[key] for key in commands if key in old}} for new, old in pairs)
    return value.model_copy(update=update)
