"""A training step from a file of the user's own: ``FILE.py:FUNCTION``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from layerlocal.measure.certify.api import certify
from layerlocal.plugins import load_file, split_name
from layerlocal.types import InputError, describe_error, first_line, is_fault, shown, unknown_name

__all__ = ["certify_file"]

RETURNS = "(step, groups) or (step, groups, state)"


def certify_file(name: str) -> dict[str, Any]:
    """The certificate of what a function of the user's own returns.

    Args:
        name: ``"FILE.py:FUNCTION"``; the function takes no argument and returns ``(step, groups)`` or ``(step, groups, state)``, as
            `certify` takes them. What lies beside the file can be imported, as when Python runs it.

    Raises:
        InputError: a file or function that is not there, does not load, raises or returns something else; and whatever `certify` refuses.
    """
    found = split_name(name)
    if found is None or not found[1]:
        raise InputError(f"a step must be given as FILE.py:FUNCTION, got {shown(name)}")
    path, function = found
    with _beside(path):
        return certify(*_made(name, load_file(path, "step"), function))


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Imports find what lies beside the file."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _made(name: str, module: ModuleType, function: str) -> tuple[Any, ...]:
    functions = [
        key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    make = getattr(module, function, None)
    if not callable(make):
        raise unknown_name("function", function, functions)
    try:
        found = make()
    except BaseException as error:
        if not is_fault(error):
            raise
        text = first_line(error)
        if ("CUDA" in text or "NVIDIA" in text) and not torch.cuda.is_available():
            raise InputError(f"{name} needs a GPU, and torch finds none here: {text}") from error
        raise InputError(f"{name} {describe_error(error)}; it must return {RETURNS}") from error
    if not isinstance(found, tuple | list) or len(found) not in (2, 3):
        many = f" of {len(found)}" if isinstance(found, tuple | list) else ""
        raise InputError(f"{name} must return {RETURNS}, got a {type(found).__name__}{many}")
    return tuple(found)
