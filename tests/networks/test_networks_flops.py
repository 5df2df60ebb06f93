"""The counter and the closed form of a layer against each other and against products by hand."""

from __future__ import annotations

import pytest
from torch import nn

from layerlocal.networks.flops import forward_flops, layer_flops


@pytest.mark.parametrize(
    ("layer", "sample", "output", "flops"),
    [
        (nn.Linear(5, 7), (5,), (1, 7), 2 * 5 * 7),
        (nn.Linear(5, 7, bias=False), (3, 5), (1, 3, 7), 3 * 2 * 5 * 7),
        (nn.Conv1d(4, 6, 3, padding=1), (4, 10), (1, 6, 10), 2 * 3 * 4 * 6 * 10),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 8, 8), (1, 6, 4, 4), 2 * 9 * 4 * 6 * 16),
        (nn.Conv2d(4, 8, 3, groups=4), (4, 8, 8), (1, 8, 6, 6), 2 * 9 * 1 * 8 * 36),
    ],
)
def test_a_layer_is_counted_as_its_shapes_say(layer, sample, output, flops):
    assert forward_flops(layer, sample) == layer_flops(layer.weight.shape, output) == flops


def test_counting_leaves_a_module_in_the_mode_of_each_part():
    module = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4)))
    module[1][0].eval()
    assert forward_flops(module, (3,)) == 24
    assert module.training and not module[1][0].training and module[1][1].training
    assert not module[1][1].num_batches_tracked
