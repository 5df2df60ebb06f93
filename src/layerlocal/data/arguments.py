"""The arguments of `load_data`, looked at before anything is read: numbers of NumPy become Python's, and what is no number is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from layerlocal.options import MOST_PIXELS, real_number, seed_number, whole_number
from layerlocal.types import InputError

__all__ = ["Request", "check_arguments"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `load_data`, passed on as one."""

    labels: str | None
    classes: int | Sequence[int | str] | None
    image_size: int | None
    num_train: int | None
    num_test: int | None
    validation: float
    seed: int
    draw: str
    superclass: int | None
    compose: str | None
    held_out: float
    test: float | None = None
    context: int | None = None


def check_arguments(source: Any, request: Request, cache_dir: Any = None) -> Request:
    """The same request in plain numbers and text.

    Raises:
        InputError: the first argument that is of a wrong kind or out of its range.
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"data needs a name or a folder, got {source!r}; `list_data` lists the names")
    if not isinstance(cache_dir, str | os.PathLike | None):
        raise InputError(f"cache_dir must be a folder, got {cache_dir!r}")
    if not str(source):
        raise InputError("data needs a name or a folder, got an empty one; write . for the current folder")
    if request.compose is None and not 0 <= real_number("held_out", request.held_out) < 1:
        raise InputError(f"held_out={request.held_out} must be at least 0 and below 1 (the share of the pairs)")
    for name in ("labels", "draw", "compose"):
        value = getattr(request, name)
        if not isinstance(value, str) and (value is not None or name == "draw"):
            raise InputError(f"{name} must be text, got {value!r}")
    return replace(
        request,
        classes=_classes(request.classes),
        image_size=_pixels(request.image_size),
        num_train=_optional("num_train", request.num_train, 0),
        num_test=_optional("num_test", request.num_test, 0),
        validation=real_number("validation", request.validation),
        seed=seed_number(request.seed),
        superclass=_optional("superclass", request.superclass, 0),
        held_out=real_number("held_out", request.held_out),
        test=_share(request.test),
        context=None if request.context is None else whole_number("context", request.context, least=1),
    )


def _optional(name: str, value: Any, least: int) -> int | None:
    return None if value is None else whole_number(name, value, least=least)


def _share(value: Any) -> float | None:
    share = None if value is None else real_number("test", value)
    if share is not None and not 0 < share < 1:
        raise InputError(
            f"test={share:g} must be above 0 and below 1 (the share of the images that becomes the test split)"
        )
    return share


def _pixels(value: Any) -> int | None:
    size = _optional("image_size", value, 0)
    if size is not None and not 1 <= size <= MOST_PIXELS:
        raise InputError(f"image_size={size} must be at least 1 pixel and at most {MOST_PIXELS}")
    return size


def _classes(classes: Any) -> int | list[int | str] | None:
    if classes is None or (isinstance(classes, Integral) and not isinstance(classes, bool)):
        return None if classes is None else int(classes)
    if isinstance(classes, str):
        raise InputError(f"classes={classes!r} must be a number or a list, e.g. classes=[{classes!r}, …]")
    try:
        items = None if isinstance(classes, Mapping) or not isinstance(classes, Iterable) else list(classes)
    except TypeError:  # an array without axes says that it is one
        items = None
    if items is None:
        raise InputError(f"classes={classes!r} must be a whole number, or a list of indices and names")
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | Integral):
            raise InputError(f"classes={items} must hold indices, which are whole numbers, and names, got {item!r}")
    return [str(item) if isinstance(item, str) else int(item) for item in items]
