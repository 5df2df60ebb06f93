"""Certify a training step: three lines moved, and the memory is half.

    layerlocal certify examples/certify_step.py:summed    # local, but not lighter
    layerlocal certify examples/certify_step.py:moved     # local, and lighter

A small language model whose gradient stops at the middle. `summed` adds the two losses and calls backward once, so both halves' graphs exist at
the same time. `moved` calls the first backward before the second half runs. The updates are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS, WIDTH, LENGTH, DEPTH = 64, 32, 16, 4


class Block(nn.Module):
    """Attention that looks back only, and a gated feed-forward part, as in Llama. (B, T, D) → (B, T, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.gate = nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](h)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        h = h + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        x = self.norms[1](h)
        return h + self.down(F.silu(self.gate(x)) * self.up(x))


def model():
    """Both halves, a head for each, the optimizer, and the groups in forward order."""
    torch.manual_seed(0)
    embed, blocks = nn.Embedding(TOKENS, WIDTH), [Block() for _ in range(DEPTH)]
    heads = [nn.Linear(WIDTH, TOKENS), nn.Linear(WIDTH, TOKENS)]
    first = nn.Sequential(embed, *blocks[: DEPTH // 2])
    second = nn.Sequential(*blocks[DEPTH // 2 :])
    groups = {"embed": embed, "block0": blocks[0], "block1": [blocks[1], heads[0]]}
    groups |= {"block2": blocks[2], "block3": [blocks[3], heads[1]]}
    optimizer = torch.optim.AdamW([p for part in (first, second, *heads) for p in part.parameters()], lr=1e-3)
    return first, second, heads, optimizer, groups


def loss_of(head: nn.Module, h: Tensor, ids: Tensor) -> Tensor:
    """How badly a head predicts the next token: (B, T, D), (B, T) → scalar."""
    return F.cross_entropy(head(h)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def summed():
    """One backward over the sum of both losses."""
    first, second, heads, optimizer, groups = model()
    ids = torch.randint(TOKENS, (8, LENGTH))

    def step() -> None:
        h = first(ids)
        loss = loss_of(heads[0], h, ids)
        h = second(h.detach())
        loss = loss + loss_of(heads[1], h, ids)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, groups, [optimizer]


def moved():
    """The first backward before the second half runs."""
    first, second, heads, optimizer, groups = model()
    ids = torch.randint(TOKENS, (8, LENGTH))

    def step() -> None:
        h = first(ids)
        loss_of(heads[0], h, ids).backward()
        h = second(h.detach())
        loss_of(heads[1], h, ids).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, groups, [optimizer]
