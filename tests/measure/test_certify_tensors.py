"""What a step holds is put back whatever kind of tensor it is; what cannot be written is left alone, and is no traceback."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from layerlocal.measure.certify import certify
from steps_by_hand import B, D, X, blocks, greedy, loss_of, sgd


def read_only():
    array = np.arange(4.0)
    array.flags.writeable = False
    return torch.from_numpy(array)


def mapped(tmp_path):
    np.full(4, np.nan).tofile(tmp_path / "numbers")
    return torch.from_numpy(np.memmap(tmp_path / "numbers", mode="r", dtype=np.float64))


def of_inference():
    with torch.inference_mode():
        return torch.zeros(4)


def retained():
    value = blocks(1)[0](X)
    value.retain_grad()
    return value


HELD = {
    "expanded": lambda _: torch.zeros(1, D).expand(B, D),
    "overlapping": lambda _: torch.arange(10.0).unfold(0, 4, 1),
    "empty and expanded": lambda _: torch.empty(0, 1).expand(0, 3),
    "a number": lambda _: torch.tensor(3.0),
    "read-only": lambda _: read_only(),
    "a file, not a number": mapped,
    "inference": lambda _: of_inference(),
    "conjugate": lambda _: torch.zeros(3, dtype=torch.complex64).conj(),
    "negative": lambda _: torch.zeros(3, dtype=torch.complex64).conj().imag,
    "long": lambda _: torch.zeros(3, dtype=torch.complex128),
    "short": lambda _: torch.zeros(3).to(torch.float8_e4m3fn),
    "truth": lambda _: torch.tensor([True, False]),
    "sparse": lambda _: torch.eye(3).to_sparse(),
    "sparse rows": lambda _: torch.eye(3).to_sparse_csr(),
    "sparse columns": lambda _: torch.eye(3).to_sparse_csc(),
    "sparse, with a gradient": lambda _: torch.eye(3).to_sparse().requires_grad_(),
    "nested": lambda _: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "jagged": lambda _: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
    "quantized": lambda _: torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8),
    "meta": lambda _: torch.empty(3, device="meta"),
    "leaf": lambda _: torch.zeros(3, requires_grad=True),
    "of a graph": lambda _: blocks(1)[0](X),
    "of a graph, with a gradient": lambda _: retained(),
    "array": lambda _: np.broadcast_to(np.arange(3.0), (4, 3)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HELD)
def test_a_step_may_hold_any_kind_of_tensor(name, tmp_path):
    value = HELD[name](tmp_path)
    step, parts = greedy()

    def holding():
        assert value is not None
        step()

    assert certify(holding, parts)["locality"] == "block"


def in_inference(value):
    with torch.inference_mode():
        value.add_(1)


WRITTEN = {
    "a row of what is expanded": (HELD["expanded"], lambda value: value[0].add_(1)),
    "a window of what overlaps": (HELD["overlapping"], lambda value: value[0].add_(1)),
    "inference": (HELD["inference"], in_inference),
    "long": (HELD["long"], lambda value: value.add_(1j)),
    "signs of zeros": (lambda _: torch.zeros(3), lambda value: value.mul_(-1)),
    "sparse": (HELD["sparse"], lambda value: value.add_(torch.ones(3, 3).to_sparse())),
    "sparse values": (HELD["sparse"], lambda value: value._values().add_(1)),
    "sparse rows": (HELD["sparse rows"], lambda value: value.values().add_(1)),
    "quantized": (HELD["quantized"], lambda value: value.fill_(1.0)),
    "truth": (HELD["truth"], lambda value: value.logical_not_()),
    "its shape": (lambda _: torch.zeros(2, 2), lambda value: value.resize_(5).fill_(1)),
    "its memory": (lambda _: torch.zeros(4), lambda value: value.untyped_storage().resize_(0)),
}


def numbers(value):
    dense = value.to_dense() if value.layout is not torch.strided else value
    dense = dense.int_repr() if dense.is_quantized else dense
    return dense.resolve_conj().clone().numpy().tobytes(), value.shape


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_step_writes_into_it_is_put_back_bit_by_bit(name, tmp_path):
    make, write = WRITTEN[name]
    value = make(tmp_path)
    before = numbers(value)
    step, parts = greedy()
    seen = []

    def writing():
        step()
        with torch.no_grad():
            write(value)
        seen.append(None)

    found = certify(writing, parts)
    assert found["repeats"] and numbers(value) == before and seen == []


def test_gradients_that_are_sparse_or_of_an_activity_are_put_back():
    table, parts = nn.Embedding(8, D, sparse=True), blocks()
    optimizer, at = sgd(nn.ModuleList([table, *parts])), torch.arange(8)
    table(at[:2]).sum().backward()
    before = table.weight.grad.to_dense().clone()

    def step():
        h = table(at)
        loss_of(h).backward()
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()

    assert certify(step, [table, *parts])["locality"] == "block"
    assert torch.equal(table.weight.grad.to_dense(), before)


def test_a_frozen_weight_of_any_kind_is_perturbed_and_compared():
    """A block that is expanded, short or complex and is not trained; the next one learns from it."""
    kinds = [
        torch.ones(1, D).expand(D, D),
        torch.eye(D).to(torch.float8_e4m3fn),
        torch.eye(D).to_sparse(),
        torch.eye(D, dtype=torch.complex64),
        of_inference().new_ones(D, D),
    ]
    for kind in kinds:
        weight, parts = nn.Parameter(kind, requires_grad=False), blocks(2)
        optimizer, kept = sgd(parts), weight.detach().clone()

        def step(weight=weight, parts=parts, optimizer=optimizer):
            dense = weight.to_dense() if weight.layout is not torch.strided else weight
            h = X @ (dense.real if dense.is_complex() else dense.float()).clone()
            for block in parts:
                h = block(h.detach())
                loss_of(h).backward()
            optimizer.step()
            optimizer.zero_grad()

        found = certify(step, [[weight], *parts])
        assert found["coupling"][0] == [False, True, True] and found["untrained"] == ["group0"]
        same = (weight.detach().to_dense(), kept.to_dense()) if kept.layout is not torch.strided else (weight, kept)
        assert torch.equal(same[0].cfloat(), same[1].cfloat())


def test_saved_bytes_of_a_sparse_product_are_those_of_its_parts():
    graph = torch.eye(B).to_sparse()
    parts = blocks(2)
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = torch.sparse.mm(graph, block(h.detach()))
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, parts)
    assert found["locality"] == "block" and found["boundaries"] == 1
