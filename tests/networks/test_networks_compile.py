import pytest
import torch

from layerlocal import create_network, create_rule


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_blocks_are_captured_as_graphs_and_give_the_gradients_of_plain_ones():
    from torch._dynamo.utils import counters

    counters.clear()
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    y = torch.arange(4) % 3
    gradients = []
    for compile in (False, True):
        network = create_network("plain", in_channels=3, image_size=16, width=1 / 8, depth=2, seed=0, compile=compile)
        rule = create_rule("local-heads", network, num_classes=3, seed=0)
        for loss in rule.losses(x, y):
            loss.value.backward()
        gradients.append([p.grad for p in rule.parameters()])
        if not compile:
            assert not counters["stats"]["unique_graphs"]
    assert counters["stats"]["unique_graphs"] >= 1
    for plain, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, compiled)
