"""For all tests: one thread (tiny tensors are much faster on one, and sums then have one order) and a fresh seed each."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _reseed():
    torch.set_num_threads(1)  # a command or a measurement in this process may have set more
    torch.manual_seed(0)


@pytest.fixture
def forks(monkeypatch):
    """Workers that start within milliseconds, because torch is imported once; ``test_audit.py`` starts them as they always are."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["layerlocal.run", "layerlocal.workers", "torch._dynamo", "torch.export", "pandas"])
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
