"""Compiles `norm_act.c` at first use and loads it: one second, once a machine. Where that is not possible, torch's own operations do the work.

Why C: in torch normalization, activation, pooling and readout are operations that each read and write whole maps, and of a local step
they are what is left once the convolutions are as few as they can be (``benchmarks/trainer.py --profile``); here they are two passes over
the map forward and one or two backward.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["Shape", "kernels_in_use", "library"]

SOURCE = Path(__file__).with_name("norm_act.c")
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC"]


SCALARS = {"l": ctypes.c_long, "i": ctypes.c_int, "f": ctypes.c_float}
ARGUMENTS = {
    "ll_channel_stats": "pllppi",
    "ll_forward": "pppppppp",
    "ll_coefficients": "pppfp",
    "ll_cell_sums": "pppppp",
    "ll_backward_sums": "ppppppppp",
    "ll_backward": "ppppppppppp",
}
"""Of each function of norm_act.c, its arguments: p a pointer, l, i and f numbers."""


class Shape(ctypes.Structure):
    """``Shape`` of norm_act.c."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("n", "h", "w", "c", "ph", "pw", "gh", "gw")),
        ("pool", ctypes.c_int),
        ("threads", ctypes.c_int),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or ``None``: no C compiler, nowhere to keep the result, or switched off by ``LAYERLOCAL_KERNELS=torch``."""
    if os.environ.get("LAYERLOCAL_KERNELS") == "torch":
        return None
    try:
        found = ctypes.CDLL(str(_compiled()))
    except (OSError, subprocess.SubprocessError):
        return None
    for name, numbers in ARGUMENTS.items():
        function = getattr(found, name)
        function.restype = None
        function.argtypes = [ctypes.c_void_p if letter == "p" else SCALARS[letter] for letter in numbers]
    return found


def kernels_in_use(device: str = "cpu") -> str:
    """What does the work of fused blocks in float32: ``"C"`` or ``"torch"``; they differ in rounding."""
    return "C" if device == "cpu" and library() is not None else "torch"


def _compiled() -> Path:
    """The shared library for this source, compiler and processor; made where it is not yet there, and put in place by a rename."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler")
    key = hashlib.sha256("\n".join([SOURCE.read_text(), compiler, *FLAGS, _processor()]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "layerlocal" / "kernels"
    path = folder / f"norm_act-{key}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "made.so"
            subprocess.run([compiler, *FLAGS, "-o", made, SOURCE], check=True, capture_output=True, timeout=120)
            made.replace(path)
    return path


def _processor() -> str:
    """What ``-march=native`` depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines[:30] if line.startswith(("model name", "flags", "Features")))
