"""A rule of your own in one file.

layerlocal check examples/my_rule.py:LogisticMargin    # does it keep the contract? is it really local?
layerlocal train --rule examples/my_rule.py:LogisticMargin --network cnn4 --epochs 2
layerlocal audit --rules examples/my_rule.py:LogisticMargin
"""

from torch import Tensor
from torch.nn.functional import one_hot, softplus

from layerlocal import BlockwiseRule, RuleInfo, SpatialReadout


class LogisticMargin(BlockwiseRule):
    """Every block drives its true class score up and the others down, each through a logistic loss."""

    info = RuleInfo(name="logistic-margin", locality="block", summary="one-against-all logistic loss at every block")

    def __init__(self, network, *, num_classes, seed=None, margin: float = 1.0):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.margin = margin
        shapes = network.activity_shapes
        self.heads = self.head_per_block(lambda i: SpatialReadout(shapes[i], num_classes, grid=4))

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        sign = 2 * one_hot(y, self.num_classes) - 1
        return softplus(self.margin - sign * self.block_score(index, activity)).sum(1).mean(), {}
