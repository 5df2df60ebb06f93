"""The memory that a tensor is made of, whatever kind of tensor it is: to count, to copy, to compare and to put back bit by bit."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["memory", "plain_parts", "readable"]

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
COMPRESSED = {torch.sparse_csr: "crow", torch.sparse_bsr: "crow", torch.sparse_csc: "ccol", torch.sparse_bsc: "ccol"}


def plain_parts(value: Tensor) -> list[Tensor]:
    """The tensors with a memory of their own that a tensor is made of: itself; the indices and values of a sparse one, what is inside of a
    wrapper. Empty where there is none to be seen (the meta device, another library's layout).
    """
    if value.is_meta:
        return []
    if hasattr(value, "__tensor_flatten__"):
        return [part for name in value.__tensor_flatten__()[0] for part in plain_parts(getattr(value, name))]
    if value.layout is torch.sparse_coo:
        return [value._indices(), value._values()]
    if value.layout in COMPRESSED:
        rows = COMPRESSED[value.layout] == "crow"
        inner = (value.crow_indices(), value.col_indices()) if rows else (value.ccol_indices(), value.row_indices())
        return [*inner, value.values()]
    if value.is_nested:
        return [value.values()]
    return [value] if value.layout is torch.strided else []


def memory(part: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The elements of a plain part, each once: an expanded dimension has size 1. Writing it needs no leave of autograd.

    Args:
        part: any shape and strides; it may overlap with itself, be a leaf or of inference mode.
        dtype: to read it as; ``None``: whole numbers with the same bits, two for one that is longer than 8 bytes.
    """
    strides, start = list(part.stride()), part.storage_offset()
    sizes = [
        1 if stride == 0 and size > 1 else size
        for size, stride in zip(part.shape, strides, strict=True)
    ]  # fmt: skip
    long = dtype is None and part.element_size() > max(BITS)
    if long:
        sizes, strides, start = [*sizes, 2], [*(2 * stride for stride in strides), 1], 2 * start
    kind = dtype or BITS[part.element_size() // (2 if long else 1)]
    with torch.inference_mode(False):
        return torch.empty(0, dtype=kind, device=part.device).set_(part.untyped_storage(), start, sizes, strides)


def readable(value: Tensor) -> Tensor:
    """Its values in a form that can be compared and counted with: dense, and no narrower than two bytes where they are fractions."""
    value = value.detach()
    if value.layout is not torch.strided:
        value = value.to_dense()
    if value.is_quantized:
        return value.dequantize()
    return value.float() if value.is_floating_point() and value.element_size() == 1 else value
