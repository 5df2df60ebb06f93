"""Compiles `norm_act.c` at first use and loads it: one second, once a machine. Where that is not possible, torch's own operations do the work,
and a warning says so.

What was compiled is kept under its own SHA-256 in a folder that nobody else may write, and held against it before it is loaded: a library
that was cut short would end the process, not raise.

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
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

from layerlocal.files import write_whole
from layerlocal.types import unknown_name

__all__ = ["Shape", "kernels_in_use", "library"]

SOURCE = Path(__file__).with_name("norm_act.c")
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC"]
COMPILE_SECONDS = 120

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


class _Unavailable(Exception):
    """Why there are no compiled kernels."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; ``None`` where they are switched off by ``LAYERLOCAL_KERNELS=torch``, or, with a warning, cannot be had.

    Raises:
        InputError: ``LAYERLOCAL_KERNELS`` is another word.
    """
    asked = os.environ.get("LAYERLOCAL_KERNELS", "")
    if asked == "torch":
        return None
    if asked:
        raise unknown_name("value of LAYERLOCAL_KERNELS", asked, ["torch"])
    try:
        return _load(_compiler())
    except _Unavailable as error:
        warnings.warn(
            f"torch's own operations do the work of the compiled kernels, slower and with other rounding ({error}); install a C compiler or "
            "name one in CC, or set LAYERLOCAL_KERNELS=torch where that is meant",
            stacklevel=2,
        )
        return None


def kernels_in_use(device: str = "cpu") -> str:
    """What does the work of fused blocks in float32: ``"C"`` or ``"torch"``; they differ in rounding."""
    return "C" if device == "cpu" and library() is not None else "torch"


def _load(compiler: list[str]) -> ctypes.CDLL:
    """The kernels of this source, compiler and processor: those that are kept, or new ones."""
    key = hashlib.sha256("\n".join([SOURCE.read_text(), *compiler, *FLAGS, _processor()]).encode()).hexdigest()[:16]
    try:
        folder = _own_folder()
        for path in sorted(folder.glob(f"norm_act-{key}-*.so")):
            if path == _place(folder, key, path.read_bytes()) and (found := _bind(path)) is not None:
                return found
            path.unlink()  # cut short, changed, or not what this source compiles to
    except (OSError, RuntimeError) as error:
        return _load_unkept(compiler, error)
    content = _compile(compiler)
    path = _place(folder, key, content)
    try:
        write_whole(path, content)
    except OSError as error:
        return _load_unkept(compiler, error)
    if (found := _bind(path)) is not None:
        return found
    path.unlink(missing_ok=True)
    return _load_unkept(compiler, OSError(f"what {shlex.join(compiler)} makes cannot be loaded from {folder}"))


def _place(folder: Path, key: str, content: bytes) -> Path:
    """Where a library is kept: its name says what is in it."""
    return folder / f"norm_act-{key}-{hashlib.sha256(content).hexdigest()[:32]}.so"


def _load_unkept(compiler: list[str], reason: Exception) -> ctypes.CDLL:
    """Kernels for this process alone."""
    content = _compile(compiler)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "norm_act.so"
            path.write_bytes(content)
            found = _bind(path)
    except OSError as error:
        raise _Unavailable(_words(error)) from error
    if found is None:
        raise _Unavailable(f"what {shlex.join(compiler)} makes of our source cannot be loaded")
    warnings.warn(
        f"compiled kernels cannot be kept ({_words(reason)}), so that each process compiles them anew; "
        "set XDG_CACHE_HOME to a folder that only you may write",
        stacklevel=2,
    )
    return found


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _own_folder() -> Path:
    """Where libraries are kept, made where it is missing.

    Raises:
        OSError, RuntimeError: there is no such folder of this user's own: whoever may write it could have us run whatever they like.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "layerlocal" / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise OSError(f"others may write {folder}")
    return folder


def _bind(path: Path) -> ctypes.CDLL | None:
    """The library with the types of its functions; ``None`` where it cannot be loaded or is not ours."""
    try:
        found = ctypes.CDLL(str(path))
        for name, numbers in ARGUMENTS.items():
            function = getattr(found, name)
            function.restype = None
            function.argtypes = [ctypes.c_void_p if letter == "p" else SCALARS[letter] for letter in numbers]
    except (OSError, AttributeError):
        return None
    return found


def _compiler() -> list[str]:
    """The words of the compiler's command: of ``CC`` (``"ccache gcc"``, or a path with spaces), or what is usual."""
    named = os.environ.get("CC", "")
    if named.strip() and shutil.which(named) is None:
        try:
            return shlex.split(named)
        except ValueError as error:
            raise _Unavailable(f"CC={named!r} is no command: {error}") from error
    found = next(filter(None, map(shutil.which, [named] if named.strip() else ["cc", "gcc", "clang"])), None)
    if found is None:
        raise _Unavailable("there is no C compiler here")
    return [found]


def _compile(compiler: list[str]) -> bytes:
    """The shared library."""
    command = shlex.join(compiler)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "made.so"
            words = [*compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=COMPILE_SECONDS)
            return made.read_bytes()
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise _Unavailable(f"{command} failed: {said[0] if said else f'exit code {error.returncode}'}") from error
    except subprocess.TimeoutExpired as error:
        raise _Unavailable(f"{command} took more than {COMPILE_SECONDS} seconds") from error
    except OSError as error:
        raise _Unavailable(f"{command} made no library: {error.strerror or error}") from error


def _processor() -> str:
    """What ``-march=native`` depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines[:30] if line.startswith(("model name", "flags", "Features")))
