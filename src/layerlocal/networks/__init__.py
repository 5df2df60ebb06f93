"""What is trained: networks as ordered chains of blocks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from layerlocal.networks.base import Network as Network
from layerlocal.networks.blocks import within_memory
from layerlocal.networks.mlp import mlp
from layerlocal.networks.own import OwnNetwork
from layerlocal.networks.resnet import RESNET_PLANS, resnet
from layerlocal.networks.speedrun import speedrun
from layerlocal.networks.transformer import gpt, vit
from layerlocal.networks.vgg import VGG_PLANS, vgg
from layerlocal.options import MOST_PIXELS, check_options, options_of, real_number, seed_number, whole_number
from layerlocal.plugins import split_name
from layerlocal.types import InputError, first_line, shown, unknown_name
from layerlocal.words import spoken

__all__ = ["Network", "create_network", "list_networks", "network_options", "takes_text", "takes_width"]

IMAGES, TEXT = ("in_channels", "image_size"), ("vocabulary", "context")
"""What a network is told of its input, of either kind."""
_BUILDERS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "speedrun": speedrun,
    "vit": vit,
    "gpt": gpt,
    **{name: partial(vgg, plan) for name, plan in VGG_PLANS.items()},
    **{name: partial(resnet, *plan) for name, plan in RESNET_PLANS.items()},
}


def list_networks() -> list[str]:
    """Names that `create_network` knows."""
    return sorted(_BUILDERS)


def network_options(name: str) -> dict[str, Any]:
    """The options that a network has besides those of `create_network`, and their defaults.

    Args:
        name: one of `list_networks()`, or ``FILE.py:FUNCTION`` for one of your own.

    Raises:
        InputError: no such network, or a file that does not import.

    Example:
        >>> network_options("mlp")
        {'depth': 4, 'hidden': 256, 'norm': True}
    """
    return {option: parameter.default for option, parameter in _parameters(name).items()}


def takes_width(name: str) -> bool:
    """Whether a network has a width to be set; all of ours have.

    Raises:
        InputError: as `network_options`.
    """
    own = _own(name)
    return own is None or own.takes_width


def takes_text(name: str) -> bool:
    """Whether a network's input is text and not images: ``vocabulary`` and ``context`` are its parameters.

    Raises:
        InputError: as `network_options`.
    """
    own = _own(name)
    takes = own.named if own is not None else set(inspect.signature(_BUILDERS[name]).parameters)
    return set(TEXT) <= takes and not set(IMAGES) <= takes


def _own(name: str) -> OwnNetwork | None:
    """The function of ``FILE.py:FUNCTION``; ``None`` for a network of ours."""
    if not isinstance(name, str):
        raise InputError(
            f"a network by name is one of {', '.join(sorted(_BUILDERS))} or FILE.py:FUNCTION, got {name!r}"
        )
    if name in _BUILDERS:
        return None
    found = split_name(name)
    if found is None:
        raise unknown_name("network", name, [*_BUILDERS, "FILE.py:FUNCTION"])
    return OwnNetwork(*found)


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The options of a network's builder, with types and defaults."""
    own = _own(name)
    return options_of(_BUILDERS[name], (*IMAGES, *TEXT, "width", "seed")) if own is None else own.options


def _sizes(width: float, options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in {"width": width, **options}.items())


def create_network(
    name: str,
    *,
    in_channels: int | None = None,
    image_size: int | None = None,
    vocabulary: int | None = None,
    context: int | None = None,
    width: float = 1.0,
    seed: int | None = None,
    channels_last: bool = False,
    compile: bool = False,
    fused: bool = False,
    **options: Any,
) -> Network:
    """Build a network by name.

    Args:
        name: one of `list_networks()`; or ``FILE.py:FUNCTION``, a function of your own that takes ``in_channels`` and ``image_size``, or for
            text ``vocabulary`` and ``context``, and ``width`` and ``seed`` where it has them, and returns a `Network`, or a module and the
            names of its blocks (`Network.from_module`). Torch draws in it from ``seed``.
        in_channels: channels of the input image; for vectors their length D, with ``image_size=1``.
        image_size: side of the input in pixels.
        vocabulary: V, for text: inputs are numbers of tokens from 0 to V − 1; 256 for bytes. Then no ``in_channels`` and ``image_size``.
        context: T, tokens of a sample of text.
        width: factor on every width of the network, > 0.
        seed: of the initial weights; with equal seeds block i starts the same at every depth. ``None``: torch's global generator.
        channels_last: lay tensors out as NHWC.
        compile: ``torch.compile`` every block on its own.
        fused: normalization, activation, pooling and readout of a block as one operation (`kernels.norm_act`): less memory, less time.
        **options: the builder's own: ``depth``, ``hidden``, ``norm``, ``stem``, ``first``; of a function of your own its other parameters.

    Raises:
        InputError: unknown name or option, or sizes that do not fit; a function of your own that raises, or returns something else.

    Example:
        >>> create_network("vgg8", in_channels=3, image_size=32, width=0.25).depth
        6
    """
    own, what = _own(name), f"network {name!r}"
    known = _parameters(name) if own is None else own.options
    check_options(what, known, options, None if own is not None and own.collects else ())
    given = _given(in_channels=in_channels, image_size=image_size, vocabulary=vocabulary, context=context)
    if own is None:
        _refuse_other_input(name, given)
    width, seed = real_number("width", width), None if seed is None else seed_number(seed)
    for flag, value in (("channels_last", channels_last), ("compile", compile), ("fused", fused)):
        if not isinstance(value, bool):
            raise InputError(f"{flag} must be true or false, got {value!r}")
    with within_memory(what):
        if own is not None:
            network = own.make(given, width, seed, options)
        else:
            network = _build(name, given, width, seed, options)
    if channels_last:
        network.to_channels_last()
    network.use_fused(fused)
    network.width = width
    return network.compile_blocks() if compile else network


def _given(**sizes: int | None) -> dict[str, Any]:
    """The sizes of the input, all of one kind.

    Raises:
        InputError: sizes of images and of text, or one without the other.
    """
    given = {name: size for name, size in sizes.items() if size is not None}
    kind = next((kind for kind in (IMAGES, TEXT) if set(given) <= set(kind)), None)
    if kind is None or len(given) < len(kind):
        raise InputError(
            f"a network is made for images, with in_channels and image_size, or for text, with vocabulary and context; got {spoken(list(given))}"
        )
    most = {"image_size": MOST_PIXELS}
    return {name: whole_number(name, size, least=1, most=most.get(name)) for name, size in given.items()}


def _refuse_other_input(name: str, given: dict[str, int]) -> None:
    takes = inspect.signature(_BUILDERS[name]).parameters
    if not set(given) <= set(takes):
        wanted, other = ("text", "images") if "vocabulary" in given else ("images", "text")
        able = [each for each, make in _BUILDERS.items() if set(given) <= set(inspect.signature(make).parameters)]
        raise InputError(f"network {name!r} takes {other}, not {wanted}; for {wanted} take {spoken(able)}")


def _build(name: str, given: dict[str, Any], width: float, seed: int | None, options: dict[str, Any]) -> Network:
    """One of ours."""
    try:
        network = _BUILDERS[name](**given, width=width, seed=seed, **options)
    except (TypeError, OverflowError) as error:  # a size that torch cannot count
        raise InputError(
            f"network {name!r} refused its sizes ({_sizes(width, options)}): {first_line(error)}"
        ) from error
    network.resized = partial(create_network, name, **{**given, **options})
    return network
