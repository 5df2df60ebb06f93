"""The model of distributed steps gives closed forms where there are some, and the pipeline of backprop it is about is backprop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerlocal.distributed.pipeline_bp import PipelineBP
from layerlocal.experiments.cost.model import BlockCost, Link, predict
from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.types import InputError
from processes import run_on

FREE = Link(0.0, float("inf"))
METHODS = ["data, bp", "data, local", "layers, local", "pipeline, bp"]
EQUAL = [BlockCost(1.0, 2.0, gradient_bytes=100, activity_bytes=10, statistics=1, statistics_bytes=8)] * 8
B = 64


@pytest.mark.parametrize("method", METHODS)
def test_one_process_computes_all_the_time_and_sends_nothing(method):
    found = predict(method, EQUAL, Link(1.0, 1.0), processes=1, batch_size=B, micro_batches=4)
    assert (found.sent_bytes, found.idle_share) == (0, 0)
    assert found.step_seconds == pytest.approx(8 * 3 * B) and found.samples_per_s == pytest.approx(1 / 24)


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_over_a_free_link_equal_blocks_scale_as_each_method_allows(processes):
    """Data and layers: W times. A pipeline of backprop: W · M / (M + W − 1), its bubble (W − 1) / (M + W − 1)."""
    for method in ("data, bp", "data, local", "layers, local"):
        found = predict(method, EQUAL, FREE, processes=processes, batch_size=B)
        assert found.samples_per_s == pytest.approx(processes / 24) and found.idle_share == pytest.approx(0)
    for micro_batches in (8, 16):
        found = predict("pipeline, bp", EQUAL, FREE, processes=processes, batch_size=B, micro_batches=micro_batches)
        slots = micro_batches + processes - 1
        assert found.idle_share == pytest.approx((processes - 1) / slots)
        assert found.samples_per_s == pytest.approx(processes * micro_batches / slots / 24)
    found = predict("layers, local", EQUAL, FREE, processes=processes, batch_size=B, steps=10)
    assert found.idle_share == pytest.approx((processes - 1) / (10 + processes - 1)), "filled once an epoch"


@pytest.mark.parametrize("processes", [2, 4])
def test_bytes_are_those_of_rings_and_neighbours(processes):
    ring = 2 * (processes - 1) / processes * 8 * 100
    for method in ("data, bp", "data, local"):
        found = predict(method, EQUAL, FREE, processes=processes, batch_size=B)
        assert found.sent_bytes == pytest.approx(ring + (processes - 1) * 8 * 8)
        assert predict(
            method, EQUAL, FREE, processes=processes, batch_size=B, sync_norm=False
        ).sent_bytes == pytest.approx(ring)
    assert predict("layers, local", EQUAL, FREE, processes=processes, batch_size=B).sent_bytes == 10 * B
    both = 1 if processes == 2 else 2  # a process in the middle sends activities on and gradients back
    assert (
        predict("pipeline, bp", EQUAL, FREE, processes=processes, batch_size=B, micro_batches=8).sent_bytes
        == both * 10 * B
    )


def test_over_a_slow_link_only_what_no_computing_covers_is_waited_for():
    """Four blocks on two processes, 32 samples each: forward 32 s, backward 64 s; a sum takes 2 · 50 / rate seconds."""
    blocks = [BlockCost(1.0, 2.0, gradient_bytes=100)] * 4
    for rate, local, bp in [
        (100 / 10, 4 * 96 + 10, 4 * 96 + 10),  # 10 s a sum: only the last is not covered
        (100 / 200, 96 + 4 * 200, 4 * 32 + 64 + 4 * 200),  # 200 s a sum: the link is busy from the first on
    ]:
        link = Link(0.0, rate)
        for method, seconds in (("data, local", local), ("data, bp", bp)):
            found = predict(method, blocks, link, processes=2, batch_size=B, sync_norm=False)
            assert found.step_seconds == pytest.approx(seconds)
            assert found.idle_share == pytest.approx(1 - 4 * 96 / seconds)
    waits = [BlockCost(1.0, 2.0, statistics=3)] * 4
    found = predict("data, local", waits, Link(0.5, float("inf")), processes=2, batch_size=B)
    assert found.step_seconds == pytest.approx(4 * 96 + 4 * 3 * 2 * 0.5 + 2 * 0.5), (
        "each statistic once each way, then an empty sum"
    )


def test_a_slow_link_bounds_a_layer_parallel_step_by_the_message_not_by_the_sum_of_both():
    blocks = [BlockCost(1.0, 1.0, activity_bytes=10)] * 2
    assert predict("layers, local", blocks, Link(0.0, 10.0), processes=2, batch_size=8).step_seconds == pytest.approx(
        16
    )
    assert predict("layers, local", blocks, Link(0.0, 2.0), processes=2, batch_size=8).step_seconds == pytest.approx(40)


def test_the_busiest_process_sets_the_pace_of_uneven_blocks():
    blocks = [BlockCost(s, 0.0) for s in (3.0, 1.0, 1.0, 1.0)]
    found = predict("layers, local", blocks, FREE, processes=2, batch_size=2)
    assert found.step_seconds == pytest.approx(6) and found.idle_share == pytest.approx(0)
    found = predict("layers, local", blocks, FREE, processes=3, batch_size=2)
    assert found.step_seconds == pytest.approx(6) and found.idle_share == pytest.approx(1 - 12 / 18)


def test_what_cannot_be_dealt_is_not_predicted():
    assert predict("layers, local", EQUAL, FREE, processes=9, batch_size=B) is None
    assert predict("data, bp", EQUAL, FREE, processes=3, batch_size=B) is None
    assert predict("pipeline, bp", EQUAL, FREE, processes=4, batch_size=B, micro_batches=2) is None


# --- the baseline itself ----------------------------------------------------------------------------------------------

M = 4


def twin(channels_last=False):
    network = create_network(
        "cnn4", in_channels=3, image_size=8, width=0.25, depth=4, seed=0, channels_last=channels_last
    )
    return create_rule("bp", network, num_classes=3, seed=0, of="local-heads").double().train()


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 8, 8, generator=generator, dtype=torch.float64), torch.arange(16) % 3


def gradients(rule):
    return {name: p.grad.numpy() for name, p in rule.named_parameters() if p.grad is not None}


def pipelined(group):
    found = []
    for schedule, channels_last in (("gpipe", False), ("1f1b", True)):
        rule = twin(channels_last)
        pipeline = PipelineBP(rule, group, [[0], [1, 2, 3]], micro_batches=M, schedule=schedule)
        loss = pipeline.forward_backward(*batch())
        found.append((gradients(rule), loss if loss is None else loss.item(), pipeline.spent(1)))
    return found


def test_a_pipeline_of_backprop_on_two_processes_has_the_gradients_of_accumulated_micro_batches():
    rule, value = twin(), 0.0
    for x, y in zip(*(part.split(16 // M) for part in batch()), strict=True):
        (loss,) = rule.losses(x, y)
        (loss.value / M).backward()
        value += loss.value.item() / M
    expected = gradients(rule)
    for (first, nothing, sends), (second, total, sends_back) in zip(*run_on(2, pipelined), strict=True):
        assert first.keys() | second.keys() == expected.keys() and not first.keys() & second.keys()
        for name, gradient in (first | second).items():
            np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
        assert nothing is None and total == pytest.approx(value)
        assert (
            sends["bytes_per_step"] == sends_back["bytes_per_step"] == 16 * 8 * 4 * 4 * 8
        )  # 8 channels of 4×4 in float64
        assert 0 < sends["idle_share"] < 1


def test_what_a_pipeline_of_backprop_does_not_fit_is_refused():
    class Two:
        rank, size = 0, 2

    def rule(name, **options):
        network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=4, seed=0)
        return create_rule(name, network, num_classes=3, seed=0, **options)

    for given, micro_batches, words in [
        (rule("segmented"), 4, "takes the rule 'bp', not 'segmented'"),
        (rule("bp-deepsup"), 4, "takes the rule 'bp'"),
        (rule("bp", of="ff"), 4, "'ff' makes inputs of its own"),
        (rule("bp"), 1, "1 micro-batches cannot fill a pipeline of 2"),
    ]:
        with pytest.raises(InputError, match=words):
            PipelineBP(given, Two(), [[0, 1], [2, 3]], micro_batches=micro_batches)
