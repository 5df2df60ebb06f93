"""`Network`: an ordered chain of named blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import FunctionType
from typing import Self

import torch
from torch import Tensor, nn

from layerlocal.devices import drawn_from
from layerlocal.networks.blocks import (
    FusableBlock,
    SeesImages,
    as_blocks,
    as_found,
    as_shape,
    refuse_other_types,
    refuse_shared_parts,
    run_watched,
)
from layerlocal.networks.cutting import Cut, Entry
from layerlocal.networks.tokens import is_tokens, read_tokens, tokens_of
from layerlocal.options import whole_number
from layerlocal.types import InputError, derive_seed

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
        frozen: indices of the blocks that do not learn (`freeze`).
        started: its weights are given ones (`load_weights`): nothing of it is made of the training images.
        names_in_module: names of its weights and buffers in the module that it was cut from (`from_module`), by their names here.

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
        self.names_in_module: dict[str, str] = {}
        self.frozen: frozenset[int] = frozenset()
        self.started = False
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
        return _random_inputs(self, self.sample_shape, count, self.vocabulary, generator)

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

    def freeze(self, blocks: Iterable[int]) -> Network:
        """Keep blocks as they are: nothing of them is trained from now on, their running statistics do not move, and they drop nothing.

        Make the rule after this: it trains what it finds. Readouts at frozen blocks still learn, as they are the rule's.

        Args:
            blocks: indices, from 0.

        Raises:
            InputError: an index that no block has.
        """
        chosen = sorted(blocks)
        for index in chosen:
            if not 0 <= index < self.depth:
                raise InputError(
                    f"block {index} cannot be frozen: the network has blocks 0 to {self.depth - 1}; give indices of these"
                )
        for index in chosen:
            self.blocks[index].requires_grad_(False).eval()
        self.frozen |= frozenset(chosen)
        return self

    def train(self, mode: bool = True) -> Self:
        """As of any module; frozen blocks stay in evaluation mode."""
        super().train(mode)
        for index in self.frozen:
            self.blocks[index].eval()
        return self

    @property
    def sees_images(self) -> bool:
        """Whether a part of it is made of the training images (`see`)."""
        return not self.started and any(isinstance(part, SeesImages) for part in self.modules())

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
        blocks: Sequence[Entry],
        *,
        sample_shape: Sequence[int],
        vocabulary: int | None = None,
        tokens: str | None = None,
    ) -> Network:
        """Cut a module into blocks by the names of its submodules.

        The network ends with the last block: a classifier's head need not be named, and is no part of the network then. What the module's
        ``forward`` does between two submodules is given with them, as a function or a module of your own. All that is named is held against
        the module's own forward pass on a random batch of two, in evaluation and in training mode; what would be lost is refused.

        Args:
            module: any module; its submodules are used as they are, not copied. It may return anything.
            blocks: one entry a block: a submodule's name (``"layer1"``, ``"features.0"``), a function (``torch.flatten``, which keeps the batch
                here, or ``lambda x: x.mean([2, 3])``), a module of your own, or a list of these, applied in order. What stands behind the last
                name is compared with nothing.
            sample_shape: shape of one input without the batch dimension.
            vocabulary: as of `Network`.
            tokens: as of `Network`.

        Raises:
            InputError: a name that is not a submodule; a chain of blocks that is not what the module does, with the operation between the
                blocks that it would lose and how to cut there. The module is then left as it was.

        Example:
            >>> class Classifier(nn.Module):
            ...     def __init__(self):
            ...         super().__init__()
            ...         self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)
            ...
            ...     def forward(self, x):
            ...         return self.fc(self.conv(x).relu().mean([2, 3]))
            >>> cut = ["conv", lambda x: x.relu()]
            >>> Network.from_module(Classifier(), [cut], sample_shape=(1, 8, 8)).activity_shapes
            [(4, 6, 6)]
        """
        cut = Cut(module, blocks)
        parts = nn.ModuleList(cut.blocks())
        cut.refuse_loss(_random_inputs(parts, as_shape(sample_shape), 2, vocabulary))
        network = cls(list(parts), sample_shape=sample_shape, vocabulary=vocabulary, tokens=tokens)
        network.names_in_module = cut.names_of(network)
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


def _random_inputs(
    module: nn.Module,
    shape: tuple[int, ...],
    count: int,
    vocabulary: int | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    generator = generator or torch.Generator().manual_seed(0)
    like = next(module.parameters(), torch.empty(0))
    if vocabulary is not None:
        return torch.randint(vocabulary, (count, *shape), generator=generator).to(like.device)
    return torch.randn(count, *shape, generator=generator).to(like.device, like.dtype)


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
