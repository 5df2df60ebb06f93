"""A spec as the shell command that makes its run."""

from __future__ import annotations

import json
import shlex
from typing import Any

from layerlocal.spec import TYPED_NETWORK, DataSpec, Recipe, RunSpec

__all__ = ["command_of"]

_PLAIN = json.JSONEncoder(ensure_ascii=False)


def _as_word(value: Any) -> str:
    """Text as it is, unless it could be taken for JSON; everything else as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return _PLAIN.encode(value)


_ELSE = ("source", "name", "options", "teacher", "content_sha256", "source_sha256", "start_sha256")
"""Fields that a command has as options of their own, as several settings, or not at all."""
_USUAL: dict[str, dict[str, Any]] = {
    name: {key: value for key, value in section if key not in _ELSE}
    for name, section in (("data", DataSpec()), ("network", TYPED_NETWORK), ("recipe", Recipe()))
}


def command_of(spec: RunSpec) -> str:
    """The shell command that makes this run: ``layerlocal train`` with whatever differs from what it takes by itself."""
    flags = {"rule": spec.rule.name, "data": spec.data.source, "network": spec.network.name}
    words = ["layerlocal", "train", *(word for flag, value in flags.items() for word in (f"--{flag}", value))]
    settings = {
        f"{name}.{key}": value
        for name, fields in _USUAL.items()
        for key, usual in fields.items()
        if (value := getattr(getattr(spec, name), key)) != usual
    }
    settings |= {f"data.teacher.{key}": value for key, value in (spec.data.teacher or {}).items()}
    settings |= {f"network.{key}": value for key, value in spec.network.options.items()}
    settings |= {f"rule.{key}": value for key, value in spec.rule.options.items()}
    if spec.judged_on != "test":
        settings["judged_on"] = spec.judged_on
    for key, value in settings.items():
        words += ["--set", f"{key}={_as_word(value)}"]
    return shlex.join([*words, "--seed", str(spec.seed)])
