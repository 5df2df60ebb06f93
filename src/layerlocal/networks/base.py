"""`Network`: an ordered chain of named blocks, and how to cut a user's own module into one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.devices import drawn_from
from layerlocal.networks.blocks import (
    FusableBlock,
    SeesImages,
    as_blocks,
    as_shape,
    refuse_other_types,
    refuse_shared_parts,
    run_watched,
)
from layerlocal.networks.tokens import is_tokens, read_tokens, tokens_of
from layerlocal.options import whole_number
from layerlocal.types import InputError, derive_seed, describe_error

__all__ = ["CompiledForward", "Network", "as_found", "build_blocks", "check_depth", "seeded"]

MAX_DEPTH = 1000


class Network(nn.Module):
    """Blocks applied one after another: ``h_l = blocks[l](h_{l-1})``.

    The network has no head: what reads the answer off the activities belongs to the rule. A block whose first operation writes into its
    input (an in-place activation) works on a copy of it from then on, since rules read the activity before it too.

    Args:
        blocks: the units of depth, in order; any modules, in float32, that map one tensor to one tensor.
        sample_shape: shape of one input without the batch dimension, ``(C, H, W)``, ``(D,)``, or ``(T,)`` for tokens.
        vocabulary: V where the input is tokens, whole numbers from 0 to V − 1; ``None``: it is floats.
        tokens: what is read of activities of tokens (B, T, D): their ``"mean"``, the first (``"class"``), or ``"every"`` one, which has a label
            of its own. ``None``: every one where the input is tokens, else their mean.

    Attributes:
        width: factor on its channels, where `create_network` made it.
        resized: makes the same network, with other weights, of another ``width``; ``None`` where it was not made by name.

    Raises:
        InputError: no blocks, a block that does not take what the one before it gives or gives anything but one tensor, weights that are
            not float32, or weights that two blocks share.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        *,
        sample_shape: Sequence[int],
        vocabulary: int | None = None,
        tokens: str | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(as_blocks(blocks))
        self.sample_shape = as_shape(sample_shape)
        self.vocabulary = None if vocabulary is None else whole_number("vocabulary", vocabulary, least=2)
        refuse_other_types(self, "network")
        refuse_shared_parts(list(self.blocks))
        self.channels_last = False
        self.compiled = False
        self.width = 1.0
        self.resized: Callable[..., Network] | None = None
        self.activity_shapes = self._trace_shapes()
        self.tokens = tokens_of(tokens, self.activity_shapes, self.vocabulary)

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return len(self.blocks)

    @property
    def block_names(self) -> list[str]:
        """``["block0", ..., "block{L-1}"]``."""
        return [f"block{index}" for index in range(self.depth)]

    @property
    def label_shape(self) -> tuple[int, ...]:
        """P of the labels (B, *P) and scores (B, *P, K): () for one label a sample, (T,) for one a token."""
        return self.activity_shapes[-1][:1] if self.tokens == "every" else ()

    @property
    def read_shapes(self) -> list[tuple[int, ...]]:
        """Shape of what is read of each block's activity, without the first dimension: (C, H, W), or (D,) of vectors and of tokens."""
        return [shape[1:] if is_tokens(shape) else shape for shape in self.activity_shapes]

    def read(self, activity: Tensor) -> Tensor:
        """What is read of an activity: of tokens (B, T, D) vectors (`read_tokens`); maps and vectors as they are."""
        return activity if self.tokens is None or activity.dim() != 3 else read_tokens(activity, self.tokens)

    def random_inputs(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples without meaning, on the device of the weights: (count, *sample_shape), normal numbers, or tokens drawn alike.

        Args:
            count: how many.
            generator: of the CPU; ``None``: always the same.
        """
        generator = generator or torch.Generator().manual_seed(0)
        like = next(self.parameters(), torch.empty(0))
        if self.vocabulary is not None:
            return torch.randint(self.vocabulary, (count, *self.sample_shape), generator=generator).to(like.device)
        return torch.randn(count, *self.sample_shape, generator=generator).to(like.device, like.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sample_shape) → the last block's activity."""
        for block in self.blocks:
            x = block(x)
        return x

    def prepare(self, x: Tensor) -> Tensor:
        """The input in the memory format of the network (a no-op unless ``to_channels_last`` was called)."""
        if self.channels_last and x.dim() == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    @property
    def sees_images(self) -> bool:
        """Whether a part of it is made of the training images (`see`)."""
        return any(isinstance(part, SeesImages) for part in self.modules())

    @torch.no_grad()
    def see(self, images: Tensor) -> None:
        """Let parts that are made of the training images, and not trained, be made of these: normalized, (N, *sample_shape)."""
        for part in self.modules():
            if isinstance(part, SeesImages):
                part.see(images)

    def to_channels_last(self) -> Network:
        """Store convolution weights, and lay out inputs, channels-last (NHWC); usually faster on CPU and tensor cores."""
        self.channels_last = True
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def use_fused(self, fused: bool = True) -> Network:
        """Normalization, activation, pooling and readout of our blocks as one operation (`kernels.norm_act`): the same up to rounding,
        for less memory and time. Blocks of other makes stay as they are.
        """
        for part in self.modules():
            if isinstance(part, FusableBlock):
                part.fused = fused
        return self

    @property
    def fused(self) -> bool:
        """Whether a block of it is computed as one operation."""
        return any(isinstance(part, FusableBlock) and part.fused for part in self.modules())

    def compile_blocks(self) -> Network:
        """``torch.compile`` every block on its own, in place: gradient boundaries stay outside the compiled graphs.

        It is each block's ``forward`` that is compiled: ``Module.compile()`` compiles ``__call__``, which torch 2.13 leaves uncompiled
        without a word (seen on the CPU build: no graph was captured). Equal blocks share one compilation: their weights are inputs of its
        graph. Unlike blocks share nothing: one function for all would go on uncompiled after torch's limit of 8 kinds, and take the
        maps' sides for variable.
        """
        compiled: dict[str, Callable[..., Tensor]] = {}
        shapes = [self.sample_shape, *self.activity_shapes]
        for block, shape in zip(self.blocks, shapes, strict=False):
            sizes = [tuple(tensor.shape) for tensor in block.state_dict().values()]
            kind = f"{type(block)} {block} {sizes} {shape}"
            if kind not in compiled:
                compiled[kind] = torch.compile(_run_of_its_own(f"run_block_kind{len(compiled)}"))
            block.forward = CompiledForward(compiled[kind], block)
        self.compiled = True
        return self

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        blocks: Sequence[str | Sequence[str]],
        *,
        sample_shape: Sequence[int],
        vocabulary: int | None = None,
        tokens: str | None = None,
    ) -> Network:
        """Cut a module into blocks by the names of its submodules.

        Args:
            module: any module; its submodules are used as they are, not copied.
            blocks: one entry a block: a submodule's name (``"layer1"``, ``"features.0"``) or a list of names applied in order.
            sample_shape: shape of one input without the batch dimension.
            vocabulary: as of `Network`.
            tokens: as of `Network`.

        Raises:
            InputError: a name that is not a submodule, or a chain of blocks whose output on a random batch is not the
                module's own (something happens between the blocks that the cut would lose).

        Example:
            >>> module = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU())
            >>> Network.from_module(module, [["0", "1", "2"]], sample_shape=(8,)).depth
            1
        """
        names_of = _names_by_block(module, blocks)
        known = {name for name, _ in module.named_modules() if name}
        parts: list[nn.Module] = []
        for names in names_of:
            for name in names:
                if name not in known:
                    raise InputError(
                        f"{type(module).__name__} has no submodule {name!r}; it has: {', '.join(sorted(known))}"
                    )
            found = [module.get_submodule(name) for name in names]
            parts.append(found[0] if len(found) == 1 else nn.Sequential(*found))
        network = cls(parts, sample_shape=sample_shape, vocabulary=vocabulary, tokens=tokens)
        _refuse_unequal_chain(module, network)
        return network

    def _trace_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each block's activity without the batch dimension, read off one batch of two random inputs."""
        shapes = []
        with as_found(self), torch.no_grad():
            h = self.random_inputs(2)
            for name, block in zip(self.block_names, self.blocks, strict=True):
                h = run_watched(name, block, h)
                shapes.append(tuple(h.shape[1:]))
        return shapes


class CompiledForward(partial[Tensor]):
    """What `Network.compile_blocks` puts in the place of a block's ``forward``."""


def _run(block: nn.Module, x: Tensor) -> Tensor:
    return type(block).forward(block, x)


def _run_of_its_own(name: str) -> Callable[..., Tensor]:
    """`_run` with a code object of its own, by which torch counts compilations and remembers which sizes vary."""
    return FunctionType(_run.__code__.replace(co_name=name), _run.__globals__, name)


class as_found:
    """Run a module in eval mode and give it back in the mode of each of its parts."""

    def __init__(self, module: nn.Module) -> None:
        self.modes = [(part, part.training) for part in module.modules()]
        self.module = module

    def __enter__(self) -> None:
        self.module.eval()

    def __exit__(self, *_: object) -> None:
        for part, training in self.modes:
            part.training = training


def _names_by_block(module: Any, blocks: Any) -> list[list[str]]:
    if not isinstance(module, nn.Module):
        raise InputError(f"a network is cut from an nn.Module, got {type(module).__name__}")
    entries: list[Any] = list(blocks) if isinstance(blocks, list | tuple) else [None]
    names = [[entry] if isinstance(entry, str) else entry for entry in entries]
    if not all(isinstance(entry, list | tuple) and entry for entry in names):
        raise InputError(
            f"blocks is a list with one entry a block, a submodule's name or a list of names, got {blocks!r}"
        )
    return [list(entry) for entry in names]


def _refuse_unequal_chain(module: nn.Module, network: Network) -> None:
    x = network.random_inputs(2)
    with as_found(module), torch.no_grad():
        try:
            expected = module(x.clone())
        except Exception as error:
            raise InputError(
                f"{type(module).__name__} cannot take samples of shape {network.sample_shape}: it {describe_error(error)}"
            ) from error
        found = network(x)
    if not isinstance(expected, Tensor):
        raise InputError(
            f"{type(module).__name__} returns {type(expected).__name__}, not one tensor; cut a module that does"
        )
    if expected.shape != found.shape:
        raise InputError(
            f"the chain of blocks gives shape {tuple(found.shape)} where {type(module).__name__} gives {tuple(expected.shape)}; "
            "name every submodule that the forward pass uses, in order; where forward calls functions between submodules (a mean, a reshape, "
            "F.relu), no cut keeps them: write the blocks as modules and use Network([...])"
        )
    if not torch.equal(expected, found):
        difference = (expected - found).abs().max().item()
        raise InputError(
            f"the chain of blocks differs from {type(module).__name__}'s own output by up to {difference:.3g}; an operation between "
            "the blocks (a residual, an activation, a pooling written in forward) is lost: put it into a submodule, or write the blocks as "
            "modules and use Network([...])"
        )


def check_depth(depth: int) -> None:
    """Refuse a number of blocks that no network has; 1,000 is as deep as the deepest published (1603.05027) and is built in seconds.

    Raises:
        InputError: not from 1 to `MAX_DEPTH`.
    """
    if not 1 <= depth <= MAX_DEPTH:
        raise InputError(f"depth must be from 1 to {MAX_DEPTH}, got {depth}")


def build_blocks(makers: Sequence[Callable[[], nn.Module]], seed: int | None) -> Iterator[nn.Module]:
    """Make block after block, each from a seed of its own, so that block i starts the same at every depth.

    Args:
        makers: one function a block; its module draws initial weights from torch's global generator.
        seed: the run's seed; ``None`` draws from the global generator as torch does.
    """
    for index, make in enumerate(makers):
        with seeded(seed, index):
            block = make()
        yield block


@contextlib.contextmanager
def seeded(seed: int | None, index: int) -> Iterator[None]:
    """Draw block ``index`` from a seed of its own inside, and leave torch's global generator as it was; ``None``: draw from that."""
    if seed is None:
        yield
        return
    with drawn_from(derive_seed(seed, "block", index)):
        yield
