"""What a list of blocks must be before it is a network: modules of their own, in float32, that map one tensor to one and leave it as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from layerlocal.types import InputError, describe_error, first_line

__all__ = [
    "FusableBlock", "SeesImages", "as_blocks", "as_found", "as_shape", "kind_of", "protect_input", "refuse_other_activity", "refuse_other_types",
    "refuse_shared_parts", "run_watched", "version_of", "within_memory",
]  # fmt: skip


class FusableBlock(nn.Module):
    """A block of ours that can run normalization, activation, pooling and readout as one operation (`kernels.norm_act`).

    Attributes:
        fused: use it where it gives the same (`kernels.fuses`).
        cells: grid of the readout that reads this block's activity by root mean squares; 0: none does.
    """

    fused = False
    cells = 0


class SeesImages(nn.Module):
    """A part that is made of the training images and not trained: `Network.see` shows them to it before the first step."""

    def see(self, images: Tensor) -> None:
        """Normalized images (N, *sample_shape); called once, the same for a rule and its twins."""
        raise NotImplementedError


TENSORS_PER_WEIGHT = 4
"""The weight, its gradient and the two averages of AdamW."""


def as_blocks(blocks: Any) -> list[nn.Module]:
    """The blocks as a list.

    Raises:
        InputError: no list of modules, or an empty one.
    """
    if isinstance(blocks, str) or not isinstance(blocks, Iterable):
        raise InputError(f"a network is made of a list of blocks (nn.Module), got {kind_of(blocks)}; to cut a module into blocks use "
            "Network.from_module")  # fmt: skip
    found = list(blocks)
    if not found:
        raise InputError("a network needs at least one block")
    for index, block in enumerate(found):
        if not isinstance(block, nn.Module):
            raise InputError(f"block{index} is {kind_of(block)}, not an nn.Module instance; write it as a module")
    return found


def as_shape(sample_shape: Any) -> tuple[int, ...]:
    """The shape of one sample as whole numbers.

    Raises:
        InputError: anything but whole numbers of at least 1.
    """
    sizes = list(sample_shape) if isinstance(sample_shape, Iterable) and not isinstance(sample_shape, str) else []
    if not sizes or not all(_is_whole(size) and size >= 1 for size in sizes):
        raise InputError(
            f"sample_shape is the shape of one sample without the batch, such as (3, 32, 32) or (8,), got {sample_shape!r}"
        )
    return tuple(int(size) for size in sizes)


def refuse_other_types(module: nn.Module, what: str) -> None:
    """Data are float32, so weights must be.

    Args:
        module: a network, or a rule with its network.
        what: how the message calls it.

    Raises:
        InputError: the first parameter of another type.
    """
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32 and (parameter.is_floating_point() or parameter.is_complex()):
            raise InputError(
                f"{name} of the {what} is {_type(parameter)}, and training is in float32; call .float() on the {what} "
                "(precision='bf16' of a recipe computes in bf16 all the same)"
            )


def refuse_shared_parts(blocks: Sequence[nn.Module]) -> None:
    """Two blocks with one weight or one statistic would learn together, whatever the gradient boundaries say.

    Raises:
        InputError: a trainable parameter, or a module with buffers, that two blocks have.
    """
    owners: dict[int, int] = {}
    for index, block in enumerate(blocks):
        moving = [
            (name, part) for name, part in block.named_modules() if any(b is not None for b in part._buffers.values())
        ]
        trained = [(name, weight) for name, weight in block.named_parameters() if weight.requires_grad]
        for name, part in [*trained, *moving]:
            owner = owners.setdefault(id(part), index)
            if owner != index:
                what = repr(name) if name else f"one {type(part).__name__}"
                raise InputError(
                    f"block{owner} and block{index} share {what}, so that they would not learn apart; give each its own (copy.deepcopy)"
                )


def run_watched(name: str, block: nn.Module, x: Tensor) -> Tensor:
    """The block's activity; a block that writes into its input gets a copy of it from now on, so that others can still read the input.

    Args:
        name: of the block, for the message.
        block: run once, in the mode it is in.
        x: (B, ...).

    Raises:
        InputError: a block that fails, or gives anything but one float tensor of B activities.
    """
    storage, version = _storage(x), version_of(x)
    writes = False

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal writes
        writes |= any(isinstance(given, Tensor) and _storage(given) == storage for given in inputs)

    handles = [
        part.register_forward_pre_hook(look) for part in block.modules() if getattr(part, "inplace", False) is True
    ]
    try:
        found = block(x)
    except InputError:
        raise
    except Exception as error:
        told = first_line(error) if isinstance(error, RuntimeError | ValueError) else describe_error(error)
        raise InputError(f"{name} cannot take an input of shape {tuple(x.shape[1:])}: {told}") from error
    finally:
        for handle in handles:
            handle.remove()
    if writes or version_of(x) != version:
        protect_input(block)
    refuse_other_activity(name, block, x, found)
    activity: Tensor = found
    return activity


def protect_input(block: nn.Module) -> bool:
    """Let a block work on a copy of its input; whether it did not yet."""
    if _is_protected(block):
        return False
    block.register_forward_pre_hook(_copy_input)
    return True


def _is_protected(block: nn.Module) -> bool:
    return _copy_input in block._forward_pre_hooks.values()


def _unprotect(block: nn.Module) -> None:
    for key in [key for key, hook in block._forward_pre_hooks.items() if hook is _copy_input]:
        del block._forward_pre_hooks[key]


def refuse_other_activity(name: str, block: nn.Module, x: Tensor, found: Any) -> None:
    """A block maps one tensor to one.

    Raises:
        InputError: what ``block`` gave for ``x`` is not one float tensor (B, features, ...).
    """
    what = f"{name} ({type(block).__name__}) returns"
    if not isinstance(found, Tensor):
        raise InputError(
            f"{what} {kind_of(found)}, and a block maps one tensor to one tensor; wrap it in a module that returns the tensor for the next block"
        )
    if not found.is_floating_point():
        raise InputError(f"{what} {_type(found)} numbers; a block must return floats")
    if found.dim() < 2 or found.shape[0] != x.shape[0]:
        raise InputError(
            f"{what} shape {tuple(found.shape)} for a batch of {x.shape[0]}; a block must keep the batch as its first dimension and give "
            "features in the second"
        )
    if not found.numel() and x.numel():
        raise InputError(f"{what} an activity without numbers, of shape {tuple(found.shape[1:])}; give larger samples")


class as_found:
    """Run a module in eval mode and give it back in the mode of each of its parts; where that fails, with the hooks it had."""

    def __init__(self, module: nn.Module) -> None:
        self.modes = [(part, part.training) for part in module.modules()]
        self.protected = {id(part) for part, _ in self.modes if _is_protected(part)}
        self.module = module

    def __enter__(self) -> None:
        self.module.eval()

    def __exit__(self, kind: object, *_: object) -> None:
        for part, training in self.modes:
            part.training = training
            if kind is not None and id(part) not in self.protected:
                _unprotect(part)


@contextlib.contextmanager
def within_memory(what: str) -> Iterator[None]:
    """Refuse what is made inside and does not fit this machine's memory, before its weights are filled.

    Args:
        what: what is made, for the message.

    Raises:
        InputError: weights that cannot be trained in the memory there is, or sizes that cannot be counted.
    """
    most, total = _memory_bytes(), 0

    def count(_: nn.Module, __: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        if parameter is not None and parameter.device.type == "cpu":
            total += parameter.numel() * parameter.element_size()
            if TENSORS_PER_WEIGHT * total > most:
                raise InputError(
                    f"the weights of {what} need {total / 1e9:.3g} GB or more, their training {TENSORS_PER_WEIGHT} times as much, and this "
                    f"machine has {most / 1e9:.3g} GB of memory; make it smaller"
                )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in ("allocate", "overflow")):
            raise
        raise InputError(
            f"{what} cannot be made: it needs more memory than this machine has; make it smaller"
        ) from error
    finally:
        handle.remove()


def _copy_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].clone(), *inputs[1:])


def _memory_bytes() -> float:
    """Of this machine, or what a container leaves of it; infinity where nobody tells."""
    try:
        found: float = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        found = float("inf")
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return found


def _storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def version_of(x: Tensor) -> int:
    """How often a tensor was written into."""
    return 0 if x.is_inference() else x._version


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def kind_of(value: Any) -> str:
    """``None``, or a thing of what type, with its article."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _type(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
