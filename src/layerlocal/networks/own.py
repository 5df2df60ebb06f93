"""Networks of a user's own: ``FILE.py:FUNCTION``, a function of the input's sizes (``in_channels`` and ``image_size``, of text ``vocabulary``
and ``context``) that makes one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from torch import nn

from layerlocal.networks.base import Network, seeded
from layerlocal.plugins import load_file
from layerlocal.types import InputError, describe_error, is_fault

__all__ = ["OwnNetwork"]

IMAGES, TEXT = ("in_channels", "image_size"), ("vocabulary", "context")
TAKEN = (*IMAGES, *TEXT, "width", "seed")
_HANDED_OUT: WeakSet[nn.Module] = WeakSet()
"""Blocks of networks that were made, so that none is trained twice."""


class OwnNetwork:
    """A function of the user's own that makes a network.

    Args:
        path: of the file.
        name: of the function; empty where it was left out.

    Raises:
        InputError: a file that cannot be read or does not import, no function of that name in it, or one that cannot be called with
            ``in_channels`` and ``image_size``, nor with ``vocabulary`` and ``context``.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.function: Callable[..., Any] = _find(path, name)
        self.what = f"network '{path}:{name}'"
        parameters = inspect.signature(self.function).parameters.values()
        named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self.collects = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.options = {key: p for key, p in named.items() if key not in TAKEN}
        self.takes_width = "width" in named
        self.takes_seed = "seed" in named
        self.named = frozenset(named)
        if not self.collects and not any(set(kind) <= self.named for kind in (IMAGES, TEXT)):
            missing = next(key for key in (TEXT if "vocabulary" in named else IMAGES) if key not in named)
            way = "vocabulary, context" if "vocabulary" in named else "in_channels, image_size"
            raise InputError(f"{self.what} takes no {missing}; write def {name}({way})")
        for key, option in self.options.items():
            if option.default is option.empty:
                raise InputError(f"{self.what} has the option {key} without a default; give it one")
        if self.takes_width and named["width"].default not in (1, inspect.Parameter.empty):
            raise InputError(
                f"the width of {self.what} is a factor, 1 by default; give its parameter width another name"
            )

    def make(self, sizes: Mapping[str, int], width: float, seed: int | None, options: Mapping[str, Any]) -> Network:
        """A fresh network.

        Args:
            sizes: of the input: ``in_channels`` (its features where ``image_size`` is 1) and ``image_size``, or ``vocabulary`` and ``context``.
            width: handed on where the function takes it.
            seed: of torch's generator around the call, and handed on where the function takes it.
            options: of the function, looked at already.

        Raises:
            InputError: a width that it does not take; a function that raises, returns something else, or returns blocks that make no
                `Network` for such input.
        """
        given = {**sizes, **options}
        if not self.collects and not set(sizes) <= self.named:
            kind = "text" if "vocabulary" in sizes else "images"
            raise InputError(f"{self.what} is not made for {kind}; give it the parameters {' and '.join(sizes)}")
        if self.takes_width:
            given["width"] = width
        elif width != 1:
            raise InputError(
                f"{self.what} has no width to be set to {width:g}; leave the width out, or give the function a parameter width"
            )
        if self.takes_seed:
            given["seed"] = seed
        shape = _shape(**sizes)
        try:
            with seeded(seed, 0):
                network = _as_network(self.function(**given), shape, sizes.get("vocabulary"))
        except BaseException as error:
            if not is_fault(error):
                raise
            it = "" if isinstance(error, InputError) else "it "
            raise InputError(f"{self.what} cannot be made: {it}{describe_error(error)}") from error
        network.resized = None
        return network


def _find(path: Path, name: str) -> Callable[..., Any]:
    """The function, or the class of a `Network`, of this name."""
    module = load_file(path, "network")
    found = getattr(module, name, None)
    if inspect.isfunction(found) or inspect.isclass(found):
        return found
    there = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    missing = f"has no function {name!r}" if name else "is a file: give FILE.py:FUNCTION, the function after a colon"
    raise InputError(f"{path} {missing}; it has: {', '.join(there) or 'none'}")


def _shape(
    in_channels: int = 1, image_size: int = 1, vocabulary: int | None = None, context: int = 1
) -> tuple[int, ...]:
    """Of a sample."""
    if vocabulary is not None:
        return (context,)
    return (in_channels,) if image_size == 1 else (in_channels, image_size, image_size)


def _as_network(found: Any, shape: tuple[int, ...], vocabulary: int | None) -> Network:
    """What a function returned, of modules that were not returned before: they might be trained."""
    if isinstance(found, tuple) and len(found) == 2:
        found = Network.from_module(*found, sample_shape=shape, vocabulary=vocabulary)
    if not isinstance(found, Network):
        raise InputError(
            f"its function returns {type(found).__name__}; return a Network, or a module and the list of its blocks' names"
        )
    if found.sample_shape not in (shape, (*shape, 1, 1)[:3]):
        raise InputError(
            f"it takes samples of shape {found.sample_shape} where {shape} are asked for; use in_channels and image_size"
        )
    if found.vocabulary != vocabulary:
        raise InputError(
            f"it is of vocabulary {found.vocabulary} where {vocabulary} is asked for; make it Network([...], vocabulary=...)"
        )
    if any(block in _HANDED_OUT for block in found.blocks):
        raise InputError("its function returns modules that it returned before; make new ones at each call")
    _HANDED_OUT.update(found.blocks)
    return found
