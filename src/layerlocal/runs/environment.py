"""What a number was measured on: hardware, versions, threads."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe_environment", "environment_of_parts", "shared_environment", "usual_workers", "vector_instructions"]


def vector_instructions() -> str:
    """Those that torch uses on the CPU; with others float32 sums round otherwise, and runs end otherwise."""
    import torch

    found: str = torch.backends.cpu.get_cpu_capability()
    return found


def describe_environment(device: str = "cpu") -> dict[str, Any]:
    """Hardware, system, library versions, thread count and, inside a checkout, the commit: flat and JSON-ready.

    ``instructions``: `vector_instructions`; of a run that went on with others, all of them ("AVX2, then AVX512").
    """
    import torch

    found: dict[str, Any] = {
        "layerlocal": version("layerlocal"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "instructions": vector_instructions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def environment_of_parts(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The environment of a run that went on somewhere else, or with other versions, threads or instructions.

    Args:
        parts: `describe_environment` of each part, in order, with ``from_epoch``.

    Returns:
        That of the last part, but where parts differ every value in turn (``"AVX2, then AVX512"``); where there are several also ``parts``.
    """
    last = {key: value for key, value in parts[-1].items() if key != "from_epoch"}
    for key in last:
        values = list(dict.fromkeys(part[key] for part in parts if key in part))
        if len(values) > 1 and isinstance(last[key], str):
            last[key] = ", then ".join(map(str, values))
    return last | ({"parts": [dict(part) for part in parts]} if len(parts) > 1 else {})


def _processor() -> str:
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or "unknown"


def _commit() -> str | None:
    """The commit of the checkout this package runs from; ``+changes`` where files differ; ``None`` outside a checkout of ours."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changes = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "src"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def shared_environment(environments: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What all runs share; where they differ, every value. Of a run in parts (`environment_of_parts`), what was said of it as a whole."""
    environments = [{key: value for key, value in env.items() if key != "parts"} for env in environments]
    keys = dict.fromkeys(key for env in environments for key in env)
    found = {key: list(dict.fromkeys(env.get(key) for env in environments)) for key in keys}
    return {key: values[0] if len(values) == 1 else ", ".join(map(str, values)) for key, values in found.items()}


def usual_workers(device: str) -> int:
    """One a core that this process may use, or one a GPU."""
    if device.startswith("cuda"):
        import torch

        return max(1, torch.cuda.device_count()) if device == "cuda" else 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
