"""What autograd keeps for backward, counted in bytes: exact, on any machine."""

from __future__ import annotations

import weakref
from collections import Counter

import torch
from torch import Tensor

from layerlocal.rules.core.memory import plain_parts

__all__ = ["SavedBytes"]


class _Saved:
    """What autograd holds in place of one saved tensor; its end is the end of that saving."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class SavedBytes:
    """Counts the bytes that autograd keeps for backward, now and at peak; a storage saved twice counts once.

    Args:
        exclude: tensors whose storages are not activations (parameters, buffers).
    """

    def __init__(self, exclude: list[Tensor]) -> None:
        self.excluded = {part.untyped_storage().data_ptr() for tensor in exclude for part in plain_parts(tensor)}
        self.holders: Counter[int] = Counter()
        self.sizes: dict[int, int] = {}
        self.current = 0
        self.peak = 0

    def __enter__(self) -> SavedBytes:
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda saved: saved.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def held_since(self, before: Counter[int]) -> dict[int, int]:
        """Storages (address → bytes) that are held more often now than in ``before``, an earlier copy of ``holders``."""
        return {key: self.sizes[key] for key, count in self.holders.items() if count > before[key]}

    def _pack(self, tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())
        self._hold(tensor, saved)
        return saved

    def _hold(self, tensor: Tensor, holder: object) -> None:
        """The storages of a tensor are kept as long as the holder lives."""
        for part in plain_parts(tensor):
            storage = part.untyped_storage()
            key = storage.data_ptr()
            if key in self.excluded or not key:
                continue
            if not self.holders[key]:
                self.sizes[key] = storage.nbytes()
                self.current += self.sizes[key]
                self.peak = max(self.peak, self.current)
            self.holders[key] += 1
            weakref.finalize(holder, self._release, key)

    def _release(self, key: int) -> None:
        self.holders[key] -= 1
        if not self.holders[key]:
            self.current -= self.sizes.pop(key)
